//! Connections for HTTP clients, plain or with TLS.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::PeerTls;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections.
#[derive(Clone)]
pub enum Connector {
    /// In the clear.
    Plain(HttpConnector),
    /// With TLS.
    Tls(HttpsConnector<HttpConnector>, PeerTls),
}

/// The versions of HTTP that are spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Connector {
    /// One for one peer; `None`: in the clear.
    pub fn new(tls: Option<&PeerTls>, version: Version) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let Some(tls) = tls else { return Self::Plain(tcp) };
        let config = rustls::ClientConfig::clone(&tls.client_config());
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        if let Some(name) = tls.server_name() {
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
        }
        let https = match version {
            Version::Http1 => builder.enable_http1().wrap_connector(tcp),
            Version::Http2 => builder.enable_http2().wrap_connector(tcp),
        };
        Self::Tls(https, tls.clone())
    }
}

type Connecting =
    Pin<Box<dyn Future<Output = Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Plain(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Tls(https, _) => https.poll_ready(cx),
        }
    }

    /// The scheme of `uri` does not count: tonic hands over one that it does not know to be secure, or
    /// would want to make it so itself.
    fn call(&mut self, uri: Uri) -> Connecting {
        match self {
            Self::Plain(tcp) => {
                let connecting = tcp.call(uri);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
            Self::Tls(https, tls) => match with_scheme(uri, Scheme::HTTPS) {
                Ok(uri) => {
                    let (mut https, tls) = (https.clone(), tls.clone());
                    Box::pin(async move {
                        tls.renew().await;
                        https.call(uri).await
                    })
                }
                Err(error) => Box::pin(std::future::ready(Err(error.into()))),
            },
        }
    }
}

/// The same address by another scheme.
///
/// # Errors
/// Where there would be no address.
pub fn with_scheme(uri: Uri, scheme: Scheme) -> Result<Uri, http::Error> {
    let mut parts = uri.into_parts();
    if parts.authority.as_ref().is_some_and(|authority| authority.port().is_none()) {
        // The port that was implied would change with the scheme.
        let port = if parts.scheme == Some(Scheme::HTTPS) { 443 } else { 80 };
        let authority = parts.authority.take().map(|authority| format!("{authority}:{port}"));
        parts.authority = authority.and_then(|authority| authority.parse().ok());
    }
    parts.scheme = Some(scheme);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_scheme_is_not_another_port() {
        let turned = |uri: &str, scheme| with_scheme(uri.parse().unwrap(), scheme).unwrap().to_string();
        assert_eq!(turned("https://a/", Scheme::HTTP), "http://a:443/");
        assert_eq!(turned("http://[::1]:4317/x", Scheme::HTTPS), "https://[::1]:4317/x");
        assert_eq!(turned(&turned("https://a/", Scheme::HTTP), Scheme::HTTPS), "https://a:443/");
    }
}
