//! The domain: what a publisher says of the components that it checks.
//!
//! Pure values. Nothing here waits, reads a clock or knows of JSON outside [`wire`].

mod component;
pub mod maintenance;
mod name;
mod reason;
mod timestamp;
mod trace;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use component::{Component, ComponentKey, FigureSource, Kind, Outcome, QueueFigures};
pub use maintenance::Window;
pub use name::{Epoch, InvalidName, NAME_BYTES_MAX, PublisherId, check_name};
pub use reason::Reason;
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use trace::{CheckSpan, HeartbeatTrace};

/// One full snapshot of all components of one publisher (message version 2).
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Whose snapshot this is.
    pub publisher: PublisherId,
    /// The life of the publisher's process in which it was made.
    pub epoch: Epoch,
    /// When that life began, by the publisher's clock.
    pub started_at: Timestamp,
    /// Time since then by the publisher's monotonic clock, which no step of the wall clock touches.
    pub uptime: Duration,
    /// Number of this heartbeat within its epoch, from 1.
    pub sequence: u64,
    /// When it was made, by the publisher's clock.
    pub sent_at: Timestamp,
    /// The announced time between two heartbeats.
    pub interval: Duration,
    /// The publisher's program version.
    pub version: Arc<str>,
    /// What the publisher counted about itself.
    pub totals: PublisherTotals,
    /// Every component, each identity once.
    pub components: Vec<Component>,
    /// Windows of maintenance that are not over, by the publisher's clock.
    pub maintenance: Vec<Window>,
    /// How it came about, where the publisher has nobody else to tell that to, and it is asked for.
    pub trace: Option<Box<HeartbeatTrace>>,
}

impl Heartbeat {
    /// The same without its components, its windows and its trace: which heartbeat it is, and its times.
    pub fn bare(&self) -> Self {
        let Self { publisher, epoch, version, .. } = self;
        Self {
            publisher: publisher.clone(),
            epoch: epoch.clone(),
            version: Arc::clone(version),
            components: Vec::new(),
            maintenance: Vec::new(),
            trace: None,
            ..*self
        }
    }
}

/// Counters of a publisher's own, which only grow within an epoch.
///
/// They travel in the message because nothing may listen inside the enclave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublisherTotals {
    /// Heartbeats that the broker did not confirm, whatever the reason.
    pub publish_failures: u64,
    /// Connections to the broker made after the first.
    pub reconnects: u64,
    /// Seconds for which the broker had blocked the connection.
    pub blocked_seconds: f64,
}

/// A message of the original program (version 1), its entries merged to components.
#[derive(Clone, Debug, PartialEq)]
pub struct LegacyHeartbeat {
    /// The `service` field, which stands for a publisher id.
    pub service: PublisherId,
    /// The top-level `timestamp` as it came. The original freezes it at its start, so it names a
    /// process and says nothing about time.
    pub life: Arc<str>,
    /// Each kind and name once.
    pub components: Vec<LegacyComponent>,
}

/// What a version 1 message says of one kind and name.
#[derive(Clone, Debug, PartialEq)]
pub struct LegacyComponent {
    /// Identity; the queue of a listener is not told.
    pub key: ComponentKey,
    /// Time of the newest entry that was `ok`.
    pub ok_at: Option<Timestamp>,
    /// Time of the newest entry that was `not_ok`.
    pub not_ok_at: Option<Timestamp>,
}

impl LegacyComponent {
    /// Up only if every entry was ok: entries of one name are one component.
    pub fn outcome(&self) -> Outcome {
        if self.not_ok_at.is_some() { Outcome::Down } else { Outcome::Up }
    }

    /// The newest time of any entry.
    pub fn checked_at(&self) -> Timestamp {
        self.ok_at.max(self.not_ok_at).unwrap_or(Timestamp::EPOCH)
    }
}

/// Any message that a subscriber understands.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// From the original program.
    V1(LegacyHeartbeat),
    /// From this one.
    V2(Box<Heartbeat>),
}
