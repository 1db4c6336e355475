//! The task that exports metrics on the interval: the state in as many requests as it takes, then the
//! program's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, error};

use super::deliver::{Delivered, Deliverer, Stopping};
use super::signal::Request;
use crate::clock;
use crate::exposition::Registry;
use crate::exposition::otlp::{Chunk, Origin, StateMetrics, own_metrics};
use crate::state::Snapshot;

/// Makes a snapshot of the state, as of now.
pub type SnapshotSource = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Reads metrics, and delivers them.
pub(super) struct MetricReader {
    pub(super) deliverer: Deliverer,
    pub(super) interval: Duration,
    /// For one export, all its requests together.
    pub(super) timeout: Duration,
    pub(super) origin: Arc<Origin>,
    pub(super) registry: Arc<Registry>,
    /// The state; `None` where there is none to tell, as in a publisher.
    pub(super) state: Option<(StateMetrics, SnapshotSource)>,
    /// When the program's own counters began, in nanoseconds since the Unix epoch.
    pub(super) began: u64,
}

impl MetricReader {
    /// Exports on the interval, and once more when the program stops.
    pub(super) async fn run(mut self, stopping: Stopping) {
        // A fleet that starts together must not export together for ever.
        let first = Instant::now() + self.interval.mul_f64(rand::random_range(0.1..=1.0));
        let mut tick = interval_at(first, self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Asked first, so that whatever an export was under way before, one follows the end.
            let last = stopping.stop.is_cancelled();
            if !last {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = stopping.stop.cancelled() => continue,
                }
            }
            self.export(&stopping).await;
            if last {
                return;
            }
        }
    }

    async fn export(&mut self, stopping: &Stopping) {
        let end = Instant::now() + self.timeout;
        if let Some((mut state, source)) = self.state.take() {
            let made = Arc::clone(&source);
            // The view is locked while it is read, which takes a moment where there is much of it.
            match spawn_blocking(move || made()).await {
                Ok(snapshot) => self.export_state(&mut state, snapshot, end, stopping).await,
                Err(error) => error!(%error, "State left out of an export"),
            }
            self.state = Some((state, source));
        }
        let now = clock::wall().unix_nanos();
        let chunk = own_metrics(&self.registry, &self.origin, self.began, now);
        self.deliver(chunk, end, stopping).await;
    }

    /// Once time is up, the rest of the export is only counted: the next one tells it anew.
    async fn export_state(
        &mut self,
        state: &mut StateMetrics,
        snapshot: Snapshot,
        end: Instant,
        stopping: &Stopping,
    ) {
        let began = Instant::now();
        let mut export = state.export(snapshot, self.deliverer.bytes_max());
        let (mut delivered, mut goes_on, mut requests, mut points) = (true, true, 0u64, 0u64);
        while let Some(chunk) = export.next_chunk() {
            requests += 1;
            points += chunk.points;
            if goes_on {
                let became = self.deliver(chunk, end, stopping).await;
                delivered &= became == Delivered::Taken;
                goes_on = became != Delivered::GaveUp;
            } else {
                self.deliverer.count_dropped(chunk.points);
                yield_now().await;
            }
        }
        export.settle(delivered);
        debug!(requests, points, delivered, seconds = began.elapsed().as_secs_f64(), "State exported");
    }

    async fn deliver(&mut self, chunk: Chunk, end: Instant, stopping: &Stopping) -> Delivered {
        let request = Request { body: chunk.body.into(), items: chunk.points };
        self.deliverer.deliver(request, Some(end), || true, stopping).await
    }
}
