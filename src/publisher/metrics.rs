//! What the publisher counts about itself. Shown only where it is told to listen; no name is
//! shared with what a subscriber shows.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::amqp::publish::PublishFailure;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Counters of one publisher.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// Heartbeats that the broker confirmed.
    pub(super) published: Counter,
    failures: Family<ReasonLabel, Counter>,
    /// Rounds of checks.
    pub(super) rounds: Counter,
    /// Rounds that were left out because the one before still ran.
    pub(super) rounds_skipped: Counter,
    /// 1 while connected.
    pub(super) connected: Gauge,
    /// Components checked.
    pub(super) components: Gauge,
    /// 1 unless the key's file cannot be used.
    pub(super) signing_key_read: Gauge,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            published: Counter::default(),
            failures: Family::default(),
            rounds: Counter::default(),
            rounds_skipped: Counter::default(),
            connected: Gauge::default(),
            components: Gauge::default(),
            signing_key_read: Gauge::default(),
        };
        let own = registry.sub_registry_with_prefix("heartbeat_emitter");
        own.register("published", "Heartbeats confirmed by the broker", metrics.published.clone());
        own.register(
            "publish_failures",
            "Heartbeats that were not confirmed, by reason",
            metrics.failures.clone(),
        );
        own.register("rounds", "Rounds of checks", metrics.rounds.clone());
        own.register(
            "rounds_skipped",
            "Rounds left out because the one before still ran",
            metrics.rounds_skipped.clone(),
        );
        own.register("connected", "1 while connected to RabbitMQ", metrics.connected.clone());
        own.register("components", "Components checked", metrics.components.clone());
        own.register(
            "signing_key_last_reload_successful",
            "1 unless the file of the signing key cannot be used; the key before is used then",
            metrics.signing_key_read.clone(),
        );
        metrics.signing_key_read.set(1);
        for failure in [
            PublishFailure::Disconnected,
            PublishFailure::Blocked,
            PublishFailure::Unroutable,
            PublishFailure::Nacked,
            PublishFailure::Unconfirmed,
        ] {
            drop(metrics.failures.get_or_create(&ReasonLabel { reason: failure.as_str() }));
        }
        metrics
    }

    pub(super) fn failed(&self, failure: PublishFailure) {
        self.failures.get_or_create(&ReasonLabel { reason: failure.as_str() }).inc();
    }
}
