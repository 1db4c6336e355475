//! TLS to every peer: one stack, built from files.
//!
//! A CA file is the *only* root that counts where one is given: whoever names it means to trust
//! nobody else. Versions are TLS 1.2 and 1.3.

pub mod server;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files of one TLS connection, read anew for each, so that a renewed certificate counts.
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
            Self::Provider(_) => None,
        }
    }
}

/// Makes aws-lc-rs the provider of the process, for the libraries that ask for the default one.
/// The first thing in `main`; later calls change nothing.
pub fn install_provider() {
    // An error means that one is installed already, and then there is nothing to do.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Builds a client's TLS configuration from the files as they are now.
///
/// # Errors
/// Says which file cannot be used, and why.
pub fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &files.ca {
        Some(path) => roots_in_file(path)?,
        None => system_roots()?,
    };
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots);
    let Some(ClientFiles { cert, key }) = &files.client else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates(TlsFile::ClientCert, cert)?;
    let private_key = private_key(key)?;
    let config = builder.with_client_auth_cert(chain, private_key).map_err(|source| TlsError::Pair {
        cert: cert.clone(),
        key: key.clone(),
        source,
    })?;
    Ok(Arc::new(config))
}

fn roots_in_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::Ca, path)? {
        // Skipping one that cannot be used would surface as an "unknown issuer" much later.
        roots.add(certificate).map_err(|_| TlsError::Content {
            file: TlsFile::Ca,
            path: path.to_owned(),
            why: "holds a certificate that cannot be used as a root",
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // A system's store holds oddities that some library refuses; what is left has to serve.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file, path)?;
    let wrong = |why| TlsError::Content { file, path: path.to_owned(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|_| wrong("is not well-formed PEM"))?;
    if found.is_empty() { Err(wrong("holds no certificate in PEM form")) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(TlsFile::ClientKey, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = text.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED");
        let why = match error {
            _ if encrypted => "holds an encrypted key, which cannot be read",
            pem::Error::NoItemsFound => "holds no private key in PEM form",
            _ => "is not well-formed PEM",
        };
        TlsError::Content { file: TlsFile::ClientKey, path: path.to_owned(), why }
    })
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { file, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
