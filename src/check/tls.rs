//! Whether a host speaks TLS with a certificate that is trusted, for its name, and lasts.

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::probe::OnHand;
use super::secure::{SecureSpec, handshake, lasts, secure, server_name};
use super::{Finding, Seen, Verdict};
use crate::heartbeat::Reason;
use crate::tls::Own;

/// What is asked of a host that speaks TLS from its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// Host name or address.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// What its TLS must be.
    pub secure: SecureSpec,
}

/// Up once the handshake is made: its certificate is then trusted and for the name.
pub(super) async fn check(
    spec: &TlsSpec,
    on_hand: &OnHand,
    end: Instant,
    seen: &mut Seen,
) -> Result<(), Finding> {
    let stream = seen.open(&spec.host, spec.port, end).await?;
    let name = match &spec.secure.server_name {
        Some(name) => name.clone(),
        None => server_name(&spec.host).map_err(|_| Verdict::down(Reason::Certificate))?,
    };
    let handshake = handshake(on_hand, &[], Own::Shown)?;
    let mut stream = secure(stream, name, &handshake, seen).await?;
    // Says goodbye, so that nobody logs a connection that was cut. What it is told back is of no interest.
    let _ = stream.shutdown().await;
    lasts(seen.certificate_not_after, &spec.secure)
}
