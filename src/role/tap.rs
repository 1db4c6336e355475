//! `heartbeat tap`: tells of heartbeats as they pass.

use tokio::runtime::Builder;

use super::{EXIT_FAILURE, EXIT_OK, convert, with_runtime};
use crate::amqp::AmqpError;
use crate::amqp::tap::Tap;
use crate::config::TapConfig;
use crate::heartbeat::wire::Limits;
use crate::tap::Passed;
use crate::terminal::Terminal;
use crate::tls::Expiry;

/// Tells of `count` messages, or of all until the connection ends or nobody looks any more. Returns the exit code.
///
/// # Errors
/// No connection, no right to listen, or the connection ended.
pub fn tap(
    config: &TapConfig,
    count: Option<u64>,
    json: bool,
    terminal: &mut Terminal,
) -> Result<u8, AmqpError> {
    let mut failed = None;
    let code = with_runtime(Builder::new_current_thread(), async {
        let amqp = convert::amqp(&config.amqp, "heartbeat tap".into(), &Expiry::default())?;
        let limits = Limits {
            message_bytes: config.message_bytes,
            components: config.components_per_message,
            ..Limits::default()
        };
        let passed = match Tap::open(&amqp).await {
            Ok(mut tap) => {
                let passed = tell(&mut tap, &limits, count, json, terminal).await;
                tap.close().await;
                passed
            }
            Err(error) => Err(error),
        };
        Ok(match passed {
            Ok(()) => EXIT_OK,
            Err(error) => {
                failed = Some(error);
                EXIT_FAILURE
            }
        })
    });
    failed.map_or(Ok(code), Err)
}

async fn tell(
    tap: &mut Tap,
    limits: &Limits,
    count: Option<u64>,
    json: bool,
    terminal: &mut Terminal,
) -> Result<(), AmqpError> {
    let mut left = count;
    while left != Some(0) && !terminal.is_closed() {
        let passed = Passed::read(tap.next().await?, limits);
        terminal.line(&if json { passed.json() } else { passed.line(terminal) });
        left = left.map(|left| left - 1);
    }
    Ok(())
}
