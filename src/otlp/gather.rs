//! The tasks that gather spans and log records into requests and deliver them.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tracing::warn;

use super::deliver::{Deliverer, Stopping};
use super::queue::Queue;
use super::signal::Request;
use super::span::{SpanBatch, Spans};
use crate::exposition::otlp::Origin;

/// Delivers what comes to a queue until the program stops, then what is left in it.
pub(super) async fn run<T: Send>(
    queue: Arc<Queue<T>>,
    mut deliverer: Deliverer,
    encode: impl Fn(Vec<T>) -> Request,
    stopping: Stopping,
) {
    let (signal, mut lost) = (deliverer.signal().as_str(), 0);
    while let Some(batch) = queue.next_batch(&stopping.stop).await {
        if stopping.give_up.is_cancelled() {
            return;
        }
        let before = deliverer.dropped();
        let request = encode(batch);
        // While the queue has room, nothing is lost by trying again; once it is full, the oldest goes first,
        // and that is what is in hand.
        deliverer.deliver(request, None, || !queue.is_full(), &stopping).await;
        if stopping.stop.is_cancelled() {
            lost += deliverer.dropped() - before;
        }
    }
    if lost > 0 {
        warn!(signal, lost, "Not exported before the end: the OTLP receiver did not take it");
    }
}

/// One request of spans.
pub(super) fn traces(origin: &Origin, batch: Vec<Box<dyn Spans>>) -> Request {
    let mut gathered = SpanBatch::default();
    for spans in batch {
        spans.write(origin, &mut gathered);
    }
    let resource_spans = gathered.into_proto();
    let scopes = resource_spans.iter().flat_map(|of_resource| &of_resource.scope_spans);
    let items = scopes.map(|of_scope| of_scope.spans.len() as u64).sum();
    let request = ExportTraceServiceRequest { resource_spans };
    Request { body: request.encode_to_vec().into(), items }
}

/// One request of log records.
pub(super) fn logs(origin: &Origin, log_records: Vec<LogRecord>) -> Request {
    let items = log_records.len() as u64;
    let of_scope = ScopeLogs { scope: Some(origin.scope.clone()), log_records, ..ScopeLogs::default() };
    let of_resource = ResourceLogs {
        resource: Some(origin.resource.clone()),
        scope_logs: vec![of_scope],
        ..ResourceLogs::default()
    };
    let request = ExportLogsServiceRequest { resource_logs: vec![of_resource] };
    Request { body: request.encode_to_vec().into(), items }
}
