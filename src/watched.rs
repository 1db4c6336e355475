//! Files that are read anew when they change: a [`Stamp`] tells that one did, and a [`Watcher`] looks after one. While
//! it cannot be used, or its disk does not answer, what it held before counts.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::reading::{AS_LONG_AS_IT_TAKES, Reading, Unread, bounded};

/// How often is looked whether the file is another one.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// For the disk of a file that is watched, until it counts as one that does not answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Longest file, in bytes: a million keys have room. A longer one is something else.
const FILE_BYTES_MAX: usize = 128 << 20;

/// Why the file cannot be used, in words for the operator.
pub type Why = String;

/// What a file is, and how its bytes are understood.
#[derive(Debug)]
pub struct Format<T> {
    /// Its name in the log.
    pub what: &'static str,
    /// Reads it.
    pub parse: fn(&[u8]) -> Result<T, Why>,
    /// Says in a few words what it holds.
    pub describe: fn(&T) -> String,
}

impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Format<T> {}

/// What the file held when it could last be used, and how it is now.
#[derive(Debug)]
pub struct Held<T> {
    /// The content.
    pub value: Arc<T>,
    /// Whether the file still holds that.
    pub current: bool,
}

/// Looks after one file.
pub struct Watcher<T> {
    path: PathBuf,
    format: Format<T>,
    looking: Reading<Option<Looked<T>>>,
    seen: Option<Stamp>,
    /// What was said last of the file, while it cannot be used.
    complaint: Option<Why>,
    held: watch::Sender<Held<T>>,
}

/// How a file looked, unless it could not be seen, and what came of reading it.
type Looked<T> = (Option<Stamp>, Result<Arc<T>, Why>);

/// What tells one form of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of a file as it is now.
    ///
    /// # Errors
    /// The system's.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|file| Self::from(&file))
    }
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Reads a file as [`Watcher`] does.
///
/// # Errors
/// The system's, or that it is too long to be what it should be.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    bounded(path, FILE_BYTES_MAX)
}

/// What a look at files gives, on a thread apart; where it takes longer than [`PATIENCE`], that is said, and the next call
/// waits for the same look, or for another beside it.
///
/// # Errors
/// Why there is nothing yet.
pub async fn look_aside<T: Clone + Send + Sync + 'static>(
    looking: &Reading<T>,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unread> {
    let since = Instant::now();
    let looked = timeout(PATIENCE, looking.within(AS_LONG_AS_IT_TAKES, look)).await;
    looked.unwrap_or(Err(Unread::Late { since }))
}

/// Whether users who are neither the owner nor of the group may read a file.
pub fn others_may_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
}

impl<T: Send + Sync + 'static> Watcher<T> {
    /// Looks after a file that held `value` a moment ago.
    pub fn new(path: PathBuf, format: Format<T>, value: Arc<T>) -> (Self, watch::Receiver<Held<T>>) {
        let (held, receiver) = watch::channel(Held { value, current: true });
        // Looked at once more, since it may have changed since it was read.
        let (looking, complaint) = (Reading::default(), None);
        (Self { path, format, looking, seen: None, complaint, held }, receiver)
    }

    /// Runs until `stop`, whatever the file's disk does.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.watch() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn watch(&mut self) {
        let mut looks = interval(LOOKS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let (path, seen, parse) = (self.path.clone(), self.seen, self.format.parse);
            match look_aside(&self.looking, move || look_at(&path, seen, parse)).await {
                Ok(None) => {}
                Ok(Some((stamp, read))) => self.take(stamp, read),
                // Whatever it looked like, it is read when that is possible.
                Err(error) => self.take(None, Err(error.to_string())),
            }
        }
    }

    fn take(&mut self, stamp: Option<Stamp>, read: Result<Arc<T>, Why>) {
        let first = self.seen.is_none() && self.held.borrow().current;
        let (path, what) = (self.path.display().to_string(), self.format.what);
        match read {
            Ok(value) => {
                if !first {
                    info!(path, what, holds = (self.format.describe)(&value), "File read anew");
                }
                self.complaint = None;
                self.held.send_replace(Held { value, current: true });
            }
            // Told once for each form of the file; what cannot be read has none.
            Err(why) if stamp != self.seen || self.complaint.as_ref() != Some(&why) => {
                self.held.send_modify(|held| held.current = false);
                warn!(path, what, why, "File cannot be used; what it held before still counts");
                self.complaint = Some(why);
            }
            Err(_) => {}
        }
        self.seen = stamp;
    }
}

/// `None`: the file is the one that was seen.
fn look_at<T>(path: &Path, seen: Option<Stamp>, parse: fn(&[u8]) -> Result<T, Why>) -> Option<Looked<T>> {
    // Before it is read: what is written meanwhile is seen at the next look.
    let stamp = match Stamp::of(path) {
        Ok(stamp) => stamp,
        Err(error) => return Some((None, Err(error.to_string()))),
    };
    if seen == Some(stamp) {
        return None;
    }
    let read = read(path).map_err(|error| error.to_string());
    Some((Some(stamp), read.and_then(|bytes| parse(&bytes)).map(Arc::new)))
}

#[cfg(test)]
pub(crate) mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::time::advance;

    use super::*;

    const SOON: Duration = Duration::from_secs(300);

    /// Lets the clock, which is paused, go on until it is so, and gives the threads that read some time. Gives how long it took.
    pub(crate) async fn pass_until(what: &str, is: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < SOON, "not {what}");
            advance(Duration::from_millis(100)).await;
            std::thread::sleep(Duration::from_millis(2));
        }
        begun.elapsed()
    }

    /// Puts a pipe in the place of a file, as if its disk hung: it is opened once somebody writes to what is given.
    pub(crate) fn hang(path: &Path) -> PathBuf {
        let folder = path.parent().unwrap();
        let mut count = 0..;
        let pipe = count.find_map(|count| {
            let pipe = folder.join(format!("pipe-{count}"));
            mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).is_ok().then_some(pipe)
        });
        let pipe = pipe.unwrap();
        std::fs::hard_link(&pipe, folder.join("next")).unwrap();
        std::fs::rename(folder.join("next"), path).unwrap();
        pipe
    }

    /// Moves another file over one, as secrets are.
    pub(crate) fn replace(path: &Path, text: &str) {
        let next = path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    fn number(bytes: &[u8]) -> Result<u32, Why> {
        std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()).ok_or("no number".into())
    }

    const NUMBER: Format<u32> = Format { what: "number", parse: number, describe: u32::to_string };

    struct Running {
        path: PathBuf,
        held: watch::Receiver<Held<u32>>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
        _folder: tempfile::TempDir,
    }

    impl Running {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("number");
            std::fs::write(&path, "1").unwrap();
            let (watcher, held) = Watcher::new(path.clone(), NUMBER, Arc::new(1));
            let stop = CancellationToken::new();
            let task = tokio::spawn(watcher.run(stop.clone()));
            Self { path, held, stop, task, _folder: folder }
        }

        async fn until(&self, value: u32, current: bool) -> Duration {
            let is = || (*self.held.borrow().value, self.held.borrow().current) == (value, current);
            pass_until(&format!("{value}, current: {current}"), is).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_form_counts_and_a_broken_one_keeps_the_old() {
        let running = Running::start();
        std::fs::write(&running.path, "22").unwrap();
        running.until(22, true).await;
        std::fs::write(&running.path, "oops").unwrap();
        running.until(22, false).await;
        std::fs::write(&running.path, "22").unwrap();
        running.until(22, true).await;
        std::fs::remove_file(&running.path).unwrap();
        running.until(22, false).await;
        replace(&running.path, "333");
        running.until(333, true).await;
        running.stop.cancel();
        running.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_told_and_counts_when_it_answers() {
        let mut running = Running::start();
        replace(&running.path, "22");
        running.until(22, true).await;
        hang(&running.path);
        let took = running.until(22, false).await;
        assert!((PATIENCE..PATIENCE + 2 * LOOKS_EVERY).contains(&took), "{took:?}");
        running.held.mark_unchanged();
        let begun = Instant::now();
        pass_until("later", || begun.elapsed() > 5 * PATIENCE).await;
        assert!(!running.held.has_changed().unwrap(), "it is told once");
        // As a mount that is made anew: who asked before is never answered. What it holds is what it held.
        replace(&running.path, "22");
        running.until(22, true).await;
        // What a slow one tells counts, too.
        let pipe = hang(&running.path);
        running.until(22, false).await;
        std::fs::write(pipe, "333").unwrap();
        running.until(333, true).await;
        running.until(333, false).await;
        running.stop.cancel();
        running.task.await.unwrap();
    }
}
