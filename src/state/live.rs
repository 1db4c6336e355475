//! Whether a delivery came straight from its publisher, or had been waiting.
//!
//! A delivery is live when it is not redelivered and, for a second before it came, the broker
//! could have handed over whatever it had: the window was free, this process was awake, and the
//! queue was empty. Anything else is backlog, and says nothing about now.

use std::time::Duration;

use crate::heartbeat::Timestamp;

/// How long everything must have flowed freely before a delivery counts as live.
pub const LIVE_AFTER: Duration = Duration::from_secs(1);

/// A look at the queue that takes longer than this, or a delivery that comes so long after the next
/// look was due, tells of a broker or a network that stood still.
const STOOD_STILL: Duration = Duration::from_millis(600);

/// How long two looks at the queue lie apart at most, while the broker answers: at its depth, and at how many
/// consume it.
pub const LOOK: Duration = Duration::from_secs(1);

/// Follows one consumer. Times are in the store's clock.
#[derive(Clone, Debug)]
pub struct LiveGate {
    /// The latest moment at which something may have been waiting.
    waiting_at: Timestamp,
    /// By the latest look, the broker holds messages for us.
    broker_holds: bool,
    /// When the latest look was asked for.
    looked_at: Timestamp,
    /// Deliveries still to come of what the queue held when the consumer began.
    starting_backlog: u64,
    /// When the queue was first seen empty since the consumer began.
    empty_at: Option<Timestamp>,
    /// What the queue held at the beginning was found to be taken in.
    drained: bool,
    /// A look that found nothing waiting; what it stands for may still be on its way through here.
    to_confirm: Option<Timestamp>,
}

impl LiveGate {
    /// A consumer that begins at `now` on a queue holding `ready` messages.
    pub fn begin(now: Timestamp, ready: u64) -> Self {
        Self {
            waiting_at: now,
            broker_holds: ready > 0,
            looked_at: now,
            starting_backlog: ready,
            empty_at: (ready == 0).then_some(now),
            drained: false,
            to_confirm: None,
        }
    }

    /// Takes note of a delivery and says whether it is live.
    pub fn delivered(&mut self, now: Timestamp, redelivered: bool) -> bool {
        self.at(now);
        let was_drained = self.drained;
        if !self.drained && self.starting_backlog > 0 {
            self.starting_backlog -= 1;
            self.drained = self.starting_backlog == 0;
        }
        let stood_still = now.ms_since(self.looked_at) > millis(LOOK + STOOD_STILL);
        if redelivered || !was_drained || self.broker_holds || stood_still {
            self.something_waits(now);
            return false;
        }
        now.ms_since(self.waiting_at) >= millis(LIVE_AFTER)
    }

    /// The window is full, this process slept, or the broker still holds messages for us: what
    /// comes next may have waited.
    pub fn something_waits(&mut self, now: Timestamp) {
        self.waiting_at = now;
    }

    /// The broker, asked at `asked`, answered that so many messages are ready; `None` if its answer is not to be
    /// believed.
    pub fn looked(&mut self, asked: Timestamp, now: Timestamp, ready: Option<u64>) {
        self.at(now);
        let Some(ready) = ready else { return self.something_waits(now) };
        if self.broker_holds || ready > 0 || now.ms_since(asked) > millis(STOOD_STILL) {
            self.something_waits(now);
        }
        self.looked_at = asked;
        self.broker_holds = ready > 0;
        if ready == 0 {
            self.empty_at = self.empty_at.or(Some(now));
            self.to_confirm = Some(asked);
        }
    }

    /// Nothing that was delivered waits to be taken in. Returns the latest moment, if it is a new one,
    /// of which it is now certain that whatever had been sent before has come.
    ///
    /// If the queue was seen empty a second before, whatever it held at the beginning has come,
    /// here or to others. More may come all the time; that is no backlog.
    pub fn caught_up(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.at(now);
        let arrived = |empty_at| now.ms_since(empty_at) >= millis(LIVE_AFTER);
        self.drained |= self.empty_at.is_some_and(arrived);
        self.to_confirm.take()
    }

    /// Whether what the queue held at the beginning has been taken in.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Since when deliveries have been live.
    pub fn live_since(&self) -> Timestamp {
        self.waiting_at.plus(LIVE_AFTER)
    }

    /// A clock that went back leaves no marks in the future.
    fn at(&mut self, now: Timestamp) {
        self.waiting_at = self.waiting_at.min(now);
        self.looked_at = self.looked_at.min(now);
        self.empty_at = self.empty_at.map(|at| at.min(now));
        self.to_confirm = self.to_confirm.map(|at| at.min(now));
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

    /// A look that is answered at once.
    fn look(gate: &mut LiveGate, ms: i64, ready: u64) {
        gate.looked(at(ms), at(ms), Some(ready));
    }

    /// On an empty queue, a second after the beginning.
    fn flowing() -> LiveGate {
        let mut gate = LiveGate::begin(at(0), 0);
        look(&mut gate, 1_000, 0);
        gate.caught_up(at(1_000));
        gate
    }

    #[test]
    fn on_an_empty_queue_all_is_live_after_a_second() {
        let mut gate = LiveGate::begin(at(0), 0);
        gate.caught_up(at(500));
        assert!(!gate.is_drained());
        look(&mut gate, 1_000, 0);
        gate.caught_up(at(1_000));
        assert!(gate.is_drained());
        assert!(gate.delivered(at(1_001), false));
    }

    #[test]
    fn what_waited_at_the_start_is_backlog_to_the_last() {
        let mut gate = LiveGate::begin(at(0), 3);
        for ms in [10, 2_000, 4_000] {
            look(&mut gate, ms, 1);
            assert!(!gate.delivered(at(ms), false), "{ms}");
        }
        assert!(gate.is_drained());
        // Until the broker says that it holds nothing more, and for a second after, nothing is live.
        assert!(!gate.delivered(at(5_200), false));
        look(&mut gate, 5_400, 0);
        assert!(!gate.delivered(at(6_300), false));
        assert!(gate.delivered(at(6_400), false));
    }

    #[test]
    fn others_may_take_the_backlog() {
        let mut gate = LiveGate::begin(at(0), 1_000);
        assert!(!gate.delivered(at(100), false));
        gate.caught_up(at(5_000));
        assert!(!gate.is_drained(), "it was never seen empty");
        look(&mut gate, 5_000, 0);
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
        look(&mut gate, 1_000, 0);
        gate.caught_up(at(1_000));
        assert!(!gate.delivered(at(1_100), false), "a second after the last that was backlog");
        assert!(gate.delivered(at(1_900), false));
    }

    #[test]
    fn redelivered_full_or_asleep_is_backlog() {
        let mut gate = flowing();
        assert!(!gate.delivered(at(1_100), true));
        look(&mut gate, 2_000, 0);
        assert!(!gate.delivered(at(2_000), false));
        assert!(gate.delivered(at(2_100), false));
        gate.something_waits(at(2_200));
        look(&mut gate, 3_000, 0);
        assert!(!gate.delivered(at(3_199), false));
        assert!(gate.delivered(at(3_200), false));
    }

    /// Whatever happens between two looks, a backlog that the first one found lasts until another
    /// finds it gone.
    #[test]
    fn a_backlog_in_the_broker_is_backlog_between_looks_too() {
        let mut gate = flowing();
        look(&mut gate, 2_000, 50_000);
        assert!(!gate.delivered(at(3_100), false));
        look(&mut gate, 3_200, 20_000);
        assert!(!gate.delivered(at(4_250), false));
        look(&mut gate, 4_300, 0);
        assert!(!gate.delivered(at(5_200), false));
        look(&mut gate, 5_300, 0);
        assert!(gate.delivered(at(5_300), false));
    }

    #[test]
    fn what_comes_after_a_standstill_is_backlog() {
        let mut gate = flowing();
        assert!(!gate.delivered(at(10_000), false), "no look was answered for nine seconds");
        gate.looked(at(2_000), at(10_010), Some(0));
        assert!(!gate.delivered(at(10_020), false));
        look(&mut gate, 11_010, 0);
        assert!(gate.delivered(at(11_020), false));
    }

    #[test]
    fn what_was_sent_has_come_once_a_look_finds_nothing_and_nothing_is_on_its_way() {
        let mut gate = flowing();
        look(&mut gate, 2_000, 0);
        assert_eq!(gate.caught_up(at(2_300)), Some(at(2_000)));
        assert_eq!(gate.caught_up(at(2_400)), None);
        look(&mut gate, 3_000, 7);
        assert_eq!(gate.caught_up(at(3_100)), None);
    }

    /// A broker that forgot the consumer, or that does not reach the queue's leader, calls the queue empty.
    #[test]
    fn an_answer_that_is_not_to_be_believed_confirms_nothing() {
        let mut gate = flowing();
        gate.looked(at(2_000), at(2_000), None);
        assert_eq!(gate.caught_up(at(2_100)), None);
        assert!(!gate.delivered(at(2_200), false), "it may have waited");
        look(&mut gate, 3_000, 0);
        assert_eq!(gate.caught_up(at(3_100)), Some(at(3_000)));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_stop_it() {
        let mut gate = LiveGate::begin(at(3_600_000), 0);
        look(&mut gate, 1_000, 0);
        gate.caught_up(at(1_000));
        look(&mut gate, 2_000, 0);
        gate.caught_up(at(2_000));
        assert!(gate.is_drained());
        assert!(gate.delivered(at(2_000), false));
    }
}
