//! What people and their scripts ask for besides metrics: made aside, one at a time, compressed for those who take it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::aside::aside;
use super::scrapes::Refusal;
use crate::telemetry::Chain;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuestion {
    /// The path behind its first slash.
    pub path: String,
    /// What stands behind its question mark.
    pub query: String,
}

/// What somebody gets.
#[derive(Clone, Debug)]
pub struct Page {
    /// Whether it is what was asked for.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// What a browser may load and do for it; `None`: nothing.
    pub content_policy: Option<&'static str>,
    /// All of it.
    pub body: Bytes,
}

/// What there is to a question.
pub enum Answer {
    /// No such page.
    Nothing,
    /// A page that is there already.
    Ready(Page),
    /// A page that is to be made, off the async threads.
    ToMake(Box<dyn FnOnce() -> Page + Send>),
}

/// Says what there is, at once.
pub type PageHandler = Arc<dyn Fn(PageQuestion) -> Answer + Send + Sync>;

/// Smaller bodies gain nothing.
const GZIP_BYTES_MIN: usize = 1024;

/// The pages of one server.
pub(super) struct Pages {
    make: PageHandler,
    /// One at a time: two would only take each other's time.
    turns: Arc<Semaphore>,
    /// Bodies in memory.
    bodies: Arc<Semaphore>,
    wait: Duration,
}

/// Bodies of some megabytes at most, in the making or on their way at once. As for scrapes, those who take them slowly
/// have an end set.
const BODIES_MAX: usize = 16;

/// A page on its way. The permit is given back with its last byte.
pub(super) struct Made {
    pub(super) page: Page,
    pub(super) gzip: bool,
    pub(super) permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Pages {
    /// Somebody waits for a turn for at most `wait`.
    pub(super) fn new(make: PageHandler, wait: Duration) -> Self {
        Self { make, turns: Arc::new(Semaphore::new(1)), bodies: Arc::new(Semaphore::new(BODIES_MAX)), wait }
    }

    /// The page, or that there is none.
    pub(super) async fn answer(&self, question: PageQuestion, gzip: bool) -> Result<Option<Made>, Refusal> {
        let make = match (self.make)(question) {
            Answer::Nothing => return Ok(None),
            Answer::Ready(page) => return Ok(Some(Made { page, gzip: false, permit: None })),
            Answer::ToMake(make) => make,
        };
        let permits = async {
            let body = Arc::clone(&self.bodies).acquire_owned().await;
            (Arc::clone(&self.turns).acquire_owned().await, body)
        };
        let Ok((Ok(turn), Ok(permit))) = timeout(self.wait, permits).await else {
            return Err(Refusal::Busy);
        };
        // The permits go with the work, which goes on where whoever asked has left.
        let work = move || {
            let page = make();
            let (page, gzip) = if gzip { compressed(page) } else { (page, false) };
            drop(turn);
            Made { page, gzip, permit: Some(Arc::new(permit)) }
        };
        aside(work).await.map(Some).map_err(|error| {
            tracing::error!(error = %Chain(&error), "A page could not be made");
            Refusal::Failed
        })
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

fn compressed(page: Page) -> (Page, bool) {
    if page.body.len() < GZIP_BYTES_MIN {
        return (page, false);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.body.len() / 8), Compression::fast());
    // Writing to memory cannot fail; if it did, the page would go as it is.
    match encoder.write_all(&page.body).and_then(|()| encoder.finish()) {
        Ok(body) => (Page { body: body.into(), ..page }, true),
        Err(_) => (page, false),
    }
}
