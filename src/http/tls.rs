//! The handshake of TLS with one who connects.

use std::pin::Pin;

use tokio::time::{Instant, timeout_at};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::say_goodbye;
use super::metrics::Metrics;
use super::stream::Stream;
use crate::telemetry::Chain;

/// A connection whose writes have a deadline.
pub(super) type Socket = Pin<Box<TimeoutStream<Stream>>>;

/// What the first byte of a client that speaks TLS is: a record that holds a handshake.
const HANDSHAKE: u8 = 22;

const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 29\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks https alone\n";

/// Agrees on TLS; `None` where that does not come about by `deadline`. One who speaks http is told so.
pub(super) async fn shake_hands(
    acceptor: &TlsAcceptor,
    mut socket: Socket,
    deadline: Instant,
    metrics: &Metrics,
) -> Option<TlsStream<Socket>> {
    let handshake = async {
        let mut first = [0];
        match socket.get_ref().peek(&mut first).await {
            // A probe of the port alone, or a client that thought better of it.
            Ok(0) => return None,
            Ok(_) if first[0] != HANDSHAKE => {
                metrics.handshake_failures.inc();
                if first[0].is_ascii_uppercase() {
                    say_goodbye(&mut socket, PLAIN_HTTP).await;
                }
                return None;
            }
            Ok(_) | Err(_) => {}
        }
        match acceptor.accept(socket).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                metrics.handshake_failures.inc();
                tracing::debug!(error = %Chain(&error), "TLS not agreed on");
                None
            }
        }
    };
    timeout_at(deadline, handshake).await.unwrap_or_else(|_| {
        metrics.handshake_failures.inc();
        tracing::debug!("HTTP connection closed: no TLS in time");
        None
    })
}
