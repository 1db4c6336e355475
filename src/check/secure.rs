//! TLS on a connection to a component, and what its certificate says.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::open::verdict_of;
use super::probe::OnHand;
use super::{Finding, Seen, Verdict};
use crate::clock;
use crate::heartbeat::{Reason, Timestamp};
use crate::telemetry::Chain;
use crate::tls::{Handshake, Own, TlsFiles, failure, refusal};

const DAY: Duration = Duration::from_secs(86_400);

/// What is asked of a component's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecureSpec {
    /// Whom to trust, and what to show.
    pub files: TlsFiles,
    /// The name that is sent, and that the certificate must be for. `None`: the host's, as it is connected to.
    pub server_name: Option<ServerName<'static>>,
    /// Days that the certificate must have left.
    pub certificate_days_min: Option<u32>,
}

/// The name of a host as certificates have it: without the brackets around an IPv6 address, and without the dot that ends
/// a name.
///
/// # Errors
/// Where it is neither a name nor an address.
pub fn server_name(host: &str) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.strip_suffix('.').unwrap_or(bare).to_owned())
}

/// One handshake with what was read. Asked for when there is a connection: what this machine lacks says nothing of a
/// component that takes none.
pub(super) fn handshake(on_hand: &OnHand, protocols: &[&[u8]], own: Own) -> Result<Handshake, Finding> {
    let made = on_hand.means.as_ref().map_err(Clone::clone)?.handshake(protocols, own);
    made.map_err(|error| Verdict::unknown(Reason::Local).because(Chain(&error).to_string()))
}

/// Makes a connection secure, and notes when the certificate ends.
pub(super) async fn secure(
    stream: TcpStream,
    name: ServerName<'static>,
    handshake: &Handshake,
    seen: &mut Seen,
) -> Result<TlsStream<TcpStream>, Finding> {
    let secured = TlsConnector::from(handshake.client()).connect(name, stream).await;
    let looked = handshake.looked();
    if let Some(seconds) = looked.not_after {
        seen.certificate(Timestamp::from_unix_ms(seconds.saturating_mul(1000)));
    }
    secured.map_err(|error| {
        let verdict = if looked.refused { Verdict::down(Reason::Certificate) } else { broken(&error) };
        if let Some(refusal) = refusal(&error) {
            return verdict.because(refusal.to_string());
        }
        let in_clear = matches!(failure(&error), Some(rustls::Error::InvalidMessage(_)));
        let hint = if in_clear { "; does the port speak without TLS?" } else { "" };
        verdict.because(format!("{}{hint}", Chain(&error)))
    })
}

/// What an error of a connection with TLS says.
pub(super) fn broken(error: &io::Error) -> Verdict {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    // The peer closed the connection in the middle of the handshake; the TLS library has no type for it.
    let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
    if is_tls || is_cut || error.source().is_some_and(|inner| inner.is::<rustls::Error>()) {
        Verdict::down(Reason::Tls)
    } else {
        verdict_of(error)
    }
}

/// Whether the certificate has the days left that it must have. Who has shown none has not shown that.
pub(super) fn lasts(not_after: Option<Timestamp>, spec: &SecureSpec) -> Result<(), Finding> {
    lasts_from(clock::wall(), not_after, spec.certificate_days_min)
}

fn lasts_from(now: Timestamp, not_after: Option<Timestamp>, days_min: Option<u32>) -> Result<(), Finding> {
    let Some(days) = days_min else { return Ok(()) };
    let none = || Verdict::down(Reason::Certificate).because("it showed no certificate");
    let not_after = not_after.ok_or_else(none)?;
    if not_after >= now.plus(DAY.saturating_mul(days)) {
        return Ok(());
    }
    let ends = not_after.to_rfc3339_seconds();
    let detail = format!("the certificate ends on {ends}; {days} days must be left");
    Err(Verdict::down(Reason::Expiring).because(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_lasts_as_long_as_it_must() {
        let now = Timestamp::from_unix_ms(1_800_000_000_000);
        let after = |days: u64| Some(now.plus(DAY * u32::try_from(days).unwrap()));
        assert_eq!(lasts_from(now, after(20), Some(20)), Ok(()));
        let short = lasts_from(now, after(19), Some(20)).unwrap_err();
        assert_eq!(short.verdict, Verdict::down(Reason::Expiring));
        let ends = "the certificate ends on 2027-02-03T08:00:00Z; 20 days must be left";
        assert_eq!(short.detail.as_deref(), Some(ends));
        assert_eq!(lasts_from(now, after(0), None), Ok(()));
        assert_eq!(lasts_from(now, None, None), Ok(()));
        let bare = lasts_from(now, None, Some(20)).unwrap_err();
        assert_eq!(bare.verdict, Verdict::down(Reason::Certificate));
    }

    #[test]
    fn names_are_as_certificates_have_them() {
        let name = |host| server_name(host).map(|name| name.to_str().into_owned());
        assert_eq!(name("db.example.org.").unwrap(), "db.example.org");
        assert_eq!(name("[::1]").unwrap(), "::1");
        assert_eq!(name("127.0.0.1").unwrap(), "127.0.0.1");
        assert!(name("a b").is_err());
    }
}
