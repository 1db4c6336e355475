//! Speaks to the local API of a publisher on this machine.

use std::io;
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

/// How a local API begins to tell one who has lost the way.
pub const NOTHING_HERE: &str = "Nothing is here. There are:";

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
    #[error(
        "could not connect to {address}: {why}; is the publisher running, with the same LOCAL_LISTEN_ADDRESS?"
    )]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        why: io::Error,
    },
    /// The token cannot be sent.
    #[error("LOCAL_TOKEN cannot be sent: it holds a character that no header may hold")]
    Token,
    /// Without the token, or with another one, nothing is done.
    #[error(
        "the publisher at {address} {}: set LOCAL_TOKEN_FILE (or LOCAL_TOKEN) to what the publisher has",
        if *.with_token { "does not take this token" } else { "asks for its token" }
    )]
    Denied {
        /// Where.
        address: String,
        /// Whether one was shown.
        with_token: bool,
    },
    /// Something else answered.
    #[error(
        "what answers at {address} is no publisher's local API: set LOCAL_LISTEN_ADDRESS to what the publisher on this machine has"
    )]
    NotOurs {
        /// Where.
        address: String,
    },
    /// It is a publisher's, and does not know what is asked for.
    #[error("the publisher at {address} is of an earlier build, which cannot do that; start it anew")]
    Earlier {
        /// Where.
        address: String,
    },
    /// No HTTP came back.
    #[error("no answer that can be read from {address}: {why}; is it the publisher's LOCAL_LISTEN_ADDRESS?")]
    Unreadable {
        /// Where.
        address: String,
        /// Why not.
        why: BoxError,
    },
    /// None came in time.
    #[error("no answer from {address} within {} s", ANSWER_WITHIN.as_secs())]
    Late {
        /// Where.
        address: String,
    },
}

impl NoAnswer {
    /// That something else answered where `config` leads.
    pub fn not_ours(config: &LocalConfig) -> Self {
        Self::NotOurs { address: config.listen.to_string() }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
        request = request.header("authorization", format!("Bearer {}", token.read_aside().await.expose()));
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|_| NoAnswer::Token)?;
    let answer = async {
        match &config.listen {
            LocalAddress::Unix(path) => exchange(UnixStream::connect(path).await, request, config).await,
            LocalAddress::Tcp(ListenAddress { host, port }) => {
                let host = host.as_deref().unwrap_or("localhost");
                exchange(TcpStream::connect((host, *port)).await, request, config).await
            }
        }
    };
    let late = NoAnswer::Late { address: config.listen.to_string() };
    let (status, text) = timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(late))?;
    match status {
        StatusCode::UNAUTHORIZED => {
            Err(NoAnswer::Denied { address: config.listen.to_string(), with_token: config.token.is_some() })
        }
        // What is asked for is there in one of this build.
        StatusCode::NOT_FOUND if text.starts_with(NOTHING_HERE) => {
            Err(NoAnswer::Earlier { address: config.listen.to_string() })
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(NoAnswer::not_ours(config)),
        _ => Ok((status, text)),
    }
}

async fn exchange(
    connected: io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>,
    request: Request<Full<Bytes>>,
    config: &LocalConfig,
) -> Result<(StatusCode, String), NoAnswer> {
    let address = || config.listen.to_string();
    let stream = connected.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => NoAnswer::Forbidden { address: address() },
        _ => NoAnswer::Connect { address: address(), why: source },
    })?;
    let unreadable = |why: BoxError| NoAnswer::Unreadable { address: address(), why };
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| unreadable(error.into()))?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| unreadable(error.into()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    connection.abort();
    let body = body.map_err(unreadable)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of this answer.
    async fn asked(answer: &'static str) -> Result<(StatusCode, String), NoAnswer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listen = LocalAddress::Tcp(ListenAddress { host: Some("127.0.0.1".into()), port });
        let config = LocalConfig { listen, token: None };
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let asking = ask(&config, Method::POST, "/maintenance/end/3", String::new());
        tokio::join!(asking, answering).0
    }

    #[tokio::test]
    async fn whoever_does_not_know_what_is_asked_for_is_said_to_be_what_it_is() {
        let lost = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\nNothing is here. There are:\nPOST /maintenance/end\n";
        let earlier = asked(lost).await.unwrap_err().to_string();
        assert!(earlier.contains("is of an earlier build"), "{earlier}");
        let other = asked("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\nno such page\n").await;
        assert!(matches!(other, Err(NoAnswer::NotOurs { .. })), "{other:?}");
    }
}
