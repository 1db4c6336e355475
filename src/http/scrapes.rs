//! One gather for scrapes that come together.
//!
//! A scrape that comes while another of its kind is being gathered waits for the next one, together with all that come
//! meanwhile: so each is told a state that was gathered after it asked, and a crowd costs little more than one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::Metrics;
use super::aside::aside;
use crate::telemetry::Chain;

/// What a scraper asks for. Those that ask the same are answered together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Its `Accept` header.
    pub accept: Option<String>,
    /// Whether it takes gzip.
    pub gzip: bool,
    /// What stands after the path's question mark.
    pub query: Option<String>,
}

/// Metrics, ready to be sent.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// Their `Content-Type`.
    pub content_type: &'static str,
    /// Whether they are compressed, which only those get who take it.
    pub gzip: bool,
    /// Their parts, one after the other.
    pub parts: Vec<Bytes>,
}

/// Renders the metrics, or says what is wrong with the question. Called off the async threads.
pub type MetricsHandler = Arc<dyn Fn(&Question) -> Result<Exposition, String> + Send + Sync>;

/// Why there are no metrics.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Others took too long.
    Busy,
    /// The question makes no sense.
    Question(String),
    /// It could not be done.
    Failed,
}

/// What was gathered. The permit is given back when the last of those whom it is sent to has it, or is gone.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) exposition: Exposition,
    pub(super) permit: Arc<OwnedSemaphorePermit>,
}

type Turn = OnceCell<Result<Arc<Gathered>, Refusal>>;

/// The scrapes of one server.
pub(super) struct Scrapes {
    render: MetricsHandler,
    /// Those whose gather has not begun.
    waiting: Mutex<HashMap<Question, Arc<Turn>>>,
    /// One gather at a time: two would only take each other's time.
    gathers: Arc<Semaphore>,
    /// Bodies in memory.
    bodies: Arc<Semaphore>,
    wait: Duration,
    metrics: Metrics,
}

impl Scrapes {
    /// At most `bodies` are held at once, and a scrape waits for its turn for at most `wait`.
    pub(super) fn new(render: MetricsHandler, bodies: usize, wait: Duration, metrics: Metrics) -> Self {
        Self {
            render,
            waiting: Mutex::default(),
            gathers: Arc::new(Semaphore::new(1)),
            bodies: Arc::new(Semaphore::new(bodies)),
            wait,
            metrics,
        }
    }

    /// Answers a question with what was gathered after it was asked.
    pub(super) async fn answer(&self, question: Question) -> Result<Arc<Gathered>, Refusal> {
        let turn = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(waiting.entry(question.clone()).or_default())
        };
        // Should the one who gathers leave, another of those who wait goes on.
        turn.get_or_init(|| self.gather(question, &turn)).await.clone()
    }

    async fn gather(&self, question: Question, turn: &Arc<Turn>) -> Result<Arc<Gathered>, Refusal> {
        let permits = async {
            let body = Arc::clone(&self.bodies).acquire_owned().await;
            (Arc::clone(&self.gathers).acquire_owned().await, body)
        };
        let permits = timeout(self.wait, permits).await;
        self.begins(&question, turn);
        let Ok((Ok(one), Ok(permit))) = permits else {
            return Err(Refusal::Busy);
        };
        let began = Instant::now();
        let render = Arc::clone(&self.render);
        // The permits go with the work, which goes on where whoever asked has left.
        let work = move || {
            let rendered = render(&question);
            drop(one);
            rendered.map(|exposition| (exposition, permit))
        };
        match aside(work).await {
            Ok(Ok((exposition, permit))) => {
                self.metrics.scrape_seconds.observe(began.elapsed().as_secs_f64());
                Ok(Arc::new(Gathered { exposition, permit: Arc::new(permit) }))
            }
            Ok(Err(reason)) => Err(Refusal::Question(reason)),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "Metrics could not be rendered");
                Err(Refusal::Failed)
            }
        }
    }
}

impl Scrapes {
    /// Whoever asks from now on asks for a later state.
    fn begins(&self, question: &Question, turn: &Arc<Turn>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(question).is_some_and(|next| Arc::ptr_eq(next, turn)) {
            waiting.remove(question);
        }
    }
}

impl std::fmt::Debug for Scrapes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrapes").finish_non_exhaustive()
    }
}
