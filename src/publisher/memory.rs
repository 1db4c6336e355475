//! What outlives a publisher's process: a small file that holds one value for each subject.
//!
//! Moments in it are of the clock that nobody steps, in milliseconds since the machine started, beside one reading of that
//! clock and of the wall clock. Within one run of the machine they hold as they are, whatever the wall clock did; after a
//! reboot the wall clock tells how far they lie back.
//!
//! The file is a help and never a condition: one that cannot be understood is moved aside and said; one that cannot be read or
//! written is said, tried again, and a metric tells of it; and a disk that fails or does not answer holds up nothing else,
//! neither at the start nor later. What the file holds is taken over once it could be read, at the start or after, and nothing
//! is written in its place before that.

mod file;
mod keeper;
mod recalled;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::PublisherId;
use keeper::Keeper;
use writer::{PATIENCE, Progress, State, Writer};

pub use file::InUse;
pub(super) use recalled::Recalled;
pub use writer::Keeping;

/// What is remembered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What a process before remembered, from when it was read until it is taken over.
    found: watch::Sender<Option<Recalled>>,
    state: watch::Sender<State>,
    progress: watch::Receiver<Progress>,
}

impl Memory {
    /// One in a file, where there is one, and who has it written until `stop`. Waits for what the file holds, for a while.
    ///
    /// # Errors
    /// Where another process has the file.
    pub async fn open(
        path: Option<PathBuf>,
        publisher: PublisherId,
        registry: &mut Registry,
        stop: CancellationToken,
    ) -> Result<(Self, Option<JoinHandle<()>>), InUse> {
        let succeeds = Gauge::default();
        succeeds.set(1);
        registry.register(
            "heartbeat_emitter_state_file_last_write_successful",
            "Whether what is to outlive the publisher could be written when it was last tried",
            succeeds.clone(),
        );
        let Some(path) = path else { return Ok((Self::of_this_process(), None)) };
        let found = watch::Sender::new(None);
        let (state, states) = watch::channel(State::default());
        let (progress, seen) = watch::channel(Progress::HANGS);
        let (start, mut refused) = oneshot::channel();
        let writer = Writer::new(path.display().to_string(), states, progress, succeeds);
        let keeper = Keeper { path, publisher, found: found.clone(), start: Some(start), writer };
        let keeping = tokio::spawn(keeper.run(stop));
        let in_use = match timeout(PATIENCE, &mut refused).await {
            Ok(in_use) => in_use.ok(),
            // Nobody knows when it will be read, and whoever is watched is not to be silent for that.
            Err(_) => {
                refused.close();
                refused.try_recv().ok()
            }
        };
        match in_use {
            Some(in_use) => Err(in_use),
            None => Ok((Self(Arc::new(Inner { found, state, progress: seen })), Some(keeping))),
        }
    }

    /// One that lasts as long as the process.
    pub(crate) fn of_this_process() -> Self {
        let (state, _) = watch::channel(State::default());
        let (_, progress) = watch::channel(Progress::NOT_ASKED_FOR);
        Self(Arc::new(Inner { found: watch::Sender::new(None), state, progress }))
    }

    /// Waits for what a process before remembered, until it is there to be taken over.
    pub(super) async fn found(&self) {
        let mut found = self.0.found.subscribe();
        if found.wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }

    /// Has it taken over, where it is there: what of it is to last is to be kept anew, since from then on the file is written.
    pub(super) fn hand_over(&self, take_over: impl FnOnce(&Recalled)) {
        self.0.found.send_if_modified(|found| match found.take() {
            Some(recalled) => {
                take_over(&recalled);
                true
            }
            None => false,
        });
    }

    /// Remembers a subject as it is by then, in the place of what was remembered of it: of two who keep it at the same time, the
    /// one who comes last finds what both did.
    pub(super) fn keep(&self, subject: &str, value: impl FnOnce() -> Value) -> Keeping {
        let mut change = 0;
        self.0.state.send_modify(|state| {
            state.subjects.insert(subject.to_owned(), value());
            state.changes += 1;
            change = state.changes;
        });
        Keeping::new(change, self.0.progress.clone())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::sleep;

    use super::*;

    /// Longer than the longest wait between two tries.
    const SOON: Duration = Duration::from_secs(100);

    /// A memory in a file, and who has it written.
    pub(in crate::publisher) struct InFile {
        pub(in crate::publisher) memory: Memory,
        stop: CancellationToken,
        keeping: JoinHandle<()>,
    }

    impl InFile {
        pub(in crate::publisher) async fn open(path: &Path) -> Self {
            Self::try_open(path).await.unwrap()
        }

        async fn try_open(path: &Path) -> Result<Self, InUse> {
            let (publisher, stop) = (PublisherId::new("oslo").unwrap(), CancellationToken::new());
            let registry = &mut Registry::default();
            let opened = Memory::open(Some(path.to_owned()), publisher, registry, stop.clone()).await?;
            Ok(Self { memory: opened.0, stop, keeping: opened.1.unwrap() })
        }

        /// As a process that ends.
        pub(in crate::publisher) async fn close(self) {
            self.stop.cancel();
            self.keeping.await.unwrap();
        }

        /// What it told of jobs, once it tells.
        async fn jobs(&self) -> Option<Value> {
            timeout(SOON, self.memory.found()).await.expect("it is read");
            let mut jobs = None;
            self.memory.hand_over(|recalled| jobs = recalled.subject("jobs").cloned());
            jobs
        }

        async fn keep(&self, jobs: Value) -> bool {
            self.memory.keep("jobs", || jobs).is_stored().await
        }

        /// Waits until all that was kept is stored.
        async fn stored(&self) {
            let (mut progress, changes) =
                (self.memory.0.progress.clone(), self.memory.0.state.borrow().changes);
            let stored = progress.wait_for(|progress| progress.stored == changes);
            timeout(SOON, stored).await.expect("it is stored").unwrap();
        }
    }

    /// The lock and the file of a process before, which told of jobs.
    async fn of_before(path: &Path) -> InFile {
        let before = InFile::open(path).await;
        assert_eq!(before.jobs().await, None);
        assert!(before.keep(json!({"backup": 1})).await);
        before
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = InFile::open(&path).await;
        assert_eq!(first.jobs().await, None);
        let kept: Vec<_> = (0..50).map(|n| first.memory.keep("jobs", || json!({"backup": n}))).collect();
        assert!(first.memory.keep("maintenance", || json!([])).is_stored().await);
        for kept in kept {
            assert!(kept.is_stored().await);
        }
        assert!(InFile::try_open(&path).await.is_err(), "two write one file");
        first.close().await;
        let again = InFile::open(&path).await;
        again.memory.hand_over(|recalled| assert_eq!(recalled.subject("maintenance"), Some(&json!([]))));
        again.close().await;
        assert_eq!(InFile::open(&path).await.jobs().await, Some(json!({"backup": 49})));
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_not_said_to_be() {
        // A folder in its place is nobody's to replace.
        let folder = tempfile::tempdir().unwrap();
        let kept = InFile::open(folder.path()).await;
        assert!(!kept.keep(json!({})).await);
        // Where nothing is asked for, nothing is missing.
        assert!(Memory::of_this_process().keep("jobs", || json!({})).is_stored().await);
    }

    /// A mount that is late: what lies there was answered with 200.
    #[tokio::test(start_paused = true)]
    async fn a_folder_that_appears_late_is_read_before_it_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (late, away) = (folder.path().join("late"), folder.path().join("away"));
        fs::create_dir(&away).unwrap();
        of_before(&away.join("state.json")).await.close().await;
        let before = fs::read(away.join("state.json")).unwrap();
        let kept = InFile::open(&late.join("state.json")).await;
        assert!(!kept.keep(json!({"backup": 2})).await);
        fs::rename(&away, &late).unwrap();
        timeout(SOON, kept.memory.found()).await.unwrap();
        sleep(SOON).await;
        assert_eq!(fs::read(late.join("state.json")).unwrap(), before, "not before it is taken over");
        assert_eq!(kept.jobs().await, Some(json!({"backup": 1})));
        kept.stored().await;
        kept.close().await;
        let again = InFile::open(&late.join("state.json")).await;
        assert_eq!(again.jobs().await, Some(json!({"backup": 2})));
    }

    /// A file that may be read, and be no longer as it is once it may be locked.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_locked_yet_is_not_read_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let lock = folder.path().join("state.json.lock");
        of_before(&path).await.close().await;
        let once = fs::read(&path).unwrap();
        let before = InFile::open(&path).await;
        assert!(before.jobs().await.is_some() && before.keep(json!({"backup": 2})).await);
        before.close().await;
        let twice = fs::read(&path).unwrap();
        fs::write(&path, once).unwrap();
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        let kept = InFile::open(&path).await;
        fs::write(&path, twice).unwrap();
        fs::remove_dir(&lock).unwrap();
        assert_eq!(kept.jobs().await, Some(json!({"backup": 2})));
    }

    /// A process that hangs in the kernel, or one that is told to stop and has not yet.
    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_found_taken_after_the_start_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (late, away) = (folder.path().join("late"), folder.path().join("away"));
        fs::create_dir(&away).unwrap();
        let before = of_before(&away.join("state.json")).await;
        let kept = InFile::open(&late.join("state.json")).await;
        fs::rename(&away, &late).unwrap();
        let found = timeout(SOON, kept.memory.found()).await;
        assert!(found.is_err(), "it is another's");
        assert!(!kept.keep(json!({"backup": 2})).await);
        before.close().await;
        assert_eq!(kept.jobs().await, Some(json!({"backup": 1})));
        kept.stored().await;
        assert!(kept.keep(json!({"backup": 3})).await);
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
        assert!(!kept.keep(json!({"backup": 1})).await);
        assert!(!path.exists());
        let _writer = fs::File::options().write(true).open(&lock).unwrap();
        assert_eq!(kept.jobs().await, None);
        kept.stored().await;
        assert!(kept.keep(json!({"backup": 2})).await);
        assert!(fs::read_to_string(&path).unwrap().contains(r#""backup":2"#));
    }
}
