//! Speaks to the local API of a publisher on this machine.

use std::time::Duration;

use ::http::{Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{ListenAddress, LocalAddress, LocalConfig};

/// From the connection to the last byte of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It is there, and not for this user.
    #[error(
        "could not connect to {address}: this user may not use it; run as root, or join the publisher's group"
    )]
    Forbidden {
        /// Where.
        address: String,
    },
    /// Nobody listens there, or it may not be reached.
    #[error("could not connect to {address}: is the publisher running, with the same LOCAL_LISTEN_ADDRESS?")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The token cannot be sent.
    #[error("LOCAL_TOKEN cannot be sent: it holds a character that no header may hold")]
    Token,
    /// No HTTP came back.
    #[error("no answer that can be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// None came in time.
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
}

/// Asks, and returns what is said.
///
/// # Errors
/// Says why there is no answer.
pub async fn ask(
    config: &LocalConfig,
    method: Method,
    path: &str,
    body: String,
) -> Result<(StatusCode, String), NoAnswer> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if let Some(token) = &config.token {
        request = request.header("authorization", format!("Bearer {}", token.read().expose()));
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|_| NoAnswer::Token)?;
    let answer = async {
        match &config.listen {
            LocalAddress::Unix(path) => {
                let connected = UnixStream::connect(path).await;
                let address = format!("unix:{}", path.display());
                exchange(connected.map_err(|source| not_connected(address, source))?, request).await
            }
            LocalAddress::Tcp(ListenAddress { host, port }) => {
                let host = host.as_deref().unwrap_or("localhost");
                let connected = TcpStream::connect((host, *port)).await;
                let address = format!("{host}:{port}");
                exchange(connected.map_err(|source| not_connected(address, source))?, request).await
            }
        }
    };
    timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(NoAnswer::Late))
}

fn not_connected(address: String, source: std::io::Error) -> NoAnswer {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => NoAnswer::Forbidden { address },
        _ => NoAnswer::Connect { address, source },
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, String), NoAnswer> {
    let unreadable = |error: hyper::Error| NoAnswer::Unreadable(Box::new(error));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreadable)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(unreadable)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    connection.abort();
    let body = body.map_err(NoAnswer::Unreadable)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).trim_end().to_owned()))
}
