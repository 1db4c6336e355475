//! Whether a host takes TCP connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::resolve::{ip_literal, resolve};
use super::{Checked, Verdict, is_local_failure};
use crate::dial;
use crate::heartbeat::Reason;

/// Connects to a host and closes at once: up if any of its addresses takes the connection.
///
/// The deadline covers the lookup of the name and all attempts. All addresses are tried, see [`dial`].
pub async fn connect(host: &str, port: u16, deadline: Duration) -> Checked {
    let start = Instant::now();
    let end = start + deadline;
    let (verdict, peer) = match timeout_at(end, resolve(host, port)).await {
        Ok(Ok(addresses)) => connect_any(&addresses, end).await,
        Ok(Err(verdict)) => (verdict, None),
        // The host was not asked yet; it is the resolver that is slow.
        Err(_) if ip_literal(host).is_none() => (Verdict::unknown(Reason::Dns), None),
        Err(_) => (Verdict::down(Reason::Timeout), None),
    };
    verdict.after(start.elapsed(), peer)
}

/// The verdict, and the address that took the connection, or else the first that was tried.
async fn connect_any(addresses: &[SocketAddr], end: Instant) -> (Verdict, Option<SocketAddr>) {
    match dial::first(addresses, end, attempt).await {
        Ok(peer) => (Verdict::UP, Some(peer)),
        Err(failed) => {
            let silent = failed.out_of_time.then_some(Failure::Timeout);
            let told = failed.errors.iter().map(Failure::of).chain(silent).max();
            (told.unwrap_or(Failure::Other).verdict(), addresses.first().copied())
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<SocketAddr> {
    let stream = TcpStream::connect(address).await?;
    // On the machine itself, a port that nobody listens on can connect to itself, where the kernel chose it
    // as the source port too.
    let own = stream.local_addr()?;
    if (own.ip(), own.port()) == (address.ip(), address.port()) {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(address)
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
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use socket2::{Domain, Protocol, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;
    use crate::heartbeat::Outcome;

    const LONG: Duration = Duration::from_secs(20);

    fn found(checked: Checked) -> Verdict {
        Verdict { outcome: checked.outcome, reason: checked.reason }
    }

    async fn listener(ip: IpAddr) -> Option<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((ip, 0)).await.ok()?;
        let address = listener.local_addr().ok()?;
        Some((listener, address))
    }

    /// A port that nobody listens on: bound, so that nobody else takes it, and not listening.
    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// A listener whose queue of connections is full, so that the kernel drops every further SYN.
    async fn silent() -> (Vec<Socket>, SocketAddr) {
        let (socket, address) = refusing();
        socket.listen(0).unwrap();
        let mut held = vec![socket];
        for _ in 0..64 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            if filler.connect_timeout(&address.into(), Duration::from_millis(200)).is_err() {
                return (held, address);
            }
            held.push(filler);
        }
        panic!("the listener's queue has no end");
    }

    #[tokio::test]
    async fn a_listener_is_up() {
        let (_listener, address) = listener(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let checked = connect("127.0.0.1", address.port(), LONG).await;
        assert_eq!((found(checked), checked.peer), (Verdict::UP, Some(address)));
        assert!(checked.took < LONG);
        assert_eq!(found(connect("localhost", address.port(), LONG).await), Verdict::UP);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_at_once() {
        let (_socket, address) = refusing();
        let checked = connect("127.0.0.1", address.port(), LONG).await;
        assert_eq!((found(checked), checked.peer), (Verdict::down(Reason::Refused), Some(address)));
        assert!(checked.took < LONG / 4, "{checked:?}");
    }

    #[tokio::test]
    async fn ipv6_is_taken_with_and_without_brackets() {
        let Some((_listener, address)) = listener(Ipv6Addr::LOCALHOST.into()).await else { return };
        for host in ["::1", "[::1]"] {
            assert_eq!(found(connect(host, address.port(), LONG).await), Verdict::UP, "{host}");
        }
    }

    #[tokio::test]
    async fn a_silent_host_times_out_exactly_at_the_deadline() {
        let (_held, address) = silent().await;
        let deadline = Duration::from_millis(700);
        let checked = connect("127.0.0.1", address.port(), deadline).await;
        assert_eq!(found(checked), Verdict::down(Reason::Timeout));
        assert!(checked.took >= deadline, "{checked:?}");
        assert!(checked.took < deadline + Duration::from_millis(300), "{checked:?}");
    }

    #[tokio::test]
    async fn one_address_that_listens_is_enough() {
        let (_socket, refused) = refusing();
        let (_held, silent) = silent().await;
        let (_listener, listens) = listener(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, refused.port()));
        for addresses in
            [&[v6, refused, listens][..], &[silent, listens], &[silent, silent, refused, listens]]
        {
            let start = Instant::now();
            let found = connect_any(addresses, start + LONG).await;
            assert_eq!(found, (Verdict::UP, Some(listens)), "{addresses:?}");
            assert!(start.elapsed() < LONG / 4);
        }
    }

    #[tokio::test]
    async fn a_short_deadline_still_tries_every_address() {
        let (_held, silent) = silent().await;
        let (_listener, listens) = listener(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let end = Instant::now() + Duration::from_millis(600);
        assert_eq!(connect_any(&[silent, silent, silent, silent, listens], end).await.0, Verdict::UP);
    }

    #[tokio::test]
    async fn the_failure_that_says_most_is_told() {
        let (_socket, refused) = refusing();
        let (_held, silent) = silent().await;
        let end = Instant::now() + Duration::from_millis(600);
        assert_eq!(connect_any(&[silent, refused], end).await.0, Verdict::down(Reason::Refused));
        assert_eq!(Instant::now().saturating_duration_since(end).as_secs(), 0);
    }

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

    #[tokio::test]
    async fn a_name_that_is_nowhere_is_never_up() {
        let checked = connect("does-not-exist.invalid", 80, LONG).await;
        assert_eq!((checked.reason, checked.peer), (Some(Reason::Dns), None));
        assert_ne!(checked.outcome, Outcome::Up);
    }

    #[tokio::test]
    async fn a_deadline_of_nothing_is_kept() {
        let checked = connect("127.0.0.1", 9, Duration::ZERO).await;
        assert!(checked.took < Duration::from_secs(1));
    }
}
