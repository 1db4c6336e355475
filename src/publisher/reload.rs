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
use crate::reading::{Reading, Unread};
use crate::watched::Stamp;

/// How often is looked whether the file changed, where it is watched, or whether its disk answers again. A file has to look
/// the same twice: while it is being written it may be a shorter one that is valid.
pub const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// Longest wait until a file that is watched and could not be used is read again: another that it names may be mended.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// For the disks of the file and of all that it names, until they count as ones that do not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// And then, with others served meanwhile.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(365 * 86_400);

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
    /// Whether a reading is under way that did not end in time. It counts when it ends.
    hangs: bool,
    /// Whether somebody asked meanwhile, of whose change that reading may know nothing.
    asked_meanwhile: bool,
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
            hangs: false,
            asked_meanwhile: false,
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
            let late = self.reading.within(AS_LONG_AS_IT_TAKES, self.read());
            tokio::select! {
                Some(()) = hangups.recv() => drop(self.reload("SIGHUP").await),
                Some(reply) = self.requests.recv() => {
                    // Whoever asked may have left.
                    if !reply.is_closed() {
                        let _ = reply.send(self.reload("request").await);
                    }
                }
                read = late, if self.hangs => drop(self.take(RETRY, read)),
                _ = looks.tick(), if self.hangs || self.watching.is_some() => {
                    // What hangs for long is given up when the next waits for it.
                    if !self.hangs {
                        self.look().await;
                    }
                }
                else => return,
            }
        }
    }

    async fn look(&mut self) {
        let path = self.path.clone();
        let looked = self.looking.within(PATIENCE, move || Stamp::of(&path).ok()).await;
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
        self.asked_meanwhile |= self.hangs && is_late(&read);
        self.take(cause, read)
    }

    /// For a thread.
    fn read(&self) -> impl FnOnce() -> Read + Send + use<> {
        let (path, prepare) = (self.path.clone(), Arc::clone(&self.prepare));
        move || read(&path, &prepare)
    }

    /// Puts what was read in force. The one place where a reload ends.
    fn take(&mut self, cause: &'static str, read: Result<Read, Unread>) -> Reloaded {
        self.hangs = is_late(&read) || std::mem::take(&mut self.asked_meanwhile);
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

fn is_late(read: &Result<Read, Unread>) -> bool {
    matches!(read, Err(Unread::Late { .. }))
}

/// Reads the file, and makes what its checks take.
fn read(path: &Path, prepare: &Prepare) -> Read {
    // Before it is read: what is written meanwhile is seen at the next look.
    let stamp = Stamp::of(path).ok();
    let wanted = targets::load(path).map_err(|unusable| unusable.to_string());
    let wanted = wanted.and_then(|(targets, mut warnings)| {
        let (management, odd) = prepare(&targets)?;
        warnings.extend(odd);
        Ok((Wanted { targets: Arc::new(targets), management }, warnings))
    });
    (stamp, wanted)
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
mod tests {
    use rustix::process::{Signal as Sent, getpid, kill_process};
    use serde_json::json;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::time::{advance, sleep, timeout};

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
            Self::preparing(path, watch, Arc::new(|_| Ok((None, Vec::new()))))
        }

        fn preparing(path: &Path, watch: bool, prepare: Prepare) -> Self {
            let first = Wanted { targets: Arc::default(), management: None };
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

    /// Lets the clock, which is paused, go on until it is so, and gives the threads that read some time.
    async fn pass_until(what: &str, is: impl Fn() -> bool) {
        let end = Instant::now() + SOON;
        while !is() {
            assert!(Instant::now() < end, "not {what}");
            advance(Duration::from_millis(100)).await;
            std::thread::sleep(Duration::from_millis(2));
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
        let running = Running::start(&path, true);
        pass_until("refused", || running.successful.get() == 0).await;
        let stamp = Stamp::of(&path).unwrap();
        let begun = Instant::now();
        pass_until("later", || begun.elapsed() > Duration::from_secs(100)).await;
        std::fs::write(&token, "sesame").unwrap();
        pass_until("in force", || running.in_force.borrow().targets.probes.len() == 1).await;
        assert_eq!((running.successful.get(), Stamp::of(&path).unwrap()), (1, stamp));
    }

    /// A pipe is opened once somebody writes to it.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_told_to_all_who_ask_and_the_mended_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
        let (pipe, mended) = (folder.path().join("pipe"), folder.path().join("mended"));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RWXU, 0).unwrap();
        std::fs::hard_link(&pipe, &token).unwrap();
        replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
        let running = Running::start(&path, false);
        let ask = || {
            let reloads = running.reloads.clone();
            tokio::spawn(async move { reloads.ask().await })
        };
        let begun = Instant::now();
        // One who leaves, too, as many as may wait and one whose turn it is.
        let asking = ask();
        tokio::task::yield_now().await;
        let gone = ask();
        let waiting: Vec<_> = (2..=REQUESTS_MAX).map(|_| ask()).collect();
        tokio::task::yield_now().await;
        gone.abort();
        pass_until("told", || asking.is_finished() && waiting.iter().all(|asking| asking.is_finished()))
            .await;
        let took = begun.elapsed();
        assert!((PATIENCE..2 * PATIENCE).contains(&took), "all at once, as soon as it is known: {took:?}");
        for asking in waiting.into_iter().chain([asking]) {
            let why = asking.await.unwrap().unwrap_err();
            assert_eq!(why, format!("{}: {HANGS}", path.display()));
        }
        assert_eq!(running.successful.get(), 0);
        // Nobody writes to the pipe, and nobody asks again.
        std::fs::write(&mended, "sesame").unwrap();
        std::fs::rename(&mended, &token).unwrap();
        pass_until("in force", || running.in_force.borrow().targets.probes.len() == 1).await;
        pass_until("as it should be", || running.successful.get() == 1).await;
        let asking = ask();
        pass_until("told", || asking.is_finished()).await;
        assert_eq!(asking.await.unwrap().as_deref(), Ok("nothing has changed"));
        // Lets the thread go that waits.
        drop(std::fs::File::options().read(true).write(true).open(&pipe).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_while_the_disk_hung_is_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &token, kind, rustix::fs::Mode::RWXU, 0).unwrap();
        replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
        let running = Running::start(&path, false);
        let reloads = running.reloads.clone();
        let asking = tokio::spawn(async move { reloads.ask().await });
        pass_until("told", || asking.is_finished()).await;
        replace(&path, json!({"hosts": [{"host": "b", "port": 1}]}));
        std::fs::write(&token, "sesame").unwrap();
        pass_until("in force", || !running.in_force.borrow().targets.check_nothing()).await;
        let targets = Arc::clone(&running.in_force.borrow().targets);
        assert_eq!((targets.hosts.len(), targets.probes.len()), (1, 0), "what the file says now");
    }

    /// As where the first queue takes a client whose CA lies on such a disk.
    /// As a slow disk with thousands of secrets, and a file that changes while it is read.
    #[tokio::test(start_paused = true)]
    async fn what_comes_late_counts_and_what_changed_meanwhile_does_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("publisher.json");
        let (answer, slow) = std::sync::mpsc::channel::<()>();
        let slow = std::sync::Mutex::new(slow);
        let prepare = move |_: &Targets| {
            slow.lock().unwrap().recv_timeout(SOON).unwrap();
            Ok((None, Vec::new()))
        };
        let running = Running::preparing(&path, false, Arc::new(prepare));
        for name in ["first", "second"] {
            replace(&path, json!({"hosts": [{"host": name, "port": 1}]}));
            let reloads = running.reloads.clone();
            let asking = tokio::spawn(async move { reloads.ask().await });
            pass_until("told", || asking.is_finished()).await;
            assert!(asking.await.unwrap().unwrap_err().contains(HANGS));
        }
        for name in ["first", "second"] {
            answer.send(()).unwrap();
            let is_in_force =
                || running.in_force.borrow().targets.hosts.iter().any(|host| &*host.name == name);
            pass_until(name, is_in_force).await;
        }
        pass_until("as it should be", || running.successful.get() == 1).await;
    }

    #[tokio::test]
    async fn what_is_prepared_on_a_disk_that_hangs_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("publisher.json");
        replace(&path, json!({"rmq_consumers": [{"queue": "q"}]}));
        let (answer, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = std::sync::Mutex::new(hangs);
        let prepare = move |_: &Targets| {
            let answered = hangs.lock().unwrap().recv_timeout(SOON);
            answered.map(|()| (None, Vec::new())).map_err(|error| error.to_string())
        };
        let mut running = Running::preparing(&path, false, Arc::new(prepare));
        let reloads = running.reloads.clone();
        let asking = tokio::spawn(async move { reloads.ask().await });
        let begun = std::time::Instant::now();
        sleep(Duration::from_millis(50)).await;
        assert!(begun.elapsed() < PATIENCE, "others go on");
        assert!(!asking.is_finished());
        answer.send(()).unwrap();
        running.wait(|targets| targets.queues.len() == 1).await;
        let told = asking.await.unwrap().unwrap();
        assert!(told.starts_with(Outcome::Changed.as_str()), "{told}");
    }

    /// The thread that reads has a small stack, and a file may nest as deep as it likes.
    #[tokio::test]
    async fn no_file_is_too_deep_for_the_thread_that_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, deep) in
            [("json", "["), ("json", "{\"a\":"), ("yaml", "["), ("yaml", "{a: "), ("yaml", "- ")]
        {
            for depth in [100, 127, 10_000] {
                let path = folder.path().join(name).with_extension(name);
                std::fs::write(&path, deep.repeat(depth)).unwrap();
                let why = Running::start(&path, false).reloads.ask().await.unwrap_err();
                assert!(why.starts_with(&path.display().to_string()), "{why}");
            }
        }
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
