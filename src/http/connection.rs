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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::metrics::Place;
use super::server::Shared;
use crate::telemetry::Chain;

/// Bytes of a request's head, and of what is buffered of an answer.
const BUFFER_BYTES: usize = 64 * 1024;

/// For a client to read that it is turned away.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read of a request that is turned away.
const REFUSED_BYTES_MAX: u64 = 16 * 1024;

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 21\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Retry-After: 10\r\n\
    Connection: close\r\n\
    \r\n\
    Too many connections\n";

/// Serves a connection until either side ends it.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, _place: Place) {
    // Small answers must not wait for the client's delayed ack; without it they are late, not wrong.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(shared.config.write_timeout));

    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        answer(&shared, request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper counts this from the end of the answer before, so it is the idle time as well.
            .header_read_timeout(shared.config.idle_timeout)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
    );
    // Only a connection that has asked once is worth an idle time: others go sooner.
    let mut first_request = pin!(sleep(shared.config.header_timeout));
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
            () = shared.kill.cancelled() => return,
        }
    }
}

async fn answer(
    shared: &Shared,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<super::body::Body>, Infallible> {
    // The body is dropped unread: hyper takes what has come already, and closes if that is not all.
    let (head, _) = request.into_parts();
    let mut response = shared.routes.respond(&head.method, head.uri.path(), &head.headers).await;
    // Idle connections must not fill the places: in a crowd, one answer each.
    if shared.places.available_permits() < shared.config.connections_max / 2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Says that there is no place, and waits a moment for the client to read it: closing a socket with unread
/// bytes resets it, and the client might never see the answer.
pub(super) async fn refuse(mut stream: TcpStream) {
    let farewell = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whatever goes wrong here is the client's.
    let _ = timeout(REFUSAL_TIMEOUT, farewell).await;
}
