//! What is wrong between this machine and its servers, in the order in which it breaks: name, connection, TLS, login,
//! rights, and what must be there. The first that fails is the cause of what is skipped after it.
//!
//! Nothing is changed: what is at the broker is looked at by passive declarations and through the management API, no
//! message is sent or taken, and commands are run in forms that do nothing. Where that tells nothing, the step is unknown.
//!
//! - `reach`: the way to any server. `broker` with `topology` and `binding`, `management` and `redis`: what comes after. `clocks`: whether
//!   their time is ours.
//! - `report`: how it is told.

mod binding;
mod broker;
mod clocks;
mod management;
mod protocol;
mod reach;
mod redis;
mod report;
mod routing;
mod topology;

use std::time::Duration;

use tokio::time::Instant;

use crate::amqp::{self, Mechanism, Node};
use crate::check::management::ManagementClient;
use crate::store::RedisConfig;
use crate::terminal::{Terminal, word};
use crate::tls::PeerTls;

pub use report::Worst;

use clocks::Clocks;
use management::Api;
use report::Report;

/// Longest time of one step, where the server's own settings do not bound it.
const STEP: Duration = Duration::from_secs(5);

/// What is looked at.
pub struct Config {
    /// The broker; `None` where the role does without.
    pub broker: Option<Broker>,
    /// Its management API.
    pub management: Option<Management>,
    /// The store; `None` where the role does without.
    pub redis: Option<Redis>,
}

/// The broker, and what the role does there.
pub struct Broker {
    /// How to reach it, and what is to be found there.
    pub amqp: amqp::Config,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// What the role does there.
    pub use_of: Use,
    /// Where a subscriber sends what it refuses.
    pub dead_letter_exchange: Option<String>,
}

impl Broker {
    /// Who logs in, in words.
    fn who(&self) -> String {
        match self.amqp.mechanism {
            Mechanism::Plain => format!("user {:?}", self.amqp.user),
            Mechanism::External => "the user of the client certificate".to_owned(),
        }
    }

    /// Likewise as a shell takes it.
    fn user_word(&self) -> String {
        match self.amqp.mechanism {
            Mechanism::Plain => word(&self.amqp.user),
            Mechanism::External => "USER".to_owned(),
        }
    }
}

/// What a role does at a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It sends to the exchange.
    Sends,
    /// It takes from the queues.
    Takes,
    /// It looks at queues of others.
    Looks,
}

/// The management API, and what the role needs of it.
pub struct Management {
    /// Asks it.
    pub client: ManagementClient,
    /// Host names or addresses.
    pub hosts: Vec<String>,
    /// Its port.
    pub port: u16,
    /// Who asks.
    pub user: String,
    /// TLS, where it is on.
    pub tls: Option<PeerTls>,
    /// Whether the role checks queues by it; else it only tells what AMQP does not.
    pub needed: bool,
}

/// The store, and how it is used.
pub struct Redis {
    /// How to reach it.
    pub config: RedisConfig,
    /// Whether the keys of the contract are written.
    pub contract_keys: bool,
}

/// Looks at everything, and tells of each step as it is known.
pub async fn examine(config: &Config, terminal: &mut Terminal) -> Worst {
    let mut report = Report::new(terminal);
    let mut clocks = Clocks::default();
    // Asked before it is told of: it knows of the broker what AMQP does not show.
    let api = match &config.management {
        Some(management) => Api::ask(&management.client).await,
        None => Api::none(),
    };
    if let Some(broker) = &config.broker {
        broker::examine(broker, &api, &mut report).await;
    }
    if let Some(management) = &config.management {
        management::examine(management, &api, &mut report, &mut clocks).await;
    }
    if let Some(redis) = &config.redis {
        redis::examine(redis, &mut report, &mut clocks).await;
    }
    if config.broker.is_none() && config.redis.is_none() {
        report.part("Servers");
        report.ok("servers", "this role does without any");
    } else {
        clocks.tell(&mut report);
    }
    report.end()
}

/// When a step has to end that begins now.
fn end_of_step() -> Instant {
    Instant::now() + STEP
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn names_are_words_to_a_shell() {
        for (name, told) in [("sda", "sda"), ("/", "/"), ("", "''"), ("a b", "'a b'"), ("a'b;", "'a'\\''b;'")]
        {
            assert_eq!(word(name), told);
        }
    }
}
