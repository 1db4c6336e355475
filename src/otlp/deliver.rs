//! One request to its receiver, whatever that takes: again where it was busy, in parts where it was too
//! large, given up where it will never be taken.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::metrics::SignalMetrics;
use super::signal::{Request, Signal};
use super::transport::{Advice, SendError, Taken, Transport};
use crate::backoff::Backoff;
use crate::telemetry::Chain;

/// Longest wait that a receiver may ask for between two attempts: a wrong one must not end the exports.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Bytes of a request, at most: a collector takes 4 MiB by gRPC unless told otherwise.
const REQUEST_BYTES_MAX: usize = 3 << 20;

/// However small a receiver's limit is found to be; what it does not take then, it never takes.
const REQUEST_BYTES_MIN: usize = 16 << 10;

/// Requests taken in a row after which larger ones are tried again: what found them too large may be gone.
const TAKEN_BEFORE_GROWTH: u32 = 50;

/// Sends the requests of one signal, one after the other.
pub(super) struct Deliverer {
    signal: Signal,
    transport: Transport,
    metrics: SignalMetrics,
    backoff: Backoff,
    /// After a failure, the next attempt waits until then, whatever it is an attempt at.
    not_before: Instant,
    /// Whether the latest request was taken; only a turn is logged.
    failing: bool,
    /// What the receiver takes, as far as it is known.
    bytes_max: usize,
    taken_in_a_row: u32,
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
    /// The receiver has all of it.
    Taken,
    /// It will never take some of it.
    Refused,
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
        Self {
            signal,
            transport,
            metrics,
            backoff: Backoff::new(retry_max),
            not_before: Instant::now(),
            failing: false,
            bytes_max: REQUEST_BYTES_MAX,
            taken_in_a_row: 0,
        }
    }

    /// Bytes that a request may have.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Counts what never became a request.
    pub(super) fn count_dropped(&self, items: u64) {
        self.metrics.dropped.inc_by(items);
    }

    /// Sends one request, until the receiver has said its last word on it, or `end`, or `keeps_trying` says
    /// no after a failure, or the program stops: then it is tried once more. What is lost is counted.
    pub(super) async fn deliver(
        &mut self,
        request: Request,
        end: Option<Instant>,
        keeps_trying: impl Fn() -> bool,
        stopping: &Stopping,
    ) -> Delivered {
        let mut parts = vec![request];
        let mut delivered = Delivered::Taken;
        while let Some(part) = parts.pop() {
            if part.body.len() > self.bytes_max
                && let Some([first, second]) = self.signal.halves(&part)
            {
                parts.extend([second, first]);
                continue;
            }
            let advice = match self.attempt_by(end, &part, stopping).await {
                Ok(()) => continue,
                Err(advice) => advice,
            };
            let goes_on = keeps_trying() && !stopping.stop.is_cancelled();
            let is_over = end.is_some_and(|end| Instant::now() >= end) || stopping.give_up.is_cancelled();
            match advice {
                Advice::Split if part.body.len() > REQUEST_BYTES_MIN && part.items > 1 && !is_over => {
                    self.bytes_max = (part.body.len() / 2).max(REQUEST_BYTES_MIN);
                    parts.push(part);
                }
                Advice::GiveUp | Advice::Split if !is_over => {
                    self.count_dropped(part.items);
                    delivered = Delivered::Refused;
                }
                Advice::Retry(_) if goes_on && !is_over => parts.push(part),
                _ => {
                    let left = part.items + parts.iter().map(|part| part.items).sum::<u64>();
                    self.count_dropped(left);
                    return Delivered::GaveUp;
                }
            }
        }
        delivered
    }

    /// One attempt, when its time has come, and until `end` at the latest.
    async fn attempt_by(
        &mut self,
        end: Option<Instant>,
        part: &Request,
        stopping: &Stopping,
    ) -> Result<(), Advice> {
        let Stopping { stop, give_up } = stopping;
        let wait_until = end.map_or(self.not_before, |end| self.not_before.min(end));
        tokio::select! {
            () = sleep_until(wait_until) => {}
            () = stop.cancelled() => {}
        }
        let tried = tokio::select! {
            tried = self.attempt(part) => tried,
            () = at(end) => Err(Advice::Retry(None)),
            () = give_up.cancelled() => Err(Advice::Retry(None)),
        };
        match tried {
            Ok(()) => {
                self.backoff.reset();
                self.taken_in_a_row += 1;
                if self.taken_in_a_row >= TAKEN_BEFORE_GROWTH {
                    self.taken_in_a_row = 0;
                    self.bytes_max = (self.bytes_max * 2).min(REQUEST_BYTES_MAX);
                }
            }
            Err(Advice::Split) => self.taken_in_a_row = 0,
            Err(Advice::Retry(after)) => {
                // The receiver may ask for more than we would wait, and never for less.
                let after = after.unwrap_or_default().min(RETRY_AFTER_MAX);
                self.not_before = Instant::now() + after.max(self.backoff.next_wait());
            }
            Err(Advice::GiveUp) => self.not_before = Instant::now() + self.backoff.next_wait(),
        }
        tried
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
                        rejected,
                        said = message,
                        "The OTLP receiver took a request, and not all that is in it"
                    );
                }
                Ok(())
            }
            Err(error) => {
                self.metrics.failures.inc();
                let advice = error.advice();
                // One that is too large is sent again in parts, and nothing is amiss.
                if advice != Advice::Split {
                    self.note_failure(&error);
                }
                Err(advice)
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

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
