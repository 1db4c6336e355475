//! The body of an answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Bytes handed to the socket at a time, so that a deadline can fall between.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that are whole already, given out in chunks until the deadline.
#[derive(Debug, Default)]
pub(super) struct Body {
    rest: Bytes,
    /// When the client must have taken all but the last chunk.
    deadline: Option<Instant>,
    /// Given back when the last byte is handed over or the client is gone.
    permit: Option<OwnedSemaphorePermit>,
}

impl Body {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { rest: bytes.into(), deadline: None, permit: None }
    }

    /// Fails the answer once `deadline` has passed, and holds `permit` until its end.
    pub(super) fn bounded(self, deadline: Instant, permit: OwnedSemaphorePermit) -> Self {
        Self { deadline: Some(deadline), permit: Some(permit), ..self }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest.is_empty() {
            self.permit = None;
            return Poll::Ready(None);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client takes the answer too slowly");
            return Poll::Ready(Some(Err(error)));
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
