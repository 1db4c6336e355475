//! What a client may have done, by `POST`: a bounded number a second, with a short body, in bounded time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, ORIGIN};
use tokio::time::{Instant, timeout};

use super::rate::TokenBucket;
use crate::config::web::RateLimit;

/// Longest body, in bytes: what is to be done stands in the path, and a body is a remark at most.
pub const BODY_BYTES_MAX: usize = 16 << 10;

/// For the body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// For what is asked to be done.
const DEED_TIMEOUT: Duration = Duration::from_secs(30);

/// Twenty a second for long, and as many at once as a machine's timers may start on the full hour.
const RATE: RateLimit = RateLimit { interval: Duration::from_millis(50), burst: 200 };

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it was done.
    pub status: StatusCode,
    /// In plain words, without the end of the line.
    pub text: String,
}

impl Said {
    /// It was done.
    pub fn done(text: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, text: text.into() }
    }

    /// It was not.
    pub fn not(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// What is done for one who posts a body, and what is said of it.
pub type Deed = Box<dyn FnOnce(Bytes) -> Pin<Box<dyn Future<Output = Said> + Send>> + Send>;

/// Finds what is done at a path, as it stands in the request; `None`: nothing can be posted there.
pub type PostHandler = Arc<dyn Fn(&str) -> Option<Deed> + Send + Sync>;

/// What one server does.
pub(super) struct Posts {
    find: PostHandler,
    bucket: TokenBucket,
}

impl fmt::Debug for Posts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posts").finish_non_exhaustive()
    }
}

/// Why nothing is done.
#[derive(Debug)]
pub(super) enum Undone {
    /// For other reasons than the server's bounds.
    Said(Said),
    /// Too much is asked for; so long it takes until more may be.
    TooMany(Duration),
}

impl Posts {
    pub(super) fn new(find: PostHandler) -> Self {
        Self { find, bucket: TokenBucket::new(RATE) }
    }

    pub(super) fn at(&self, path: &str) -> Option<Deed> {
        (self.find)(path)
    }

    /// Does it.
    pub(super) async fn run(&self, deed: Deed, headers: &HeaderMap, body: Incoming) -> Result<Said, Undone> {
        self.bucket.take(Instant::now()).map_err(Undone::TooMany)?;
        // A page from elsewhere can make a browser post; scripts and programs say nothing of an origin.
        if headers.contains_key(ORIGIN) {
            return Err(not(StatusCode::FORBIDDEN, "Not from a page in a browser"));
        }
        let body = match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(not(StatusCode::PAYLOAD_TOO_LARGE, format!("More than {BODY_BYTES_MAX} bytes")));
            }
            Ok(Err(_)) => return Err(not(StatusCode::BAD_REQUEST, "The body did not come whole")),
            Err(_) => return Err(not(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")),
        };
        let done = timeout(DEED_TIMEOUT, deed(body)).await;
        done.map_err(|_| not(StatusCode::GATEWAY_TIMEOUT, "Not done in time"))
    }
}

fn not(status: StatusCode, text: impl Into<String>) -> Undone {
    Undone::Said(Said::not(status, text))
}
