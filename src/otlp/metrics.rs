//! What the exports count about themselves.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::signal::Signal;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SignalLabel {
    signal: &'static str,
}

/// Counters of all signals.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    exports: Family<SignalLabel, Counter>,
    failures: Family<SignalLabel, Counter>,
    dropped: Family<SignalLabel, Counter>,
}

/// Counters of one signal.
#[derive(Clone, Debug)]
pub(super) struct SignalMetrics {
    /// Requests made.
    pub(super) exports: Counter,
    /// Requests that were not taken.
    pub(super) failures: Counter,
    /// Spans, points and records that were given up.
    pub(super) dropped: Counter,
}

impl Metrics {
    /// Registers them, with each signal that is exported at 0.
    pub(super) fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("heartbeat_otlp");
        own.register("exports", "Requests made to an OTLP receiver", self.exports.clone());
        own.register("export_failures", "Requests that an OTLP receiver did not take", self.failures.clone());
        own.register(
            "dropped",
            "Spans, points and log records given up: the queue was full, or the receiver refused them",
            self.dropped.clone(),
        );
    }

    pub(super) fn of(&self, signal: Signal) -> SignalMetrics {
        let label = SignalLabel { signal: signal.as_str() };
        let counter = |family: &Family<SignalLabel, Counter>| family.get_or_create(&label).clone();
        SignalMetrics {
            exports: counter(&self.exports),
            failures: counter(&self.failures),
            dropped: counter(&self.dropped),
        }
    }
}
