//! Whether the servers' clocks are ours.

use super::report::Report;
use crate::heartbeat::Timestamp;

/// How far clocks may be apart before it is told. HTTP tells whole seconds, and an answer takes a moment.
const APART_MS: i64 = 5_000;

/// What other clocks showed.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Whose, and how far it is ahead of ours, in milliseconds.
    seen: Vec<(&'static str, i64)>,
}

impl Clocks {
    /// A server's clock showed `there` when ours showed `here`.
    pub(super) fn saw(&mut self, whose: &'static str, there: Timestamp, here: Timestamp) {
        self.seen.push((whose, there.ms_since(here)));
    }

    /// Tells of each.
    pub(super) fn tell(&self, report: &mut Report<'_>) {
        report.part("Clock of this machine");
        if self.seen.is_empty() {
            report.unknown("time", "no server told its own");
        }
        for (whose, ahead) in &self.seen {
            if ahead.abs() <= APART_MS {
                report.ok("time", &format!("within {} s of that of {whose}", APART_MS / 1000));
                continue;
            }
            let direction = if *ahead > 0 { "behind" } else { "ahead of" };
            let found = format!("{} s {direction} that of {whose}", (ahead.abs() + 500) / 1000);
            report.warn(
                "time",
                &found,
                "Have both kept by NTP. Until then times in logs and on pages differ, certificates may be taken for expired \
                 or not yet valid, and a publisher whose clock is set back later is refused as replayed.",
            );
        }
    }
}
