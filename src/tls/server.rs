//! The serving side of TLS, as a web configuration asks for it.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, NamedGroup, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::FILE_BYTES_MAX;
use super::{expiry, pem};
use crate::reading::bounded;
use crate::secret::Secret;

/// How a server presents itself, and whom it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificate and chain.
    pub cert: Pem,
    /// The certificate's key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Pem,
    /// What is asked of clients. `None`: no certificate.
    pub clients: Option<Clients>,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// Cipher suites of both versions, the preferred first. Of a version without any, all that there are.
    pub suites: Vec<CipherSuite>,
    /// Whether the order of the suites goes before the client's.
    pub own_order: bool,
    /// Groups of the key exchange, the preferred first; empty: all that there are.
    pub groups: Vec<NamedGroup>,
}

/// A PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// Read from a file.
    File(PathBuf),
    /// Given as it is.
    Inline(Secret),
}

/// Clients that have a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The only roots that clients are trusted by.
    pub ca: Pem,
    /// Whether one without a certificate is turned away.
    pub required: bool,
    /// Names, of which a certificate must have one. `None`: any will do.
    pub names: Option<Vec<String>>,
}

/// What is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`ServerTls::cert`].
    Cert,
    /// [`ServerTls::key`].
    Key,
    /// [`Clients::ca`].
    ClientCa,
    /// All of it together.
    Whole,
}

/// Why there can be no TLS for a server.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file is not there, or cannot be opened.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which part it is for.
        part: Part,
        /// Where it should be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A part can be read, and is not what it should be.
    #[error("{why}")]
    Content {
        /// Which part.
        part: Part,
        /// What is wrong with it: a clause about "it", without anything of the content.
        why: String,
    },
}

/// TLS that a server can use.
#[derive(Clone, Debug)]
pub struct Served {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970.
    pub not_after: i64,
}

/// Builds a server's TLS from the files as they are now.
///
/// # Errors
/// Says what cannot be used, and why.
pub fn server_config(tls: &ServerTls) -> Result<Served, ServerTlsError> {
    let provider = Arc::new(provider(tls));
    let versions: Vec<&'static SupportedProtocolVersion> =
        [(tls.tls13, &rustls::version::TLS13), (tls.tls12, &rustls::version::TLS12)]
            .into_iter()
            .filter_map(|(spoken, version)| spoken.then_some(version))
            .collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| wrong(Part::Whole, error))?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(clients, provider)?),
    };
    let chain = read(Part::Cert, &tls.cert, pem::certificates)?;
    let not_after =
        expiry::not_after(&chain[0]).ok_or_else(|| wrong(Part::Cert, "it is no certificate of X.509"))?;
    let key = read(Part::Key, &tls.key, pem::private_key)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => wrong(Part::Key, "it does not belong to the certificate"),
        error => wrong(Part::Key, format!("certificate and key cannot be used together: {error}")),
    })?;
    config.ignore_client_order = tls.own_order;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Served { config: Arc::new(config), not_after })
}

fn wrong(part: Part, why: impl ToString) -> ServerTlsError {
    ServerTlsError::Content { part, why: why.to_string() }
}

/// The process' provider, with the suites and groups that are wanted.
fn provider(tls: &ServerTls) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let of_version = || all.iter().filter(|suite| suite.version().version == version.version).copied();
        let before = provider.cipher_suites.len();
        for wanted in &tls.suites {
            provider.cipher_suites.extend(of_version().find(|suite| suite.suite() == *wanted));
        }
        if provider.cipher_suites.len() == before {
            provider.cipher_suites.extend(of_version());
        }
    }
    if !tls.groups.is_empty() {
        let all = std::mem::take(&mut provider.kx_groups);
        for wanted in &tls.groups {
            provider.kx_groups.extend(all.iter().find(|group| group.name() == *wanted).copied());
        }
    }
    provider
}

fn verifier(
    clients: &Clients,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ServerTlsError> {
    let roots = read(Part::ClientCa, &clients.ca, pem::roots)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    let by_root = builder.build().map_err(|error| wrong(Part::ClientCa, error))?;
    Ok(match &clients.names {
        None => by_root,
        Some(names) => Arc::new(ByName { by_root, names: names.clone() }),
    })
}

/// Takes clients that the roots vouch for and that have one of the names.
#[derive(Debug)]
struct ByName {
    by_root: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for ByName {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.by_root.verify_client_cert(end_entity, intermediates, now)?;
        if alternative_names(end_entity).iter().any(|name| self.names.contains(name)) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn offer_client_auth(&self) -> bool {
        self.by_root.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.by_root.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_root.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_root.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_root.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_root.supported_verify_schemes()
    }
}

/// The subject's alternative names that are hosts, mail addresses, addresses or URIs, as Go writes them.
fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

/// What is in a PEM text.
fn read<T>(part: Part, pem: &Pem, parse: fn(&[u8]) -> Result<T, &'static str>) -> Result<T, ServerTlsError> {
    let parsed = match pem {
        Pem::Inline(text) => parse(text.expose().as_bytes()),
        Pem::File(path) => {
            let text = bounded(path, FILE_BYTES_MAX);
            parse(&text.map_err(|source| ServerTlsError::Read { part, path: path.clone(), source })?)
        }
    };
    parsed.map_err(|why| wrong(part, format!("it {why}")))
}
