//! The three services over gRPC.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use super::answer::Failure;
use super::received::{Export, Inbox, Reply, Transport};

/// All three services, with gzip and the bound on messages.
pub(super) fn routes(inbox: &Arc<Inbox>) -> Routes {
    macro_rules! server {
        ($server:ident) => {
            $server::new(Receiver(Arc::clone(inbox)))
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(inbox.bytes_max)
        };
    }
    Routes::new(server!(TraceServiceServer))
        .add_service(server!(MetricsServiceServer))
        .add_service(server!(LogsServiceServer))
        .prepare()
}

struct Receiver(Arc<Inbox>);

impl Receiver {
    async fn take<T: Export>(
        &self,
        request: tonic::Request<T>,
    ) -> Result<tonic::Response<T::Response>, Status> {
        let (metadata, _, message) = request.into_parts();
        let reply = self.0.take(Transport::Grpc, &metadata.into_headers(), message).await;
        match reply.map_err(|failure| status(&failure))? {
            Reply::Message(message) => Ok(tonic::Response::new(message)),
            // A warning as long as that: a client must decide by the length, before it reads on.
            Reply::Oversized(bytes) => Ok(tonic::Response::new(T::response(Some((0, "x".repeat(bytes)))))),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.take(request).await
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.take(request).await
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.take(request).await
    }
}

/// The details say when to come again; where there is nothing to say, there are none.
fn status(failure: &Failure) -> Status {
    let details = failure.retry_after.map(|_| failure.status_message()).unwrap_or_default();
    Status::with_details(failure.grpc, failure.message.clone(), details.into())
}
