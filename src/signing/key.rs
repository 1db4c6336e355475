//! Ed25519 keys: the private one of a publisher, the public ones that a subscriber trusts, and how both are written.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject};
use sha2::{Digest, Sha256};

use super::proof::signed_bytes;

/// Bytes of a public key (RFC 8032).
const PUBLIC_KEY_BYTES: usize = 32;

/// What the algorithm is called in the file of trusted keys.
pub(super) const ALGORITHM: &str = "ed25519";

/// Names a key: the first eight bytes of the SHA-256 of its public half, as 16 hex digits. It follows from the key, so
/// nobody has to give one and none can be given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Reads an id as it is written: 16 hex digits, in small letters.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_hex) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The half of a key that a subscriber trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// Reads a key from base64; `None` for anything that has not its length.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The id of the key.
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        id.copy_from_slice(&Sha256::digest(self.0)[..8]);
        KeyId(id)
    }

    /// Whether this key signed this body.
    pub(super) fn has_signed(&self, body: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&signed_bytes(self.id(), body), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// Why a file holds no private key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM section of this kind.
    #[error("it holds no private key in PEM form (\"BEGIN PRIVATE KEY\", which is PKCS#8)")]
    Missing,
    /// Nobody is there to type the passphrase.
    #[error("it holds an encrypted key, which cannot be read")]
    Encrypted,
    /// Cut, or altered.
    #[error("it is not well-formed PEM")]
    Pem,
    /// A key of another kind.
    #[error("it holds a private key that is not Ed25519")]
    Algorithm,
    /// The system gave no random bytes.
    #[error("no key could be made: this system gave no random bytes")]
    Random,
}

/// The private key of a publisher. `Debug` shows its id alone.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
    id: KeyId,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map_err(|_| KeyError::Random).and_then(Self::new)
    }

    /// Reads a key in PEM: PKCS#8, version 1 as OpenSSL writes it, or 2.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|error| match error {
            _ if text.windows(9).any(|window| window == b"ENCRYPTED") => KeyError::Encrypted,
            pem::Error::NoItemsFound => KeyError::Missing,
            _ => KeyError::Pem,
        })?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::Algorithm)?;
        Self::new(pair)
    }

    fn new(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Algorithm)?;
        let public = PublicKey(public);
        Ok(Self { pair, public, id: public.id() })
    }

    /// Writes the key as [`SigningKey::from_pem`] reads it.
    ///
    /// # Errors
    /// None that is known; the library has one.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| KeyError::Algorithm)?;
        let text = STANDARD.encode(der.as_ref());
        // 48 bytes of a key give 64 characters: one line of PEM.
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Signs a body; the signature as its header has it.
    pub fn sign(&self, body: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&signed_bytes(self.id, body)).as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `openssl genpkey -algorithm ed25519`; the public half by `openssl pkey -pubout`.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    /// RFC 8032, section 7.1, test 1.
    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_is_read_as_openssl_writes_it_and_as_it_is_written() {
        let key = SigningKey::from_pem(OPENSSL.as_bytes()).expect("a key");
        assert_eq!(key.public().to_string(), PUBLIC);
        assert_eq!(key.to_pem().as_deref(), Ok(OPENSSL));
        assert_eq!(PublicKey::parse(PUBLIC), Some(key.public()));
        // sha256sum of the 32 bytes.
        assert_eq!(key.id().to_string(), "21fe31dfa154a261");
        assert_eq!(KeyId::parse("21fe31dfa154a261"), Some(key.id()));
        assert_eq!(format!("{key:?}"), "SigningKey(21fe31dfa154a261)");
    }

    #[test]
    fn what_is_no_key_says_why() {
        let refused = |text: &str| SigningKey::from_pem(text.as_bytes()).err();
        assert_eq!(refused(""), Some(KeyError::Missing));
        assert_eq!(refused(PUBLIC), Some(KeyError::Missing));
        assert_eq!(refused(&OPENSSL.replace("PRIVATE", "ENCRYPTED PRIVATE")), Some(KeyError::Encrypted));
        assert_eq!(refused(&OPENSSL.replace("-----END", "-----ENDE")), Some(KeyError::Pem));
        assert_eq!(refused(&OPENSSL.replace("MC4CAQ", "MC4CAR")), Some(KeyError::Algorithm));
        let rsa_or_ec = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        assert_eq!(refused(&rsa_or_ec), Some(KeyError::Algorithm));
    }

    #[test]
    fn ids_and_public_keys_are_read_strictly() {
        for text in ["", "21FE31DFA154A261", "21fe31dfa154a26", "21fe31dfa154a2611", "+1fe31dfa154a261"] {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
        for text in ["", "11qY", &PUBLIC[1..], &format!("{PUBLIC}="), &PUBLIC.replace('/', "_")] {
            assert_eq!(PublicKey::parse(text), None, "{text}");
        }
    }
}
