//! TLS to one peer, for any number of connections: each goes by the files as they were just before it.
//!
//! A handshake itself waits for no disk. A connection that a library makes of its own accord, as that of Redis does to a node
//! of a cluster that it comes across later, goes by what was read for the one before.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::expiry::{Certificate, Expiry};
use super::files::{Contents, Loaded, TlsError, TlsFiles};
use super::refusal::{self, Trusted};
use crate::reading::LastGood;
use crate::telemetry::Chain;

/// What is asked of TLS to one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whom to trust, and what to show.
    pub files: TlsFiles,
    /// The name that the peer's certificate must be for, and that is sent to it. `None`: the host's, as it is
    /// connected to.
    pub server_name: Option<ServerName<'static>>,
}

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The broker.
    RabbitMq,
    /// Its management API.
    Management,
    /// Redis.
    Redis,
    /// An OTLP receiver.
    Otlp,
    /// A subscriber that is asked for the fleet.
    Subscriber,
}

impl Peer {
    /// The peer's certificate, and the one that is shown to it.
    fn certificates(self) -> (Certificate, Certificate) {
        match self {
            Self::RabbitMq => (Certificate::RabbitMq, Certificate::RabbitMqClient),
            Self::Management => (Certificate::Management, Certificate::RabbitMqClient),
            Self::Redis => (Certificate::Redis, Certificate::RedisClient),
            Self::Otlp => (Certificate::Otlp, Certificate::OtlpClient),
            // Whoever asks ends before anything of it expires.
            Self::Subscriber => (Certificate::Web, Certificate::Web),
        }
    }
}

/// TLS to one peer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerTls {
    rules: Arc<Rules>,
    client: Arc<ClientConfig>,
}

impl PeerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Says which file cannot be used, and why.
    pub fn new(config: TlsConfig, peer: Peer, expiry: Expiry) -> Result<Self, TlsError> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Provider)?;
        let (of_peer, shown) = peer.certificates();
        let load = Load { files: config.files.clone(), provider };
        let loaded = load.anew(Contents::read(&config.files)?)?;
        let (what, paths) = (format!("TLS with {}", of_peer.as_str()), config.files.paths());
        let read =
            move |held: &Arc<Loaded>| load.where_changed(held).map_err(|error| Chain(&error).to_string());
        let of_files = expiry.clone();
        // Of what counts alone: a disk may answer with what was renewed long since.
        let tell = move |loaded: &Arc<Loaded>| {
            if let Some(leaf) = loaded.own.as_ref().and_then(|own| own.cert.first()) {
                of_files.seen(shown, leaf);
            }
        };
        let loaded = LastGood::new(what, paths, loaded, read, tell);
        let rules = Arc::new(Rules { config, peer, expiry, loaded });
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<Rules>::clone(&rules);
        let resolver: Arc<dyn ResolvesClientCert> = Arc::<Rules>::clone(&rules);
        // "Dangerous" is what rustls calls any verifier but its own, to which this one leads.
        let mut client = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        // A session that is resumed shows no certificate, so a renewed or expired one would not be seen.
        client.resumption = Resumption::disabled();
        Ok(Self { rules, client: Arc::new(client) })
    }

    /// Reads the files anew, as whoever is about to connect does: see [`LastGood::now`].
    pub async fn renew(&self) {
        self.rules.loaded.now().await;
    }

    /// For any number of handshakes, by the files as they were last read: see [`PeerTls::renew`].
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// The name to send, and to ask for, where it is not the host's.
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.rules.config.server_name.as_ref()
    }
}

/// Makes what handshakes take of the files.
struct Load {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
}

impl Load {
    fn anew(&self, contents: Contents) -> Result<Arc<Loaded>, TlsError> {
        Loaded::new(contents, &self.files, &self.provider).map(Arc::new)
    }

    /// What is held, where the files hold what it was made of.
    fn where_changed(&self, held: &Arc<Loaded>) -> Result<Arc<Loaded>, TlsError> {
        let contents = Contents::read(&self.files)?;
        if held.is_of(&contents) { Ok(Arc::clone(held)) } else { self.anew(contents) }
    }
}

/// Decides a handshake.
struct Rules {
    config: TlsConfig,
    peer: Peer,
    expiry: Expiry,
    loaded: Arc<LastGood<Arc<Loaded>>>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("config", &self.config)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Rules {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Whatever name a library believes to speak to, the one that is configured counts.
        let name = self.config.server_name.as_ref().unwrap_or(server_name);
        let verified = self.loaded.last().verifier.verify_server_cert(
            end_entity,
            intermediates,
            name,
            ocsp_response,
            now,
        );
        // One that no CA vouches for is nobody's, and says nothing of the peer.
        if matches!(
            verified,
            Ok(_)
                | Err(rustls::Error::InvalidCertificate(
                    CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. }
                ))
        ) {
            self.expiry.seen(self.peer.certificates().0, end_entity);
        }
        let trusted = Trusted { ca: self.config.files.ca.as_deref() };
        verified.map_err(|error| refusal::explained(error, end_entity, &trusted))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.loaded.last().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.loaded.last().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.loaded.last().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Rules {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let own = self.loaded.last().own.clone()?;
        // As rustls' own resolver has it: a key that cannot sign what the peer takes is not shown.
        own.key.choose_scheme(schemes).is_some().then_some(own)
    }

    fn has_certs(&self) -> bool {
        self.config.files.client.is_some()
    }
}
