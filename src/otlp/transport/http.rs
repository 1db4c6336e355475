//! OTLP over HTTP/1.1, with protobuf in the body.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{ANSWER_BYTES_MAX, Advice, BoxError, SendError, Taken, taken};
use crate::clock;
use crate::otlp::config::{Compression, Endpoint};
use crate::secret::Secret;
use crate::tls::PeerTls;
use crate::tls::https::{Connector, Version};

/// A connection that was not used for so long is closed; a firewall may have forgotten it.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Posts to one address.
pub(super) struct Client {
    hyper: HyperClient<Connector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
}

impl Client {
    pub(super) fn new(
        endpoint: &Endpoint,
        secrets: Vec<(String, Secret)>,
        tls: Option<&PeerTls>,
    ) -> Result<Self, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        for (name, value) in &secrets {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|error| SendError::Request(error.into()))?;
            // Its error would show the value.
            let value = HeaderValue::from_str(value.expose());
            let mut value = value.map_err(|_| SendError::Request("a header's value is none".into()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if endpoint.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let hyper = HyperClient::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(Connector::new(tls, Version::Http1));
        Ok(Self { hyper, uri: endpoint.uri.clone(), headers, compression: endpoint.compression })
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Taken, SendError> {
        let body = match self.compression {
            Compression::None => body,
            // Some milliseconds a megabyte, in which this thread serves others.
            Compression::Gzip => match tokio::task::spawn_blocking(move || gzip(&body)).await {
                Ok(body) => body.map_err(|error| SendError::Request(error.into()))?,
                Err(error) => return Err(SendError::Request(error.into())),
            },
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let response =
            self.hyper.request(request).await.map_err(|error| SendError::Connection(error.into()))?;
        let (parts, body) = response.into_parts();
        let body =
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes);
        let is_page =
            parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if parts.status.is_success() && is_page {
            return Err(SendError::Answer("it is a web page, so the endpoint is no OTLP receiver's".into()));
        }
        if parts.status.is_success() {
            // It has said yes; whatever cannot be read after that takes nothing back.
            return Ok(body.ok().and_then(|body| taken(&body).ok()).unwrap_or_default());
        }
        Err(refusal(parts.status, &parts.headers, body))
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), flate2::Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

/// What a status means, as the specification of OTLP has it.
fn refusal(status: StatusCode, headers: &HeaderMap, body: Result<Bytes, BoxError>) -> SendError {
    let message = body.map(|body| words(&body)).unwrap_or_default();
    let after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let advice = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Advice::Retry(after),
        StatusCode::PAYLOAD_TOO_LARGE => Advice::Split,
        // So a collector says it that reads a body up to its limit.
        StatusCode::BAD_REQUEST if message.contains("too large") => Advice::Split,
        _ => Advice::GiveUp,
    };
    SendError::Refused { status: status.to_string(), message, advice }
}

/// What an error's body says: a `google.rpc.Status`, or text.
fn words(body: &[u8]) -> String {
    match <tonic_types::Status as prost::Message>::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

/// A number of seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let ms = at.as_millisecond().saturating_sub(clock::wall().unix_ms());
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_specification_says() {
        let advice = |status: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            refusal(StatusCode::from_u16(status).unwrap(), &headers, Ok(Bytes::new())).advice()
        };
        for status in [429, 502, 503, 504] {
            assert_eq!(advice(status, None), Advice::Retry(None), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 500] {
            assert_eq!(advice(status, None), Advice::GiveUp, "{status}");
        }
        assert_eq!(advice(413, None), Advice::Split);
        assert_eq!(advice(429, Some("17")), Advice::Retry(Some(Duration::from_secs(17))));
        assert_eq!(advice(503, Some("soon")), Advice::Retry(None));
        assert_eq!(advice(503, Some("Wed, 21 Oct 2015 07:28:00 GMT")), Advice::Retry(Some(Duration::ZERO)));
        let Advice::Retry(Some(long)) = advice(503, Some("Wed, 21 Oct 2105 07:28:00 GMT")) else { panic!() };
        assert!(long > Duration::from_secs(86_400));
    }

    #[test]
    fn an_error_is_read_as_a_status_or_as_text() {
        let status = tonic_types::Status { code: 3, message: "no".into(), details: Vec::new() };
        assert_eq!(words(&prost::Message::encode_to_vec(&status)), "no");
        assert_eq!(words(b" <p>no</p>\n"), "<p>no</p>");
    }
}
