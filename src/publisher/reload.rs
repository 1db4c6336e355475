//! The publisher's file, read anew: when somebody asks for it, and, where that is wanted, when it changed.
//!
//! A file that cannot be used changes nothing: what was read before counts, and the log and a metric say so. So does a
//! file that says the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::check::management::ManagementClient;
use crate::clock;
use crate::config::targets::{self, Targets, Warning};
use crate::watched::Stamp;

/// How often is looked whether the file changed, where it is watched. It has to look the same twice: while it is being
/// written it may be a shorter one that is valid.
pub const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// Why the file is read when nobody asked for it.
const CHANGE: &str = "change";

/// What comes of a file that can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It says what it said before.
    Unchanged,
    /// It is in force.
    Changed,
    /// It is in force and checks nothing, where the one before did: hardly what somebody meant.
    Emptied,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "nothing has changed",
            Self::Changed => "what has changed is in force",
            Self::Emptied => "what has changed is in force: nothing is checked any more",
        }
    }
}

/// Requests that wait for their turn.
const REQUESTS_MAX: usize = 4;

/// What is to be checked, as the file has it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What.
    pub targets: Arc<Targets>,
    /// Where consumers are looked up; `None` where no queue is checked.
    pub management: Option<ManagementClient>,
}

/// Makes what checks of these targets take, besides the targets.
pub type Prepare = Box<dyn FnMut(&Targets) -> Result<Option<ManagementClient>, String> + Send>;

/// What came of reading the file anew: in words, whether it is in force, with what is odd about it, or why it is not.
pub type Reloaded = Result<String, String>;

/// Where somebody may ask for the file to be read anew. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<oneshot::Sender<Reloaded>>);

impl Reloads {
    /// Has the file read anew.
    ///
    /// # Errors
    /// Why what it said before still counts.
    pub async fn ask(&self) -> Reloaded {
        let (reply, answer) = oneshot::channel();
        match self.0.try_send(reply) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err("the publisher is stopping".into())),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err("others have asked already; ask again later".into())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the publisher is stopping".into()),
        }
    }
}

#[cfg(test)]
impl Reloads {
    /// Where nobody hears.
    pub(crate) fn to_nobody() -> Self {
        Self(mpsc::channel(1).0)
    }
}

#[derive(Clone, Debug)]
struct Metrics {
    successful: Gauge,
    success_seconds: Gauge,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self { successful: Gauge::default(), success_seconds: Gauge::default() };
        let own = registry.sub_registry_with_prefix("heartbeat_emitter");
        own.register(
            "config_last_reload_successful",
            "Whether the publisher's file could be used when it was last read",
            metrics.successful.clone(),
        );
        own.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the publisher's file was last read with success",
            Unit::Seconds,
            metrics.success_seconds.clone(),
        );
        metrics.note(true);
        metrics
    }

    fn note(&self, successful: bool) {
        self.successful.set(i64::from(successful));
        if successful {
            self.success_seconds.set(clock::wall().unix_ms() / 1000);
        }
    }
}

/// Reads the file anew.
pub struct Reloader {
    path: PathBuf,
    prepare: Prepare,
    wanted: watch::Sender<Wanted>,
    requests: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    watching: Option<Watching>,
    metrics: Metrics,
}

/// How the file looked.
struct Watching {
    ticks: Interval,
    /// When it was read last.
    read: Option<Stamp>,
    /// At the latest look.
    looked: Option<Stamp>,
}

impl Reloader {
    /// For a file that said `first` a moment ago; `watch`: a change of the file is reason enough to read it.
    pub fn new(
        path: PathBuf,
        first: Wanted,
        prepare: Prepare,
        watch: bool,
        registry: &mut Registry,
    ) -> (Self, Reloads, watch::Receiver<Wanted>) {
        let (wanted, in_force) = watch::channel(first);
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let watching = watch.then(|| {
            let mut ticks = interval(LOOKS_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // It is read once more, since it may have changed since it was.
            Watching { ticks, read: None, looked: None }
        });
        let metrics = Metrics::register(registry);
        (Self { path, prepare, wanted, requests, watching, metrics }, Reloads(sender), in_force)
    }

    /// Runs until `stop`. Each hang-up is a request.
    pub async fn run(mut self, mut hangups: Signal, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangups.recv() => drop(self.reload("SIGHUP").await),
                Some(reply) = self.requests.recv() => {
                    // Whoever asked may have left.
                    let _ = reply.send(self.reload("request").await);
                }
                () = tick(&mut self.watching) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let path = self.path.clone();
        // A file may lie on a disk that does not answer.
        let now = tokio::task::spawn_blocking(move || Stamp::of(&path).ok()).await.ok().flatten();
        let Some(watching) = &mut self.watching else { return };
        let settled = std::mem::replace(&mut watching.looked, now) == now;
        if settled && watching.read != now {
            let _ = self.reload(CHANGE).await;
        }
    }

    /// Reads the file, and puts what it says in force. The one place where a reload begins and ends.
    async fn reload(&mut self, cause: &'static str) -> Reloaded {
        let path = self.path.clone();
        let load = move || (Stamp::of(&path).ok(), targets::load(&path));
        let loaded = match tokio::task::spawn_blocking(load).await {
            Ok((stamp, loaded)) => {
                if let Some(watching) = &mut self.watching {
                    watching.read = stamp;
                }
                loaded.map_err(|unusable| unusable.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let reloaded =
            loaded.and_then(|(targets, warnings)| Ok((self.put_in_force(targets, &warnings)?, warnings)));
        let file = self.path.display();
        self.metrics.note(reloaded.is_ok());
        match &reloaded {
            // Nobody asked.
            Ok((Outcome::Unchanged, _)) if cause == CHANGE => {
                debug!(%file, "Configuration file says the same")
            }
            Ok((outcome @ Outcome::Emptied, _)) => {
                warn!(%file, cause, outcome = outcome.as_str(), "Configuration file read anew");
            }
            Ok((outcome, _)) => {
                info!(%file, cause, outcome = outcome.as_str(), "Configuration file read anew")
            }
            Err(error) => {
                error!(%file, cause, error, "Configuration file cannot be used; what it said before still counts");
            }
        }
        reloaded.map(|(outcome, warnings)| answer(outcome, &warnings))
    }

    fn put_in_force(&mut self, targets: Targets, warnings: &[Warning]) -> Result<Outcome, String> {
        let before = Arc::clone(&self.wanted.borrow().targets);
        if *before == targets {
            return Ok(Outcome::Unchanged);
        }
        for Warning { path, why } in warnings {
            warn!(place = path, reason = why, "Odd entry in the configuration file");
        }
        let management = (self.prepare)(&targets)?;
        let is_emptied = targets.check_nothing() && !before.check_nothing();
        self.wanted.send_replace(Wanted { targets: Arc::new(targets), management });
        Ok(if is_emptied { Outcome::Emptied } else { Outcome::Changed })
    }
}

/// For whoever asked, who does not see the log.
fn answer(outcome: Outcome, warnings: &[Warning]) -> String {
    let mut answer = outcome.as_str().to_owned();
    for warning in warnings {
        answer.push_str(&format!("\nwarning: {warning}"));
    }
    answer
}

async fn tick(watching: &mut Option<Watching>) {
    match watching {
        Some(watching) => drop(watching.ticks.tick().await),
        None => std::future::pending().await,
    }
}
