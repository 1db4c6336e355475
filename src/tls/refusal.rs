//! Why a peer's certificate was refused, in words for the operator.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, OtherError};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::expiry::shown;
use super::handshake::failure;

/// Whom the peer should have been vouched for by.
pub(super) struct Trusted<'a> {
    /// The CA file; `None`: the system's roots.
    pub(super) ca: Option<&'a Path>,
}

/// What is wrong with a server's certificate. rustls knows the same, and says it in seconds since 1970.
pub enum Refusal {
    /// It is not valid any more.
    Expired {
        /// Whose it is.
        subject: String,
        /// Its end, in seconds since 1970.
        not_after: i64,
        /// The time here, likewise.
        now: i64,
    },
    /// It is not valid yet.
    NotYetValid {
        /// Whose it is.
        subject: String,
        /// Its beginning, in seconds since 1970.
        not_before: i64,
        /// The time here, likewise.
        now: i64,
    },
    /// Nobody who counts vouches for it.
    UnknownIssuer {
        /// Whose it is.
        subject: String,
        /// Who signed it.
        issuer: String,
        /// The file of those who count; `None`: the system's.
        ca: Option<PathBuf>,
    },
    /// It is for other names.
    OtherName {
        /// The name by which the server was called.
        expected: String,
        /// As rustls has them.
        presented: Vec<String>,
    },
    /// It is one of a CA.
    OfAuthority {
        /// Whose it is.
        subject: String,
    },
}

/// The refusal that is behind an error, however deep among its causes.
pub fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
    match failure(error) {
        Some(Error::Other(OtherError(other))) => other.downcast_ref(),
        _ => None,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { subject, not_after, now } => write!(
                f,
                "the server's certificate ({subject}) expired on {}; here it is {}",
                shown(*not_after),
                shown(*now)
            ),
            Self::NotYetValid { subject, not_before, now } => write!(
                f,
                "the server's certificate ({subject}) is valid only from {}; here it is {}",
                shown(*not_before),
                shown(*now)
            ),
            Self::OtherName { expected, presented } if presented.is_empty() => {
                write!(f, "the server's certificate is for no name at all, and not for {expected}")
            }
            Self::OtherName { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
                write!(f, "the server's certificate is for {}, and not for {expected}", names.join(", "))
            }
            Self::OfAuthority { subject } => write!(
                f,
                "the server's certificate ({subject}) is one of a CA, which no server may show; where `openssl req -x509` \
                 makes it, `-addext basicConstraints=critical,CA:FALSE` makes one that it may"
            ),
            Self::UnknownIssuer { subject, issuer, ca } => {
                write!(
                    f,
                    "the server's certificate ({subject}, issued by {issuer}) is vouched for by no CA in "
                )?;
                match ca {
                    Some(path) => write!(f, "{}", path.display()),
                    None => f.write_str("the system's roots"),
                }
            }
        }
    }
}

/// The same sentence: fred shows what ended a handshake by its `Debug` form.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Refusal {}

/// A name as rustls has it, `DnsName("a")` or `IpAddress(::1)`, without its kind.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

/// The same error, said for people where rustls does not.
pub(super) fn explained(error: Error, leaf: &CertificateDer<'_>, trusted: &Trusted<'_>) -> Error {
    let Error::InvalidCertificate(why) = &error else { return error };
    let parsed = X509Certificate::from_der(leaf).ok().map(|(_, parsed)| parsed);
    let subject = || match &parsed {
        Some(parsed) if parsed.subject().iter().next().is_some() => parsed.subject().to_string(),
        _ => "without a name".to_owned(),
    };
    let issuer = || parsed.as_ref().map(|parsed| parsed.issuer().to_string()).unwrap_or_default();
    let seconds = |time: &rustls::pki_types::UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let refusal = match why {
        CertificateError::ExpiredContext { time, not_after } => {
            Refusal::Expired { subject: subject(), not_after: seconds(not_after), now: seconds(time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            Refusal::NotYetValid { subject: subject(), not_before: seconds(not_before), now: seconds(time) }
        }
        // Another CA of the same name, such as one that was made anew, signed with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Refusal::UnknownIssuer {
            subject: subject(),
            issuer: issuer(),
            ca: trusted.ca.map(Path::to_owned),
        },
        CertificateError::NotValidForNameContext { expected, presented } => {
            Refusal::OtherName { expected: expected.to_str().into_owned(), presented: presented.clone() }
        }
        // The library of certificates has a name for it, and rustls has not.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            Refusal::OfAuthority { subject: subject() }
        }
        _ => return error,
    };
    Error::Other(OtherError(Arc::new(refusal)))
}
