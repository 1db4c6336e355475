//! Components and the outcome of checking them.

use std::fmt;
use std::sync::Arc;

use super::{Reason, Timestamp};

/// What sort of thing a component is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A TCP endpoint.
    Host,
    /// A listener that is expected on a queue.
    Consumer,
    /// A queue with all its listeners.
    Queue,
    /// A kind of a later version, shown by its name.
    Other(Arc<str>),
}

impl Kind {
    /// The label value and the wire's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Host => "host",
            Self::Consumer => "consumer",
            Self::Queue => "queue",
            Self::Other(name) => name,
        }
    }

    /// Reads a kind; unknown ones are kept when they look like a word: up to 32 of `a-z 0-9 _`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "host" => Some(Self::Host),
            "consumer" => Some(Self::Consumer),
            "queue" => Some(Self::Queue),
            other => (!other.is_empty()
                && other.len() <= 32
                && other.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
            .then(|| Self::Other(other.into())),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check found. Unknown is what could not be checked; it is never shown as up, nor as down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was checked and it works.
    Up,
    /// It could not be checked, or its check has not been heard of in time.
    Unknown,
    /// It was checked and it does not work.
    Down,
}

impl Outcome {
    /// The wire's word, and the one in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// Reads an outcome; whatever a later version may say is not known to us.
    pub fn parse(text: &str) -> Self {
        match text {
            "up" => Self::Up,
            "down" => Self::Down,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identity of a component within its publisher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentKey {
    /// What it is.
    pub kind: Kind,
    /// Its name in the publisher's configuration.
    pub name: Arc<str>,
    /// The queue on which a consumer is expected; empty for every other kind.
    pub queue: Arc<str>,
}

impl ComponentKey {
    /// A host by its name.
    pub fn host(name: &str) -> Self {
        Self { kind: Kind::Host, name: name.into(), queue: "".into() }
    }

    /// A listener expected on a queue.
    pub fn consumer(name: &str, queue: &str) -> Self {
        Self { kind: Kind::Consumer, name: name.into(), queue: queue.into() }
    }

    /// A queue by its name.
    pub fn queue(name: &str) -> Self {
        Self { kind: Kind::Queue, name: name.into(), queue: "".into() }
    }
}

/// One component as of its latest check. All times are by the publisher's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Which one.
    pub key: ComponentKey,
    /// What is connected to, for hosts: `host:port`.
    pub target: Option<Arc<str>>,
    /// What the latest check found.
    pub outcome: Outcome,
    /// Why it is not up; `None` exactly when it is.
    pub reason: Option<Reason>,
    /// When the latest check ended.
    pub checked_at: Timestamp,
    /// When the outcome last became another one.
    pub changed_at: Option<Timestamp>,
    /// When it was last found up.
    pub last_up_at: Option<Timestamp>,
    /// When it was last found down.
    pub last_down_at: Option<Timestamp>,
    /// When it could last not be checked.
    pub last_unknown_at: Option<Timestamp>,
    /// How long the latest check took, in seconds.
    pub duration_seconds: Option<f64>,
    /// Checks made in this epoch.
    pub checks_total: Option<u64>,
    /// Checks of this epoch that did not find it up.
    pub failures_total: Option<u64>,
    /// Figures of a queue, where some source told them.
    pub figures: Option<QueueFigures>,
}

#[cfg(test)]
impl Component {
    /// A host that was checked once, for tests.
    pub(crate) fn checked(name: &str, outcome: Outcome, checked_at: Timestamp) -> Self {
        Self {
            key: ComponentKey::host(name),
            target: None,
            outcome,
            reason: (outcome != Outcome::Up).then_some(Reason::Refused),
            checked_at,
            changed_at: None,
            last_up_at: None,
            last_down_at: None,
            last_unknown_at: None,
            duration_seconds: None,
            checks_total: Some(1),
            failures_total: Some(0),
            figures: None,
        }
    }
}

/// How full a queue is and how many read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFigures {
    /// Messages ready in the queue, and unacknowledged ones where the source counts them.
    pub messages: Option<u64>,
    /// Consumers of the queue.
    pub consumers: Option<u64>,
    /// Who told.
    pub source: FigureSource,
}

/// Where queue figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureSource {
    /// The management API.
    Management,
    /// A passive declaration over AMQP, which counts ready messages only.
    Amqp,
    /// A source of a later version.
    Other,
}

impl FigureSource {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Amqp => "amqp",
            Self::Other => "other",
        }
    }

    /// Reads a source, later ones as [`FigureSource::Other`].
    pub fn parse(text: &str) -> Self {
        match text {
            "management" => Self::Management,
            "amqp" => Self::Amqp,
            _ => Self::Other,
        }
    }
}
