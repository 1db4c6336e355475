//! What is kept of one publisher: the unit that is stored, compared and set.

use std::sync::Arc;
use std::time::Duration;

use super::components::Components;
use super::seldom::{Rare, Seldom};
use super::sequence::SequenceWindow;
use super::snapshot::PublisherCounts;
use crate::heartbeat::{Component, ComponentKey, PublisherId, PublisherTotals, Timestamp};

/// Epochs that a record remembers.
pub const LIVES_MAX: usize = 8;

/// Gaps between heartbeats that a version 1 process is judged by.
pub const GAPS_MAX: usize = 8;

/// Shortest grace of a version 2 publisher.
pub const GRACE_MIN: Duration = Duration::from_secs(30);

/// Shortest grace of a version 1 publisher, whose interval nobody announces.
pub const LEGACY_GRACE_MIN: Duration = Duration::from_secs(180);

/// Missed beats after which a publisher is stale.
pub const GRACE_BEATS: u32 = 3;

/// All that is known of one publisher. `revision` grows with each stored change.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Whose record this is.
    pub id: PublisherId,
    /// Number of the stored form; 0 before it was ever stored.
    pub revision: u64,
    /// Receipt of the first message, in the store's clock.
    pub first_received: Timestamp,
    /// When the newest heartbeat was emitted, in the store's clock; `None` while only a backlog told.
    pub last_seen: Option<Timestamp>,
    /// The publisher's clock minus the store's at the latest live delivery.
    pub clock_offset_ms: Option<i64>,
    /// Processes heard of under this id, oldest first, at most [`LIVES_MAX`].
    pub lives: Vec<Life>,
    /// The epoch whose snapshot is shown.
    pub shown: Arc<str>,
    /// Counted over all replicas.
    pub counts: PublisherCounts,
    /// What is known of few.
    pub rare: Seldom,
    /// What only one version of the message tells.
    pub detail: Detail,
    /// By key.
    pub components: Components,
}

/// What the versions tell differently.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Messages of the original: several processes may share the id.
    Legacy,
    /// Our own.
    V2 {
        /// When the shown process began, by its clock.
        started_at: Timestamp,
        /// When the shown snapshot was made, by its clock.
        sent_at: Timestamp,
        /// Its number.
        sequence: u64,
        /// The announced interval, in milliseconds.
        interval_ms: u64,
        /// The program's version.
        version: Arc<str>,
        /// The publisher's own counters.
        totals: PublisherTotals,
    },
}

/// One process of a publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Its random id; for version 1 the frozen time of its start.
    pub epoch: Arc<str>,
    /// Which of its heartbeats were seen; version 1 has no numbers.
    pub sequence: SequenceWindow,
    /// Store time minus the process's own time (uptime; component times for version 1), in
    /// milliseconds, at the latest live delivery.
    pub offset_ms: Option<i64>,
    /// When it began, by its own clock, as it said last; version 1 does not say.
    pub started_at: Option<Timestamp>,
    /// When it began, in the store's clock, as far as that can be told.
    pub began: Option<Timestamp>,
    /// When its newest heartbeat was emitted, in the store's clock.
    pub last_seen: Option<Timestamp>,
    /// The latest live gaps between its heartbeats, newest last, at most [`GAPS_MAX`]; version 1 only.
    pub gaps: Box<[Duration]>,
}

impl Record {
    /// An empty record for a publisher first heard of at `at`.
    pub fn new(id: PublisherId, at: Timestamp) -> Self {
        Self {
            id,
            revision: 0,
            first_received: at,
            last_seen: None,
            clock_offset_ms: None,
            lives: Vec::new(),
            shown: "".into(),
            counts: PublisherCounts::default(),
            rare: Seldom::default(),
            detail: Detail::Legacy,
            components: Components::default(),
        }
    }

    /// Whether it is a tombstone.
    pub fn is_forgotten(&self) -> bool {
        self.rare.forgotten_at.is_some()
    }

    /// Whether it is of a drill that is over: while it goes on, it has a component.
    pub fn is_drill_over(&self) -> bool {
        self.id.is_drill() && self.components.is_empty() && !self.is_forgotten()
    }

    /// What it tells of this component.
    pub fn component(&self, key: &ComponentKey) -> Option<Component<&str>> {
        self.components.get(key)
    }

    /// The tombstone of this record: enough to know an old message when it comes.
    pub fn forget(&self, at: Timestamp) -> Self {
        Self {
            components: Components::default(),
            counts: PublisherCounts::default(),
            rare: Rare { forgotten_at: Some(at), trace: self.rare.trace, ..Rare::default() }.into(),
            ..self.clone()
        }
    }

    /// The same without when its processes began by their own clocks: whatever the next one says, it is heard.
    pub fn without_starts(mut self) -> Self {
        for life in &mut self.lives {
            life.started_at = None;
        }
        self
    }

    /// The latest beginning of any process that is remembered, by the publisher's clock.
    pub fn latest_start(&self) -> Option<Timestamp> {
        self.lives.iter().filter_map(|life| life.started_at).max()
    }

    /// How long after its last sign of life the publisher is stale, where nothing is configured.
    pub fn default_grace(&self) -> Duration {
        match &self.detail {
            Detail::V2 { interval_ms, .. } => {
                Duration::from_millis(*interval_ms).saturating_mul(GRACE_BEATS).max(GRACE_MIN)
            }
            Detail::Legacy => {
                self.longest_gap().unwrap_or_default().saturating_mul(GRACE_BEATS).max(LEGACY_GRACE_MIN)
            }
        }
    }

    /// The longest recent gap of any of its processes that went on as long as the others, by its
    /// own pace: one that ended does not make the rest seem slow.
    pub fn longest_gap(&self) -> Option<Duration> {
        let goes_on = |life: &&Life| {
            let slowest = life.gaps.iter().copied().max().unwrap_or_default();
            let grace = slowest.saturating_mul(GRACE_BEATS).max(LEGACY_GRACE_MIN);
            life.last_seen.is_some_and(|seen| self.last_seen.is_none_or(|last| last < seen.plus(grace)))
        };
        self.lives.iter().filter(goes_on).flat_map(|life| life.gaps.iter().copied()).max()
    }

    pub(super) fn life_index(&self, epoch: &str) -> Option<usize> {
        self.lives.iter().position(|life| &*life.epoch == epoch)
    }

    pub(super) fn shown_life(&self) -> Option<&Life> {
        self.lives.iter().find(|life| life.epoch == self.shown)
    }

    /// Adds a process; the one that was silent longest makes room, never the shown one.
    pub(super) fn add_life(&mut self, life: Life) -> usize {
        if self.lives.len() >= LIVES_MAX {
            let oldest = (0..self.lives.len())
                .filter(|index| self.lives[*index].epoch != self.shown)
                .min_by_key(|index| self.lives[*index].last_seen);
            if let Some(oldest) = oldest {
                self.lives.remove(oldest);
            }
        }
        // Most have one for ever, and a vector that grows by itself makes room for four.
        self.lives.reserve_exact(1);
        self.lives.push(life);
        self.lives.len() - 1
    }

    /// Moves `last_seen` forward, never back.
    pub(super) fn saw(&mut self, at: Option<Timestamp>) {
        self.last_seen = self.last_seen.max(at);
    }
}

/// The allocator has room of 256 bytes and then of 320, and an [`Arc`] counts in sixteen of them; of lives most have one, in
/// 128. There is a record for each publisher.
#[test]
fn it_fits_the_room_that_the_allocator_has() {
    assert!(size_of::<Record>() <= 256 - 16, "{}", size_of::<Record>());
    assert!(size_of::<Life>() <= 128, "{}", size_of::<Life>());
}
