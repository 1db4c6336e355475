//! How a request reaches its receiver, and what the answer means.

mod failure;
mod grpc;
mod http;

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::config::{Endpoint, Protocol};
use super::signal::Signal;
use crate::reading::Reading;
use crate::secret::Secret;
use crate::tls::{Expiry, Peer, PeerTls, TlsConfig, TlsError};

pub(super) use failure::{Advice, SendError};
use failure::{cut, redacted};

/// Bytes of an answer that are read: all that a receiver has to say is how many items it did not take, and
/// why, in a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Characters of a part of a path that is no key.
const PATH_PART_MAX: usize = 20;

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

/// Sends the requests of one signal.
pub(super) struct Transport {
    endpoint: Endpoint,
    signal: Signal,
    expiry: Expiry,
    /// Made when first needed, where the endpoint is https.
    tls: Option<PeerTls>,
    reading: Reading<Result<PeerTls, Arc<TlsError>>>,
    /// Made when first needed, and anew after a failure.
    client: Option<Client>,
    /// What the latest client was made with, which answers may repeat however the file has changed since.
    headers: Vec<(String, Secret)>,
}

enum Client {
    Grpc(Box<grpc::Client>),
    Http(Box<http::Client>),
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, signal: Signal, expiry: Expiry) -> Self {
        let reading = Reading::default();
        Self { endpoint, signal, expiry, tls: None, reading, client: None, headers: Vec::new() }
    }

    /// Where requests go. A part of the path that is as long as a key is not shown.
    pub(super) fn target(&self) -> String {
        let uri = &self.endpoint.uri;
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = |part: &str| if part.len() > PATH_PART_MAX { "…".to_owned() } else { part.to_owned() };
        let path: Vec<String> = uri.path().trim_end_matches('/').split('/').map(shown).collect();
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        format!("{scheme}://{host}{port}{}", path.join("/"))
    }

    /// Sends one request, and waits for the answer within the endpoint's deadline.
    pub(super) async fn send(&mut self, body: Bytes) -> Result<Taken, SendError> {
        let limit = self.endpoint.timeout;
        let sent = timeout(limit, self.try_send(body)).await;
        let secrets: Vec<&str> = self.headers.iter().map(|(_, value)| value.expose()).collect();
        let sent = match sent.unwrap_or(Err(SendError::Deadline(limit))) {
            // Cut afterwards: of a secret that is cut in two, half would be shown.
            Ok(taken) => Ok(Taken { message: cut(&redacted(&taken.message, &secrets)), ..taken }),
            Err(error) => Err(error.without(&secrets)),
        };
        // What was said over it is not to be trusted with the next request.
        let broken = match &sent {
            Err(
                SendError::Tls(_) | SendError::Connection(_) | SendError::Deadline(_) | SendError::Answer(_),
            ) => true,
            // A key that was refused may have been replaced in its file.
            Err(error) => error.is_about_the_key(),
            Ok(_) => false,
        };
        if broken {
            self.client = None;
        }
        sent
    }

    async fn try_send(&mut self, body: Bytes) -> Result<Taken, SendError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.new_client().await?,
        };
        match self.client.insert(client) {
            Client::Grpc(client) => client.send(body).await,
            Client::Http(client) => client.send(body).await,
        }
    }

    async fn new_client(&mut self) -> Result<Client, SendError> {
        let endpoint = &self.endpoint;
        if self.tls.is_none() && endpoint.uri.scheme() == Some(&::http::uri::Scheme::HTTPS) {
            let config = TlsConfig { files: endpoint.tls.clone(), server_name: None };
            let expiry = self.expiry.clone();
            let read = move || PeerTls::new(config, Peer::Otlp, expiry).map_err(Arc::new);
            let tls = self.reading.within(endpoint.timeout, read).await;
            let tls = tls.unwrap_or_else(|error| Err(Arc::new(error.into())));
            self.tls = Some(tls.map_err(SendError::Tls)?);
        }
        let headers = endpoint.headers.read_aside().await;
        self.headers.clone_from(&headers);
        let tls = self.tls.as_ref();
        Ok(match endpoint.protocol {
            Protocol::Grpc => Client::Grpc(Box::new(grpc::Client::new(endpoint, headers, self.signal, tls)?)),
            Protocol::HttpProtobuf => Client::Http(Box::new(http::Client::new(endpoint, headers, tls)?)),
        })
    }
}

/// Reads `partial_success`, which has one shape for all signals.
fn taken(body: &[u8]) -> Result<Taken, prost::DecodeError> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    let response = <ExportTraceServiceResponse as prost::Message>::decode(body)?;
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Ok(Taken { rejected, message: partial.error_message })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use prometheus_client::registry::Registry;
    use prost::Message;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::otlp::config::{Compression, Headers};
    use crate::secret::SecretSource;
    use crate::tls::TlsFiles;

    /// A receiver that repeats the key which it was shown, of which the file holds another one by then.
    #[tokio::test]
    async fn an_answer_is_told_without_the_key_that_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        fs::write(&file, "canary-one").unwrap();
        let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/v1/traces", receiver.local_addr().unwrap());
        let headers = SecretSource::file(file.clone()).unwrap();
        let headers = headers.parsed(|key| Ok(vec![("x-key".to_owned(), Secret::new(key))])).unwrap();
        let endpoint = Endpoint {
            uri: uri.parse().unwrap(),
            protocol: Protocol::HttpProtobuf,
            headers,
            timeout: Duration::from_secs(10),
            compression: Compression::None,
            tls: TlsFiles::default(),
        };
        let partial = ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: format!("{}canary-one", "x".repeat(294)),
        };
        let partial = ExportTraceServiceResponse { partial_success: Some(partial) };
        let answers =
            [("200 OK", partial.encode_to_vec()), ("403 Forbidden", b"the key canary-one is wrong".into())];
        let answer = async move {
            let (mut connection, _) = receiver.accept().await.unwrap();
            for (status, body) in answers {
                let mut request = vec![0; 64 << 10];
                let read = connection.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                assert!(request.contains("canary-one"), "{request}");
                fs::write(&file, "canary-two").unwrap();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                connection.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            }
            connection
        };
        let mut transport =
            Transport::new(endpoint, Signal::Traces, Expiry::register(&mut Registry::default()));
        let sending = async { (transport.send(Bytes::new()).await, transport.send(Bytes::new()).await) };
        let ((taken, refused), _connection) = tokio::join!(sending, answer);
        // Nor the half of it that a cut would leave.
        let Taken { rejected, message } = taken.unwrap();
        assert!(rejected == 1 && message.starts_with("xxx") && !message.contains("canary"), "{message}");
        let error = crate::telemetry::Chain(&refused.unwrap_err()).to_string();
        assert!(error.contains("403") && error.contains("is wrong"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }

    /// Who opens such a file to read it is kept waiting until somebody writes, as by a mount whose server is gone.
    #[tokio::test]
    async fn a_ca_whose_disk_hangs_costs_the_export_its_deadline_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        mknodat(CWD, &ca, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let endpoint = Endpoint {
            uri: "https://127.0.0.1:1/v1/traces".parse().unwrap(),
            protocol: Protocol::HttpProtobuf,
            headers: Headers::given(Vec::new()),
            timeout: Duration::from_millis(300),
            compression: Compression::None,
            tls: TlsFiles { ca: Some(ca.clone()), client: None },
        };
        let mut transport = Transport::new(endpoint, Signal::Traces, Expiry::default());
        let beside = async {
            sleep(Duration::from_millis(20)).await;
            Instant::now()
        };
        let (sent, beside) = tokio::join!(transport.send(Bytes::new()), beside);
        assert!(matches!(sent, Err(SendError::Deadline(_) | SendError::Tls(_))), "{sent:?}");
        assert!(beside.elapsed() > Duration::from_millis(100), "others went on meanwhile");
        // It answers, with nothing that could be used.
        fs::write(&ca, "").unwrap();
        fs::remove_file(&ca).unwrap();
        let sent = transport.send(Bytes::new()).await;
        assert!(matches!(sent, Err(SendError::Tls(_))), "{sent:?}");
    }
}
