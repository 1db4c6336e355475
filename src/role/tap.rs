//! `heartbeat tap`: tells of heartbeats as they pass.

use super::{EXIT_OK, answer, convert};
use crate::amqp::tap::Tap;
use crate::amqp::{AmqpError, Config, Mechanism};
use crate::config::TapConfig;
use crate::heartbeat::wire::Limits;
use crate::tap::Passed;
use crate::telemetry::Chain;
use crate::terminal::{Terminal, word};
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
    /// The broker does not let this user make, bind or read a queue of its own.
    #[error("{why}; make a user for it alone, by whatever name, and connect as that: {commands}")]
    NotAllowed {
        /// Why not.
        why: String,
        /// What makes one with the right.
        commands: String,
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
            Err(error) => return Ok(Err(not_listening(&amqp, &error))),
        };
        notes.line(format!(
            "Waiting for heartbeats at {}, vhost {:?}: what exchange {:?} leads by {:?}. Ctrl-C ends it.",
            tap.target(),
            amqp.vhost,
            amqp.exchange,
            amqp.routing_key
        ));
        let passed = tell(&mut tap, &limits, count, json, terminal).await;
        tap.close().await;
        Ok(passed.map(|()| EXIT_OK).map_err(NotTold::from))
    })
}

fn not_listening(config: &Config, error: &AmqpError) -> NotTold {
    let why = Chain(error).to_string();
    if error.is_denied() {
        NotTold::NotAllowed { why, commands: making_a_user(config, error.is_denied_topic()) }
    } else {
        NotTold::NotListening { why }
    }
}

/// What makes a user that may do all this and no more. The one that was refused may be anybody's, and would lose by these what it
/// has. Topic permissions are named where they were in the way: without any, a user needs none.
fn making_a_user(config: &Config, by_topic: bool) -> String {
    let vhost = word(&config.vhost);
    let read = word(&format!("^({}|amq\\.gen-.*)$", literally(&config.exchange)));
    // By a certificate one is always the one that it names.
    let how = match config.mechanism {
        Mechanism::Plain => "",
        Mechanism::External => "RABBITMQ_AUTH_MECHANISM=plain RABBITMQ_USER=TAP_USER; ",
    };
    let mut commands = format!(
        "{how}rabbitmqctl add_user TAP_USER; rabbitmqctl set_permissions -p {vhost} TAP_USER '^amq\\.gen-' '^amq\\.gen-' {read}"
    );
    if by_topic {
        let (exchange, key) =
            (word(&config.exchange), word(&format!("^{}$", literally(&config.routing_key))));
        commands.push_str(&format!(
            "; rabbitmqctl set_topic_permissions -p {vhost} TAP_USER {exchange} '^$' {key}"
        ));
    }
    commands
}

/// A name as a pattern that matches it and nothing else.
fn literally(name: &str) -> String {
    let is_special = |c: char| ".+*?()|[]{}^$\\".contains(c);
    name.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect()
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
        if json {
            terminal.json(&passed.whole());
        } else {
            terminal.line(passed.line(terminal));
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_itself_alone() {
        assert_eq!(literally("sda"), "sda");
        assert_eq!(literally("a.b+c"), "a\\.b\\+c");
    }
}
