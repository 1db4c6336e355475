//! Plain clients of the receiver, which know nothing of this program's export.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::super::http::{Answer, request};
use super::Collector;
use super::samples::some_traces;

/// Far above what an exchange takes.
const SOON: Duration = Duration::from_secs(20);

/// A connection for the generated clients.
pub async fn channel(collector: &Collector) -> Channel {
    Endpoint::from_shared(collector.grpc_endpoint()).unwrap().timeout(SOON).connect().await.unwrap()
}

/// The same with TLS.
pub async fn tls_channel(
    collector: &Collector,
    tls: ClientTlsConfig,
) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(collector.grpc_endpoint()).unwrap().timeout(SOON).tls_config(tls)?.connect().await
}

/// TLS that trusts one CA.
pub fn tls(ca: &Path) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read_to_string(ca).unwrap()))
}

/// Sends an encoded message over HTTP, with header fields beside its content type.
pub async fn post(collector: &Collector, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/x-protobuf")];
    all.extend_from_slice(headers);
    request(collector.http_address(), "POST", path, &all, body).await.unwrap()
}

/// Sends traces over HTTPS; the status.
pub async fn https_post(collector: &Collector, ca: &Path) -> Result<u16, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build(connector.build());
    let message = hyper::Request::post(format!("{}/v1/traces", collector.http_endpoint()))
        .header("content-type", "application/x-protobuf")
        .body(Full::new(Bytes::from(some_traces().encode_to_vec())))
        .unwrap();
    let answer =
        tokio::time::timeout(SOON, client.request(message)).await.map_err(|error| error.to_string())?;
    let (parts, body) = answer.map_err(|error| error.to_string())?.into_parts();
    body.collect().await.map_err(|error| error.to_string())?;
    Ok(parts.status.as_u16())
}

/// Bytes compressed.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
