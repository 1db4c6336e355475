//! The files of TLS: which there are, what can be wrong with them, and what is made of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::pem;
use crate::reading::{Unread, bounded};

/// Longest file that is read, in bytes: seventy times a system's roots in one file.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;

/// The files of TLS to one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The only roots that are trusted. `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate. `None`: none is shown.
    pub client: Option<ClientFiles>,
}

/// A client's certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificate and chain, PEM.
    pub cert: PathBuf,
    /// Key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// Which of the files is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsFiles::ca`].
    Ca,
    /// [`ClientFiles::cert`].
    ClientCert,
    /// [`ClientFiles::key`].
    ClientKey,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or cannot be opened.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which file.
        file: TlsFile,
        /// Where it should be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file can be read, and is not what it should be.
    #[error("{} {why}", .path.display())]
    Content {
        /// Which file.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it: a clause about "it".
        why: &'static str,
    },
    /// Certificate and key are each well formed, and not a pair that can be used.
    #[error("the client certificate {} cannot be used with the key {}", .cert.display(), .key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Neither a CA file, nor a root on this system.
    #[error("this system has no trusted roots, and no CA file is given")]
    NoSystemRoots,
    /// It is not known what they hold.
    #[error("the files of TLS cannot be read")]
    Unread(#[from] Unread),
    /// The provider does not know the protocol versions; a mistake in this program.
    #[error("the TLS provider cannot be used")]
    Provider(#[source] rustls::Error),
}

impl TlsError {
    /// The file that is to blame, where one is.
    pub fn file(&self) -> Option<TlsFile> {
        match self {
            Self::Read { file, .. } | Self::Content { file, .. } => Some(*file),
            Self::Pair { .. } => Some(TlsFile::ClientKey),
            Self::NoSystemRoots => Some(TlsFile::Ca),
            Self::Unread(_) | Self::Provider(_) => None,
        }
    }
}

/// How long the system's roots are used before they are read again: they are hundreds, and change with
/// updates of the system.
const SYSTEM_ROOTS_KEPT: Duration = Duration::from_secs(600);

/// What the files hold, byte by byte: read before each connection, and parsed only when it is another.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    ca: Option<Vec<u8>>,
    /// Certificate and key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsFiles {
    /// Where they are, for people.
    pub(super) fn paths(&self) -> String {
        let own = self.client.iter().flat_map(|client| [&client.cert, &client.key]);
        let paths: Vec<_> = self.ca.iter().chain(own).map(|path| path.display().to_string()).collect();
        if paths.is_empty() { "the system's roots".into() } else { paths.join(", ") }
    }
}

impl Contents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let ca = files.ca.as_deref().map(|path| read(TlsFile::Ca, path)).transpose()?;
        let client = files.client.as_ref().map(|client| -> Result<_, TlsError> {
            Ok((read(TlsFile::ClientCert, &client.cert)?, read(TlsFile::ClientKey, &client.key)?))
        });
        Ok(Self { ca, client: client.transpose()? })
    }
}

/// What was made of the files.
pub(super) struct Loaded {
    contents: Contents,
    at: Instant,
    /// Judges the peer's certificate.
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    /// The client's certificate with its key.
    pub(super) own: Option<Arc<CertifiedKey>>,
}

impl Loaded {
    /// Makes what is needed for a handshake.
    pub(super) fn new(
        contents: Contents,
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let roots = match (&files.ca, &contents.ca) {
            (Some(path), Some(text)) => pem::roots(text).map_err(|why| content(TlsFile::Ca, path, why))?,
            _ => system_roots()?,
        };
        let own = match (&files.client, &contents.client) {
            (Some(ClientFiles { cert, key }), Some((cert_text, key_text))) => {
                let chain =
                    pem::certificates(cert_text).map_err(|why| content(TlsFile::ClientCert, cert, why))?;
                let private_key = private_key(key, key_text)?;
                let pair = CertifiedKey::from_der(chain, private_key, provider)
                    .map_err(|source| TlsError::Pair { cert: cert.clone(), key: key.clone(), source })?;
                Some(Arc::new(pair))
            }
            _ => None,
        };
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        // The roots are never none, and there is nothing else to be refused.
        let verifier =
            verifier.map_err(|error| TlsError::Provider(rustls::Error::General(error.to_string())))?;
        Ok(Self { contents, at: Instant::now(), verifier, own })
    }

    /// Whether it is still what the files hold.
    pub(super) fn is_of(&self, contents: &Contents) -> bool {
        self.contents == *contents && (contents.ca.is_some() || self.at.elapsed() < SYSTEM_ROOTS_KEPT)
    }
}

/// Of files that hold the same, whatever became of the system's roots.
impl PartialEq for Loaded {
    fn eq(&self, other: &Self) -> bool {
        self.contents == other.contents
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // A system's store holds oddities that some library refuses; what is left has to serve.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

pub(super) fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    pem::private_key(text).map_err(|why| content(TlsFile::ClientKey, path, why))
}

fn content(file: TlsFile, path: &Path, why: &'static str) -> TlsError {
    TlsError::Content { file, path: path.to_owned(), why }
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    bounded(path, FILE_BYTES_MAX).map_err(|source| TlsError::Read { file, path: path.to_owned(), source })
}
