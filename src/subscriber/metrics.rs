//! What the subscriber counts about itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::heartbeat::wire::Rejection;
use crate::signing::Doubt;
use crate::state::Effect;
use crate::trace::TraceContext;
use crate::{amqp, clock, store};

/// Where a message ended. Received = the sum of these + in flight (invariant I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Stored as, or as part of, the newest state.
    Stored,
    /// It had been taken before.
    Duplicate,
    /// Something newer was known.
    Superseded,
    /// Refused, and kept for a look.
    Rejected,
    /// The connection went before it was stored; it comes again.
    Returned,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Stored, Self::Duplicate, Self::Superseded, Self::Rejected, Self::Returned];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Superseded => "superseded",
            Self::Rejected => "rejected",
            Self::Returned => "returned",
        }
    }
}

impl From<Effect> for Outcome {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Stored => Self::Stored,
            Effect::Duplicate => Self::Duplicate,
            Effect::Superseded => Self::Superseded,
        }
    }
}

/// Messages by where they are. One lock, so that a scrape always adds up.
#[derive(Clone, Debug, Default)]
pub struct Messages(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    received: u64,
    in_flight: u64,
    ended: BTreeMap<Outcome, u64>,
}

impl Messages {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One came.
    pub fn received(&self) {
        let mut counts = self.lock();
        counts.received += 1;
        counts.in_flight += 1;
    }

    /// One ended.
    pub fn ended(&self, outcome: Outcome) {
        let mut counts = self.lock();
        counts.in_flight = counts.in_flight.saturating_sub(1);
        *counts.ended.entry(outcome).or_default() += 1;
    }

    /// Received, in flight, and ended.
    #[cfg(test)]
    pub(super) fn balance(&self) -> (u64, u64, u64) {
        let counts = self.lock();
        (counts.received, counts.in_flight, counts.ended.values().sum())
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Collector for Messages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.lock();
        let received = ConstCounter::new(counts.received);
        received.encode(encoder.encode_descriptor(
            "heartbeat_subscriber_received",
            "Messages taken from the queue",
            None,
            received.metric_type(),
        )?)?;
        let in_flight = ConstGauge::new(i64::try_from(counts.in_flight).unwrap_or(i64::MAX));
        in_flight.encode(encoder.encode_descriptor(
            "heartbeat_subscriber_in_flight",
            "Messages that are neither stored nor otherwise ended yet",
            None,
            in_flight.metric_type(),
        )?)?;
        let ended = |outcome: &Outcome| ConstCounter::new(counts.ended.get(outcome).copied().unwrap_or(0));
        let mut family = encoder.encode_descriptor(
            "heartbeat_subscriber_messages",
            "Messages by where they ended",
            None,
            prometheus_client::metrics::MetricType::Counter,
        )?;
        for outcome in Outcome::ALL {
            let label = OutcomeLabel { outcome: outcome.as_str() };
            ended(&outcome).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeerLabel {
    peer: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HopLabel {
    hop: &'static str,
}

/// The servers that a subscriber is connected to.
pub const PEERS: [&str; 2] = ["rabbitmq", "redis"];

/// Why a message was refused though it can be read.
pub const OVER_LIMIT: &str = "over_limit";

/// Everything that the subscriber counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Messages by where they are.
    pub messages: Messages,
    rejected: Family<ReasonLabel, Counter>,
    consumer_failures: Family<ReasonLabel, Counter>,
    store_failures: Family<ReasonLabel, Counter>,
    /// 1 while this subscriber consumes and its starting backlog is drained.
    pub listening: Gauge,
    /// Strangers on the queue.
    pub foreign_consumers: Gauge,
    connected: Family<PeerLabel, Gauge>,
    reconnects: Family<PeerLabel, Counter>,
    /// Publishers in the view.
    pub publishers: Gauge,
    /// Components in the view.
    pub components: Gauge,
    /// Components of messages that were refused over a limit.
    pub dropped_components: Counter,
    /// Publishers forgotten without a command.
    pub forgotten: Counter,
    unproven: Family<ReasonLabel, Counter>,
    /// Keys that may sign.
    pub trusted_keys: Gauge,
    /// 1 unless the file of trusted keys cannot be used.
    pub trusted_keys_read: Gauge,
    delivery: Family<HopLabel, DeliveryHistogram>,
    delivery_negative: Counter,
    examples: Arc<Examples>,
}

/// How far a heartbeat came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To the broker, by the broker's own timestamp, where that is trusted.
    Broker,
    /// To this subscriber.
    Subscriber,
    /// Into the store.
    Store,
}

impl Hop {
    fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Subscriber => "subscriber",
            Self::Store => "store",
        }
    }
}

/// From a good network's milliseconds to an hour of backlog, in seconds.
const DELIVERY_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0];

type DeliveryHistogram = HistogramWithExemplars<TraceLabels>;

fn delivery_histogram() -> DeliveryHistogram {
    HistogramWithExemplars::new(DELIVERY_BUCKETS.into_iter())
}

/// The trace that a sample is an example of, by the names that Grafana looks for.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
    span_id: String,
}

/// How often the example of a bucket is replaced at most, in milliseconds: making one costs more than
/// counting, and a reader looks far less often.
const EXAMPLE_MS: i64 = 500;

/// When each bucket of each hop got its latest example, so that the rare slow ones keep theirs.
#[derive(Debug, Default)]
struct Examples([[AtomicI64; DELIVERY_BUCKETS.len() + 1]; 3]);

impl Examples {
    /// Whether it is time for another one.
    fn is_due(&self, hop: Hop, seconds: f64) -> bool {
        let bucket = DELIVERY_BUCKETS.partition_point(|bound| *bound < seconds);
        let at = &self.0[hop as usize][bucket];
        let now = i64::try_from(clock::boot().as_millis()).unwrap_or(i64::MAX);
        let before = at.load(Ordering::Relaxed);
        let due = before == 0 || now - before >= EXAMPLE_MS;
        if due {
            at.store(now, Ordering::Relaxed);
        }
        due
    }
}

impl Metrics {
    /// Makes and registers them, each known label at 0; `peers`: the servers that this subscriber needs.
    pub fn register(registry: &mut Registry, peers: &[&'static str]) -> Self {
        let metrics = Self {
            messages: Messages::default(),
            rejected: Family::default(),
            consumer_failures: Family::default(),
            store_failures: Family::default(),
            listening: Gauge::default(),
            foreign_consumers: Gauge::default(),
            connected: Family::default(),
            reconnects: Family::default(),
            publishers: Gauge::default(),
            components: Gauge::default(),
            dropped_components: Counter::default(),
            forgotten: Counter::default(),
            unproven: Family::default(),
            trusted_keys: Gauge::default(),
            trusted_keys_read: Gauge::default(),
            delivery: Family::new_with_constructor(delivery_histogram),
            delivery_negative: Counter::default(),
            examples: Arc::default(),
        };
        registry.register_collector(Box::new(metrics.messages.clone()));
        let subscriber = registry.sub_registry_with_prefix("heartbeat_subscriber");
        subscriber.register("rejected", "Messages refused, by reason", metrics.rejected.clone());
        subscriber.register(
            "consumer_failures",
            "Times that consuming ended or could not begin, by reason",
            metrics.consumer_failures.clone(),
        );
        subscriber.register(
            "store_failures",
            "Attempts to store that failed, by reason; what they were to store is held",
            metrics.store_failures.clone(),
        );
        subscriber.register(
            "listening",
            "1 while this subscriber consumes and its starting backlog is drained",
            metrics.listening.clone(),
        );
        subscriber.register(
            "foreign_consumers",
            "Consumers of this subscriber's queue that are none of its replicas",
            metrics.foreign_consumers.clone(),
        );
        subscriber.register("connected", "1 while connected to the peer", metrics.connected.clone());
        subscriber.register("reconnects", "Connections made after the first", metrics.reconnects.clone());
        subscriber.register("publishers", "Publishers known", metrics.publishers.clone());
        subscriber.register("components", "Components known", metrics.components.clone());
        subscriber.register(
            "dropped_components",
            "Components of messages refused over the limit on publishers or components",
            metrics.dropped_components.clone(),
        );
        subscriber.register(
            "forgotten",
            "Publishers forgotten after their retention, or retired",
            metrics.forgotten.clone(),
        );
        subscriber.register(
            "unproven",
            "Messages taken though they do not prove whose they are, by reason",
            metrics.unproven.clone(),
        );
        subscriber.register("trusted_keys", "Keys that may sign heartbeats", metrics.trusted_keys.clone());
        subscriber.register(
            "trusted_keys_last_reload_successful",
            "1 unless the file of trusted keys cannot be used; what it held before counts then",
            metrics.trusted_keys_read.clone(),
        );
        metrics.trusted_keys_read.set(1);
        registry.register_with_unit(
            "heartbeat_delivery",
            "Time from the emission of a heartbeat, by the publisher's clock",
            prometheus_client::registry::Unit::Seconds,
            metrics.delivery.clone(),
        );
        registry.register(
            "heartbeat_delivery_negative",
            "Heartbeats whose emission seemed to lie in the future, so that their delivery was not timed",
            metrics.delivery_negative.clone(),
        );
        let unread = Rejection::ALL.iter().map(|reason| reason.as_str());
        let unproven = Doubt::REFUSED.iter().map(|doubt| doubt.as_str());
        for reason in unread.chain(unproven).chain([OVER_LIMIT]) {
            drop(metrics.rejected.get_or_create(&ReasonLabel { reason }));
        }
        for doubt in Doubt::ALL {
            drop(metrics.unproven.get_or_create(&ReasonLabel { reason: doubt.as_str() }));
        }
        for reason in amqp::REASONS {
            drop(metrics.consumer_failures.get_or_create(&ReasonLabel { reason }));
        }
        for reason in store::REASONS {
            drop(metrics.store_failures.get_or_create(&ReasonLabel { reason }));
        }
        for peer in peers.iter().copied() {
            drop(metrics.connected.get_or_create(&PeerLabel { peer }));
            drop(metrics.reconnects.get_or_create(&PeerLabel { peer }));
        }
        for hop in [Hop::Subscriber, Hop::Store] {
            drop(metrics.delivery.get_or_create(&HopLabel { hop: hop.as_str() }));
        }
        metrics
    }

    /// Counts a refusal.
    pub fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a message that is taken all the same.
    pub fn unproven(&self, doubt: Doubt) {
        self.unproven.get_or_create(&ReasonLabel { reason: doubt.as_str() }).inc();
    }

    /// Counts an end of consuming, or that it did not begin.
    pub fn consumer_failed(&self, reason: &'static str) {
        self.consumer_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an attempt to store that failed.
    pub fn store_failed(&self, reason: &'static str) {
        self.store_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Shows how a link is, if it is to one of the peers that there are.
    pub fn link(&self, peer: &'static str, connected: bool, reconnects: u64) {
        let label = PeerLabel { peer };
        if let (Some(gauge), Some(counter)) = (self.connected.get(&label), self.reconnects.get(&label)) {
            gauge.set(i64::from(connected));
            counter.inc_by(reconnects.saturating_sub(counter.get()));
        }
    }

    /// Times a delivery from emission to `hop`, in milliseconds; `example` is its trace, where that is told.
    pub fn delivered(&self, hop: Hop, ms: i64, example: Option<TraceContext>) {
        match u64::try_from(ms) {
            Ok(ms) => {
                let seconds = Duration::from_millis(ms).as_secs_f64();
                let example = example.filter(|_| self.examples.is_due(hop, seconds));
                let labels = example.map(|trace| TraceLabels {
                    trace_id: trace.trace_id().to_string(),
                    span_id: trace.span_id().to_string(),
                });
                let at = labels.as_ref().map(|_| SystemTime::now());
                self.delivery.get_or_create(&HopLabel { hop: hop.as_str() }).observe(seconds, labels, at);
            }
            Err(_) => {
                self.delivery_negative.inc();
            }
        }
    }
}
