//! CPU time of processes, as the kernel counts it. On a machine with much else to do it is the figure to trust: what
//! others take lengthens the time on the wall, not this.

use std::fs;
use std::time::Duration;

/// What a process has used so far, in user and kernel mode, with its children that have ended: at the clock tick, so
/// measure spans of a hundred ticks and more.
///
/// A process that has ended is still told of until somebody waits for it.
pub fn of(pid: u32) -> Duration {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // The name, in parentheses, may hold anything; the numbers follow it, beginning with the third field.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().unwrap());
    Duration::from_secs(ticks.sum::<u64>()) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// Measures what processes use from now on.
pub struct Meter<const N: usize> {
    pids: [u32; N],
    before: [Duration; N],
}

impl<const N: usize> Meter<N> {
    /// Begins.
    pub fn start(pids: [u32; N]) -> Self {
        Self { pids, before: pids.map(of) }
    }

    /// What each has used since then, in seconds.
    pub fn read(&self) -> [f64; N] {
        std::array::from_fn(|n| of(self.pids[n]).saturating_sub(self.before[n]).as_secs_f64())
    }
}
