//! What outlives a publisher's process: a small file, one JSON object with a key for each subject, written whole.
//!
//! Moments in it are of the clock that nobody steps, in milliseconds since the machine started, beside one reading of that
//! clock and of the wall clock. Within one run of the machine they hold as they are, whatever the wall clock did; after a
//! reboot the wall clock tells how far they lie back.
//!
//! The file is a help and never a condition: one that cannot be read is moved aside and said, and one that cannot be written
//! is said, and a metric tells of it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::job::Millis;
use crate::clock;
use crate::heartbeat::PublisherId;

/// Longest file, in bytes: thousands of jobs have room.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Names this run of the machine, on Linux.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is remembered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: it lasts as long as the process.
    path: Option<PathBuf>,
    publisher: PublisherId,
    /// What a process before remembered.
    recalled: Recalled,
    kept: Mutex<Kept>,
    /// Held while the file is written; which state of [`Kept`] it holds.
    written: tokio::sync::Mutex<u64>,
    writes_succeed: Gauge,
}

#[derive(Debug, Default)]
struct Kept {
    subjects: Map<String, Value>,
    changes: u64,
    complained: bool,
}

/// What was read at the start.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    subjects: Map<String, Value>,
    /// To be added to the moments in it.
    shift: Millis,
}

#[derive(Deserialize, Serialize)]
struct File {
    publisher: String,
    clock: Clock,
    #[serde(flatten)]
    subjects: Map<String, Value>,
}

/// Two clocks' readings of one moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Clock {
    boot_id: String,
    boot_ms: Millis,
    wall_ms: i64,
}

impl Clock {
    fn now() -> Self {
        let boot_id = fs::read_to_string(BOOT_ID).unwrap_or_default();
        Self {
            boot_id: boot_id.trim().to_owned(),
            boot_ms: clock::boot_ms(),
            wall_ms: clock::wall().unix_ms(),
        }
    }

    /// How far moments of this clock have moved as the clock `now` counts.
    fn shift_to(&self, now: &Self) -> Millis {
        if !self.boot_id.is_empty() && self.boot_id == now.boot_id {
            return 0;
        }
        (now.boot_ms.saturating_sub(now.wall_ms)).saturating_sub(self.boot_ms.saturating_sub(self.wall_ms))
    }
}

impl Memory {
    /// What the file holds, where there is one.
    pub fn read(path: Option<PathBuf>, publisher: PublisherId, registry: &mut Registry) -> Self {
        let writes_succeed = Gauge::default();
        writes_succeed.set(1);
        registry.register(
            "heartbeat_emitter_state_file_last_write_successful",
            "Whether what is to outlive the publisher could be written when it was last tried",
            writes_succeed.clone(),
        );
        let (recalled, path) = match path.map(|path| (recall(&path, &publisher), path)) {
            Some((Some(recalled), path)) => (recalled, Some(path)),
            Some((None, _)) => {
                writes_succeed.set(0);
                (Recalled::default(), None)
            }
            None => (Recalled::default(), None),
        };
        Self(Arc::new(Inner {
            path,
            publisher,
            recalled,
            kept: Mutex::default(),
            written: tokio::sync::Mutex::new(0),
            writes_succeed,
        }))
    }

    /// What a process before remembered.
    pub(super) fn recalled(&self) -> &Recalled {
        &self.0.recalled
    }

    /// Remembers a subject from now on, in the place of what was remembered of it. The task ends when that is written, and says
    /// whether it could be; of two that are kept at once one write may do for both.
    pub(super) fn keep(&self, subject: &str, value: Value) -> JoinHandle<bool> {
        let change = {
            let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.subjects.insert(subject.to_owned(), value);
            kept.changes += 1;
            kept.changes
        };
        tokio::spawn(Arc::clone(&self.0).write(change))
    }
}

impl Recalled {
    /// A subject as it was kept.
    pub(super) fn subject(&self, name: &str) -> Option<&Value> {
        self.subjects.get(name)
    }

    /// A moment of it as the clock of today counts; `None`: one that is still to come, so that one of the clocks was wrong.
    pub(super) fn moment(&self, then: Millis, now: Millis) -> Option<Millis> {
        Some(then.saturating_add(self.shift)).filter(|moment| *moment <= now)
    }
}

impl Inner {
    /// Has a change written, unless a later one was meanwhile.
    async fn write(self: Arc<Self>, change: u64) -> bool {
        let Some(path) = self.path.clone() else { return true };
        let mut written = self.written.lock().await;
        if *written >= change {
            return true;
        }
        let (file, changes) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let publisher = self.publisher.to_string();
            (File { publisher, clock: Clock::now(), subjects: kept.subjects.clone() }, kept.changes)
        };
        let done = tokio::task::spawn_blocking(move || write_whole(&path, &file)).await;
        let result = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.writes_succeed.set(i64::from(result.is_ok()));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(()) => {
                *written = changes;
                if std::mem::take(&mut kept.complained) {
                    info!("The state file is written again");
                }
            }
            Err(error) if !std::mem::replace(&mut kept.complained, true) => {
                warn!(%error, "The state file cannot be written; a restart would forget what was told since");
            }
            Err(_) => {}
        }
        result.is_ok()
    }
}

/// What is in the file. `None`: it is not ours to read or to write.
fn recall(path: &Path, publisher: &PublisherId) -> Option<Recalled> {
    let shown = path.display();
    match read(path, publisher) {
        Ok(Some(file)) => {
            info!(file = %shown, "State of the process before read");
            Some(Recalled { shift: file.clock.shift_to(&Clock::now()), subjects: file.subjects })
        }
        Ok(None) => Some(Recalled::default()),
        Err(Unusable::NotOurs(why)) => {
            warn!(file = %shown, why, "The state file is left alone; what is told will not outlive this process");
            None
        }
        Err(Unusable::Spoilt(why)) => {
            let aside = beside(path, "bad");
            let moved = fs::rename(path, &aside).is_ok();
            warn!(file = %shown, why, moved_aside = moved, "The state file cannot be used; beginning without");
            Some(Recalled::default())
        }
    }
}

/// Why a file is of no use.
enum Unusable {
    /// Nobody of us wrote it so.
    Spoilt(String),
    /// It is another's, who may be using it.
    NotOurs(String),
}

/// `None`: there is none.
fn read(path: &Path, publisher: &PublisherId) -> Result<Option<File>, Unusable> {
    let opened = match fs::File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Unusable::NotOurs(error.to_string()));
        }
        Err(error) => return Err(Unusable::Spoilt(error.to_string())),
    };
    let spoilt = |why: &dyn std::fmt::Display| Unusable::Spoilt(why.to_string());
    let mut text = Vec::new();
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| spoilt(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Unusable::Spoilt(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    let file: File = serde_json::from_slice(&text).map_err(|error| spoilt(&error))?;
    if file.publisher != publisher.as_str() {
        let why = format!("it is of publisher {:?}; set another PUBLISHER_STATE_FILE", file.publisher);
        return Err(Unusable::NotOurs(why));
    }
    Ok(Some(file))
}

/// As one step: whoever reads meanwhile, and whoever reads after the power has gone, finds the file before or this one.
fn write_whole(path: &Path, file: &File) -> io::Result<()> {
    let text = serde_json::to_vec(file)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it would be longer than {FILE_BYTES_MAX} bytes")));
    }
    let next = beside(path, "next");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    opened.write_all(&text)?;
    opened.sync_all()?;
    fs::rename(&next, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

/// A file of the same name with an ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn memory(path: &Path, publisher: &str) -> Memory {
        let publisher = PublisherId::new(publisher).unwrap();
        Memory::read(Some(path.to_owned()), publisher, &mut Registry::default())
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = memory(&path, "oslo");
        assert_eq!(first.recalled().subject("jobs"), None);
        let writes: Vec<_> = (0..50).map(|n| first.keep("jobs", json!({"backup": n}))).collect();
        assert!(first.keep("maintenance", json!([])).await.unwrap());
        for write in writes {
            assert!(write.await.unwrap());
        }
        let again = memory(&path, "oslo");
        assert_eq!(again.recalled().subject("jobs"), Some(&json!({"backup": 49})));
        assert_eq!(again.recalled().subject("maintenance"), Some(&json!([])));
        assert_eq!(again.recalled().moment(5, 10), Some(5), "the machine runs on");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_is_of_no_use_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        memory(&path, "bergen").keep("jobs", json!({"x": 1})).await.unwrap();
        let of_another = fs::read_to_string(&path).unwrap();
        // Its publisher may be using it.
        let stranger = memory(&path, "oslo");
        assert_eq!(stranger.recalled().subject("jobs"), None);
        assert_eq!(stranger.0.writes_succeed.get(), 0);
        let _ = stranger.keep("jobs", json!({"y": 2})).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), of_another);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let huge = "x".repeat(2 << 20);
        for text in ["", "{}", "[1]", "no JSON", &of_another[..40], &huge] {
            fs::write(&path, text).unwrap();
            let memory = memory(&path, "oslo");
            assert_eq!(memory.recalled().subject("jobs"), None);
            assert_eq!(fs::read_to_string(beside(&path, "bad")).unwrap(), text);
            assert!(memory.keep("jobs", json!({"y": 2})).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_told_by_the_metric() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/state.json");
        let memory = memory(&path, "oslo");
        assert!(!memory.keep("jobs", json!({})).await.unwrap());
        assert_eq!(memory.0.writes_succeed.get(), 0);
        fs::create_dir(folder.path().join("none")).unwrap();
        assert!(memory.keep("jobs", json!({})).await.unwrap());
        assert_eq!(memory.0.writes_succeed.get(), 1);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_tells_how_long_ago_it_was() {
        let clock = |boot_id: &str, boot_ms, wall_ms| Clock { boot_id: boot_id.into(), boot_ms, wall_ms };
        let then = clock("a", 1_000_000, 50_000_000);
        // The machine runs on, and the wall clock was set back by far.
        assert_eq!(then.shift_to(&clock("a", 2_000_000, 3)), 0);
        // Down for 100 s and up for 20 s: what was 10 s before the file was written is 130 s ago.
        let now = clock("b", 20_000, 50_120_000);
        let recalled = Recalled { subjects: Map::new(), shift: then.shift_to(&now) };
        assert_eq!(recalled.moment(990_000, 20_000), Some(20_000 - 130_000));
        // A wall clock without a battery is in the past: the file is of the future, and nothing of it is believed.
        let now = clock("b", 20_000, 5_000);
        let recalled = Recalled { subjects: Map::new(), shift: then.shift_to(&now) };
        assert_eq!(recalled.moment(990_000, 20_000), None);
        // A system that does not name its runs is taken to have been started anew.
        let now = clock("", 1_060_000, 50_060_000);
        assert_eq!(clock("", 1_000_000, 50_000_000).shift_to(&now), 0);
    }
}
