//! Whether a role does its work: its loops say that they come round, and others are told of it.
//!
//! [`mod@file`] tells `heartbeat healthcheck`, [`service_manager`] tells systemd.

pub mod file;
pub mod service_manager;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// A loop that did not come round for so long hangs. It comes round at least once an interval, so whoever runs it says how
/// long that may be.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// How often [`Pulse::through`] beats.
const BEATS_EVERY: Duration = Duration::from_secs(1);

/// Told by a loop each time it comes round.
#[derive(Clone, Debug)]
pub struct Pulse {
    inner: Arc<Mutex<Inner>>,
    /// Longest time between two rounds of the loop that is in order.
    idle_max: Duration,
}

#[derive(Debug)]
struct Inner {
    /// By the clock of the timers that drive the loop: while the machine sleeps, nothing comes round.
    at: Instant,
    /// Before the first round, `None`.
    ready: Option<Result<(), String>>,
}

impl Pulse {
    /// For a loop that comes round at least every `idle_max`.
    pub fn new(idle_max: Duration) -> Self {
        let inner = Inner { at: Instant::now(), ready: None };
        Self { inner: Arc::new(Mutex::new(inner)), idle_max }
    }

    /// The loop came round, and is ready or not.
    pub fn beat(&self, ready: Result<(), String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner { at: Instant::now(), ready: Some(ready) };
    }

    /// Beats while something that may take its time is under way.
    pub async fn through<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut tick = interval(BEATS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => self.beat(Ok(())),
            }
        }
    }

    /// Ready, or the reason why not.
    ///
    /// # Errors
    /// The reason.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ready.clone().unwrap_or_else(|| Err("starting".into()))
    }

    fn condition(&self) -> Condition {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = inner.at.elapsed();
        if idle > self.idle_max + HANGS_AFTER {
            return Condition::Hangs(idle);
        }
        match &inner.ready {
            None => Condition::Starting,
            Some(Ok(())) => Condition::Ready,
            Some(Err(reason)) => Condition::NotReady(reason.clone()),
        }
    }
}

/// How a role is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A loop did not come round for so long.
    Hangs(Duration),
    /// A loop has not come round for the first time.
    Starting,
    /// It runs, and this keeps it from its work.
    NotReady(String),
    /// It does its work.
    Ready,
}

impl Condition {
    /// Whether it is alive: what it lacks, a restart would not give it.
    pub fn is_healthy(&self) -> bool {
        !matches!(self, Self::Hangs(_))
    }

    /// Why it is not ready; empty when it is.
    pub fn reason(&self) -> String {
        match self {
            Self::Hangs(idle) => format!("its loop has not come round for {} s", idle.as_secs()),
            Self::Starting => "starting".into(),
            Self::NotReady(reason) => reason.clone(),
            Self::Ready => String::new(),
        }
    }

    /// The worse come first.
    fn rank(&self) -> u8 {
        match self {
            Self::Hangs(_) => 0,
            Self::Starting => 1,
            Self::NotReady(_) => 2,
            Self::Ready => 3,
        }
    }
}

/// The health of a role: that of its loops together.
#[derive(Clone, Debug)]
pub struct Health(Vec<Pulse>);

impl Health {
    /// Of a role with these loops.
    pub fn of(pulses: impl IntoIterator<Item = Pulse>) -> Self {
        Self(pulses.into_iter().collect())
    }

    /// As its worst loop is.
    pub fn condition(&self) -> Condition {
        self.0.iter().map(Pulse::condition).min_by_key(Condition::rank).unwrap_or(Condition::Starting)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_role_is_as_its_worst_loop() {
        let (first, second) = (Pulse::new(Duration::from_secs(60)), Pulse::new(Duration::from_secs(1)));
        let health = Health::of([first.clone(), second.clone()]);
        assert_eq!(health.condition(), Condition::Starting);
        first.beat(Ok(()));
        assert_eq!(health.condition(), Condition::Starting);
        second.beat(Err("no broker".into()));
        assert_eq!(health.condition(), Condition::NotReady("no broker".into()));
        second.beat(Ok(()));
        assert_eq!(health.condition(), Condition::Ready);
        advance(Duration::from_secs(31)).await;
        assert_eq!(health.condition(), Condition::Ready);
        advance(Duration::from_secs(1)).await;
        assert_eq!(health.condition(), Condition::Hangs(Duration::from_secs(32)));
        assert!(!health.condition().is_healthy());
        second.beat(Ok(()));
        assert!(health.condition().is_healthy());
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_its_time_does_not_hang() {
        let pulse = Pulse::new(Duration::from_secs(1));
        let health = Health::of([pulse.clone()]);
        pulse.through(sleep(Duration::from_secs(3600))).await;
        assert_eq!(health.condition(), Condition::Ready);
        // Then the loop is on its own again.
        advance(Duration::from_secs(40)).await;
        assert!(matches!(health.condition(), Condition::Hangs(_)));
    }
}
