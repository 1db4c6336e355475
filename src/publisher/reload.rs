//! The publisher's file, read anew: when somebody asks for it, and, where that is wanted, when it changed.
//!
//! A file that cannot be used changes nothing: what was read before counts, and the log and a metric say so. So does a
//! file that says the same. A disk that does not answer is said as well, and waited for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::check::management::ManagementClient;
use crate::clock;
use crate::config::targets::{self, Targets, Warning};
use crate::watched::Stamp;

/// How often is looked whether the file changed, where it is watched. It has to look the same twice: while it is being
/// written it may be a shorter one that is valid.
pub const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// Longest wait until a file that is watched and could not be used is read again: another that it names may be mended.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// For the disks of the file and of all that it names, until they count as ones that do not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is said of them then.
const HANGS: &str = "its disk, or that of a file that it names, does not answer";

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
    /// Why the file could not be used when it was last read.
    refused: Option<String>,
    metrics: Metrics,
}

/// How the file looked.
struct Watching {
    ticks: Interval,
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
        let mut ticks = interval(LOOKS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // It is read once more, since it may have changed since it was.
        Self { ticks, read: None, looked: None, again_at: None, backoff: Backoff::new(RETRY_MAX) }
    }

    /// Takes in how it looks. Whether it is to be read.
    fn look(&mut self, now: Option<Stamp>) -> bool {
        let settled = std::mem::replace(&mut self.looked, now) == now;
        settled && (self.read != now || self.again_at.is_some_and(|at| at <= Instant::now()))
    }

    /// It is to be read at the next look, whatever it looks like.
    fn read_soon(&mut self) {
        self.again_at = Some(Instant::now());
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
        let reloader = Self { path, prepare, wanted, requests, watching, refused: None, metrics };
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
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => drop(self.reload("SIGHUP").await),
                Some(reply) = self.requests.recv() => {
                    // Whoever asked may have left.
                    let _ = reply.send(self.reload("request").await);
                }
                () = tick(&mut self.watching) => self.look().await,
                else => return,
            }
        }
    }

    async fn look(&mut self) {
        let path = self.path.clone();
        let now = self.wait(CHANGE, move || Stamp::of(&path).ok()).await.ok().flatten();
        if self.watching.as_mut().is_some_and(|watching| watching.look(now)) {
            let _ = self.reload(CHANGE).await;
        }
    }

    /// Has a thread ask a disk. One that does not answer is waited for all the same, since it would hold the next one too;
    /// but nobody is to think meanwhile that all is well.
    async fn wait<T: Send + 'static>(
        &mut self,
        cause: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let mut work = spawn_blocking(work);
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return done;
        }
        self.metrics.note(false);
        self.refused = Some(HANGS.into());
        if let Some(watching) = &mut self.watching {
            watching.read_soon();
        }
        let file = self.path.display();
        error!(%file, cause, error = HANGS, "Configuration file cannot be used; what it said before still counts");
        work.await
    }

    /// Reads the file, and puts what it says in force. The one place where a reload begins and ends.
    async fn reload(&mut self, cause: &'static str) -> Reloaded {
        let path = self.path.clone();
        let load = move || (Stamp::of(&path).ok(), targets::load(&path));
        let (stamp, loaded) = match self.wait(cause, load).await {
            Ok((stamp, loaded)) => (stamp, loaded.map_err(|unusable| unusable.to_string())),
            Err(error) => (None, Err(error.to_string())),
        };
        let reloaded =
            loaded.and_then(|(targets, warnings)| Ok((self.put_in_force(targets, &warnings)?, warnings)));
        if let Some(watching) = &mut self.watching {
            watching.was_read(stamp, reloaded.is_ok());
        }
        self.metrics.note(reloaded.is_ok());
        let refused = std::mem::replace(&mut self.refused, reloaded.as_ref().err().cloned());
        let file = self.path.display();
        match &reloaded {
            // Nobody asked.
            Ok((Outcome::Unchanged, _)) if cause == CHANGE && refused.is_none() => {
                debug!(%file, "Configuration file says the same")
            }
            Ok((outcome @ Outcome::Emptied, _)) => {
                warn!(%file, cause, outcome = outcome.as_str(), "Configuration file read anew");
            }
            Ok((outcome, _)) => {
                info!(%file, cause, outcome = outcome.as_str(), "Configuration file read anew")
            }
            Err(error) if cause == CHANGE && refused.as_ref() == Some(error) => {
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

async fn tick(watching: &mut Option<Watching>) {
    match watching {
        Some(watching) => drop(watching.ticks.tick().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::process::{Signal as Sent, getpid, kill_process};
    use serde_json::json;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::time::{sleep, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(300);

    struct Running {
        in_force: watch::Receiver<Wanted>,
        reloads: Reloads,
        successful: Gauge,
        _stop: tokio_util::sync::DropGuard,
    }

    impl Running {
        fn start(path: &Path, watch: bool) -> Self {
            let first = Wanted { targets: Arc::default(), management: None };
            let prepare = Box::new(|_: &Targets| Ok(None));
            let (reloader, reloads, in_force) =
                Reloader::new(path.into(), first, prepare, watch, &mut Registry::default());
            let successful = reloader.metrics.successful.clone();
            let stop = CancellationToken::new();
            tokio::spawn(reloader.run(signal(SignalKind::hangup()).unwrap(), stop.clone()));
            Self { in_force, reloads, successful, _stop: stop.drop_guard() }
        }

        async fn wait(&mut self, is: impl Fn(&Targets) -> bool) {
            let wanted = self.in_force.wait_for(|wanted| is(&wanted.targets));
            let _ = timeout(SOON, wanted).await.expect("it is in force in time").unwrap();
        }
    }

    fn replace(path: &Path, heartbeat: serde_json::Value) {
        let next = path.with_extension("next");
        std::fs::write(&next, json!({"heartbeat": heartbeat}).to_string()).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    #[tokio::test]
    async fn a_hang_up_counts_however_soon_after_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("publisher.json");
        let mut running = Running::start(&path, false);
        for gap in [0, 1, 3, 10, 30, 90] {
            for name in ["first".to_owned(), format!("second-{gap}")] {
                sleep(Duration::from_millis(gap)).await;
                replace(&path, json!({"hosts": [{"host": name, "port": 1}]}));
                kill_process(getpid(), Sent::HUP).unwrap();
            }
            let second = format!("second-{gap}");
            running.wait(|targets| targets.hosts.iter().any(|host| *host.name == *second)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watched_file_is_tried_again_when_what_it_names_may_be_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
        replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
        let mut running = Running::start(&path, true);
        let refused = async {
            while running.successful.get() == 1 {
                sleep(LOOKS_EVERY).await;
            }
        };
        timeout(SOON, refused).await.expect("it is refused");
        let stamp = Stamp::of(&path).unwrap();
        sleep(Duration::from_secs(100)).await;
        std::fs::write(&token, "sesame").unwrap();
        running.wait(|targets| targets.probes.len() == 1).await;
        assert_eq!((running.successful.get(), Stamp::of(&path).unwrap()), (1, stamp));
    }

    /// A pipe is opened once somebody writes to it.
    #[tokio::test]
    async fn a_disk_that_hangs_is_told_and_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
        let (pipe, mended) = (folder.path().join("pipe"), folder.path().join("mended"));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RWXU, 0).unwrap();
        std::fs::hard_link(&pipe, &token).unwrap();
        replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
        let mut running = Running::start(&path, true);
        let told = async {
            while running.successful.get() == 1 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, told).await.expect("it is told");
        // A hang-up of another test may have it read once more, and nobody writes to the pipe then.
        std::fs::write(&mended, "sesame").unwrap();
        std::fs::rename(&mended, &token).unwrap();
        std::fs::write(&pipe, "sesame").unwrap();
        running.wait(|targets| targets.probes.len() == 1).await;
        let recovered = async {
            while running.successful.get() == 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, recovered).await.expect("it is as it should be");
    }

    #[tokio::test]
    async fn whoever_asks_is_told_which_file_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("publisher.json");
        let running = Running::start(&path, false);
        let why = running.reloads.ask().await.unwrap_err();
        assert_eq!(why, format!("{}: there is no such file", path.display()));
        replace(&path, json!({"hosts": [{"host": "db"}, {"host": "www", "port": 0}]}));
        let why = running.reloads.ask().await.unwrap_err();
        let lines: Vec<&str> = why.lines().collect();
        assert_eq!(lines[0], format!("{}: 2 problems", path.display()));
        assert!(lines[1].starts_with("heartbeat.hosts[0].port is missing"), "{why}");
        assert!(lines[2].starts_with("heartbeat.hosts[1].port is 0"), "{why}");
        assert_eq!(lines.len(), 3, "{why}");
    }
}
