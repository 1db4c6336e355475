//! The one who writes what is remembered: the newest state, one write at a time, and again until it is written.
//!
//! Whoever changed the state learns whether it is stored, and in bounded time: of a disk that does not answer, that nobody
//! knows.

use std::io;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock;

/// For a disk, until it counts as one that does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait between two tries.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

/// The log's words for what is tried again.
const UNWRITTEN: &str = "The state file cannot be written; a restart would forget what was told since";

/// For what is not written yet when the process stops.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// What is remembered, by subject, and how often it changed.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) subjects: Map<String, Value>,
    pub(super) changes: u64,
}

/// How far writing has come, in changes of the [`State`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Up to here it was tried.
    pub(super) tried: u64,
    /// Up to here it is stored.
    pub(super) stored: u64,
    /// The disk does not answer: nobody knows when more is known.
    pub(super) hangs: bool,
}

/// A change on its way to the disk.
#[derive(Debug)]
pub struct Keeping {
    change: u64,
    progress: watch::Receiver<Progress>,
}

impl Progress {
    /// Where nothing is to be written.
    pub(super) const NOT_ASKED_FOR: Self = Self { tried: u64::MAX, stored: u64::MAX, hangs: false };

    /// Where nothing can be written, for all that is known.
    pub(super) const HANGS: Self = Self { tried: 0, stored: 0, hangs: true };
}

impl Keeping {
    pub(super) fn new(change: u64, progress: watch::Receiver<Progress>) -> Self {
        Self { change, progress }
    }

    /// Waits until it is known, or cannot be known soon. `true`: a restart remembers the change, or there is no state
    /// file; `false`: it counts in this process, and a restart may forget it.
    pub async fn is_stored(mut self) -> bool {
        let change = self.change;
        let known = self.progress.wait_for(|progress| progress.tried >= change || progress.hangs);
        let known = timeout(PATIENCE, known).await;
        known.is_ok_and(|known| known.is_ok_and(|progress| progress.stored >= change))
    }
}

/// Where a state is written. It may wait for as long as a disk does.
pub(super) trait Disk: Send + 'static {
    /// Writes it whole, in the place of the one before.
    fn write(&mut self, subjects: &Map<String, Value>) -> io::Result<()>;
}

/// Writes each change, and says how that goes.
pub(super) struct Writer {
    /// The file's name in the log.
    file: String,
    state: watch::Receiver<State>,
    progress: watch::Sender<Progress>,
    succeeds: Gauge,
    /// What is wrong, as the log has it.
    failing: Option<(&'static str, String)>,
}

impl Writer {
    pub(super) fn new(
        file: String,
        state: watch::Receiver<State>,
        progress: watch::Sender<Progress>,
        succeeds: Gauge,
    ) -> Self {
        Self { file, state, progress, succeeds, failing: None }
    }

    /// Runs until `stop`, and a little longer where something is not written by then.
    pub(super) async fn run<D: Disk>(mut self, disk: D, stop: CancellationToken) {
        let given_up = async {
            stop.cancelled().await;
            sleep(LAST_WRITE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.follow(disk, &stop) => {}
            () = given_up => warn!("The state file does not answer; what is not in it is forgotten"),
        }
    }

    async fn follow<D: Disk>(&mut self, mut disk: D, stop: &CancellationToken) {
        let mut backoff = Backoff::new(RETRY_MAX);
        loop {
            let stopping = stop.is_cancelled();
            if self.is_behind() {
                let Some(back) = self.write(disk).await else { return };
                disk = back;
            }
            if stopping {
                return;
            }
            if self.failing.is_none() {
                backoff.reset();
            }
            let again = self.is_behind().then(|| Instant::now() + backoff.next_wait());
            tokio::select! {
                changed = self.state.changed() => if changed.is_err() { return },
                () = clock::at(again) => {}
                // What came until now is written yet.
                () = stop.cancelled() => {}
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.state.borrow().changes > self.progress.borrow().stored
    }

    /// Writes the newest state. A disk that does not answer holds one thread, whatever changes meanwhile.
    async fn write<D: Disk>(&mut self, mut disk: D) -> Option<D> {
        let State { subjects, changes } = self.state.borrow_and_update().clone();
        let work = spawn_blocking(move || (disk.write(&subjects), disk));
        let (result, disk) = match self.answer(work, UNWRITTEN).await {
            Ok((result, disk)) => (result, Some(disk)),
            Err(lost) => (Err(lost), None),
        };
        self.progress.send_modify(|progress| {
            let stored = if result.is_ok() { changes } else { progress.stored };
            *progress = Progress { tried: changes, stored, hangs: false };
        });
        match result {
            Ok(()) => {
                self.succeeds.set(1);
                if self.failing.take().is_some() {
                    info!(file = self.file, "The state file is written again");
                }
            }
            Err(error) => self.fails(UNWRITTEN, error.to_string()),
        }
        disk
    }

    /// What comes of work that waits for the disk. Nobody knows when one answers that does not in time, so nobody else waits for
    /// it.
    pub(super) async fn answer<T>(&mut self, mut work: JoinHandle<T>, what: &'static str) -> io::Result<T> {
        let done = match timeout(PATIENCE, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.progress.send_modify(|progress| progress.hangs = true);
                self.fails(what, "the disk does not answer".into());
                work.await
            }
        };
        done.map_err(io::Error::other)
    }

    /// The disk answers: it is worth waiting for.
    pub(super) fn goes_on(&self) {
        self.progress.send_modify(|progress| progress.hangs = false);
    }

    /// Says `what` goes wrong and why, once.
    pub(super) fn fails(&mut self, what: &'static str, why: String) {
        self.succeeds.set(0);
        if self.failing.as_ref().is_none_or(|(said, reason)| (*said, reason) != (what, &why)) {
            warn!(file = self.file, error = why, "{what}");
        }
        self.failing = Some((what, why));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use serde_json::json;
    use tokio::task::JoinHandle;
    use tokio::time::advance;

    use super::*;

    /// A disk that waits for a word before each write: how the write ends.
    struct Held {
        words: Receiver<io::Result<()>>,
        written: SyncSender<Value>,
    }

    impl Disk for Held {
        fn write(&mut self, subjects: &Map<String, Value>) -> io::Result<()> {
            self.words.recv().map_err(io::Error::other)??;
            self.written.send(subjects["jobs"].clone()).map_err(io::Error::other)
        }
    }

    struct Stage {
        state: watch::Sender<State>,
        progress: watch::Receiver<Progress>,
        succeeds: Gauge,
        words: SyncSender<io::Result<()>>,
        written: Receiver<Value>,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Stage {
        fn set() -> Self {
            let (words, spoken) = sync_channel(100);
            let (sender, written) = sync_channel(100);
            let (progress, seen) = watch::channel(Progress::default());
            let (state, states) = watch::channel(State::default());
            let succeeds = Gauge::default();
            succeeds.set(1);
            let stop = CancellationToken::new();
            let writer = Writer::new("state.json".into(), states, progress, succeeds.clone());
            let task = tokio::spawn(writer.run(Held { words: spoken, written: sender }, stop.clone()));
            Self { state, progress: seen, succeeds, words, written, stop, task }
        }

        fn keep(&self, value: u64) -> Keeping {
            let mut change = 0;
            self.state.send_modify(|state| {
                state.subjects.insert("jobs".into(), json!(value));
                state.changes += 1;
                change = state.changes;
            });
            Keeping::new(change, self.progress.clone())
        }
    }

    /// Lets time pass, which stands still while a thread waits for a disk.
    async fn passing<T>(work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = advance(Duration::from_millis(100)) => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_holds_nobody_and_gets_the_newest_in_the_end() {
        let stage = Stage::set();
        let begun = Instant::now();
        assert!(!passing(stage.keep(1).is_stored()).await, "nobody knows");
        let waited = begun.elapsed();
        assert!(waited >= PATIENCE && waited < PATIENCE * 2, "{waited:?}");
        let mut progress = stage.progress.clone();
        passing(progress.wait_for(|progress| progress.hangs)).await.unwrap();
        assert_eq!(stage.succeeds.get(), 0);
        let begun = Instant::now();
        // Where it is known to hang, nobody waits; whatever comes meanwhile is one write in the end.
        for value in 2..1000 {
            assert!(!stage.keep(value).is_stored().await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        stage.words.send(Ok(())).unwrap();
        stage.words.send(Ok(())).unwrap();
        progress.wait_for(|progress| progress.stored == 999).await.unwrap();
        assert_eq!(stage.written.try_iter().collect::<Vec<_>>(), [json!(1), json!(999)]);
        assert_eq!(stage.succeeds.get(), 1);
        stage.words.send(Ok(())).unwrap();
        assert!(stage.keep(1000).is_stored().await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_is_tried_again() {
        let stage = Stage::set();
        stage.words.send(Err(io::Error::other("no space left"))).unwrap();
        assert!(!stage.keep(1).is_stored().await);
        assert_eq!(stage.succeeds.get(), 0);
        stage.words.send(Err(io::Error::other("no space left"))).unwrap();
        stage.words.send(Ok(())).unwrap();
        stage.progress.clone().wait_for(|progress| progress.stored == 1).await.unwrap();
        assert_eq!((stage.succeeds.get(), stage.written.recv()), (1, Ok(json!(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_last_is_written_before_the_end_unless_the_disk_hangs() {
        let stage = Stage::set();
        drop(stage.keep(1));
        stage.stop.cancel();
        stage.words.send(Ok(())).unwrap();
        stage.task.await.unwrap();
        assert_eq!(stage.written.try_recv(), Ok(json!(1)));

        let stage = Stage::set();
        let kept = stage.keep(1);
        stage.stop.cancel();
        let begun = Instant::now();
        passing(stage.task).await.unwrap();
        let waited = begun.elapsed();
        assert!(waited >= LAST_WRITE_TIMEOUT && waited < LAST_WRITE_TIMEOUT * 2, "{waited:?}");
        assert!(!kept.is_stored().await);
    }
}
