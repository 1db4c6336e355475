//! `heartbeat doctor`: from a configuration to what is looked at.

use tokio::runtime::Builder;

use super::{EXIT_DOWN, EXIT_OK, EXIT_UNKNOWN, StartError, convert, with_runtime};
use crate::config::{DoctorConfig, Role};
use crate::doctor::{Broker, Config, Management, Redis, Use, Worst, examine};
use crate::terminal::Terminal;
use crate::tls::{Expiry, Peer};

/// Looks at the servers of a role. Returns the exit code, by the worst that was found.
pub fn doctor(config: DoctorConfig, terminal: &mut Terminal) -> u8 {
    with_runtime(Builder::new_current_thread(), async move {
        let config = looked_at(&config)?;
        Ok(match examine(&config, terminal).await {
            Worst::Nothing => EXIT_OK,
            Worst::Warned => EXIT_UNKNOWN,
            Worst::Failed => EXIT_DOWN,
        })
    })
}

fn looked_at(config: &DoctorConfig) -> Result<Config, StartError> {
    let expiry = Expiry::default();
    let use_of = match config.role {
        Role::Publisher => Some(Use::Sends),
        Role::Subscriber => Some(Use::Takes),
        Role::Standalone => config.checks_queues.then_some(Use::Looks),
    };
    let broker = match use_of {
        None => None,
        Some(use_of) => Some(Broker {
            amqp: convert::amqp(&config.amqp, format!("heartbeat doctor {}", config.role.as_str()), &expiry)?,
            nodes: config.amqp.nodes.clone(),
            use_of,
            dead_letter_exchange: config.amqp.dead_letter_exchange.clone(),
        }),
    };
    let management = match use_of {
        None => None,
        Some(_) => Some(Management {
            client: convert::management(&config.management, &expiry)?,
            hosts: config.management.hosts.clone(),
            port: config.management.port,
            user: config.management.user.clone(),
            tls: convert::tls(config.management.tls.as_ref(), Peer::Management, &expiry)?,
            needed: config.checks_queues,
        }),
    };
    let redis = match &config.redis {
        None => None,
        Some(redis) => {
            Some(Redis { config: convert::redis(redis, &expiry)?, contract_keys: redis.contract_keys })
        }
    };
    Ok(Config { broker, management, redis })
}
