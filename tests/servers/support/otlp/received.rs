//! What came, kept in order, and the decision over each request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hyper::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tonic::Code;

use super::answer::{Answer, Failure};

/// What a collector keeps before it refuses, so that a test that never clears does not fill the memory.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// gRPC.
    Grpc,
    /// OTLP over HTTP.
    Http,
}

/// A request's message.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Of spans.
    Traces(ExportTraceServiceRequest),
    /// Of data points.
    Metrics(ExportMetricsServiceRequest),
    /// Of log records.
    Logs(ExportLogsServiceRequest),
}

/// A request that was taken.
#[derive(Clone, Debug)]
pub struct Received {
    /// When it was there as a whole.
    pub at: Instant,
    /// What it is about.
    pub signal: Signal,
    /// How it came.
    pub transport: Transport,
    /// Its encoded size, not compressed.
    pub bytes: usize,
    /// Its header fields, or its metadata, by names in lower case; of several values the last.
    pub headers: BTreeMap<String, String>,
    /// Its message.
    pub request: Request,
}

/// One of the three requests, and its answer.
pub(super) trait Export: Message + Default + 'static {
    /// The answer's message.
    type Response: Message + Default;
    /// What it is about.
    const SIGNAL: Signal;

    /// As what is kept.
    fn into_request(self) -> Request;

    /// The answer: all is taken, or this many are not, and why.
    fn response(partial: Option<(i64, String)>) -> Self::Response;
}

macro_rules! export {
    ($signal:ident, $request:ident, $response:ident, $partial:ident, $rejected:ident) => {
        impl Export for $request {
            type Response = $response;
            const SIGNAL: Signal = Signal::$signal;

            fn into_request(self) -> Request {
                Request::$signal(self)
            }

            fn response(partial: Option<(i64, String)>) -> $response {
                let partial_success =
                    partial.map(|(rejected, error_message)| $partial { $rejected: rejected, error_message });
                $response { partial_success }
            }
        }
    };
}

export!(
    Traces,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    ExportTracePartialSuccess,
    rejected_spans
);
export!(
    Metrics,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    ExportMetricsPartialSuccess,
    rejected_data_points
);
export!(
    Logs,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    ExportLogsPartialSuccess,
    rejected_log_records
);

/// What a transport sends back.
pub(super) enum Reply<T> {
    /// This message.
    Message(T),
    /// Something of this size.
    Oversized(usize),
}

/// What came, and how to answer the next.
pub(super) struct Inbox {
    /// The largest request taken.
    pub(super) bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answer: Answer,
    requests: u64,
    received: Vec<Arc<Received>>,
    kept_bytes: usize,
}

impl Inbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    pub(super) fn set_answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    pub(super) fn requests(&self) -> u64 {
        self.state.lock().unwrap().requests
    }

    /// Counts a request, before anything can refuse it.
    pub(super) fn count(&self) {
        self.state.lock().unwrap().requests += 1;
    }

    pub(super) fn received(&self) -> Vec<Arc<Received>> {
        self.state.lock().unwrap().received.clone()
    }

    pub(super) fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        *state = State { answer: std::mem::take(&mut state.answer), ..State::default() };
    }

    /// Decides over a request; does not return while the answer is to hang.
    pub(super) async fn take<T: Export>(
        &self,
        transport: Transport,
        headers: &HeaderMap,
        request: T,
    ) -> Result<Reply<T::Response>, Failure> {
        let answer = self.state.lock().unwrap().answer.clone();
        let partial = match answer {
            Answer::Ok => None,
            Answer::Partial { rejected, message } => Some((rejected, message)),
            Answer::Busy { retry_after } => {
                return Err(Failure { retry_after, ..Failure::new(429, Code::Unavailable, "busy") });
            }
            Answer::TooLarge => return Err(Failure::too_large(self.bytes_max)),
            Answer::Refused => return Err(Failure::new(400, Code::InvalidArgument, "refused")),
            Answer::Oversized { bytes } => return Ok(Reply::Oversized(bytes)),
            Answer::Hang => return std::future::pending().await,
        };
        self.keep(transport, headers, request)?;
        Ok(Reply::Message(T::response(partial)))
    }

    fn keep<T: Export>(&self, transport: Transport, headers: &HeaderMap, request: T) -> Result<(), Failure> {
        let bytes = request.encoded_len();
        let headers = headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let received = Received {
            at: Instant::now(),
            signal: T::SIGNAL,
            transport,
            bytes,
            headers: headers.collect(),
            request: request.into_request(),
        };
        let mut state = self.state.lock().unwrap();
        if state.kept_bytes + bytes > KEPT_BYTES_MAX {
            return Err(Failure::new(507, Code::Internal, "the test keeps too much: it should clear"));
        }
        state.kept_bytes += bytes;
        state.received.push(Arc::new(received));
        Ok(())
    }
}

/// The metrics of a request, and whose they are.
pub(super) fn metrics(received: &Received) -> Vec<(Resource, InstrumentationScope, Metric)> {
    let Request::Metrics(request) = &received.request else { return Vec::new() };
    let mut all = Vec::new();
    for of_resource in &request.resource_metrics {
        for of_scope in &of_resource.scope_metrics {
            for metric in &of_scope.metrics {
                all.push(owned(of_resource.resource.as_ref(), of_scope.scope.as_ref(), metric));
            }
        }
    }
    all
}

/// The spans of a request, and whose they are.
pub(super) fn spans(received: &Received) -> Vec<(Resource, InstrumentationScope, Span)> {
    let Request::Traces(request) = &received.request else { return Vec::new() };
    let mut all = Vec::new();
    for of_resource in &request.resource_spans {
        for of_scope in &of_resource.scope_spans {
            for span in &of_scope.spans {
                all.push(owned(of_resource.resource.as_ref(), of_scope.scope.as_ref(), span));
            }
        }
    }
    all
}

/// The log records of a request, and whose they are.
pub(super) fn logs(received: &Received) -> Vec<(Resource, InstrumentationScope, LogRecord)> {
    let Request::Logs(request) = &received.request else { return Vec::new() };
    let mut all = Vec::new();
    for of_resource in &request.resource_logs {
        for of_scope in &of_resource.scope_logs {
            for record in &of_scope.log_records {
                all.push(owned(of_resource.resource.as_ref(), of_scope.scope.as_ref(), record));
            }
        }
    }
    all
}

fn owned<T: Clone>(
    resource: Option<&Resource>,
    scope: Option<&InstrumentationScope>,
    item: &T,
) -> (Resource, InstrumentationScope, T) {
    (resource.cloned().unwrap_or_default(), scope.cloned().unwrap_or_default(), item.clone())
}
