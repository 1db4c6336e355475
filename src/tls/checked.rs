//! TLS to components that are checked: a certificate is looked at for what it says of the component, and told to
//! whoever checks. The files are read anew once for each check, before it connects.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::expiry::not_after;
use super::files::{Contents, Loaded, TlsError, TlsFiles};
use super::refusal::{self, Trusted};
use crate::reading::Reading;

/// Whom to trust, and what to show, for any number of components.
pub struct Trust {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    /// What was last made of the files. A std lock: held for a look, never across an await.
    held: Mutex<Option<Arc<Loaded>>>,
    reading: Reading<Result<Arc<Loaded>, Arc<TlsError>>>,
}

/// Whether the certificate that is shown to a component is shown to the peer of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// To the component.
    Shown,
    /// To others, whom the component names: they have no business with it.
    Withheld,
}

impl Trust {
    /// By files, which are not read yet.
    pub fn new(files: TlsFiles) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { files, provider, held: Mutex::default(), reading: Reading::default() }
    }

    /// The files that it goes by.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Whether the files can be used. Waits for the disks that they lie on, however long that takes.
    ///
    /// # Errors
    /// Says which file cannot be used, and why.
    pub fn try_now(&self) -> Result<(), TlsError> {
        self.current().map(drop)
    }

    /// What handshakes are made with, by the files as they are now, within so long: see [`Reading::within`].
    ///
    /// # Errors
    /// Says which file cannot be used, and why.
    pub async fn read(self: &Arc<Self>, time: Duration) -> Result<Means, Arc<TlsError>> {
        let trust = Arc::clone(self);
        let read = self.reading.within(time, move || trust.current().map_err(Arc::new)).await;
        let loaded = read.unwrap_or_else(|error| Err(Arc::new(error.into())))?;
        Ok(Means { loaded, ca: self.files.ca.clone(), provider: Arc::clone(&self.provider) })
    }

    fn current(&self) -> Result<Arc<Loaded>, TlsError> {
        let contents = Contents::read(&self.files)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(loaded) if loaded.is_of(&contents) => Ok(Arc::clone(loaded)),
            _ => {
                let loaded = Arc::new(Loaded::new(contents, &self.files, &self.provider)?);
                *held = Some(Arc::clone(&loaded));
                Ok(loaded)
            }
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What was read to make handshakes with.
pub struct Means {
    loaded: Arc<Loaded>,
    /// The CA file that was read; `None`: the system's roots, wherever `SSL_CERT_FILE` and `SSL_CERT_DIR` have them.
    ca: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
}

impl Means {
    /// One handshake, in which these protocols are offered.
    ///
    /// # Errors
    /// Where the provider cannot be used.
    pub fn handshake(&self, protocols: &[&[u8]], own: Own) -> Result<Handshake, TlsError> {
        let looked = Arc::new(Mutex::new(Looked::default()));
        let looker = Looker {
            verifier: Arc::clone(&self.loaded.verifier),
            ca: self.ca.clone(),
            looked: Arc::clone(&looked),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Provider)?
            // "Dangerous" is what rustls calls any verifier but its own, to which this one leads.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(looker));
        let mut client = match &self.loaded.own {
            Some(pair) if own == Own::Shown => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(pair))))
            }
            _ => builder.with_no_client_auth(),
        };
        // A session that is resumed shows no certificate.
        client.resumption = Resumption::disabled();
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Handshake { client: Arc::new(client), looked })
    }
}

impl fmt::Debug for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Means").finish_non_exhaustive()
    }
}

/// One handshake, and what is seen in it.
#[derive(Debug)]
pub struct Handshake {
    client: Arc<ClientConfig>,
    looked: Arc<Mutex<Looked>>,
}

/// What was seen of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// When it ends, in seconds since the Unix epoch, of one that a trusted CA vouches for.
    pub not_after: Option<i64>,
    /// Whether it was refused: it has ended, is for another name, or nobody who is trusted vouches for it.
    pub refused: bool,
}

impl Handshake {
    /// What to make the connection with.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// What was seen so far.
    pub fn looked(&self) -> Looked {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Looker {
    verifier: Arc<WebPkiServerVerifier>,
    /// See [`Means`].
    ca: Option<PathBuf>,
    /// A std lock: held for a look, never across an await.
    looked: Arc<Mutex<Looked>>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // What no CA vouches for is anybody's word. The chain is looked at before the name.
        let is_vouched_for = matches!(
            verified,
            Ok(_)
                | Err(Error::InvalidCertificate(
                    CertificateError::ExpiredContext { .. }
                        | CertificateError::NotValidYetContext { .. }
                        | CertificateError::NotValidForNameContext { .. }
                ))
        );
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Looked {
            not_after: if is_vouched_for { not_after(end_entity) } else { None },
            refused: verified.is_err(),
        };
        verified.map_err(|error| refusal::explained(error, end_entity, &Trusted { ca: self.ca.as_deref() }))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
