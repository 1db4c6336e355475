//! What can go wrong with the broker, by what was attempted.

use std::time::Duration;

use super::probe::Stage;
use super::said::Said;

/// A failed operation on the broker.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// No TCP connection.
    #[error("could not connect to RabbitMQ at {target}")]
    Connect {
        /// Where to.
        target: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The TLS handshake failed.
    #[error(
        "TLS with RabbitMQ at {target} failed: check the CA file, the client certificate and the host name"
    )]
    Tls {
        /// Where to.
        target: String,
        /// Why.
        source: std::io::Error,
    },
    /// The broker did not let us in.
    #[error("RabbitMQ at {target} did not open the connection: check {check}")]
    Open {
        /// Where to.
        target: String,
        /// What to look at.
        check: &'static str,
        /// What the broker or the library said.
        source: Said,
    },
    /// One call on an open connection failed.
    #[error("RabbitMQ: {operation} failed")]
    Call {
        /// What was attempted, and on what.
        operation: String,
        /// What the broker or the library said.
        source: Said,
    },
    /// The broker did not answer in time.
    #[error("RabbitMQ: no answer to {operation} within {limit:?}")]
    Deadline {
        /// What was attempted, and on what.
        operation: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The broker took no responsibility for a message.
    #[error("RabbitMQ did not take a message to exchange {exchange:?}")]
    Nacked {
        /// The exchange.
        exchange: String,
    },
    /// The broker ended the consumer: its queue was deleted, or a node went away.
    #[error("RabbitMQ cancelled the consumer of queue {queue:?}")]
    Cancelled {
        /// The queue.
        queue: String,
    },
    /// The broker holds messages and delivers none.
    #[error("the consumer of queue {queue:?} fell silent while {ready} messages wait")]
    Silent {
        /// The queue.
        queue: String,
        /// Messages that wait.
        ready: u64,
    },
    /// The broker no longer knows of our consumer.
    #[error("RabbitMQ counts no consumer on queue {queue:?}, not even this one")]
    Lost {
        /// The queue.
        queue: String,
    },
    /// The connection ended.
    #[error("the connection to RabbitMQ at {target} ended")]
    Ended {
        /// Where to.
        target: String,
    },
    /// Deliveries were held so long that they had to be given back before the broker takes them.
    #[error("deliveries were held for {held:?} for want of the store, and are given back")]
    HeldTooLong {
        /// How long.
        held: Duration,
    },
}

/// What a failure is counted by.
pub const REASONS: [&str; 12] = [
    "unreachable",
    "tls",
    "refused",
    "denied",
    "missing",
    "conflict",
    "cancelled",
    "silent",
    "lost",
    "timeout",
    "closed",
    "held",
];

impl AmqpError {
    /// One of [`REASONS`], to be counted by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "unreachable",
            Self::Tls { .. } => "tls",
            Self::Open { .. } => "refused",
            Self::Call { .. } if self.is_denied() => "denied",
            Self::Call { .. } if self.is_not_found() => "missing",
            Self::Call { .. } if self.is_other_arguments() => "conflict",
            Self::Call { .. } | Self::Nacked { .. } | Self::Ended { .. } => "closed",
            Self::Deadline { .. } => "timeout",
            Self::Cancelled { .. } => "cancelled",
            Self::Silent { .. } => "silent",
            Self::Lost { .. } => "lost",
            Self::HeldTooLong { .. } => "held",
        }
    }

    /// Whether the broker answered that what was asked for is not there.
    pub(super) fn is_not_found(&self) -> bool {
        self.reply_code() == Some(404)
    }

    /// Whether the broker answered that this user may not do it.
    pub(crate) fn is_denied(&self) -> bool {
        self.reply_code() == Some(403)
    }

    /// Whether it answered so for the user's topic permissions, which it asks for after all others.
    pub(crate) fn is_denied_topic(&self) -> bool {
        self.is_denied() && self.said().is_some_and(|said| said.contains("access to topic "))
    }

    /// Whether the broker has it with other arguments.
    pub(super) fn is_other_arguments(&self) -> bool {
        self.reply_code() == Some(406)
    }

    /// Whether the broker could not send a frame as short as it must be.
    pub(super) fn is_frame_too_long(&self) -> bool {
        self.reply_code() == Some(501)
    }

    /// Whether the broker said no to who this is or to what it may do, which only an operator changes.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Open { source, .. } => matches!(source.kind(), lapin::ErrorKind::ProtocolError(_)),
            _ => self.is_denied(),
        }
    }

    /// Whether the broker did not let this user in, which waiting does not change.
    pub(crate) fn is_refused_login(&self) -> bool {
        self.stage() == Stage::Login
    }

    /// How far an attempt to connect came.
    pub(super) fn stage(&self) -> Stage {
        let code = match self {
            Self::Connect { .. } => return Stage::Tcp,
            Self::Tls { .. } => return Stage::Tls,
            Self::Open { source, .. } => match source.kind() {
                lapin::ErrorKind::ProtocolError(error) => error.get_id(),
                _ => return Stage::Greeting,
            },
            _ => return Stage::Greeting,
        };
        match code {
            403 => Stage::Login,
            // Not allowed, by RabbitMQ; an invalid path, by the specification.
            530 | 402 => Stage::Vhost,
            _ => Stage::Greeting,
        }
    }

    /// The broker's own words, where it spoke.
    pub(crate) fn said(&self) -> Option<String> {
        let (Self::Open { source, .. } | Self::Call { source, .. }) = self else { return None };
        match source.kind() {
            lapin::ErrorKind::ProtocolError(error) => Some(error.get_message().to_string()),
            _ => None,
        }
    }

    fn reply_code(&self) -> Option<u16> {
        let Self::Call { source, .. } = self else { return None };
        match source.kind() {
            lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
            _ => None,
        }
    }
}
