//! What outlives a publisher's process: a small file that holds one value for each subject.
//!
//! Moments in it are of the clock that nobody steps, in milliseconds since the machine started, beside one reading of that
//! clock and of the wall clock. Within one run of the machine they hold as they are, whatever the wall clock did; after a
//! reboot the wall clock tells how far they lie back.
//!
//! The file is a help and never a condition: one that cannot be understood is moved aside and said; one that cannot be written
//! is said, and a metric tells of it; and a disk that fails or does not answer holds up nothing else, neither at the start nor
//! later. What it holds is taken over when it answers, and nothing is written in its place before that.

mod file;
mod recalled;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::backoff::Backoff;
use crate::heartbeat::PublisherId;
use file::{Opened, StateFile};
use writer::{Disk, PATIENCE, Progress, RETRY_MAX, State, Writer};

pub use file::InUse;
pub(super) use recalled::Recalled;
pub use writer::Keeping;

/// What is remembered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What a process before remembered, as far as it was known at the start.
    recalled: Recalled,
    late: watch::Sender<Late>,
    state: watch::Sender<State>,
    progress: watch::Receiver<Progress>,
}

/// What a process before remembered, where its disk did not tell at the start.
#[derive(Debug)]
enum Late {
    /// It may come yet.
    Awaited,
    /// It came.
    Here(Arc<Recalled>),
    /// It is part of what is remembered now, or nothing is to come.
    TakenOver,
}

/// Has what is remembered written.
pub struct Keeper {
    place: Place,
    late: watch::Sender<Late>,
    writer: Writer,
}

/// Where it is written.
enum Place {
    /// Nowhere: it lasts as long as the process.
    Nowhere,
    /// Nowhere, though it should be: the file is not ours.
    LeftAlone,
    /// There.
    Open(StateFile),
    /// There, once the disk has answered.
    Opening(Opening),
}

/// A file that is being opened.
type Opening = Pin<Box<dyn Future<Output = Result<Opened, InUse>> + Send>>;

impl Memory {
    /// What the file holds, where there is one, and who has it written.
    ///
    /// # Errors
    /// Where another process has the file.
    pub async fn open(
        path: Option<PathBuf>,
        publisher: PublisherId,
        registry: &mut Registry,
    ) -> Result<(Self, Keeper), InUse> {
        let (place, recalled) = match path {
            None => (Place::Nowhere, Recalled::default()),
            Some(path) => open(path, publisher).await?,
        };
        let (known, in_order) = match &place {
            Place::Nowhere => (Progress::NOT_ASKED_FOR, true),
            Place::Open(_) => (Progress::default(), true),
            Place::LeftAlone | Place::Opening(_) => (Progress::HANGS, false),
        };
        let late = match &place {
            Place::Opening(_) => Late::Awaited,
            _ => Late::TakenOver,
        };
        let late = watch::Sender::new(late);
        let succeeds = Gauge::default();
        succeeds.set(i64::from(in_order));
        registry.register(
            "heartbeat_emitter_state_file_last_write_successful",
            "Whether what is to outlive the publisher could be written when it was last tried",
            succeeds.clone(),
        );
        let (state, states) = watch::channel(State::default());
        let (progress, seen) = watch::channel(known);
        let writer = Writer::new(states, progress, succeeds);
        let keeper = Keeper { place, late: late.clone(), writer };
        Ok((Self(Arc::new(Inner { recalled, late, state, progress: seen })), keeper))
    }

    /// What a process before remembered, as far as it was known at the start.
    pub(super) fn recalled(&self) -> &Recalled {
        &self.0.recalled
    }

    /// What it remembered, once the disk tells that did not at the start. It comes until it is [taken
    /// over](Self::taken_over).
    pub(super) async fn late(&self) -> Arc<Recalled> {
        let mut late = self.0.late.subscribe();
        if let Ok(late) = late.wait_for(|late| matches!(late, Late::Here(_))).await
            && let Late::Here(recalled) = &*late
        {
            return Arc::clone(recalled);
        }
        std::future::pending().await
    }

    /// What came late is kept anew, so that the file may be written.
    pub(super) fn taken_over(&self) {
        self.0.late.send_replace(Late::TakenOver);
    }

    /// Remembers a subject from now on, in the place of what was remembered of it.
    pub(super) fn keep(&self, subject: &str, value: Value) -> Keeping {
        let mut change = 0;
        self.0.state.send_modify(|state| {
            state.subjects.insert(subject.to_owned(), value);
            state.changes += 1;
            change = state.changes;
        });
        Keeping::new(change, self.0.progress.clone())
    }

    /// One that lasts as long as the process.
    #[cfg(test)]
    pub(crate) fn of_this_process() -> Self {
        let (state, _) = watch::channel(State::default());
        let (_, progress) = watch::channel(Progress::NOT_ASKED_FOR);
        let late = watch::Sender::new(Late::TakenOver);
        Self(Arc::new(Inner { recalled: Recalled::default(), late, state, progress }))
    }
}

impl Keeper {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let file = match self.place {
            Place::Nowhere | Place::LeftAlone => return,
            Place::Open(file) => file,
            // Where it ends before, the file stays as it was.
            Place::Opening(opening) => tokio::select! {
                () = stop.cancelled() => return,
                file = opened_late(opening, self.late) => match file {
                    Some(file) => file,
                    None => return,
                },
            },
        };
        self.writer.run(file, stop).await;
    }
}

/// Opens a file, unless its disk does not answer: whoever is watched is not to be silent for that.
async fn open(path: PathBuf, publisher: PublisherId) -> Result<(Place, Recalled), InUse> {
    let shown = path.display().to_string();
    let mut opening: Opening = Box::pin(read(StateFile::new(path, publisher)));
    match timeout(PATIENCE, &mut opening).await {
        Ok(Ok(Opened::Ours(file, recalled))) => Ok((Place::Open(file), recalled)),
        Ok(Ok(_)) => Ok((Place::LeftAlone, Recalled::default())),
        Ok(Err(in_use)) => Err(in_use),
        Err(_) => {
            warn!(
                file = shown,
                "The state file does not answer; beginning without what it holds, until it does"
            );
            Ok((Place::Opening(opening), Recalled::default()))
        }
    }
}

/// Reads a file, again while its disk fails.
async fn read(mut file: StateFile) -> Result<Opened, InUse> {
    let mut backoff = Backoff::new(RETRY_MAX);
    let mut is_said = false;
    loop {
        match spawn_blocking(move || file.open()).await {
            Ok(Ok(Opened::Unread(unread, error))) => {
                if !std::mem::replace(&mut is_said, true) {
                    let file = unread.path().display();
                    warn!(%file, %error, "The state file cannot be read; trying again");
                }
                file = unread;
            }
            Ok(opened) => return opened,
            Err(_) => return Ok(Opened::LeftAlone),
        }
        sleep(backoff.next_wait()).await;
    }
}

/// A file that may be written, once all that it held is taken over: some of it was promised to outlive a process.
async fn opened_late(opening: Opening, late: watch::Sender<Late>) -> Option<StateFile> {
    match opening.await {
        Ok(Opened::Ours(file, recalled)) => {
            late.send_replace(Late::Here(Arc::new(recalled)));
            let taken_over = |late: &Late| matches!(late, Late::TakenOver);
            late.subscribe().wait_for(taken_over).await.ok()?;
            Some(file)
        }
        Ok(_) => None,
        Err(in_use) => {
            warn!(error = %in_use, "What is told will not outlive this process");
            None
        }
    }
}

impl Disk for StateFile {
    fn write(&mut self, subjects: &Map<String, Value>) -> io::Result<()> {
        Self::write(self, subjects)
    }

    fn path(&self) -> &Path {
        Self::path(self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use serde_json::json;
    use tokio::task::JoinHandle;

    use super::*;

    /// A memory in a file, and who has it written.
    pub(in crate::publisher) struct InFile {
        pub(in crate::publisher) memory: Memory,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    impl InFile {
        pub(in crate::publisher) async fn open(path: &Path) -> Self {
            let publisher = PublisherId::new("oslo").unwrap();
            let opened = Memory::open(Some(path.to_owned()), publisher, &mut Registry::default()).await;
            let (memory, keeper) = opened.unwrap();
            let stop = CancellationToken::new();
            let task = tokio::spawn(keeper.run(stop.clone()));
            Self { memory, stop, task }
        }

        /// As a process that ends.
        pub(in crate::publisher) async fn close(self) {
            self.stop.cancel();
            self.task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = InFile::open(&path).await;
        assert_eq!(first.memory.recalled().subject("jobs"), None);
        let kept: Vec<_> = (0..50).map(|n| first.memory.keep("jobs", json!({"backup": n}))).collect();
        assert!(first.memory.keep("maintenance", json!([])).is_stored().await);
        for kept in kept {
            assert!(kept.is_stored().await);
        }
        let registry = &mut Registry::default();
        let second = Memory::open(Some(path.clone()), PublisherId::new("oslo").unwrap(), registry).await;
        assert!(second.is_err(), "two write one file");
        first.close().await;
        let again = InFile::open(&path).await;
        assert_eq!(again.memory.recalled().subject("jobs"), Some(&json!({"backup": 49})));
        assert_eq!(again.memory.recalled().subject("maintenance"), Some(&json!([])));
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_not_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/state.json");
        let kept = InFile::open(&path).await;
        assert!(!kept.memory.keep("jobs", json!({})).is_stored().await);
        fs::create_dir(folder.path().join("none")).unwrap();
        assert!(kept.memory.keep("jobs", json!({})).is_stored().await);
        // A folder in its place is nobody's to replace.
        let kept = InFile::open(folder.path()).await;
        assert!(!kept.memory.keep("jobs", json!({})).is_stored().await);
        // Where nothing is asked for, nothing is missing.
        assert!(Memory::of_this_process().keep("jobs", json!({})).is_stored().await);
    }

    /// A pipe in the place of the lock is opened once somebody writes to it.
    #[tokio::test]
    async fn a_disk_that_hangs_at_the_start_is_written_when_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let lock = folder.path().join("state.json.lock");
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &lock, pipe, rustix::fs::Mode::RWXU, 0).unwrap();
        let kept = InFile::open(&path).await;
        assert!(!kept.memory.keep("jobs", json!({"backup": 1})).is_stored().await);
        assert!(!path.exists());
        let _writer = fs::File::options().write(true).open(&lock).unwrap();
        // Nothing is written before it is known what there was.
        let recalled = tokio::time::timeout(PATIENCE, kept.memory.late()).await.unwrap();
        assert_eq!((recalled.subject("jobs"), path.exists()), (None, false));
        kept.memory.taken_over();
        let mut progress = kept.memory.0.progress.clone();
        let stored = progress.wait_for(|progress| progress.stored > 0);
        tokio::time::timeout(PATIENCE, stored).await.unwrap().unwrap();
        assert!(kept.memory.keep("jobs", json!({"backup": 2})).is_stored().await);
        assert!(fs::read_to_string(&path).unwrap().contains(r#""backup":2"#));
    }
}
