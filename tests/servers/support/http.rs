//! One HTTP request on a connection of its own: enough for a scrape, for the management API and for OTLP.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far above what a server that works takes, so that only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, which must be UTF-8 unless it is compressed.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request; the error is text, for a wait to show.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Result<Answer, String> {
    let exchange = async {
        let stream =
            TcpStream::connect(address).await.map_err(|error| format!("connect {address}: {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Full::new(Bytes::copy_from_slice(body.as_ref()))).map_err(|e| e.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    };
    timeout(DEADLINE, exchange)
        .await
        .map_err(|_| format!("{method} {path}: no answer within {DEADLINE:?}"))?
}

/// `GET` without further ado.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    request(address, "GET", path, &[], "").await
}

/// A request as `guest`, with a JSON body.
pub async fn as_guest(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Answer, String> {
    // base64 of guest:guest.
    let headers =
        [(AUTHORIZATION.as_str(), "Basic Z3Vlc3Q6Z3Vlc3Q="), (CONTENT_TYPE.as_str(), "application/json")];
    request(address, method, path, &headers, body).await
}
