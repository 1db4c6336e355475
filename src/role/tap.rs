//! `heartbeat tap`: tells of heartbeats as they pass.

use super::{EXIT_OK, answer, convert};
use crate::amqp::AmqpError;
use crate::amqp::tap::Tap;
use crate::config::TapConfig;
use crate::heartbeat::wire::Limits;
use crate::tap::Passed;
use crate::telemetry::{Chain, visible};
use crate::terminal::Terminal;
use crate::tls::Expiry;

/// Why no heartbeats are told of, or no more.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// It could not begin to listen.
    #[error("{why}; `heartbeat doctor subscriber` says what to do, with the same settings")]
    NotListening {
        /// Why not.
        why: String,
    },
    /// The connection ended.
    #[error(transparent)]
    Ended(#[from] AmqpError),
}

/// Tells of `count` messages, or of all until the connection ends or nobody looks any more; by `notes`, what it waits for. Returns
/// the exit code.
///
/// # Errors
/// No connection, no right to listen, or the connection ended.
pub fn tap(
    config: &TapConfig,
    count: Option<u64>,
    json: bool,
    terminal: &mut Terminal,
    notes: &mut Terminal,
) -> Result<u8, NotTold> {
    answer(async {
        let amqp = convert::amqp(&config.amqp, "heartbeat tap".into(), &Expiry::default())?;
        let limits = Limits {
            message_bytes: config.message_bytes,
            components: config.components_per_message,
            ..Limits::default()
        };
        let mut tap = match Tap::open(&amqp).await {
            Ok(tap) => tap,
            Err(error) => return Ok(Err(NotTold::NotListening { why: Chain(&error).to_string() })),
        };
        notes.line(&visible(&format!(
            "Waiting for heartbeats at {}, vhost {:?}: what exchange {:?} leads by {:?}. Ctrl-C ends it.",
            tap.target(),
            amqp.vhost,
            amqp.exchange,
            amqp.routing_key
        )));
        let passed = tell(&mut tap, &limits, count, json, terminal).await;
        tap.close().await;
        Ok(passed.map(|()| EXIT_OK).map_err(NotTold::from))
    })
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
