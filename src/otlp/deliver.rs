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
use crate::clock;
use crate::telemetry::Chain;

/// Longest wait that a receiver may ask for between two attempts: a wrong one must not end the exports.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Bytes of a request, at most: a collector takes 4 MiB by gRPC unless told otherwise.
const REQUEST_BYTES_MAX: usize = 3 << 20;

/// However small a receiver's limit is found to be; what it does not take then, it never takes.
const REQUEST_BYTES_MIN: usize = 16 << 10;

/// Another sort of failure is told of after so long: two that take turns are not news each time.
const NEWS: Duration = Duration::from_secs(10);

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
    /// Set while requests are not taken: only the first failure of a sort is logged, and the end.
    failing: Option<Failing>,
    /// What the receiver takes, as far as it is known.
    bytes_max: usize,
    taken_in_a_row: u32,
}

/// Since when, and how, requests are not taken.
struct Failing {
    since: Instant,
    logged_at: Instant,
    sort: String,
    /// Items that were given up before.
    dropped_before: u64,
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
            failing: None,
            bytes_max: REQUEST_BYTES_MAX,
            taken_in_a_row: 0,
        }
    }

    /// What it sends.
    pub(super) fn signal(&self) -> Signal {
        self.signal
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
                    if advice == Advice::Split && self.failing.is_none() {
                        warn!(
                            signal = self.signal.as_str(),
                            target_address = self.transport.target(),
                            bytes = part.body.len(),
                            items = part.items,
                            "Not exported: the OTLP receiver takes no request of this size; what it does not take \
                             is dropped and counted"
                        );
                        self.failing = Some(self.begin_to_fail("too large"));
                    }
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
            () = clock::at(end) => Err(Advice::Retry(None)),
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

    /// Spans, points or records given up so far.
    pub(super) fn dropped(&self) -> u64 {
        self.metrics.dropped.get()
    }

    fn begin_to_fail(&self, sort: &str) -> Failing {
        let since = self.failing.as_ref().map_or_else(Instant::now, |failing| failing.since);
        let dropped_before = self.failing.as_ref().map_or(self.dropped(), |failing| failing.dropped_before);
        Failing { since, logged_at: Instant::now(), sort: sort.to_owned(), dropped_before }
    }

    fn note_taken(&mut self) {
        let Some(failing) = self.failing.take() else { return };
        info!(
            signal = self.signal.as_str(),
            target_address = self.transport.target(),
            after_seconds = failing.since.elapsed().as_secs(),
            dropped = self.dropped().saturating_sub(failing.dropped_before),
            "Exporting again"
        );
    }

    fn note_failure(&mut self, error: &SendError) {
        let known = |failing: &Failing| failing.sort == error.sort() || failing.logged_at.elapsed() < NEWS;
        if self.failing.as_ref().is_some_and(known) {
            return;
        }
        self.failing = Some(self.begin_to_fail(error.sort()));
        let (signal, target_address, check) = (self.signal.as_str(), self.transport.target(), error.hint());
        let retries = matches!(error.advice(), Advice::Retry(_));
        let error = Chain(error);
        // One message for each, so that what happens to the data is told with why.
        if retries {
            warn!(signal, target_address, %error, check, "Not exported; trying again");
        } else {
            warn!(signal, target_address, %error, check, "Not exported: refused, dropped and counted");
        }
    }
}
