//! Whether a host takes TCP connections.

use std::time::Duration;

use tokio::time::Instant;

use super::open::{Unopened, open};
use super::{Checked, Verdict};

/// Connects to a host and closes at once: up if any of its addresses takes the connection.
///
/// The deadline covers the lookup of the name and all attempts. Nothing is said, and nothing that came is left unread, so the
/// connection ends in order: databases and brokers log one that is reset, and not one that ends.
pub async fn connect(host: &str, port: u16, deadline: Duration) -> Checked {
    let start = Instant::now();
    let (verdict, peer) = match open(host, port, start + deadline).await {
        Ok((_, peer)) => (Verdict::UP, Some(peer)),
        Err(Unopened { verdict, tried }) => (verdict, tried),
    };
    verdict.after(start.elapsed(), peer)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use socket2::{Domain, Protocol, Socket, Type};
    use tokio::net::TcpListener;

    use super::super::open::open_any;
    use super::*;
    use crate::heartbeat::{Outcome, Reason};

    const LONG: Duration = Duration::from_secs(20);

    fn found(checked: &Checked) -> Verdict {
        Verdict { outcome: checked.outcome, reason: checked.reason }
    }

    async fn connect_any(addresses: &[SocketAddr], end: Instant) -> (Verdict, Option<SocketAddr>) {
        match open_any(addresses, end).await {
            Ok((_, peer)) => (Verdict::UP, Some(peer)),
            Err(Unopened { verdict, tried }) => (verdict, tried),
        }
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
        assert_eq!((found(&checked), checked.peer), (Verdict::UP, Some(address)));
        assert!(checked.took < LONG);
        assert_eq!(found(&connect("localhost", address.port(), LONG).await), Verdict::UP);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_at_once() {
        let (_socket, address) = refusing();
        let checked = connect("127.0.0.1", address.port(), LONG).await;
        assert_eq!((found(&checked), checked.peer), (Verdict::down(Reason::Refused), Some(address)));
        assert!(checked.took < LONG / 4, "{checked:?}");
    }

    #[tokio::test]
    async fn ipv6_is_taken_with_and_without_brackets() {
        let Some((_listener, address)) = listener(Ipv6Addr::LOCALHOST.into()).await else { return };
        for host in ["::1", "[::1]"] {
            assert_eq!(found(&connect(host, address.port(), LONG).await), Verdict::UP, "{host}");
        }
    }

    #[tokio::test]
    async fn a_silent_host_times_out_exactly_at_the_deadline() {
        let (_held, address) = silent().await;
        let deadline = Duration::from_millis(700);
        let checked = connect("127.0.0.1", address.port(), deadline).await;
        assert_eq!(found(&checked), Verdict::down(Reason::Timeout));
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
