//! What leaves by OTLP, where to, and how: the standard `OTEL_*` settings as plain, valid values.

use std::time::Duration;

use crate::secret::{Secret, Source};
use crate::tls::TlsFiles;

/// Everything about OTLP. Off, signal by signal, where no endpoint is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `None`: no spans are exported.
    pub traces: Option<Endpoint>,
    /// `None`: no metrics are exported.
    pub metrics: Option<Endpoint>,
    /// `None`: no log records are exported.
    pub logs: Option<Endpoint>,
    /// What the operator says of this process (`OTEL_RESOURCE_ATTRIBUTES`, with `OTEL_SERVICE_NAME` in it);
    /// it goes before what the program knows itself.
    pub resource: Vec<(String, String)>,
    /// Which heartbeats are traced.
    pub sampler: Sampler,
    /// Time between two exports of metrics.
    pub metric_interval: Duration,
    /// Longest time of one export of metrics, all its requests together.
    pub metric_timeout: Duration,
    /// How spans are gathered.
    pub span_batch: Batch,
    /// How log records are gathered.
    pub log_batch: Batch,
    /// Whether the program's own log leaves too.
    pub program_log: bool,
    /// Whether a publisher that does not export its spans itself sends them along with the heartbeat.
    pub carry_spans: bool,
    /// Whether samples of `heartbeat_delivery_seconds` name the trace that they were taken of.
    pub exemplars: bool,
}

impl Default for Config {
    /// Off; everything else as the specification has it.
    fn default() -> Self {
        let batch =
            |delay_ms| Batch { delay: Duration::from_millis(delay_ms), queue_max: 2048, request_max: 512 };
        Self {
            traces: None,
            metrics: None,
            logs: None,
            resource: Vec::new(),
            sampler: Sampler::default(),
            metric_interval: Duration::from_secs(60),
            metric_timeout: Duration::from_secs(30),
            span_batch: batch(5000),
            log_batch: batch(1000),
            program_log: false,
            carry_spans: true,
            exemplars: true,
        }
    }
}

/// Where one signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// For gRPC scheme, host and port; for HTTP the whole address, with its path.
    pub uri: http::Uri,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Headers of each request; their values may be keys.
    pub headers: Headers,
    /// Longest time of one request.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub compression: Compression,
    /// Files for TLS, used where `uri` is https.
    pub tls: TlsFiles,
}

/// The headers of each request, read anew for each connection.
pub type Headers = Source<Vec<(String, Secret)>>;

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf in the body of an HTTP/1.1 request; the specification's default.
    #[default]
    HttpProtobuf,
}

impl Protocol {
    /// Its word, as it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

/// Whether requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// With gzip.
    Gzip,
}

/// Which traces are recorded, as `OTEL_TRACES_SAMPLER` names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// What decides of a trace.
    pub root: Root,
    /// Whether the decision of whoever began the trace holds instead, where there is one.
    pub parent_based: bool,
}

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self { root: Root::AlwaysOn, parent_based: true }
    }
}

/// What decides of a trace by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    /// Each is recorded.
    AlwaysOn,
    /// None is.
    AlwaysOff,
    /// This share of them, 0 to 1, chosen by the trace id, so that all programs choose the same.
    Ratio(f64),
}

/// How spans or log records are gathered into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Longest wait from the first of them to its request.
    pub delay: Duration,
    /// Held at most; beyond, the oldest are dropped and counted.
    pub queue_max: usize,
    /// In one request at most.
    pub request_max: usize,
}
