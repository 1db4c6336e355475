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

/// Two clocks' readings of one moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Clock {
    boot_id: String,
    boot_ms: Millis,
    wall_ms: i64,
}

impl Clock {
    pub(super) fn now() -> Self {
        Self { boot_id: clock::boot_id(), boot_ms: clock::boot_ms(), wall_ms: clock::wall().unix_ms() }
    }

    /// How far moments of this clock have moved as the clock `now` counts.
    fn shift_to(&self, now: &Self) -> Millis {
        if !self.boot_id.is_empty() && self.boot_id == now.boot_id {
            return 0;
        }
        (now.boot_ms.saturating_sub(now.wall_ms)).saturating_sub(self.boot_ms.saturating_sub(self.wall_ms))
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
        // A system that does not name its runs is taken to have been started anew.
        let now = clock("", 1_060_000, 50_060_000);
        assert_eq!(clock("", 1_000_000, 50_000_000).shift_to(&now), 0);
    }
}
