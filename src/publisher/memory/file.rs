//! The state file on its disk: one JSON object with a key for each subject, written whole, by one process at a time.
//!
//! All of it may wait for the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::{info, warn};

use crate::heartbeat::PublisherId;

use super::recalled::{Clock, Recalled};

/// Longest file, in bytes: thousands of jobs have room.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files that could not be used and were moved aside; the first ones are kept, and the last gives way.
const MOVED_ASIDE_MAX: usize = 5;

/// What a disk says that has no locks.
const WITHOUT_LOCKS: [Errno; 3] = [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOLCK];

/// Another process has the file.
#[derive(Debug, thiserror::Error)]
#[error("another process uses {path:?}; each publisher needs a PUBLISHER_STATE_FILE of its own")]
pub struct InUse {
    path: PathBuf,
}

/// A state file that is this process's, and was read since it is.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    publisher: PublisherId,
    /// Held as long as this is.
    _lock: OwnedFd,
}

/// Why a state file is not open.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// Another process has it.
    InUse(InUse),
    /// It is not ours to read or to write.
    NotOurs(String),
    /// The disk failed, which may pass: nobody knows what it holds.
    Failed(io::Error),
}

#[derive(Deserialize, Serialize)]
struct Content<S> {
    publisher: String,
    clock: Clock,
    #[serde(flatten)]
    subjects: S,
}

type Subjects = Map<String, Value>;

impl StateFile {
    /// Takes the file, and then reads it, so that nobody writes to it between the two.
    pub(super) fn open(path: PathBuf, publisher: PublisherId) -> Result<(Self, Recalled), NotOpened> {
        // Nobody's folder or device is locked, moved aside or replaced.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(NotOpened::NotOurs("it is no regular file".into()));
        }
        // On another file, since this one is never the same for long.
        let lock =
            locked(&beside(&path, "lock"), |lock| flock(lock, FlockOperation::NonBlockingLockExclusive));
        let _lock = lock.map_err(|error| match error {
            Errno::WOULDBLOCK => NotOpened::InUse(InUse { path: path.clone() }),
            error => NotOpened::Failed(named(&beside(&path, "lock"), error.into())),
        })?;
        let file = Self { path, publisher, _lock };
        let recalled = file.read()?;
        Ok((file, recalled))
    }

    fn read(&self) -> Result<Recalled, NotOpened> {
        let file = self.path.display();
        let text = match File::open(&self.path) {
            Ok(opened) => read_bounded(opened).map_err(NotOpened::Failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recalled::default()),
            Err(error) => return Err(NotOpened::Failed(error)),
        };
        if text.is_empty() {
            warn!(%file, "The state file is empty; beginning without");
            return Ok(Recalled::default());
        }
        match understood(&text) {
            Ok(Content { publisher, .. }) if publisher != self.publisher.as_str() => {
                let why = format!("it is of publisher {publisher:?}; set another PUBLISHER_STATE_FILE");
                Err(NotOpened::NotOurs(why))
            }
            Ok(Content { clock, subjects, .. }) => {
                info!(%file, "State of the process before read");
                Ok(Recalled::new(subjects, &clock))
            }
            Err(why) => {
                let not_moved = |error| io::Error::other(format!("{why}; it cannot be moved aside: {error}"));
                let aside = self.move_aside().map_err(|error| NotOpened::Failed(not_moved(error)))?;
                let aside = aside.display();
                warn!(%file, why, %aside, "The state file cannot be used and was moved aside; beginning without");
                Ok(Recalled::default())
            }
        }
    }

    /// Where it was moved to.
    fn move_aside(&self) -> io::Result<PathBuf> {
        let mut asides = (1..=MOVED_ASIDE_MAX).map(|number| match number {
            1 => beside(&self.path, "bad"),
            _ => beside(&self.path, &format!("bad.{number}")),
        });
        let last = beside(&self.path, &format!("bad.{MOVED_ASIDE_MAX}"));
        let aside = asides.find(|aside| fs::symlink_metadata(aside).is_err()).unwrap_or(last);
        fs::rename(&self.path, &aside).map(|()| aside)
    }

    /// As one step: whoever reads meanwhile, and whoever reads after the power has gone, finds the file before or this one.
    pub(super) fn write(&mut self, subjects: &Subjects) -> io::Result<()> {
        let publisher = self.publisher.to_string();
        let text = serde_json::to_vec(&Content { publisher, clock: Clock::now(), subjects })?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it would be longer than {FILE_BYTES_MAX} bytes")));
        }
        let next = beside(&self.path, "next");
        remove(&next).map_err(|error| named(&next, error))?;
        let done = write_anew(&next, &text).and_then(|()| fs::rename(&next, &self.path));
        if let Err(error) = done {
            // A full disk is to have that room again.
            let _ = remove(&next);
            return Err(named(&next, error));
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// What the file holds, with a byte more than it may.
fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Says why nobody of us wrote it so.
fn understood(text: &[u8]) -> Result<Content<Subjects>, String> {
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(text).map_err(|error| format!("it does not hold what a publisher writes: {error}"))
}

/// Opens a file and locks it, as `lock` does.
fn locked(path: &Path, lock: impl Fn(&OwnedFd) -> Result<(), Errno>) -> Result<OwnedFd, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let opened = |access| open(path, OFlags::CREATE | OFlags::CLOEXEC | access, mode);
    // To be read alone: a file that is open to be written to keeps its disk from being mounted so.
    let mut file = opened(OFlags::RDONLY)?;
    let mut taken = lock(&file);
    if taken == Err(Errno::BADF) {
        // NFS locks what may be written to.
        file = opened(OFlags::RDWR)?;
        taken = lock(&file);
    }
    match taken {
        Err(error) if WITHOUT_LOCKS.contains(&error) => {
            warn!(file = %path.display(), %error, "The disk has no locks; nothing keeps two publishers from one state file");
        }
        taken => taken?,
    }
    Ok(file)
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write_anew(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    opened.write_all(text)?;
    opened.sync_all()
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn opened(path: &Path, publisher: &str) -> Result<(StateFile, Recalled), NotOpened> {
        StateFile::open(path.to_owned(), PublisherId::new(publisher).unwrap())
    }

    fn subjects(subject: &str, value: Value) -> Map<String, Value> {
        Map::from_iter([(subject.to_owned(), value)])
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_by_who_comes_after_and_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let (mut first, recalled) = opened(&path, "oslo").unwrap();
        assert_eq!(recalled.subject("jobs"), None);
        first.write(&subjects("jobs", json!({"backup": 1}))).unwrap();
        first.write(&subjects("jobs", json!({"backup": 2}))).unwrap();
        let Err(NotOpened::InUse(refused)) = opened(&path, "oslo") else { panic!("two write one file") };
        let refused = refused.to_string();
        assert!(refused.contains("state.json") && refused.starts_with("another process uses"), "{refused}");
        drop(first);
        let (_again, recalled) = opened(&path, "oslo").unwrap();
        assert_eq!(recalled.subject("jobs"), Some(&json!({"backup": 2})));
        assert_eq!(recalled.moment(5, 10), Some(5), "the machine runs on");
        assert_eq!(names(folder.path()), ["state.json", "state.json.lock"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_of_no_use_is_moved_aside_and_so_is_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        opened(&path, "oslo").unwrap().0.write(&Map::new()).unwrap();
        let cut_off = fs::read_to_string(&path).unwrap()[..20].to_owned();
        let huge = "x".repeat(2 << 20);
        let spoilt = ["{}", "[1]", "no JSON", &cut_off, &huge, "the sixth"];
        for text in spoilt {
            fs::write(&path, text).unwrap();
            let (mut file, recalled) = opened(&path, "oslo").unwrap();
            assert_eq!(recalled.subject("jobs"), None);
            file.write(&subjects("jobs", json!({"y": 2}))).unwrap();
        }
        let aside = |ending: &str| fs::read_to_string(beside(&path, ending)).unwrap();
        let kept = ["bad", "bad.2", "bad.3", "bad.4", "bad.5"].map(aside);
        assert_eq!(kept, ["{}", "[1]", "no JSON", &cut_off, "the sixth"]);
        assert_eq!(names(folder.path()).len(), 7);
        // Somebody made it, to set its mode perhaps: there is nothing to be kept.
        fs::write(&path, "").unwrap();
        opened(&path, "oslo").unwrap();
        assert_eq!(names(folder.path()).len(), 7);
    }

    #[test]
    fn a_disk_that_fails_is_no_fault_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state.json"), folder.path().join("away"));
        opened(&path, "oslo").unwrap().0.write(&subjects("jobs", json!({"x": 1}))).unwrap();
        fs::rename(&path, &away).unwrap();
        // The one cannot be opened; the other can be, and its first byte cannot be read.
        for failing in [path.as_path(), Path::new("/proc/self/mem")] {
            std::os::unix::fs::symlink(failing, &path).unwrap();
            assert!(matches!(opened(&path, "oslo"), Err(NotOpened::Failed(_))), "{failing:?}");
            assert_eq!(names(folder.path()), ["away", "state.json", "state.json.lock"]);
            fs::remove_file(&path).unwrap();
            fs::copy(&away, &path).unwrap();
            let (_file, recalled) = opened(&path, "oslo").unwrap();
            assert_eq!(recalled.subject("jobs"), Some(&json!({"x": 1})));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_not_locked_is_not_taken_but_where_there_are_no_locks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json.lock");
        let is_writable = |file: &OwnedFd| rustix::fs::fcntl_getfl(file).unwrap().contains(OFlags::RDWR);
        // As NFS has it.
        let taken = locked(&path, |file| if is_writable(file) { Ok(()) } else { Err(Errno::BADF) });
        assert!(taken.is_ok_and(|file| is_writable(&file)));
        // Elsewhere it would keep a disk from being mounted to be read alone.
        assert!(locked(&path, |_| Ok(())).is_ok_and(|file| !is_writable(&file)));
        for without in WITHOUT_LOCKS {
            assert!(locked(&path, |_| Err(without)).is_ok(), "{without}");
        }
        assert!(matches!(locked(&path, |_| Err(Errno::IO)), Err(Errno::IO)));
        assert!(matches!(locked(&path, |_| Err(Errno::BADF)), Err(Errno::BADF)));
        assert!(matches!(locked(&path, |_| Err(Errno::WOULDBLOCK)), Err(Errno::WOULDBLOCK)));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        opened(&path, "bergen").unwrap().0.write(&subjects("jobs", json!({"x": 1}))).unwrap();
        let of_another = fs::read_to_string(&path).unwrap();
        assert!(matches!(opened(&path, "oslo"), Err(NotOpened::NotOurs(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), of_another);
        let within = folder.path().join("folder");
        fs::create_dir(&within).unwrap();
        assert!(matches!(opened(&within, "oslo"), Err(NotOpened::NotOurs(_))));
        assert!(matches!(opened(Path::new("/dev/null"), "oslo"), Err(NotOpened::NotOurs(_))));
        assert!(within.is_dir() && Path::new("/dev/null").exists());
    }
}
