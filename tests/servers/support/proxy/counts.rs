//! What a proxy has carried, and what it has done to it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::toxics::Direction;

/// As of one moment; every figure but `open` only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken.
    pub accepted: u64,
    /// Connections that are up now.
    pub open: u64,
    /// Bytes passed on from clients.
    pub upstream: u64,
    /// Bytes passed on to clients.
    pub downstream: u64,
    /// Bytes that vanished, either way.
    pub swallowed: u64,
    /// Chunks that came late.
    pub delayed: u64,
    /// Times that something had to wait for a stall to end.
    pub stalled: u64,
    /// Segments made by slicing.
    pub sliced: u64,
    /// Bytes turned.
    pub flipped: u64,
    /// Connections ended at a byte.
    pub cut: u64,
    /// Connections ended by command: reset, closed or left half open.
    pub ended: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: AtomicU64,
    passed: [AtomicU64; 2],
    pub(super) swallowed: AtomicU64,
    pub(super) delayed: AtomicU64,
    pub(super) stalled: AtomicU64,
    pub(super) sliced: AtomicU64,
    pub(super) flipped: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) ended: AtomicU64,
}

impl Tally {
    pub(super) fn passed(&self, direction: Direction) -> &AtomicU64 {
        &self.passed[direction as usize]
    }

    pub(super) fn counts(&self, open: usize) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            open: open as u64,
            upstream: read(self.passed(Direction::Upstream)),
            downstream: read(self.passed(Direction::Downstream)),
            swallowed: read(&self.swallowed),
            delayed: read(&self.delayed),
            stalled: read(&self.stalled),
            sliced: read(&self.sliced),
            flipped: read(&self.flipped),
            cut: read(&self.cut),
            ended: read(&self.ended),
        }
    }
}

/// Counts one more, or several.
pub(super) fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
