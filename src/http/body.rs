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

/// Chunks after which others have their turn on the thread. Where the client reads as fast as it is written to, nothing
/// else would interrupt a body of many megabytes for milliseconds.
const CHUNKS_AT_ONCE: u32 = 4;

/// Bytes that are whole already, given out in chunks until the deadline.
#[derive(Debug, Default)]
pub(super) struct Body {
    parts: VecDeque<Bytes>,
    /// Chunks since others had their turn.
    at_once: u32,
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
        Self { parts, at_once: 0, deadline: None, permit: None }
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
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.at_once == CHUNKS_AT_ONCE && !self.parts.is_empty() {
            self.at_once = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.at_once += 1;
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
