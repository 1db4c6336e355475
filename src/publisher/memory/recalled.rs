//! What a process before remembered, and when that was.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock;
use crate::publisher::job::Millis;

/// What was read at the start.
#[derive(Debug, Default)]
pub(in crate::publisher) struct Recalled {
    subjects: Map<String, Value>,
    /// To be added to the moments in it.
    shift: Millis,
}

/// How far a wall clock may move within one run of the machine that is not named, in milliseconds: it is slewed then, and not
/// stepped.
const SLEWED_MAX: Millis = 60_000;

/// Two clocks' readings of one moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Clock {
    boot_id: String,
    boot_ms: Millis,
    wall_ms: i64,
}

impl Clock {
    pub(super) fn now() -> Self {
        let boot_id = clock::boot_id().to_owned();
        Self { boot_id, boot_ms: clock::boot_ms(), wall_ms: clock::wall().unix_ms() }
    }

    /// Whether the system says which run of the machine it is.
    pub(super) fn names_its_run(&self) -> bool {
        !self.boot_id.is_empty()
    }

    /// How far moments of this clock have moved as the clock `now` counts.
    fn shift_to(&self, now: &Self) -> Millis {
        let shift = (now.boot_ms.saturating_sub(now.wall_ms))
            .saturating_sub(self.boot_ms.saturating_sub(self.wall_ms));
        let is_same_run = if self.names_its_run() && now.names_its_run() {
            self.boot_id == now.boot_id
        } else {
            // Both began at one moment, as the wall clock tells it.
            self.boot_ms <= now.boot_ms && shift.abs() <= SLEWED_MAX
        };
        if is_same_run { 0 } else { shift }
    }
}

impl Recalled {
    /// Subjects that were written when the clocks showed `then`.
    pub(super) fn new(subjects: Map<String, Value>, then: &Clock) -> Self {
        Self { subjects, shift: then.shift_to(&Clock::now()) }
    }

    /// A subject as it was kept.
    pub(in crate::publisher) fn subject(&self, name: &str) -> Option<&Value> {
        self.subjects.get(name)
    }

    /// A moment of it as the clock of today counts; `None`: one that is still to come, so that one of the clocks was wrong.
    pub(in crate::publisher) fn moment(&self, then: Millis, now: Millis) -> Option<Millis> {
        Some(then.saturating_add(self.shift)).filter(|moment| *moment <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_reboot_the_wall_clock_tells_how_long_ago_it_was() {
        let clock = |boot_id: &str, boot_ms, wall_ms| Clock { boot_id: boot_id.into(), boot_ms, wall_ms };
        let then = clock("a", 1_000_000, 50_000_000);
        // The machine runs on, and the wall clock was set back by far.
        assert_eq!(then.shift_to(&clock("a", 2_000_000, 3)), 0);
        // Down for 100 s and up for 20 s: what was 10 s before the file was written is 130 s ago.
        let now = clock("b", 20_000, 50_120_000);
        let recalled = Recalled { subjects: Map::new(), shift: then.shift_to(&now) };
        assert_eq!(recalled.moment(990_000, 20_000), Some(20_000 - 130_000));
        // A wall clock without a battery is in the past: the file is of the future, and nothing of it is believed.
        let now = clock("b", 20_000, 5_000);
        let recalled = Recalled { subjects: Map::new(), shift: then.shift_to(&now) };
        assert_eq!(recalled.moment(990_000, 20_000), None);
    }

    #[test]
    fn a_run_that_is_not_named_is_the_same_where_both_clocks_went_on_alike() {
        let clock = |boot_id: &str, boot_ms, wall_ms| Clock { boot_id: boot_id.into(), boot_ms, wall_ms };
        for (id, id_now) in [("", ""), ("", "a"), ("a", "")] {
            let then = clock(id, 1_000_000, 50_000_000);
            // Slewed back by a second: what was just told is not of the future.
            assert_eq!(then.shift_to(&clock(id_now, 1_060_000, 50_059_000)), 0);
            // Stepped, or started anew and up for longer: nobody knows, and it is taken for the latter.
            assert_eq!(then.shift_to(&clock(id_now, 1_060_000, 57_260_000)), -7_200_000);
            assert_eq!(then.shift_to(&clock(id_now, 20_000, 50_120_000)), -1_100_000);
            // It ran for less than what a clock is slewed by.
            assert_eq!(clock(id, 30_000, 50_000_000).shift_to(&clock(id_now, 20_000, 50_020_000)), -30_000);
        }
    }
}
