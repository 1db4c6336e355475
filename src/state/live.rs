//! Whether a delivery came straight from its publisher, or had been waiting.
//!
//! A delivery is live when it is not redelivered and, for a second before it came, the broker
//! could have handed over whatever it had: the window was free, this process was awake, and the
//! queue was empty. Anything else is backlog, and says nothing about now.

use std::time::Duration;

use crate::heartbeat::Timestamp;

/// How long everything must have flowed freely before a delivery counts as live.
pub const LIVE_AFTER: Duration = Duration::from_secs(1);

/// Follows one consumer. Times are in the store's clock.
#[derive(Clone, Debug)]
pub struct LiveGate {
    /// The latest moment at which something may have been waiting.
    waiting_at: Timestamp,
    /// Deliveries still to come of what the queue held when the consumer began.
    starting_backlog: u64,
    /// When the queue was first seen empty since the consumer began.
    empty_at: Option<Timestamp>,
    /// What the queue held at the beginning was found to be taken in.
    drained: bool,
}

impl LiveGate {
    /// A consumer that begins at `now` on a queue holding `ready` messages.
    pub fn begin(now: Timestamp, ready: u64) -> Self {
        Self {
            waiting_at: now,
            starting_backlog: ready,
            empty_at: (ready == 0).then_some(now),
            drained: false,
        }
    }

    /// Takes note of a delivery and says whether it is live.
    pub fn delivered(&mut self, now: Timestamp, redelivered: bool) -> bool {
        let was_drained = self.drained;
        if !self.drained && self.starting_backlog > 0 {
            self.starting_backlog -= 1;
            self.drained = self.starting_backlog == 0;
        }
        if redelivered || !was_drained {
            self.something_waits(now);
            return false;
        }
        now.ms_since(self.waiting_at) >= millis(LIVE_AFTER)
    }

    /// The window is full, this process slept, or the broker still holds messages for us: what
    /// comes next may have waited.
    pub fn something_waits(&mut self, now: Timestamp) {
        self.waiting_at = self.waiting_at.max(now);
    }

    /// The broker was asked how many messages are ready.
    pub fn queue_depth(&mut self, now: Timestamp, ready: u64) {
        if ready == 0 {
            self.empty_at = self.empty_at.or(Some(now));
        } else {
            self.something_waits(now);
        }
    }

    /// Nothing that was delivered waits to be taken in.
    ///
    /// If the queue was seen empty a second before, whatever it held at the beginning has come,
    /// here or to others. More may come all the time; that is no backlog.
    pub fn caught_up(&mut self, now: Timestamp) {
        let arrived = |empty_at| now.ms_since(empty_at) >= millis(LIVE_AFTER);
        self.drained |= self.empty_at.is_some_and(arrived);
    }

    /// Whether what the queue held at the beginning has been taken in.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Since when deliveries have been live.
    pub fn live_since(&self) -> Timestamp {
        self.waiting_at.plus(LIVE_AFTER)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + ms)
    }

    #[test]
    fn on_an_empty_queue_all_is_live_after_a_second() {
        let mut gate = LiveGate::begin(at(0), 0);
        gate.caught_up(at(500));
        assert!(!gate.is_drained());
        gate.caught_up(at(1000));
        assert!(gate.is_drained());
        assert!(gate.delivered(at(1001), false));
    }

    #[test]
    fn what_waited_at_the_start_is_backlog_to_the_last() {
        let mut gate = LiveGate::begin(at(0), 3);
        for ms in [10, 2000, 4000] {
            assert!(!gate.delivered(at(ms), false), "{ms}");
        }
        assert!(gate.is_drained());
        // Within a second of the last one waiting, nothing is live yet.
        assert!(!gate.delivered(at(4500), false));
        assert!(gate.delivered(at(5600), false));
    }

    #[test]
    fn others_may_take_the_backlog() {
        let mut gate = LiveGate::begin(at(0), 1_000);
        assert!(!gate.delivered(at(100), false));
        gate.caught_up(at(5_000));
        assert!(!gate.is_drained(), "it was never seen empty");
        gate.queue_depth(at(5_000), 0);
        gate.caught_up(at(5_900));
        assert!(!gate.is_drained());
        gate.caught_up(at(6_000));
        assert!(gate.is_drained());
    }

    #[test]
    fn a_stream_without_a_pause_becomes_live() {
        let mut gate = LiveGate::begin(at(0), 0);
        for ms in (0..1000).step_by(100) {
            assert!(!gate.delivered(at(ms), false), "{ms}");
            gate.caught_up(at(ms));
        }
        gate.caught_up(at(1_000));
        assert!(!gate.delivered(at(1_100), false), "a second after the last that was backlog");
        assert!(gate.delivered(at(1_900), false));
    }

    #[test]
    fn redelivered_full_or_asleep_is_backlog() {
        let mut gate = LiveGate::begin(at(0), 0);
        gate.caught_up(at(1_000));
        assert!(!gate.delivered(at(5_000), true));
        assert!(!gate.delivered(at(5_900), false));
        assert!(gate.delivered(at(6_100), false));
        gate.something_waits(at(7_000));
        assert!(!gate.delivered(at(7_999), false));
        assert!(gate.delivered(at(8_000), false));
        gate.queue_depth(at(9_000), 5);
        assert!(!gate.delivered(at(9_500), false));
    }
}
