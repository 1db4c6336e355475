//! PEM texts. What is wrong with one is a clause without its subject, and says nothing of the content.

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// At least one certificate, in the order of the text.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|_| "is not well-formed PEM")?;
    if found.is_empty() { Err("holds no certificate in PEM form") } else { Ok(found) }
}

/// Every certificate of the text as a root. Skipping one that cannot be used would surface as an "unknown
/// issuer" much later.
pub(super) fn roots(text: &[u8]) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text)? {
        roots.add(certificate).map_err(|_| "holds a certificate that cannot be used as a root")?;
    }
    Ok(roots)
}

/// A key that is not encrypted.
pub(super) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let encrypted = text.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED");
        match error {
            _ if encrypted => "holds an encrypted key, which cannot be read",
            pem::Error::NoItemsFound => "holds no private key in PEM form",
            _ => "is not well-formed PEM",
        }
    })
}
