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

/// Bytes of a request, at most: a collector takes 4 MiB by gRPC unless told otherwise.
const REQUEST_BYTES_MAX: usize = 3 << 20;

/// However small a receiver's limit was found to be.
const REQUEST_BYTES_MIN: usize = 16 << 10;

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
        while !stopping.stop.is_cancelled() {
            tokio::select! {
                _ = tick.tick() => {}
                () = stopping.stop.cancelled() => {}
            }
            self.export(&stopping).await;
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
        let now = u64::try_from(clock::wall().unix_ms()).unwrap_or(0).saturating_mul(1_000_000);
        let chunk = own_metrics(&self.registry, &self.origin, self.began, now);
        self.deliver(chunk, end, stopping).await;
    }

    /// Once a request failed, the rest of the export is only counted: the next one tells it anew.
    async fn export_state(
        &mut self,
        state: &mut StateMetrics,
        snapshot: Snapshot,
        end: Instant,
        stopping: &Stopping,
    ) {
        let began = Instant::now();
        let mut export = state.export(snapshot, self.bytes_max());
        let (mut delivered, mut requests, mut points) = (true, 0u64, 0u64);
        while let Some(chunk) = export.next_chunk() {
            requests += 1;
            points += chunk.points;
            if delivered {
                delivered = self.deliver(chunk, end, stopping).await == Delivered::Settled;
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
        self.deliverer.deliver(request, || Instant::now() < end, stopping).await
    }

    /// Half of what was too large once, for what was too large was whole.
    fn bytes_max(&self) -> usize {
        let found = self.deliverer.too_large().map_or(REQUEST_BYTES_MAX, |bytes| bytes / 2);
        found.clamp(REQUEST_BYTES_MIN, REQUEST_BYTES_MAX)
    }
}
