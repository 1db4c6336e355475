//! One life of a publisher's process: who it is, since when it runs, and how its heartbeats are numbered.

use std::time::Duration;

use crate::build_info::VERSION;
use crate::clock::{self, SteadyWall};
use crate::heartbeat::{Epoch, Heartbeat, PublisherId, PublisherTotals};

/// A life, from its beginning.
pub(super) struct Life {
    /// Whose it is.
    pub(super) id: PublisherId,
    /// Its name.
    pub(super) epoch: Epoch,
    /// The wall clock as it is told, which nobody steps in it.
    pub(super) wall: SteadyWall,
    began: Duration,
    sequence: u64,
}

impl Life {
    /// One that begins now.
    pub(super) fn begin(id: PublisherId) -> Self {
        let began = clock::boot();
        Self { id, epoch: Epoch::random(), wall: SteadyWall::new(clock::wall(), began), began, sequence: 0 }
    }

    /// Its next heartbeat as of `boot`, of nothing yet.
    pub(super) fn heartbeat(&self, boot: Duration, interval: Duration) -> Heartbeat {
        Heartbeat {
            publisher: self.id.clone(),
            epoch: self.epoch.clone(),
            started_at: self.wall.at(self.began),
            uptime: boot.saturating_sub(self.began),
            sequence: self.sequence + 1,
            sent_at: self.wall.at(boot),
            interval,
            version: VERSION.into(),
            totals: PublisherTotals::default(),
            components: Vec::new(),
            maintenance: Vec::new(),
            trace: None,
        }
    }

    /// The number of the latest is used up, since it may have left the process: two messages never share one.
    pub(super) fn use_up(&mut self) {
        self.sequence += 1;
    }
}
