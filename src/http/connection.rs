//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_io_timeout::TimeoutStream;

use super::metrics::Place;
use super::policy::Policy;
use super::server::Shared;
use super::stream::Stream;
use super::tls::{self, Socket};
use super::{body, routes};
use crate::telemetry::Chain;

/// Bytes of a request's head, and of what is buffered of an answer.
const BUFFER_BYTES: usize = 64 * 1024;

/// For a client to read that it is turned away, with the handshake of TLS before it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read of a request that is turned away.
const REFUSED_BYTES_MAX: u64 = 16 * 1024;

/// There is no place for anybody.
pub(super) const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 21\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Retry-After: 10\r\n\
    Connection: close\r\n\
    \r\n\
    Too many connections\n";

/// There is no place for this client.
pub(super) const CLIENT_FULL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 43\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Retry-After: 10\r\n\
    Connection: close\r\n\
    \r\n\
    Too many connections from the same address\n";

/// Serves a connection until either side ends it.
pub(super) async fn serve(shared: Arc<Shared>, stream: Stream, _place: Place) {
    // TLS and the first request together have one deadline.
    let deadline = Instant::now() + shared.config.header_timeout;
    let mut changes = shared.in_force.subscribe();
    let policy = Arc::clone(&changes.borrow_and_update());
    let socket = socket(stream, shared.config.write_timeout);
    let Some(acceptor) = policy.tls() else {
        return converse(&shared, &policy, changes, socket, deadline).await;
    };
    let stream = tokio::select! {
        stream = tls::shake_hands(acceptor, socket, deadline, &shared.metrics) => stream,
        // Nothing has been asked yet that would have to be answered.
        () = shared.stop.cancelled() => None,
        () = shared.kill.cancelled() => None,
    };
    if let Some(stream) = stream {
        converse(&shared, &policy, changes, stream, deadline).await;
    }
}

fn socket(stream: Stream, write_timeout: Duration) -> Socket {
    stream.hurry();
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    Box::pin(stream)
}

/// Answers requests, the first of which has to be whole by `first_by`.
async fn converse<IO>(
    shared: &Shared,
    policy: &Policy,
    mut changes: watch::Receiver<Arc<Policy>>,
    stream: IO,
    first_by: Instant,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        answer(shared, policy, request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper counts this from the end of the answer before, so it is the idle time as well.
            .header_read_timeout(shared.config.idle_timeout)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    // Only a connection that has asked once is worth an idle time: others go sooner.
    let mut first_request = pin!(sleep_until(first_by));
    let (mut waiting, mut closing) = (true, false);
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error = %Chain(&error), "HTTP connection ended early");
                }
                return;
            }
            () = first_request.as_mut(), if waiting => {
                if !asked.load(Ordering::Relaxed) {
                    tracing::debug!("HTTP connection closed: no request in time");
                    return;
                }
                waiting = false;
            }
            () = shared.stop.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            // What it was let in by no longer counts.
            _ = changes.changed(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.kill.cancelled() => return,
        }
    }
}

async fn answer(
    shared: &Shared,
    policy: &Policy,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<body::Body>, Infallible> {
    // A body that nothing reads is dropped: hyper takes what has come already, and closes if that is not all.
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let mut response = match policy.refuse(path, &head.headers, &shared.metrics).await {
        Some(refusal) => refusal,
        None => shared.routes.respond(&head, body).await,
    };
    let headers = response.headers_mut();
    routes::dress(headers);
    policy.dress(headers);
    // Idle connections must not fill the places: in a crowd, one answer each.
    if shared.places.available_permits() < shared.config.connections_max / 2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Says why there is no place, in the client's language.
pub(super) async fn refuse(shared: &Shared, stream: Stream, words: &[u8]) {
    let deadline = Instant::now() + REFUSAL_TIMEOUT;
    let policy = Arc::clone(&shared.in_force.borrow());
    let mut socket = socket(stream, REFUSAL_TIMEOUT);
    let farewell = async {
        match policy.tls() {
            None => say_goodbye(&mut socket, words).await,
            Some(acceptor) => {
                if let Some(mut stream) = tls::shake_hands(acceptor, socket, deadline, &shared.metrics).await
                {
                    say_goodbye(&mut stream, words).await;
                }
            }
        }
    };
    let _ = timeout(REFUSAL_TIMEOUT, farewell).await;
}

/// Writes the last words, and waits for the client to have them: closing a socket with unread bytes resets it, and
/// the client might never see them. To be called with a deadline.
pub(super) async fn say_goodbye<IO>(stream: &mut IO, words: &[u8])
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whatever goes wrong here is the client's.
    let _ = farewell.await;
}
