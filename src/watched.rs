//! Files that are read anew when they change: a [`Stamp`] tells that one did, and a [`Watcher`] looks after one. While
//! it cannot be used, what it held before counts.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::reading::bounded;

/// How often is looked whether the file is another one.
const LOOK: Duration = Duration::from_secs(2);

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
    seen: Option<Stamp>,
    held: watch::Sender<Held<T>>,
}

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

/// Whether users who are neither the owner nor of the group may read a file.
pub fn others_may_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
}

impl<T: Send + Sync + 'static> Watcher<T> {
    /// Looks after a file that held `value` a moment ago.
    pub fn new(path: PathBuf, format: Format<T>, value: Arc<T>) -> (Self, watch::Receiver<Held<T>>) {
        let (held, receiver) = watch::channel(Held { value, current: true });
        // Looked at once more, since it may have changed since it was read.
        (Self { path, format, seen: None, held }, receiver)
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = stop.cancelled() => return,
            }
            let (path, seen, parse) = (self.path.clone(), self.seen, self.format.parse);
            // A file may lie on a disk that does not answer; the task waits then, and nobody else.
            let looked = tokio::task::spawn_blocking(move || look_at(&path, seen, parse));
            tokio::select! {
                looked = looked => if let Ok(Some((stamp, result))) = looked {
                    self.take(stamp, result);
                },
                () = stop.cancelled() => return,
            }
        }
    }

    fn take(&mut self, stamp: Option<Stamp>, result: Result<T, Why>) {
        let first = self.seen.is_none() && self.held.borrow().current;
        let (path, what) = (self.path.display().to_string(), self.format.what);
        match result {
            Ok(value) => {
                if !first {
                    info!(path, what, holds = (self.format.describe)(&value), "File read anew");
                }
                self.held.send_replace(Held { value: Arc::new(value), current: true });
            }
            // Told once for each form of the file: what cannot be read has none.
            Err(why) if stamp != self.seen || self.held.borrow().current => {
                self.held.send_modify(|held| held.current = false);
                warn!(path, what, why, "File cannot be used; what it held before still counts");
            }
            Err(_) => {}
        }
        self.seen = stamp;
    }
}

/// `None`: the file is the one that was seen.
fn look_at<T>(
    path: &Path,
    seen: Option<Stamp>,
    parse: fn(&[u8]) -> Result<T, Why>,
) -> Option<(Option<Stamp>, Result<T, Why>)> {
    // Before it is read: what is written meanwhile is seen at the next look.
    let stamp = match Stamp::of(path) {
        Ok(stamp) => stamp,
        Err(error) => return Some((None, Err(error.to_string()))),
    };
    if seen == Some(stamp) {
        return None;
    }
    let read = read(path).map_err(|error| error.to_string());
    Some((Some(stamp), read.and_then(|bytes| parse(&bytes))))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn number(bytes: &[u8]) -> Result<u32, Why> {
        std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()).ok_or("no number".into())
    }

    const NUMBER: Format<u32> = Format { what: "number", parse: number, describe: u32::to_string };

    #[tokio::test(start_paused = true)]
    async fn a_new_form_counts_and_a_broken_one_keeps_the_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("number");
        std::fs::write(&path, "1").expect("written");
        let (watcher, mut held) = Watcher::new(path.clone(), NUMBER, Arc::new(1));
        let stop = CancellationToken::new();
        let task = tokio::spawn(watcher.run(stop.clone()));
        let mut wait = async |value, current| {
            let is = |held: &Held<u32>| (*held.value, held.current) == (value, current);
            timeout(Duration::from_secs(60), held.wait_for(is)).await.expect("in time").expect("it runs");
        };
        std::fs::write(&path, "22").expect("written");
        wait(22, true).await;
        std::fs::write(&path, "oops").expect("written");
        wait(22, false).await;
        std::fs::remove_file(&path).expect("removed");
        wait(22, false).await;
        // Moved over, as secrets are.
        std::fs::write(folder.path().join("next"), "333").expect("written");
        std::fs::rename(folder.path().join("next"), &path).expect("moved");
        wait(333, true).await;
        stop.cancel();
        task.await.expect("it ends");
    }
}
