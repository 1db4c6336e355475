//! Heartbeats on their way, one at a time: made, handed over, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::outgoing::outgoing;
use super::{Emitter, maintenance};
use crate::amqp::publish::PublishFailure;
use crate::clock;
use crate::heartbeat::{Heartbeat, PublisherTotals};
use crate::signing::SigningKey;
use crate::trace::TRACEPARENT;

impl Emitter {
    /// Sends a snapshot of now; one at a time, and the next is of then.
    pub(super) fn publish(&mut self) {
        if self.publishing.is_some() {
            return;
        }
        let now = Instant::now();
        if self.beat_due {
            self.beat_due = false;
            self.beat_at = (self.beat_at + self.publish_interval).max(now);
        }
        // Jobs are as they are now; a machine that slept hears of the time that passed here.
        self.judge_jobs();
        self.turn_due = None;
        self.last_sent = Some(now);
        let boot = clock::boot();
        if let Some(step_ms) = self.life.wall.check(clock::wall(), boot) {
            warn!(step_ms, "The clock was stepped; times that were told before move with it");
        }
        let mut heartbeat = self.snapshot(boot);
        let begun = self.tracing.begin(self.components.each(), boot, &self.life.wall);
        let context = begun.header().map(|context| (TRACEPARENT, context.to_string()));
        self.waiting = self.tracing.attach(begun, &mut heartbeat);
        let message = outgoing(&heartbeat, self.signing_key().as_deref(), context);
        let link = self.link.clone();
        self.publishing = Some(Box::pin(async move { link.publish(message).await }));
    }

    /// The key that signs, as its file was read last.
    fn signing_key(&self) -> Option<Arc<SigningKey>> {
        let held = self.signing_key.as_ref()?.borrow();
        self.metrics.signing_key_read.set(i64::from(held.current));
        Some(Arc::clone(&held.value))
    }

    fn snapshot(&self, boot: Duration) -> Heartbeat {
        let link = self.link.state().borrow().clone();
        // Checked more seldom than told, it is as old as its checks.
        let interval = self.publish_interval.max(self.probe_interval);
        let heartbeat = self.life.heartbeat(boot, interval);
        let commanded = self.commanded.borrow();
        Heartbeat {
            totals: PublisherTotals {
                publish_failures: self.publish_failures,
                reconnects: link.reconnects,
                blocked_seconds: link.blocked_for.as_secs_f64(),
            },
            components: self.components.told(&self.life.wall),
            maintenance: maintenance::carried(&self.planned, &commanded, heartbeat.sent_at),
            ..heartbeat
        }
    }

    pub(super) fn confirmed(&mut self, result: Result<(), PublishFailure>) {
        if let Some(waiting) = self.waiting.take() {
            let now = self.life.wall.at(clock::boot());
            self.tracing.end(waiting, now.unix_ms(), result);
        }
        if result.map_or_else(PublishFailure::was_sent, |()| true) {
            self.life.use_up();
        }
        match result {
            Ok(()) => {
                self.metrics.published.inc();
                if std::mem::take(&mut self.failing) {
                    info!("Heartbeats are confirmed again");
                }
            }
            Err(failure) => {
                self.publish_failures += 1;
                self.metrics.failed(failure);
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(reason = failure.as_str(), "Heartbeat not confirmed; the next one supersedes it");
                }
            }
        }
    }
}
