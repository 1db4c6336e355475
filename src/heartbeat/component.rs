//! Components and the outcome of checking them.

use std::fmt;
use std::sync::Arc;

use super::{Reason, Timestamp};

/// What sort of thing a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind<S = Arc<str>> {
    /// A TCP endpoint.
    Host,
    /// A listener that is expected on a queue.
    Consumer,
    /// A queue with all its listeners.
    Queue,
    /// Any other kind, by its name: those that the contract does not have, and those of later versions.
    Other(S),
}

impl<S: AsRef<str>> Kind<S> {
    /// The label value and the wire's word.
    pub fn as_str(&self) -> &str {
        self.borrowed().text()
    }

    /// The same, with its name borrowed.
    pub fn borrowed(&self) -> Kind<&str> {
        match self {
            Self::Host => Kind::Host,
            Self::Consumer => Kind::Consumer,
            Self::Queue => Kind::Queue,
            Self::Other(name) => Kind::Other(name.as_ref()),
        }
    }
}

impl Kind {
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

impl<'a> Kind<&'a str> {
    /// As [`Kind::as_str`], for as long as the borrowed name lives.
    pub fn text(self) -> &'a str {
        match self {
            Self::Host => "host",
            Self::Consumer => "consumer",
            Self::Queue => "queue",
            Self::Other(name) => name,
        }
    }
}

impl<S: AsRef<str>> fmt::Display for Kind<S> {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentKey<S = Arc<str>> {
    /// What it is.
    pub kind: Kind<S>,
    /// Its name in the publisher's configuration.
    pub name: S,
    /// The queue on which a consumer is expected; empty for every other kind.
    pub queue: S,
}

impl<S: AsRef<str>> ComponentKey<S> {
    /// The same, with its names borrowed.
    pub fn borrowed(&self) -> ComponentKey<&str> {
        ComponentKey { kind: self.kind.borrowed(), name: self.name.as_ref(), queue: self.queue.as_ref() }
    }
}

impl ComponentKey<&str> {
    /// The same, with names of its own.
    pub fn owned(&self) -> ComponentKey {
        let kind = match self.kind {
            Kind::Host => Kind::Host,
            Kind::Consumer => Kind::Consumer,
            Kind::Queue => Kind::Queue,
            Kind::Other(name) => Kind::Other(name.into()),
        };
        ComponentKey { kind, name: self.name.into(), queue: self.queue.into() }
    }
}

impl ComponentKey {
    /// A host by its name.
    pub fn host(name: &str) -> Self {
        Self { kind: Kind::Host, name: name.into(), queue: "".into() }
    }

    /// A component of a kind that the contract does not have.
    pub fn other(kind: &str, name: &str) -> Self {
        Self { kind: Kind::Other(kind.into()), name: name.into(), queue: "".into() }
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

/// One component as of its latest check. All times are by the publisher's clock. `S` holds its names: shared, or borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component<S = Arc<str>> {
    /// Which one.
    pub key: ComponentKey<S>,
    /// What is connected to, for hosts: `host:port`.
    pub target: Option<S>,
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
    /// When the certificate ends that was seen last, of what is checked with TLS.
    pub certificate_not_after: Option<Timestamp>,
}

impl<S> Component<S> {
    /// The same under other names.
    fn named<T>(&self, key: ComponentKey<T>, target: Option<T>) -> Component<T> {
        Component {
            key,
            target,
            outcome: self.outcome,
            reason: self.reason,
            checked_at: self.checked_at,
            changed_at: self.changed_at,
            last_up_at: self.last_up_at,
            last_down_at: self.last_down_at,
            last_unknown_at: self.last_unknown_at,
            duration_seconds: self.duration_seconds,
            checks_total: self.checks_total,
            failures_total: self.failures_total,
            figures: self.figures,
            certificate_not_after: self.certificate_not_after,
        }
    }
}

impl<S: AsRef<str>> Component<S> {
    /// The same, with its names borrowed.
    pub fn borrowed(&self) -> Component<&str> {
        self.named(self.key.borrowed(), self.target.as_ref().map(AsRef::as_ref))
    }
}

impl Component<&str> {
    /// The same, with names of its own.
    pub fn owned(&self) -> Component {
        self.named(self.key.owned(), self.target.map(Arc::from))
    }
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
            certificate_not_after: None,
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
