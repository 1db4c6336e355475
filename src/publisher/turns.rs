//! What turns, by a check or by a job: said in the log, and told soon.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Emitter;
use super::track::{Observation, Turn};
use crate::clock;
use crate::heartbeat::Component;

/// After a turn, this is waited for others that turn with it.
const TURN_SETTLES: Duration = Duration::from_millis(100);

/// Shortest time between two heartbeats that turns cause: flapping must not flood the broker.
const TURN_INTERVAL: Duration = Duration::from_secs(1);

impl Emitter {
    /// Takes a check in.
    pub(super) fn note(&mut self, seen: &Observation) {
        if let Some((tracked, turn)) = self.components.note(seen)
            && let Some(now) = tracked.component(&self.life.wall)
        {
            self.turned(&turn, &now);
        }
    }

    /// Looks at how every job is by now.
    pub(super) fn judge_jobs(&mut self) {
        let now = clock::boot_ms();
        let judged: Vec<_> = self.jobs.judge(now).collect();
        for judged in judged {
            if let Some((tracked, turn)) = self.components.judge(&judged)
                && let Some(now) = tracked.component(&self.life.wall)
            {
                self.turned(&turn, &now);
            }
        }
        let wait = self.jobs.turn_at(now).map(|at| Duration::from_millis(at.abs_diff(now)));
        self.jobs_due = wait.and_then(|wait| Instant::now().checked_add(wait));
    }

    /// Takes in what a process before remembered, where that is known by now.
    pub(super) fn take_over(&mut self) {
        let (jobs, maintenance) = (&mut self.jobs, &self.maintenance);
        self.memory.hand_over(|recalled| {
            jobs.take_over(recalled, clock::boot_ms());
            maintenance.take_over(recalled, clock::wall());
        });
        self.judge_jobs();
    }

    /// Tells at once, since the work begins, that a window of maintenance was begun or ended. The first heartbeat, which has all
    /// components, tells it anyway.
    pub(super) fn windows_changed(&mut self) {
        if let Some(last) = self.last_sent {
            self.turn_due = Some((last + TURN_INTERVAL).max(Instant::now()));
        }
    }

    /// Says that a component turned, and has it told soon.
    fn turned(&mut self, turn: &Turn, now: &Component) {
        if turn.was.is_some() || now.reason.is_some() {
            info!(
                kind = now.key.kind.as_str(),
                name = &*now.key.name,
                queue = &*now.key.queue,
                was = turn.was.map_or("new", |(outcome, _)| outcome.as_str()),
                was_reason = turn.was.and_then(|(_, reason)| reason).map_or("", |reason| reason.as_str()),
                outcome = now.outcome.as_str(),
                reason = now.reason.map_or("", |reason| reason.as_str()),
                lasted_seconds = turn.lasted.as_secs(),
                "Component changed"
            );
        }
        // Before the first heartbeat everything turns; the first round's end tells it all.
        if turn.was.is_some() && self.last_sent.is_some() {
            let settled = Instant::now() + TURN_SETTLES;
            let spaced = self.last_sent.map_or(settled, |last| last + TURN_INTERVAL);
            let due = settled.max(spaced);
            self.turn_due = Some(self.turn_due.map_or(due, |held| held.min(due)));
        }
    }
}
