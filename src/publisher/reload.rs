//! The publisher's file, read anew: when somebody asks for it, and, where that is wanted, when it changed.
//!
//! A file that cannot be used changes nothing: what was read before counts, and the log and a metric say so. So does a
//! file that says the same. A disk that does not answer is said as well, and the file is read once it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::check::management::ManagementClient;
use crate::clock;
use crate::config::targets::{self, Targets, Warning};
use crate::reading::{AS_LONG_AS_IT_TAKES, Reading, Unread};
use crate::watched::Stamp;

/// How often is looked whether the file changed, where it is watched, or whether its disk answers again. A file has to look
/// the same twice: while it is being written it may be a shorter one that is valid.
pub const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// Longest wait until a file that is watched and could not be used is read again: another that it names may be mended.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// For the disks of the file and of all that it names, until they count as ones that do not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For a file that changes as it is read.
const TRIES_MAX: u32 = 3;

/// What is said of them then.
const HANGS: &str = "its disk, or that of a file that it needs, does not answer";

/// Why the file is read when nobody asked for it: it changed.
const CHANGE: &str = "change";

/// Likewise: its disk did not answer.
const RETRY: &str = "retry";

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

/// Makes what checks of these targets take besides, and says what is odd about them here. It may wait for disks, and goes on
/// where nobody waits for it any more.
pub type Prepare =
    Arc<dyn Fn(&Targets) -> Result<(Option<ManagementClient>, Vec<Warning>), String> + Send + Sync>;

/// How the file looked before it was read, and what it says, or why that cannot be used.
type Read = (Option<Stamp>, Result<(Wanted, Vec<Warning>), String>);

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
    looking: Reading<Option<Stamp>>,
    reading: Reading<Read>,
    watching: Option<Watching>,
    /// Where a reading is under way that did not end in time: how the file looks meanwhile. It counts when it ends.
    hung: Option<Watching>,
    /// Why the file could not be used when it was last read.
    refused: Option<String>,
    metrics: Metrics,
}

/// How the file looked.
struct Watching {
    /// When it was read last.
    read: Option<Stamp>,
    /// At the latest look.
    looked: Option<Stamp>,
    /// When it is read again though it looks the same.
    again_at: Option<Instant>,
    backoff: Backoff,
}

impl Watching {
    fn begin() -> Self {
        // It is read once more, since it may have changed since it was.
        Self { read: None, looked: None, again_at: None, backoff: Backoff::new(RETRY_MAX) }
    }

    /// Takes in how it looks. Whether it is to be read.
    fn look(&mut self, now: Option<Stamp>) -> bool {
        let settled = std::mem::replace(&mut self.looked, now) == now;
        settled && (self.read != now || self.again_at.is_some_and(|at| at <= Instant::now()))
    }

    /// It was read as it looked then.
    fn was_read(&mut self, stamp: Option<Stamp>, is_usable: bool) {
        self.read = stamp;
        if is_usable {
            self.backoff.reset();
        }
        self.again_at = (!is_usable).then(|| Instant::now() + self.backoff.next_wait());
    }
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
        let watching = watch.then(Watching::begin);
        let metrics = Metrics::register(registry);
        let (looking, reading) = (Reading::default(), Reading::default());
        let reloader = Self {
            path,
            prepare,
            wanted,
            requests,
            looking,
            reading,
            watching,
            hung: None,
            refused: None,
            metrics,
        };
        (reloader, Reloads(sender), in_force)
    }

    /// Runs until `stop`, whatever the file's disk does. Each hang-up is a request.
    pub async fn run(mut self, hangups: Signal, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.serve(hangups) => {}
        }
    }

    async fn serve(&mut self, mut hangups: Signal) {
        let mut looks = interval(LOOKS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let late = come_late(&self.reading, self.read());
            tokio::select! {
                Some(()) = hangups.recv() => drop(self.reload("SIGHUP").await),
                Some(reply) = self.requests.recv() => {
                    // Whoever asked may have left.
                    if !reply.is_closed() {
                        let _ = reply.send(self.reload("request").await);
                    }
                }
                read = late, if self.hung.is_some() => self.take_late(read).await,
                // What hangs for long is given up when the next waits for it.
                _ = looks.tick(), if self.hung.is_some() || self.watching.is_some() => self.look().await,
                else => return,
            }
        }
    }

    async fn look(&mut self) {
        let path = self.path.clone();
        let looked = self.looking.within(PATIENCE, move || Stamp::of(&path).ok()).await;
        if let Some(hung) = &mut self.hung {
            if let Ok(stamp) = looked
                && hung.look(stamp)
            {
                hung.was_read(stamp, true);
                // What it says now may need no disk that hangs.
                self.reading.has_cause();
            }
            return;
        }
        let is_to_be_read = match (looked, &mut self.watching) {
            (Ok(stamp), Some(watching)) => watching.look(stamp),
            // Reading it says what is wrong.
            (Err(_), _) => true,
            (Ok(_), None) => false,
        };
        if is_to_be_read {
            let _ = self.reload(CHANGE).await;
        }
    }

    /// Reads the file, and puts what it says in force.
    async fn reload(&mut self, cause: &'static str) -> Reloaded {
        let read = self.reading.within(PATIENCE, self.read()).await;
        self.take(cause, read)
    }

    /// Puts what came late in force. A problem is one of before the disk hung, and may be mended since.
    async fn take_late(&mut self, read: Result<Read, Unread>) {
        let _ = match read {
            Ok((_, Ok(_))) => self.take(RETRY, read),
            _ => self.reload(RETRY).await,
        };
    }

    /// For a thread.
    fn read(&self) -> impl FnOnce() -> Read + Send + use<> {
        let (path, prepare) = (self.path.clone(), Arc::clone(&self.prepare));
        move || read(&path, &prepare)
    }

    /// Puts what was read in force. The one place where a reload ends.
    fn take(&mut self, cause: &'static str, read: Result<Read, Unread>) -> Reloaded {
        let hung = self.hung.take();
        self.hung = match read {
            Err(Unread::Late { .. }) => Some(hung.unwrap_or_else(Watching::begin)),
            // Whoever waits for the disk goes on waiting.
            Err(Unread::NoThread(_)) => hung,
            _ => None,
        };
        let (stamp, loaded) = read.unwrap_or_else(|error| match error {
            Unread::Late { .. } => (None, Err(HANGS.into())),
            _ => (None, Err(error.to_string())),
        });
        let reloaded = loaded.map(|(wanted, warnings)| (self.put_in_force(wanted, &warnings), warnings));
        if let Some(watching) = &mut self.watching {
            watching.was_read(stamp, reloaded.is_ok());
        }
        self.metrics.note(reloaded.is_ok());
        let refused = std::mem::replace(&mut self.refused, reloaded.as_ref().err().cloned());
        let nobody_asked = [CHANGE, RETRY].contains(&cause);
        let file = self.path.display();
        match &reloaded {
            Ok((Outcome::Unchanged, _)) if nobody_asked && refused.is_none() => {
                debug!(%file, "Configuration file says the same")
            }
            Ok((outcome @ Outcome::Emptied, _)) => {
                warn!(%file, cause, outcome = outcome.as_str(), "Configuration file read anew");
            }
            Ok((outcome, _)) => {
                info!(%file, cause, outcome = outcome.as_str(), "Configuration file read anew")
            }
            Err(error) if nobody_asked && refused.as_ref() == Some(error) => {
                let error = on_one_line(error);
                debug!(%file, error, "Configuration file still cannot be used");
            }
            Err(error) => {
                let error = on_one_line(error);
                error!(%file, cause, error, "Configuration file cannot be used; what it said before still counts");
            }
        }
        match reloaded {
            Ok((outcome, warnings)) => Ok(answer(outcome, &warnings)),
            Err(why) => Err(told(&file.to_string(), &why)),
        }
    }

    fn put_in_force(&mut self, wanted: Wanted, warnings: &[Warning]) -> Outcome {
        let before = Arc::clone(&self.wanted.borrow().targets);
        if before == wanted.targets {
            return Outcome::Unchanged;
        }
        for Warning { path, why } in warnings {
            warn!(place = path, reason = why, "Odd entry in the configuration file");
        }
        let is_emptied = wanted.targets.check_nothing() && !before.check_nothing();
        self.wanted.send_replace(wanted);
        if is_emptied { Outcome::Emptied } else { Outcome::Changed }
    }
}

/// What comes of a reading that hangs, and of those that are begun beside it.
async fn come_late(
    reading: &Reading<Read>,
    read: impl FnOnce() -> Read + Send + 'static,
) -> Result<Read, Unread> {
    match reading.within(AS_LONG_AS_IT_TAKES, read).await {
        // It still hangs: the next look begins another, where there is a thread again.
        Err(Unread::NoThread(_)) => std::future::pending().await,
        read => read,
    }
}

/// Reads the file, and makes what its checks take.
fn read(path: &Path, prepare: &Prepare) -> Read {
    let mut tries = 0;
    loop {
        // Before it is read: what is written meanwhile is seen at the next look.
        let stamp = Stamp::of(path).ok();
        let wanted = targets::load(path).map_err(|unusable| unusable.to_string());
        let wanted = wanted.and_then(|(targets, mut warnings)| {
            let (management, odd) = prepare(&targets)?;
            warnings.extend(odd);
            Ok((Wanted { targets: Arc::new(targets), management }, warnings))
        });
        tries += 1;
        // Disks may take their time, and it is to be in force what the file says then.
        if tries == TRIES_MAX || Stamp::of(path).ok() == stamp {
            return (stamp, wanted);
        }
    }
}

/// Problems, of which each is on a line, as one record of the log has them.
fn on_one_line(error: &str) -> String {
    error.replace('\n', "; ")
}

/// Why a file is not in force: one problem behind its name, and several below it.
fn told(file: &str, error: &str) -> String {
    match error.lines().count() {
        0 | 1 => format!("{file}: {error}"),
        count => format!("{file}: {count} problems\n{error}"),
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

#[cfg(test)]
mod tests;
