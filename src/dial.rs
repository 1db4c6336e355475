//! Several addresses of one host, tried as RFC 8305 says: one after the other, each with a moment to
//! itself, so that one that does not answer hides none of the rest.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

/// Time that an address has to itself before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Why no address took the connection.
#[derive(Debug)]
pub struct Failed<E> {
    /// What the addresses answered that did, in the order in which they did.
    pub errors: Vec<E>,
    /// Some did not answer until the end.
    pub out_of_time: bool,
}

/// Host and port as they are written together: an IPv6 address stands in brackets.
pub fn endpoint(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The first attempt that succeeds. A new address is tried every 250 ms (sooner, where the deadline
/// `end` leaves less), or as soon as one fails.
///
/// # Errors
/// Where none succeeded until `end`.
pub async fn first<T, E, F: Future<Output = Result<T, E>>>(
    addresses: &[SocketAddr],
    end: Instant,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Failed<E>> {
    let stagger = stagger(addresses.len(), end);
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut errors = Vec::new();
    let mut next_at = Instant::now();
    loop {
        if Instant::now() >= next_at
            && let Some(address) = waiting.next()
        {
            attempts.push(attempt(address));
            next_at = Instant::now() + stagger;
        }
        if attempts.is_empty() && waiting.len() == 0 {
            return Err(Failed { errors, out_of_time: false });
        }
        tokio::select! {
            biased;
            Some(ended) = attempts.next() => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    errors.push(error);
                    next_at = Instant::now();
                }
            },
            () = sleep_until(end) => return Err(Failed { errors, out_of_time: true }),
            () = sleep_until(next_at), if waiting.len() > 0 => {}
        }
    }
}

/// So that every address has its turn within the deadline.
fn stagger(addresses: usize, end: Instant) -> Duration {
    let share =
        end.saturating_duration_since(Instant::now()) / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
    share.min(STAGGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        for (host, told) in
            [("db", "db:1"), ("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("[::1]", "[::1]:1")]
        {
            assert_eq!(endpoint(host, 1), told);
        }
    }

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    /// Port 1 never answers, port 2 refuses, port 3 takes it.
    async fn peer(address: SocketAddr) -> Result<u16, u16> {
        match address.port() {
            1 => std::future::pending().await,
            3 => Ok(3),
            port => Err(port),
        }
    }

    #[tokio::test]
    async fn one_that_does_not_answer_hides_none_of_the_rest() {
        let end = Instant::now() + Duration::from_secs(60);
        assert_eq!(first(&addresses(&[1, 2, 3]), end, peer).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn all_failures_are_told() {
        let end = Instant::now() + Duration::from_millis(200);
        let failed = first(&addresses(&[2, 4]), end, peer).await.unwrap_err();
        assert_eq!((failed.errors, failed.out_of_time), (vec![2, 4], false));
        let failed = first(&addresses(&[1, 2]), end, peer).await.unwrap_err();
        assert_eq!((failed.errors, failed.out_of_time), (vec![2], true));
    }

    /// With a clock that stands while anything runs: a busy machine must not eat the little time.
    #[tokio::test(start_paused = true)]
    async fn with_little_time_each_has_its_turn_all_the_same() {
        let end = Instant::now() + Duration::from_millis(100);
        assert_eq!(first(&addresses(&[1, 1, 1, 3]), end, peer).await.unwrap(), 3);
    }
}
