//! The clocks: one that nobody steps, one that people read, and the store's.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

use crate::heartbeat::Timestamp;

/// Waits until then; for ever, where there is no such moment. For a branch of `select!`.
pub async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Time since the machine started, sleep included: it never steps, and goes on in suspend, unlike
/// [`std::time::Instant`]. Two readings tell how much time passed for everybody else.
pub fn boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The same in milliseconds, for what may lie before that start.
pub fn boot_ms() -> i64 {
    i64::try_from(boot().as_millis()).unwrap_or(0)
}

/// Names this run of the machine, where the system does: another one's [`boot`] counts from another beginning.
pub fn boot_id() -> &'static str {
    // No process outlives it.
    static ID: LazyLock<String> = LazyLock::new(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    });
    &ID
}

/// The wall clock.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.plus(since)
}

/// An answer within so many milliseconds sets the store's clock outright.
const QUICK_MS: i64 = 100;

/// The store's clock (Redis `TIME`), carried on by our own monotonic clock between samples and
/// while the store is away. Before the first sample it is the wall clock as of the start.
#[derive(Debug)]
pub struct StoreClock {
    offset_ms: AtomicI64,
    ticks: Ticks,
}

/// What carries a clock on.
#[derive(Debug)]
enum Ticks {
    /// The machine's monotonic clock.
    Machine,
    /// Nothing: it stands until it is moved.
    #[cfg(test)]
    Held(AtomicI64),
}

impl Default for StoreClock {
    fn default() -> Self {
        Self { offset_ms: AtomicI64::new(wall().unix_ms() - boot_ms()), ticks: Ticks::Machine }
    }
}

#[cfg(test)]
impl StoreClock {
    /// One that stands.
    pub(crate) fn held(at: Timestamp) -> Self {
        Self { offset_ms: AtomicI64::new(0), ticks: Ticks::Held(AtomicI64::new(at.unix_ms())) }
    }

    /// Moves one that stands.
    pub(crate) fn hold(&self, at: Timestamp) {
        if let Ticks::Held(held) = &self.ticks {
            held.store(at.unix_ms(), Ordering::Relaxed);
        }
    }
}

impl StoreClock {
    /// Now, by the store's clock.
    pub fn now(&self) -> Timestamp {
        let ticks = match &self.ticks {
            Ticks::Machine => boot_ms(),
            #[cfg(test)]
            Ticks::Held(held) => held.load(Ordering::Relaxed),
        };
        Timestamp::from_unix_ms(ticks + self.offset_ms.load(Ordering::Relaxed))
    }

    /// Takes in that the store told `sample` in answer to a question asked at `asked` and answered
    /// at `answered`, both by [`boot`].
    ///
    /// The sample was true somewhere between the two. A quick answer sets the clock; a slow one,
    /// of a busy store or a process that slept, moves it only as far as it proves it wrong.
    pub fn sample(&self, sample: Timestamp, asked: Duration, answered: Duration) {
        let latest = sample.unix_ms() - ms(asked);
        let earliest = sample.unix_ms() - ms(answered.max(asked));
        let offset = if latest - earliest <= QUICK_MS {
            earliest + (latest - earliest) / 2
        } else {
            self.offset_ms.load(Ordering::Relaxed).clamp(earliest, latest)
        };
        self.offset_ms.store(offset, Ordering::Relaxed);
    }
}

/// Wall-clock times of one process that do not wobble: monotonic time plus an offset that is
/// taken anew only when the wall clock was stepped. Times that were told before a step move with
/// it, so that ages stay true.
#[derive(Clone, Copy, Debug)]
pub struct SteadyWall {
    offset_ms: i64,
}

/// A difference between the clocks beyond this is a step, not slewing.
const STEP: Duration = Duration::from_millis(500);

impl SteadyWall {
    /// Starts from the two clocks' readings of one moment.
    pub fn new(wall: Timestamp, boot: Duration) -> Self {
        Self { offset_ms: wall.unix_ms() - ms(boot) }
    }

    /// Compares the clocks again; returns by how many milliseconds the wall clock was stepped, if
    /// it was.
    pub fn check(&mut self, wall: Timestamp, boot: Duration) -> Option<i64> {
        let step = wall.unix_ms() - ms(boot) - self.offset_ms;
        let stepped = step.unsigned_abs() > STEP.as_millis() as u64;
        stepped.then(|| {
            self.offset_ms += step;
            step
        })
    }

    /// The wall-clock time of a moment of the monotonic clock.
    pub fn at(&self, boot: Duration) -> Timestamp {
        Timestamp::from_unix_ms(ms(boot) + self.offset_ms)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slewing_does_not_move_what_was_told_and_a_step_does() {
        let start = Duration::from_secs(1000);
        let mut steady = SteadyWall::new(Timestamp::from_unix_ms(50_000_000), start);
        let later = start + Duration::from_secs(10);
        assert_eq!(steady.check(Timestamp::from_unix_ms(50_010_300), later), None);
        assert_eq!(steady.at(start), Timestamp::from_unix_ms(50_000_000));
        assert_eq!(steady.check(Timestamp::from_unix_ms(53_610_000), later), Some(3_600_000));
        assert_eq!(steady.at(start), Timestamp::from_unix_ms(53_600_000));
    }

    #[test]
    fn the_store_clock_follows_its_samples() {
        let clock = StoreClock::default();
        let asked = boot();
        clock.sample(Timestamp::from_unix_ms(5_000), asked, asked);
        let now = clock.now().unix_ms();
        assert!((5_000..6_000).contains(&now), "{now}");
    }

    /// A process that sleeps between question and answer learns little: not the middle.
    #[test]
    fn a_slow_answer_moves_the_clock_only_as_far_as_it_proves() {
        let clock = StoreClock::default();
        let (asked, slept) = (Duration::from_secs(100), Duration::from_secs(114));
        let offset = || clock.offset_ms.load(Ordering::Relaxed);
        clock.sample(Timestamp::from_unix_ms(1_000_000), asked, asked);
        assert_eq!(offset(), 900_000);
        clock.sample(Timestamp::from_unix_ms(1_000_000), asked, slept);
        assert_eq!(offset(), 900_000);
        clock.sample(Timestamp::from_unix_ms(1_014_000), asked, slept);
        assert_eq!(offset(), 900_000);
        clock.sample(Timestamp::from_unix_ms(2_000_000), asked, slept);
        assert_eq!(offset(), 2_000_000 - 114_000);
        clock.sample(Timestamp::from_unix_ms(500_000), asked, slept);
        assert_eq!(offset(), 400_000);
    }
}
