//! OTLP over HTTP: three paths that take an encoded message.

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tonic::Code;

use super::answer::Failure;
use super::received::{Export, Inbox, Reply, Transport};

/// The one encoding that is spoken here.
const PROTOBUF: &str = "application/x-protobuf";

/// What is read of a body that is too large. The rest of it is read, and forgotten, for its sender to see the
/// answer and not a reset connection.
const DRAINED_MAX: usize = 256 << 20;

/// Answers one request; an error ends the connection.
pub(super) async fn answer(
    inbox: Arc<Inbox>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    inbox.count();
    let (parts, body) = request.into_parts();
    let body = read(body, inbox.bytes_max).await?;
    let answer = if parts.method == Method::POST {
        match parts.uri.path() {
            "/v1/traces" => take::<ExportTraceServiceRequest>(&inbox, &parts.headers, body).await,
            "/v1/metrics" => take::<ExportMetricsServiceRequest>(&inbox, &parts.headers, body).await,
            "/v1/logs" => take::<ExportLogsServiceRequest>(&inbox, &parts.headers, body).await,
            path => Err(Failure::new(404, Code::Unimplemented, format!("no {path} here"))),
        }
    } else {
        Err(Failure::new(405, Code::Unimplemented, "only POST"))
    };
    Ok(answer.unwrap_or_else(|failure| refusal(&failure)))
}

/// A body within the bound, or nothing.
async fn read(mut body: Incoming, bytes_max: usize) -> Result<Option<Vec<u8>>, hyper::Error> {
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen += data.len();
        if seen <= bytes_max {
            kept.extend_from_slice(&data);
        } else if seen > DRAINED_MAX {
            break;
        }
    }
    Ok((seen <= bytes_max).then_some(kept))
}

async fn take<T: Export>(
    inbox: &Inbox,
    headers: &HeaderMap,
    body: Option<Vec<u8>>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let bad = |status, message: String| Failure::new(status, Code::InvalidArgument, message);
    if headers.get(CONTENT_TYPE).is_none_or(|value| value != PROTOBUF) {
        return Err(bad(415, format!("the content type is not {PROTOBUF}")));
    }
    let too_large = || Failure::too_large(inbox.bytes_max);
    let body = body.ok_or_else(too_large)?;
    let body = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => body,
        Some(b"gzip") => {
            let limit = u64::try_from(inbox.bytes_max).unwrap_or(u64::MAX).saturating_add(1);
            let mut plain = Vec::new();
            let read = GzDecoder::new(body.as_slice()).take(limit).read_to_end(&mut plain);
            read.map_err(|error| bad(400, error.to_string()))?;
            if plain.len() > inbox.bytes_max {
                return Err(too_large());
            }
            plain
        }
        Some(_) => return Err(bad(415, "only gzip".to_owned())),
    };
    let message = T::decode(body.as_slice()).map_err(|error| bad(400, error.to_string()))?;
    match inbox.take(Transport::Http, headers, message).await? {
        Reply::Message(message) => Ok(respond(200, message.encode_to_vec())),
        // 0xff begins no message.
        Reply::Oversized(bytes) => Ok(respond(200, vec![0xff; bytes])),
    }
}

fn refusal(failure: &Failure) -> Response<Full<Bytes>> {
    let mut response = respond(failure.http, failure.status_message());
    if let Some(delay) = failure.retry_after {
        // Whole seconds are all that the field has; less than one must not become none.
        response.headers_mut().insert(RETRY_AFTER, delay.as_secs_f64().ceil().to_string().parse().unwrap());
    }
    if failure.http == 405 {
        response.headers_mut().insert(ALLOW, "POST".parse().unwrap());
    }
    response
}

fn respond(status: u16, body: Vec<u8>) -> Response<Full<Bytes>> {
    Response::builder().status(status).header(CONTENT_TYPE, PROTOBUF).body(Full::from(body)).unwrap()
}
