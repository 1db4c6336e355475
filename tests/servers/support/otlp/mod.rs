//! An OTLP receiver in the test's own process, on the official services: what a test exports to, and asks afterwards.
//!
//! Reading order: `answer`, `received`, `points`; then `grpc` and `http`, who take requests, and `serving`, which
//! gives them connections. `samples` and `clients` try it.

mod answer;
pub mod clients;
mod grpc;
mod http;
pub mod points;
mod received;
pub mod samples;
mod serving;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

pub use self::answer::Answer;
pub use self::points::{Bins, Kind, Point};
use self::received::Inbox;
pub use self::received::{Received, Request, Signal, Transport};
use self::serving::{Protocol, Serving};
use super::certificates::Certificates;
use super::ports::free_port;
use super::process::folder;

/// What a collector takes over gRPC unless it is told otherwise.
pub const BYTES_MAX: usize = 4 << 20;

/// How a collector differs from the usual one.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Speak TLS only, with certificates of its own: see [`Collector::certificates`].
    pub tls: bool,
    /// With TLS: turn away who shows no certificate of the same CA.
    pub require_client_certificate: bool,
    /// The largest request taken, before and after it is decompressed.
    pub bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls: false, require_client_certificate: false, bytes_max: BYTES_MAX }
    }
}

/// The receiver: gRPC on one port, HTTP on another. All of it ends when it is dropped.
pub struct Collector {
    /// What TLS needs, when it is spoken.
    pub certificates: Option<Certificates>,
    grpc: SocketAddr,
    http: SocketAddr,
    options: Options,
    inbox: Arc<Inbox>,
    serving: Mutex<Option<Serving>>,
}

impl Collector {
    /// Listens, on two free ports, and says yes to all.
    pub fn start(options: Options) -> Self {
        assert!(options.tls || !options.require_client_certificate, "no client certificate without TLS");
        let this = Self {
            certificates: options.tls.then(|| Certificates::make(&folder("otlp"))),
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            options,
            inbox: Arc::new(Inbox::new(options.bytes_max)),
            serving: Mutex::default(),
        };
        this.start_again();
        this
    }

    /// Where gRPC is spoken, as a setting names it.
    pub fn grpc_endpoint(&self) -> String {
        self.endpoint(self.grpc)
    }

    /// Where HTTP is spoken, as a setting names it: without the signal's path.
    pub fn http_endpoint(&self) -> String {
        self.endpoint(self.http)
    }

    /// Where gRPC is spoken.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Where HTTP is spoken.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    fn endpoint(&self, address: SocketAddr) -> String {
        if self.options.tls {
            format!("https://localhost:{}", address.port())
        } else {
            format!("http://{address}")
        }
    }

    /// Answers so from the next request on.
    pub fn answer(&self, answer: Answer) {
        self.inbox.set_answer(answer);
    }

    /// Closes both ports and every connection; connects are refused when it returns.
    pub async fn stop(&self) {
        let serving = self.serving.lock().unwrap().take();
        if let Some(serving) = serving {
            serving.stop().await;
        }
    }

    /// Listens on the same ports again, after [`Collector::stop`].
    pub fn start_again(&self) {
        let mut serving = self.serving.lock().unwrap();
        assert!(serving.is_none(), "the collector runs already");
        let certificates = self.certificates.as_ref();
        let verify = self.options.require_client_certificate;
        let tls = |protocol| certificates.map(|pair| serving::tls_of(pair, verify, protocol));
        let new = Serving::default();
        new.listen(self.grpc, tls(Protocol::Grpc), Protocol::Grpc, &self.inbox);
        new.listen(self.http, tls(Protocol::Http), Protocol::Http, &self.inbox);
        *serving = Some(new);
    }

    /// Requests that came, whatever they were answered.
    pub fn requests(&self) -> u64 {
        self.inbox.requests()
    }

    /// The requests that were taken, in the order in which they came.
    pub fn received(&self) -> Vec<Arc<Received>> {
        self.inbox.received()
    }

    /// Forgets what came, and counts from nothing again.
    pub fn clear(&self) {
        self.inbox.clear();
    }

    /// Every metric that was taken, and whose it is.
    pub fn metrics(&self) -> Vec<(Resource, InstrumentationScope, Metric)> {
        self.of_all(received::metrics)
    }

    /// Every span that was taken, and whose it is.
    pub fn spans(&self) -> Vec<(Resource, InstrumentationScope, Span)> {
        self.of_all(received::spans)
    }

    /// Every log record that was taken, and whose it is.
    pub fn logs(&self) -> Vec<(Resource, InstrumentationScope, LogRecord)> {
        self.of_all(received::logs)
    }

    /// Every metric's data point that was taken.
    pub fn data_points(&self) -> Vec<Point> {
        let received = self.received();
        received.iter().enumerate().flat_map(|(index, received)| points::points(index, received)).collect()
    }

    fn of_all<T>(&self, of_one: fn(&Received) -> Vec<T>) -> Vec<T> {
        self.received().iter().flat_map(|received| of_one(received)).collect()
    }
}
