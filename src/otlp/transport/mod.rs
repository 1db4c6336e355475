//! How a request reaches its receiver, and what the answer means.

mod connect;
mod grpc;
mod http;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::config::{Endpoint, Protocol};
use super::signal::Signal;
use crate::tls::{self, TlsError};

/// Bytes of an answer that are read: all that a receiver has to say is how many items it did not take, and
/// why, in a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Characters of a receiver's own words that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// What this program calls itself in requests.
const USER_AGENT: &str = concat!("heartbeat/", env!("CARGO_PKG_VERSION"));

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Items that the receiver did not take all the same.
    pub(super) rejected: u64,
    /// Why, in its own words.
    pub(super) message: String,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// TLS cannot be set up.
    #[error("there can be no TLS")]
    Tls(#[source] TlsError),
    /// The request cannot be made: a mistake of this program.
    #[error("the request cannot be made")]
    Request(#[source] BoxError),
    /// No connection, or one that broke.
    #[error("the receiver cannot be reached")]
    Connection(#[source] BoxError),
    /// No answer in time.
    #[error("the receiver did not answer within {0:?}")]
    Deadline(Duration),
    /// The receiver said no.
    #[error("the receiver answered {status}{}", said(.message))]
    Refused {
        /// As its protocol names it.
        status: String,
        /// In its own words.
        message: String,
        /// What is to be done.
        advice: Advice,
    },
    /// It answered something that is no answer, or a larger one than is read.
    #[error("the receiver's answer cannot be read")]
    Answer(#[source] BoxError),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", cut(message)) }
}

/// As much of a receiver's own words as is shown.
pub(super) fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// What is to be done about a request that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// The same again, after so long where the receiver says so.
    Retry(Option<Duration>),
    /// It is too large: in parts.
    Split,
    /// It will never be taken.
    GiveUp,
}

impl SendError {
    /// What is to be done: the one place that decides it (specification of OTLP, on failures).
    pub(super) fn advice(&self) -> Advice {
        match self {
            Self::Tls(_) | Self::Connection(_) | Self::Deadline(_) => Advice::Retry(None),
            Self::Request(_) | Self::Answer(_) => Advice::GiveUp,
            Self::Refused { advice, .. } => *advice,
        }
    }
}

/// Sends the requests of one signal.
pub(super) struct Transport {
    endpoint: Endpoint,
    signal: Signal,
    /// Made when first needed, and anew after a failure: so a renewed certificate counts.
    client: Option<Client>,
}

enum Client {
    Grpc(Box<grpc::Client>),
    Http(Box<http::Client>),
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, signal: Signal) -> Self {
        Self { endpoint, signal, client: None }
    }

    /// Where requests go, without a path, which is a key at some receivers.
    pub(super) fn target(&self) -> String {
        let uri = &self.endpoint.uri;
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
    }

    /// Sends one request, and waits for the answer within the endpoint's deadline.
    pub(super) async fn send(&mut self, body: Bytes) -> Result<Taken, SendError> {
        let limit = self.endpoint.timeout;
        let sent = timeout(limit, self.try_send(body)).await;
        let sent = sent.unwrap_or(Err(SendError::Deadline(limit)));
        // What was said over it is not to be trusted with the next request.
        let broken = matches!(
            sent,
            Err(SendError::Tls(_) | SendError::Connection(_) | SendError::Deadline(_) | SendError::Answer(_))
        );
        if broken {
            self.client = None;
        }
        sent
    }

    async fn try_send(&mut self, body: Bytes) -> Result<Taken, SendError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::new(&self.endpoint, self.signal)?),
        };
        match client {
            Client::Grpc(client) => client.send(body).await,
            Client::Http(client) => client.send(body).await,
        }
    }
}

impl Client {
    fn new(endpoint: &Endpoint, signal: Signal) -> Result<Self, SendError> {
        let tls = if endpoint.uri.scheme() == Some(&::http::uri::Scheme::HTTPS) {
            Some(tls::client_config(&endpoint.tls).map_err(SendError::Tls)?)
        } else {
            None
        };
        let tls = tls.map(Arc::unwrap_or_clone);
        Ok(match endpoint.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Client::new(endpoint, signal, tls)?)),
            Protocol::HttpProtobuf => Self::Http(Box::new(http::Client::new(endpoint, tls)?)),
        })
    }
}

/// Reads `partial_success`, which has one shape for all signals.
fn taken(body: &[u8]) -> Result<Taken, prost::DecodeError> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    let response = <ExportTraceServiceResponse as prost::Message>::decode(body)?;
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Ok(Taken { rejected, message: cut(&partial.error_message) })
}
