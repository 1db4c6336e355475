//! One handshake by itself, for whoever wants to know how it ends.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::PeerTls;

/// How long a peer has to say that it does not take the client's certificate: since TLS 1.3 it does so after the
/// handshake.
const SECOND_THOUGHTS: Duration = Duration::from_millis(400);

/// A handshake with a peer that then waits to be spoken to; the connection is closed after it. `Ok` is the end of the
/// peer's certificate, in seconds since the epoch.
///
/// # Errors
/// Why there is no TLS with it.
pub async fn handshake(tls: &PeerTls, host: &str, stream: TcpStream) -> io::Result<Option<i64>> {
    let name = match tls.server_name() {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
    };
    tls.renew().await;
    let mut stream = TlsConnector::from(tls.client_config()).connect(name, stream).await?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let not_after = leaf.and_then(super::expiry::not_after);
    match timeout(SECOND_THOUGHTS, stream.read_u8()).await {
        Ok(Err(error)) => Err(error),
        // It has something to say, or waits for us.
        Ok(Ok(_)) | Err(_) => Ok(not_after),
    }
}

/// The first message of a handshake that will not be gone on with: whatever speaks TLS answers to it as such.
///
/// # Errors
/// Where TLS cannot be begun at all.
pub fn client_hello() -> io::Result<Vec<u8>> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

/// What TLS failed for, however deep it is among the causes of an error.
pub fn failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref() {
            return Some(failure);
        }
        // What such an error is of is not among its sources.
        let within = error.downcast_ref().and_then(io::Error::get_ref);
        next = within.map_or_else(|| error.source(), |within| Some(within as &(dyn Error + 'static)));
    }
    None
}
