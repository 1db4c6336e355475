//! TLS to one peer, for any number of connections: each goes by the files as they were just before it.
//!
//! A handshake itself waits for no disk. A connection that a library makes of its own accord, as that of Redis does to a node
//! of a cluster that it comes across later, goes by what was read for the one before.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tracing::{info, warn};

use super::expiry::{Certificate, Expiry};
use super::files::{Contents, Loaded, TlsError, TlsFiles};
use super::refusal::{self, Trusted};
use crate::reading::Reading;
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
        let loaded = Loaded::new(Contents::read(&config.files)?, &config.files, &provider)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Provider)?;
        let held = Mutex::new(Held { loaded: Arc::new(loaded), complaint: None });
        let rules = Arc::new(Rules { config, peer, expiry, provider, held, reading: Reading::default() });
        rules.see_own(&rules.held().loaded);
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

    /// Reads the files anew, as whoever is about to connect does; waits for them [shortly](Reading::wait_shortly), and leaves
    /// what they held where they cannot be used.
    pub async fn renew(&self) {
        let rules = Arc::clone(&self.rules);
        // What comes late counts when it comes.
        if self.rules.reading.wait_shortly(move || rules.renew()).await.is_none() {
            self.rules.complain(&mut self.rules.held(), &TlsError::Late);
        }
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

/// Decides a handshake.
struct Rules {
    config: TlsConfig,
    peer: Peer,
    expiry: Expiry,
    provider: Arc<CryptoProvider>,
    /// A std lock: held for a look, never across an await.
    held: Mutex<Held>,
    reading: Reading<()>,
}

/// What is made of the files; the same as before where they hold what they held.
fn renewed(
    known: &Arc<Loaded>,
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<Loaded>, TlsError> {
    let contents = Contents::read(files)?;
    if known.is_of(&contents) {
        return Ok(Arc::clone(known));
    }
    Ok(Arc::new(Loaded::new(contents, files, provider)?))
}

/// The last that could be used.
struct Held {
    loaded: Arc<Loaded>,
    /// What was last said of files that cannot be used, so that it is said once.
    complaint: Option<String>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("config", &self.config)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Takes what the files hold now; while they cannot be used, as in the middle of a rotation, what they held stays.
    fn renew(&self) {
        let known = Arc::clone(&self.held().loaded);
        let read = renewed(&known, &self.config.files, &self.provider);
        let mut held = self.held();
        match read {
            Ok(loaded) => {
                let changed = !loaded.is_of_the_same(&held.loaded);
                *held = Held { loaded: Arc::clone(&loaded), complaint: None };
                drop(held);
                if changed {
                    let peer = self.peer.certificates().0.as_str();
                    info!(peer, "The files of TLS have changed; the new ones are used");
                    self.see_own(&loaded);
                }
            }
            Err(error) => self.complain(&mut held, &error),
        }
    }

    fn complain(&self, held: &mut Held, error: &TlsError) {
        let complaint = Chain(error).to_string();
        if held.complaint.as_ref() != Some(&complaint) {
            let peer = self.peer.certificates().0.as_str();
            warn!(peer, error = complaint, "The files of TLS cannot be used; going on with what they held");
            held.complaint = Some(complaint);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the certificate that is shown to the peer.
    fn see_own(&self, loaded: &Loaded) {
        if let Some(leaf) = loaded.own.as_ref().and_then(|own| own.cert.first()) {
            self.expiry.seen(self.peer.certificates().1, leaf);
        }
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
        let verifier = Arc::clone(&self.held().loaded.verifier);
        let verified = verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
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
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Rules {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let own = self.held().loaded.own.clone()?;
        // As rustls' own resolver has it: a key that cannot sign what the peer takes is not shown.
        own.key.choose_scheme(schemes).is_some().then_some(own)
    }

    fn has_certs(&self) -> bool {
        self.config.files.client.is_some()
    }
}
