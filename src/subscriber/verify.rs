//! Looks at signatures, on the way from the consumer to the ingest: that costs more than all else that is done with a
//! message, so it has a task of its own. Where no signature is asked for, there is none.

use tokio::sync::{mpsc, watch};

use super::metrics::Metrics;
use crate::amqp::consume::Event;
use crate::clock::StoreClock;
use crate::signing::TrustedKeys;
use crate::watched::Held;

/// Events between this task and the ingest. Small: what waits here counts as taken.
const EVENTS_MAX: usize = 64;

/// The trusted keys, as their file was read last.
pub(super) type Keys = watch::Receiver<Held<TrustedKeys>>;

/// The task, and where it hands events on to.
pub(super) struct Verifier {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) out: mpsc::Sender<Event>,
    pub(super) keys: Keys,
    /// A longer message is refused unread, and not worth a look.
    pub(super) message_bytes: usize,
    pub(super) metrics: Metrics,
}

/// The way from the task to the ingest.
pub(super) fn channel() -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
    mpsc::channel(EVENTS_MAX)
}

impl Verifier {
    /// Runs until either end is gone.
    pub(super) async fn run(mut self, clock: std::sync::Arc<StoreClock>) {
        self.show_keys();
        let mut watched = true;
        loop {
            tokio::select! {
                changed = self.keys.changed(), if watched => {
                    watched = changed.is_ok();
                    self.show_keys();
                }
                event = self.events.recv() => {
                    let Some(mut event) = event else { return };
                    if let Event::Delivered(delivery) = &mut event
                        && delivery.body.len() <= self.message_bytes
                    {
                        let keys = std::sync::Arc::clone(&self.keys.borrow().value);
                        let proof = &mut delivery.proof;
                        proof.signer = Some(keys.signer(&proof.claim, &delivery.body, clock.now()));
                    }
                    if self.out.send(event).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn show_keys(&mut self) {
        let held = self.keys.borrow_and_update();
        self.metrics.trusted_keys.set(i64::try_from(held.value.len()).unwrap_or(i64::MAX));
        self.metrics.trusted_keys_read.set(i64::from(held.current));
    }
}
