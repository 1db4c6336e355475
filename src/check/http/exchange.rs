//! One request and its answer, on a connection of their own.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::Url;

use super::{HttpSpec, SecretForm, SecretHeader, is_redirect};
use crate::build_info::VERSION;
use crate::check::asking::{answer_over, io_causes, is_of_the_connection};
use crate::check::probe::OnHand;
use crate::check::secure::{broken, handshake, secure, server_name};
use crate::check::{Finding, Seen, Verdict};
use crate::heartbeat::Reason;
use crate::secret::Secret;
use crate::telemetry::Chain;
use crate::tls::Own;

/// Room for the head of an answer: four times what common servers take in a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Where it leads, where it leads elsewhere.
    pub(super) redirect: Option<String>,
    pub(super) body: Body,
}

/// What was read of a body.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Whether that is all of it.
    pub(super) is_whole: bool,
}

/// Asks one place, which is the one of the spec or one that it was redirected to.
pub(super) async fn exchange(
    spec: &HttpSpec,
    url: &Url,
    on_hand: &OnHand,
    end: Instant,
    seen: &mut Seen,
) -> Result<Answer, Finding> {
    // A URL that has no host, or no port, leads nowhere.
    let nowhere = || Verdict::down(Reason::Protocol);
    let (host, port) =
        (url.host_str().ok_or_else(nowhere)?, url.port_or_known_default().ok_or_else(nowhere)?);
    let is_home = url.origin() == spec.url.origin();
    let mut request = request(spec, url, is_home)?;
    if is_home {
        add_secrets(request.headers_mut(), &spec.secrets, &on_hand.secrets)?;
    }
    let stream = seen.open(host, port, end).await?;
    if url.scheme() != "https" {
        return ask(stream, request, spec).await;
    }
    let name = match &spec.secure.server_name {
        Some(name) if is_home => name.clone(),
        _ => server_name(host).map_err(|_| Verdict::down(Reason::Certificate))?,
    };
    // A page in the clear most often redirects to the same host with TLS, by another port; nobody else is told who asks.
    let own = if url.host() == spec.url.host() { Own::Shown } else { Own::Withheld };
    let handshake = handshake(on_hand, &[b"http/1.1"], own)?;
    let stream = secure(stream, name, &handshake, seen).await?;
    ask(stream, request, spec).await
}

fn request(spec: &HttpSpec, url: &Url, is_home: bool) -> Result<Request<Empty<Bytes>>, Verdict> {
    // What cannot be sent was refused with the configuration; of a redirect, it is the server that is at fault.
    let unsendable = Verdict::down(Reason::Protocol);
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request =
        Request::builder().method(&spec.method).uri(path).body(Empty::new()).map_err(|_| unsendable)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(authority).map_err(|_| unsendable)?);
    headers.insert(header::USER_AGENT, user_agent());
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    // The host that is configured is that of the place that is configured.
    for (name, value) in spec.headers.iter().filter(|(name, _)| is_home || *name != header::HOST) {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

fn user_agent() -> HeaderValue {
    HeaderValue::from_str(&format!("heartbeat/{VERSION}")).unwrap_or(HeaderValue::from_static("heartbeat"))
}

fn add_secrets(headers: &mut HeaderMap, named: &[SecretHeader], secrets: &[Secret]) -> Result<(), Finding> {
    for (SecretHeader { name, form, file }, secret) in named.iter().zip(secrets) {
        // A secret that is no text for a header is this machine's mistake, and none of the component.
        let mut value = header_value(form, secret.expose()).ok_or_else(|| {
            let detail = format!("{} holds what no header can", file.display());
            Verdict::unknown(Reason::Local).because(detail)
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

/// What a header says of a secret; `None` where it cannot.
pub(super) fn header_value(form: &SecretForm, secret: &str) -> Option<HeaderValue> {
    match form {
        SecretForm::Plain => HeaderValue::from_str(secret).ok(),
        SecretForm::Bearer => HeaderValue::from_str(&format!("Bearer {secret}")).ok(),
        SecretForm::Basic { user } => {
            HeaderValue::from_str(&format!("Basic {}", BASE64.encode(format!("{user}:{secret}")))).ok()
        }
    }
}

/// Sends the request and reads the answer, while the connection is kept going beside.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
    spec: &HttpSpec,
) -> Result<Answer, Finding> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let asking = async move {
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let redirect = is_redirect(status).then(|| response.headers().get(header::LOCATION)).flatten();
        let redirect = redirect.and_then(|place| Some(place.to_str().ok()?.to_owned()));
        // A body that nobody judges may have no end.
        let is_left = spec.body.is_empty() || (redirect.is_some() && spec.follow_redirects);
        let body =
            if is_left { Body::default() } else { read(response.into_body(), spec.body.bytes_max).await? };
        Ok(Answer { status, redirect, body })
    };
    answer_over(connection, asking).await
}

/// Reads a body, and stops before it takes more memory than it may.
async fn read<B>(mut incoming: B, bytes_max: usize) -> Result<Body, Finding>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut body = Body { bytes: Vec::new(), is_whole: true };
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        let room = bytes_max - body.bytes.len();
        body.bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            body.is_whole = false;
            break;
        }
    }
    Ok(body)
}

/// Why there is no answer.
fn failed(error: &hyper::Error) -> Finding {
    verdict_of(error).because(Chain(error).to_string())
}

fn verdict_of(error: &hyper::Error) -> Verdict {
    for cause in io_causes(error) {
        if is_of_the_connection(cause) {
            return broken(cause);
        }
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            return Verdict::down(Reason::Reset);
        }
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        // It took the connection and ended it without an answer.
        Verdict::down(Reason::Reset)
    } else {
        Verdict::down(Reason::Protocol)
    }
}
