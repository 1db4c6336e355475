//! OTLP: metrics, traces and logs to a collector.
//!
//! ```text
//! span, record ─▶ queue ─▶ gather ──────┐
//! exposition::otlp ─▶ metric_reader ────┴▶ deliver ─▶ transport (gRPC, HTTP) ─▶ a collector
//! ```
//!
//! Whoever has something to tell pushes it into a bounded queue and goes on; what does not fit is dropped
//! and counted, so that a collector that is away, slow or refuses neither slows nor grows the rest. The
//! messages are OpenTelemetry's own; the pipeline is not its SDK's, which cannot speak in the name of others
//! (a resource is its exporter's), sends an export of metrics as one request, and tells nobody how much it
//! dropped.

pub mod config;
mod deliver;
mod gather;
pub mod heartbeat;
mod metric_reader;
mod metrics;
mod program_log;
mod queue;
pub mod record;
mod sampler;
mod signal;
pub mod span;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_semantic_conventions::resource;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};
use tracing_subscriber::Layer;

use crate::build_info::VERSION;
use crate::clock;
use crate::exposition::Registry;
use crate::exposition::otlp::{Origin, StateMetrics};
use crate::telemetry::log::Beside;
use crate::tls::Expiry;
use crate::trace::TraceContext;

pub use config::Config;
pub use metric_reader::SnapshotSource;
pub use program_log::TOLD_TARGET;

use config::{Endpoint, Sampler};
use deliver::{Deliverer, Stopping};
use metric_reader::MetricReader;
use metrics::Metrics;
use queue::Queue;
use record::Record;
use signal::Signal;
use span::Spans;
use transport::Transport;

/// Longest wait for a receiver when the program stops: as long as OpenTelemetry's own SDK has it.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// What it gets of that in any case.
const FLUSH_MIN: Duration = Duration::from_millis(500);

/// Who this process is to whoever reads its telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `service.name`: the same for every instance of a role.
    pub service: String,
    /// `service.instance.id`: one of them, the same after a restart, so that its series go on.
    pub instance: String,
    /// `host.name`.
    pub host: String,
}

impl Identity {
    /// The attributes of the resource; what the operator says goes first.
    fn attributes(self, said: &[(String, String)]) -> Vec<(String, String)> {
        let own = [
            (resource::SERVICE_NAME, self.service),
            (resource::SERVICE_INSTANCE_ID, self.instance),
            (resource::SERVICE_VERSION, VERSION.to_owned()),
            (resource::HOST_NAME, self.host),
        ];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
        let unsaid = own.filter(|(key, _)| !said.iter().any(|(said, _)| said == key));
        said.iter().cloned().chain(unsaid).collect()
    }
}

type SpanQueue = Arc<Queue<Box<dyn Spans>>>;
type RecordQueue = Arc<Queue<LogRecord>>;

/// What is exported, before the exports run: queues can be filled already.
pub struct Otlp {
    config: Config,
    origin: Arc<Origin>,
    instance: String,
    metrics: Metrics,
    spans: Option<SpanQueue>,
    records: Option<RecordQueue>,
    began: u64,
}

impl Otlp {
    /// Prepares the exports that the configuration asks for.
    pub fn new(config: Config, identity: Identity) -> Self {
        let metrics = Metrics::default();
        let spans = config
            .traces
            .as_ref()
            .map(|_| Arc::new(Queue::new(config.span_batch, metrics.of(Signal::Traces).dropped)));
        let records = config
            .logs
            .as_ref()
            .map(|_| Arc::new(Queue::new(config.log_batch, metrics.of(Signal::Logs).dropped)));
        let attributes = identity.attributes(&config.resource);
        let named = attributes.iter().find(|(key, _)| key == resource::SERVICE_INSTANCE_ID);
        let instance = named.map(|(_, value)| value.clone()).unwrap_or_default();
        let origin = Arc::new(Origin::new(attributes));
        let began = clock::wall().unix_nanos();
        Self { config, origin, instance, metrics, spans, records, began }
    }

    /// For those who have spans to tell, or need to know which traces are recorded.
    pub fn tracer(&self) -> Tracer {
        Tracer { queue: self.spans.clone(), sampler: self.config.sampler }
    }

    /// For those who have events to tell; `None` where no log records are exported.
    pub fn recorder(&self) -> Option<Recorder> {
        self.records.clone().map(|queue| Recorder { queue })
    }

    /// `service.instance.id`, as it leaves.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What the exports are told to do.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The layer that exports the program's own log from `level` on, where that is asked for.
    pub fn log_layer(&self, level: &str) -> Option<Beside> {
        let queue = self.records.clone().filter(|_| self.config.program_log)?;
        let level = level.parse().unwrap_or(LevelFilter::INFO);
        Some(program_log::layer(queue, level).boxed())
    }

    /// Registers what the exports count about themselves; nothing where there are none.
    pub fn register(&self, registry: &mut Registry) {
        let Config { traces, metrics, logs, .. } = &self.config;
        let endpoints = [(Signal::Traces, traces), (Signal::Metrics, metrics), (Signal::Logs, logs)];
        for (signal, _) in endpoints.iter().filter(|(_, endpoint)| endpoint.is_some()) {
            // Made, so that it is told at 0.
            drop(self.metrics.of(*signal));
        }
        self.metrics.register(registry);
    }

    /// Starts the exports. `registry` holds the program's own metrics, `state` makes snapshots of the rest;
    /// `expiry` is told of certificates.
    pub fn start(self, registry: Arc<Registry>, state: Option<SnapshotSource>, expiry: &Expiry) -> Exports {
        let stopping = Stopping::default();
        let mut tasks = Vec::new();
        let deliverer = |signal: Signal, endpoint: &Endpoint, retry_max| {
            let transport = Transport::new(endpoint.clone(), signal, expiry.clone());
            info!(
                signal = signal.as_str(),
                target_address = transport.target(),
                protocol = endpoint.protocol.as_str(),
                "Exporting by OTLP"
            );
            Deliverer::new(signal, transport, self.metrics.of(signal), retry_max)
        };
        if let Some((endpoint, queue)) = self.config.traces.as_ref().zip(self.spans) {
            let (origin, deliverer) =
                (Arc::clone(&self.origin), deliverer(Signal::Traces, endpoint, queue.retry_max()));
            let encode = move |batch| gather::traces(&origin, batch);
            tasks.push(tokio::spawn(gather::run(queue, deliverer, encode, stopping.clone())));
        }
        if let Some((endpoint, queue)) = self.config.logs.as_ref().zip(self.records) {
            let (origin, deliverer) =
                (Arc::clone(&self.origin), deliverer(Signal::Logs, endpoint, queue.retry_max()));
            let encode = move |batch| gather::logs(&origin, batch);
            tasks.push(tokio::spawn(gather::run(queue, deliverer, encode, stopping.clone())));
        }
        if let Some(endpoint) = &self.config.metrics {
            let retry_max = (self.config.metric_interval / 4).min(Duration::from_secs(5));
            let reader = MetricReader {
                deliverer: deliverer(Signal::Metrics, endpoint, retry_max),
                interval: self.config.metric_interval,
                timeout: self.config.metric_timeout,
                state: state.map(|source| (StateMetrics::new(&self.origin), source)),
                origin: self.origin,
                registry,
                began: self.began,
            };
            tasks.push(tokio::spawn(reader.run(stopping.clone())));
        }
        Exports { tasks, stopping }
    }
}

/// The running exports.
pub struct Exports {
    tasks: Vec<JoinHandle<()>>,
    stopping: Stopping,
}

impl Exports {
    /// Exports what is left, until `end` at the latest, and not for long where nobody answers. What was not
    /// exported in time is lost, and logged.
    pub async fn stop(self, end: Instant) {
        // Where the rest of the program took all the time that there was, a moment is left all the same.
        let now = Instant::now();
        let end = end.clamp(now + FLUSH_MIN, now + FLUSH_MAX);
        self.stopping.stop.cancel();
        let mut in_time = true;
        for task in self.tasks {
            let abort = task.abort_handle();
            if timeout_at(end, task).await.is_err() {
                in_time = false;
                self.stopping.give_up.cancel();
                abort.abort();
            }
        }
        if !in_time {
            warn!("Not everything was exported by OTLP before the end");
        }
    }
}

/// Takes spans, and says which traces are recorded.
#[derive(Clone)]
pub struct Tracer {
    queue: Option<SpanQueue>,
    sampler: Sampler,
}

impl Tracer {
    /// One that exports nothing.
    pub fn off() -> Self {
        Self { queue: None, sampler: Sampler::default() }
    }

    /// Whether spans are exported at all.
    pub fn is_exporting(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether a trace is recorded; `parent` is who began it, where somebody else did.
    pub fn samples(&self, parent: Option<&TraceContext>, trace_id: TraceId) -> bool {
        self.sampler.samples(parent, trace_id)
    }

    /// Takes spans that have ended.
    pub fn end(&self, spans: Box<dyn Spans>) {
        if let Some(queue) = &self.queue {
            queue.push(spans.count(), spans);
        }
    }
}

/// Takes log records.
#[derive(Clone)]
pub struct Recorder {
    queue: RecordQueue,
}

impl Recorder {
    /// Takes a record.
    pub fn tell(&self, record: Record) {
        self.queue.push(1, record.into_proto());
    }
}
