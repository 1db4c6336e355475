//! A connection to a component: its name to addresses, and of these the first that takes it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::resolve::{ip_literal, resolve};
use super::{Verdict, is_local_failure};
use crate::dial;
use crate::heartbeat::Reason;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unopened {
    /// What that says of the component.
    pub(super) verdict: Verdict,
    /// The first address that was tried, if there was one.
    pub(super) tried: Option<SocketAddr>,
}

/// Connects to a host, within a deadline that covers the lookup of its name and all attempts: all addresses are
/// tried, see [`dial`].
pub(super) async fn open(host: &str, port: u16, end: Instant) -> Result<(TcpStream, SocketAddr), Unopened> {
    match addresses(host, port, end).await {
        Ok(addresses) => open_any(&addresses, end).await,
        Err(verdict) => Err(Unopened { verdict, tried: None }),
    }
}

/// All addresses of a host, within a deadline.
pub(super) async fn addresses(host: &str, port: u16, end: Instant) -> Result<Arc<[SocketAddr]>, Verdict> {
    match timeout_at(end, resolve(host, port)).await {
        Ok(answer) => answer,
        // The host was not asked yet; it is the resolver that is slow.
        Err(_) if ip_literal(host).is_none() => Err(Verdict::unknown(Reason::Dns)),
        Err(_) => Err(Verdict::down(Reason::Timeout)),
    }
}

/// The first of the addresses that takes the connection.
pub(super) async fn open_any(
    addresses: &[SocketAddr],
    end: Instant,
) -> Result<(TcpStream, SocketAddr), Unopened> {
    dial::first(addresses, end, attempt)
        .await
        .map_err(|failed| Unopened { verdict: told(&failed), tried: addresses.first().copied() })
}

/// What the failures of all addresses say together.
pub(super) fn told(failed: &dial::Failed<io::Error>) -> Verdict {
    let silent = failed.out_of_time.then_some(Failure::Timeout);
    let told = failed.errors.iter().map(Failure::of).chain(silent).max();
    told.unwrap_or(Failure::Other).verdict()
}

async fn attempt(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    // On the machine itself, a port that nobody listens on can connect to itself, where the kernel chose it
    // as the source port too.
    let own = stream.local_addr()?;
    if (own.ip(), own.port()) == (address.ip(), address.port()) {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok((stream, address))
}

/// What an error of a socket says of the peer.
pub(super) fn verdict_of(error: &io::Error) -> Verdict {
    Failure::of(error).verdict()
}

/// Why no address took the connection, from what says least of the host to what decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// This machine has no source port left, or no such address family: not the host's fault, and on a
    /// machine without IPv6 no more than the absence of one way.
    NoSource,
    /// An error that nobody foresaw.
    Other,
    Timeout,
    Unreachable,
    Reset,
    Refused,
    /// The address was not tried for want of means: it might have answered, whatever the others said.
    Local,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        if is_local_failure(error) {
            return Self::Local;
        }
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => Self::Refused,
            Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE | Errno::NOTCONN) => Self::Reset,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN) => {
                Self::Unreachable
            }
            Some(Errno::TIMEDOUT) => Self::Timeout,
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Self::NoSource,
            _ => Self::Other,
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::NoSource | Self::Local => Verdict::unknown(Reason::Local),
            Self::Other => Verdict::unknown(Reason::Other),
            Self::Timeout => Verdict::down(Reason::Timeout),
            Self::Unreachable => Verdict::down(Reason::Unreachable),
            Self::Reset => Verdict::down(Reason::Reset),
            Self::Refused => Verdict::down(Reason::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        for (errno, verdict) in [
            (Errno::CONNREFUSED, Verdict::down(Reason::Refused)),
            (Errno::CONNRESET, Verdict::down(Reason::Reset)),
            (Errno::HOSTUNREACH, Verdict::down(Reason::Unreachable)),
            (Errno::NETUNREACH, Verdict::down(Reason::Unreachable)),
            (Errno::TIMEDOUT, Verdict::down(Reason::Timeout)),
            (Errno::MFILE, Verdict::unknown(Reason::Local)),
            (Errno::NFILE, Verdict::unknown(Reason::Local)),
            (Errno::NOBUFS, Verdict::unknown(Reason::Local)),
            (Errno::NOMEM, Verdict::unknown(Reason::Local)),
            (Errno::ADDRNOTAVAIL, Verdict::unknown(Reason::Local)),
            (Errno::ACCESS, Verdict::unknown(Reason::Local)),
            (Errno::PERM, Verdict::unknown(Reason::Local)),
            (Errno::PROTO, Verdict::unknown(Reason::Other)),
        ] {
            assert_eq!(Failure::of(&errno.into()).verdict(), verdict, "{errno:?}");
        }
        let told = |of: &[Failure]| of.iter().max().copied().unwrap();
        assert_eq!(told(&[Failure::Timeout, Failure::Refused, Failure::Unreachable]), Failure::Refused);
        assert_eq!(told(&[Failure::NoSource, Failure::Timeout]), Failure::Timeout);
        assert_eq!(told(&[Failure::Refused, Failure::Local]), Failure::Local);
    }
}
