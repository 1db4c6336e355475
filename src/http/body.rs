//! The body of an answer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
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
    parts: VecDeque<Bytes>,
    /// When the client must have taken all but the last chunk.
    deadline: Option<Instant>,
    /// Given back when the last byte is handed over or the client is gone.
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Body {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self::of([bytes.into()])
    }

    /// Of parts that follow each other.
    pub(super) fn of(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { parts, deadline: None, permit: None }
    }

    /// Fails the answer once `deadline` has passed, and holds `permit` until its end.
    pub(super) fn bounded(self, deadline: Instant, permit: Arc<OwnedSemaphorePermit>) -> Self {
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
        let Some(mut part) = self.parts.pop_front() else {
            self.permit = None;
            return Poll::Ready(None);
        };
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client takes the answer too slowly");
            return Poll::Ready(Some(Err(error)));
        }
        let chunk = part.split_to(part.len().min(CHUNK_BYTES));
        if !part.is_empty() {
            self.parts.push_front(part);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.parts.iter().map(|part| part.len() as u64).sum())
    }
}
