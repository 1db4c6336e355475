//! One request to its receiver, whatever that takes: again where it was busy, in parts where it was too
//! large, given up where it will never be taken.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::metrics::SignalMetrics;
use super::signal::{Request, Signal};
use super::transport::{Advice, SendError, Taken, Transport};
use crate::backoff::Backoff;
use crate::telemetry::Chain;

/// Longest wait that a receiver may ask for between two attempts: a wrong one must not end the exports.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Sends the requests of one signal, one after the other.
pub(super) struct Deliverer {
    signal: Signal,
    transport: Transport,
    metrics: SignalMetrics,
    backoff: Backoff,
    /// Whether the latest request was taken; only a turn is logged.
    failing: bool,
    /// Bytes of the smallest request that was too large; `None` if none was.
    too_large: Option<usize>,
}

/// How the program ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping {
    /// What is left is to be exported now.
    pub(super) stop: CancellationToken,
    /// Whatever is left is lost.
    pub(super) give_up: CancellationToken,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The receiver has it, as far as it is ever going to.
    Settled,
    /// Nobody knows, or it has not: it was given up for want of time.
    GaveUp,
}

impl Deliverer {
    pub(super) fn new(
        signal: Signal,
        transport: Transport,
        metrics: SignalMetrics,
        retry_max: Duration,
    ) -> Self {
        let backoff = Backoff::new(retry_max);
        Self { signal, transport, metrics, backoff, failing: false, too_large: None }
    }

    /// Bytes of a request that was found to be too large, if one was.
    pub(super) fn too_large(&self) -> Option<usize> {
        self.too_large
    }

    /// Counts what never became a request.
    pub(super) fn count_dropped(&self, items: u64) {
        self.metrics.dropped.inc_by(items);
    }

    /// Sends one request, until the receiver has said its last word on it, or `keeps_trying` says no after
    /// a failure, or the program stops: then it is tried once more. What is lost is counted.
    pub(super) async fn deliver(
        &mut self,
        request: Request,
        keeps_trying: impl Fn() -> bool,
        stopping: &Stopping,
    ) -> Delivered {
        let Stopping { stop, give_up } = stopping;
        let mut parts = vec![request];
        while let Some(part) = parts.pop() {
            let sent = tokio::select! {
                sent = self.attempt(&part) => sent,
                () = give_up.cancelled() => Err(Advice::Retry(None)),
            };
            match sent {
                Ok(()) => self.backoff.reset(),
                Err(Advice::GiveUp) => self.count_dropped(part.items),
                Err(Advice::Split) => {
                    self.too_large =
                        Some(self.too_large.map_or(part.body.len(), |held| held.min(part.body.len())));
                    match self.signal.halves(&part) {
                        Some([first, second]) => parts.extend([second, first]),
                        None => self.count_dropped(part.items),
                    }
                }
                Err(Advice::Retry(after)) => {
                    let wait =
                        after.map_or_else(|| self.backoff.next_wait(), |after| after.min(RETRY_AFTER_MAX));
                    if keeps_trying() && !stop.is_cancelled() {
                        parts.push(part);
                        tokio::select! {
                            () = sleep(wait) => {}
                            () = stop.cancelled() => {}
                        }
                    } else {
                        let left = part.items + parts.iter().map(|part| part.items).sum::<u64>();
                        self.count_dropped(left);
                        return Delivered::GaveUp;
                    }
                }
            }
        }
        Delivered::Settled
    }

    /// One attempt, counted, and its turn logged.
    async fn attempt(&mut self, request: &Request) -> Result<(), Advice> {
        self.metrics.exports.inc();
        match self.transport.send(request.body.clone()).await {
            Ok(Taken { rejected, message }) => {
                self.note_taken();
                if rejected > 0 {
                    self.metrics.dropped.inc_by(rejected);
                    warn!(
                        signal = self.signal.as_str(),
                        rejected, message, "The OTLP receiver took a request, and not all that is in it"
                    );
                }
                Ok(())
            }
            Err(error) => {
                self.metrics.failures.inc();
                self.note_failure(&error);
                Err(error.advice())
            }
        }
    }

    fn note_taken(&mut self) {
        if std::mem::take(&mut self.failing) {
            info!(signal = self.signal.as_str(), target_address = self.transport.target(), "Exporting again");
        }
    }

    fn note_failure(&mut self, error: &SendError) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                signal = self.signal.as_str(),
                target_address = self.transport.target(),
                error = %Chain(error),
                "Not exported; what does not fit into the queue meanwhile is dropped and counted"
            );
        }
    }
}
