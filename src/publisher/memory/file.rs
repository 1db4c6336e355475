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

/// A state file that is this process's.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    publisher: PublisherId,
    /// Held as long as this is; `None`: it could not be taken yet.
    lock: Option<OwnedFd>,
}

/// What became of opening a state file.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is ours, and held that.
    Ours(StateFile, Recalled),
    /// The disk failed: nobody knows what it holds.
    Unread(StateFile, io::Error),
    /// It is not ours to read or to write.
    LeftAlone,
}

#[derive(Deserialize, Serialize)]
struct Content<S> {
    publisher: String,
    clock: Clock,
    #[serde(flatten)]
    subjects: S,
}

impl StateFile {
    /// One that is not opened yet.
    pub(super) fn new(path: PathBuf, publisher: PublisherId) -> Self {
        Self { path, publisher, lock: None }
    }

    /// Takes the file, and reads it.
    ///
    /// # Errors
    /// Where another process has it.
    pub(super) fn open(self) -> Result<Opened, InUse> {
        let mut file = self;
        let shown = file.path.display().to_string();
        let read = match file.take() {
            Err(NotTaken::InUse) => return Err(InUse { path: file.path }),
            Err(NotTaken::NoFile) => Err(Unusable::NotOurs("it is no regular file".into())),
            // A folder that cannot be written to may hold a file that can be read.
            Err(NotTaken::Failed(_)) | Ok(()) => file.read(),
        };
        let recalled = match read {
            Ok(Some(Content { clock, subjects, .. })) => {
                info!(file = shown, "State of the process before read");
                Recalled::new(subjects, &clock)
            }
            Ok(None) => Recalled::default(),
            Err(Unusable::Unread(error)) => return Ok(Opened::Unread(file, error)),
            Err(Unusable::Spoilt(why)) => match file.move_aside() {
                Ok(aside) => {
                    let aside = aside.display().to_string();
                    warn!(
                        file = shown,
                        why, aside, "The state file cannot be used and was moved aside; beginning without"
                    );
                    Recalled::default()
                }
                Err(error) => {
                    let error = error.to_string();
                    warn!(
                        file = shown,
                        why, error, "The state file cannot be used, nor moved aside; beginning without"
                    );
                    return Ok(Opened::LeftAlone);
                }
            },
            Err(Unusable::NotOurs(why)) => {
                warn!(
                    file = shown,
                    why, "The state file is left alone; what is told will not outlive this process"
                );
                return Ok(Opened::LeftAlone);
            }
        };
        Ok(Opened::Ours(file, recalled))
    }

    /// Takes the lock, unless this has it. It is on another file, since this one is never the same for long.
    fn take(&mut self) -> Result<(), NotTaken> {
        if self.lock.is_some() {
            return Ok(());
        }
        // Nobody's folder or device is locked, moved aside or replaced.
        if fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return Err(NotTaken::NoFile);
        }
        let path = beside(&self.path, "lock");
        self.lock = Some(locked(&path, |lock| flock(lock, FlockOperation::NonBlockingLockExclusive))?);
        Ok(())
    }

    /// `None`: there is none, or there is nothing in it.
    fn read(&self) -> Result<Option<Content<Map<String, Value>>>, Unusable> {
        let spoilt = |why: &dyn std::fmt::Display| Unusable::Spoilt(why.to_string());
        let opened = match File::open(&self.path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unusable::Unread(error)),
        };
        let mut text = Vec::new();
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(Unusable::Unread)?;
        if text.is_empty() {
            warn!(file = %self.path.display(), "The state file is empty; beginning without");
            return Ok(None);
        }
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Unusable::Spoilt(format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        let content: Content<_> = serde_json::from_slice(&text)
            .map_err(|error| spoilt(&format!("it does not hold what a publisher writes: {error}")))?;
        if content.publisher != self.publisher.as_str() {
            let why = format!("it is of publisher {:?}; set another PUBLISHER_STATE_FILE", content.publisher);
            return Err(Unusable::NotOurs(why));
        }
        Ok(Some(content))
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
    pub(super) fn write(&mut self, subjects: &Map<String, Value>) -> io::Result<()> {
        self.take().map_err(|not_taken| match not_taken {
            NotTaken::InUse => io::Error::other("another process uses it"),
            NotTaken::NoFile => io::Error::other("it is no regular file"),
            NotTaken::Failed(error) => error,
        })?;
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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Why a file is of no use.
enum Unusable {
    /// The disk failed, which may pass: it is as good as it was.
    Unread(io::Error),
    /// Nobody of us wrote it so.
    Spoilt(String),
    /// It is another's, who may be using it.
    NotOurs(String),
}

/// Why the lock is not ours.
enum NotTaken {
    /// Another process has it.
    InUse,
    /// There is something else in the place of the file.
    NoFile,
    /// The system's reason.
    Failed(io::Error),
}

/// Opens a file and locks it, as `lock` does.
fn locked(path: &Path, lock: impl Fn(&OwnedFd) -> Result<(), Errno>) -> Result<OwnedFd, NotTaken> {
    let failed = |error: Errno| NotTaken::Failed(named(path, error.into()));
    let opened = |access| {
        let mode = Mode::RUSR | Mode::WUSR;
        open(path, OFlags::CREATE | OFlags::CLOEXEC | access, mode).map_err(failed)
    };
    // To be read alone: a file that is open to be written to keeps its disk from being mounted so.
    let mut file = opened(OFlags::RDONLY)?;
    let mut taken = lock(&file);
    if taken == Err(Errno::BADF) {
        // NFS locks what may be written to.
        file = opened(OFlags::RDWR)?;
        taken = lock(&file);
    }
    match taken {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(NotTaken::InUse),
        Err(error) if WITHOUT_LOCKS.contains(&error) => {
            warn!(file = %path.display(), %error, "The disk has no locks; nothing keeps two publishers from one state file");
            Ok(file)
        }
        Err(error) => Err(failed(error)),
    }
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

    fn opened(path: &Path, publisher: &str) -> Result<Opened, InUse> {
        StateFile::new(path.to_owned(), PublisherId::new(publisher).unwrap()).open()
    }

    #[track_caller]
    fn ours(found: Result<Opened, InUse>) -> (StateFile, Recalled) {
        match found.unwrap() {
            Opened::Ours(file, recalled) => (file, recalled),
            other => panic!("{other:?}"),
        }
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
        let (mut first, recalled) = ours(opened(&path, "oslo"));
        assert_eq!(recalled.subject("jobs"), None);
        first.write(&subjects("jobs", json!({"backup": 1}))).unwrap();
        first.write(&subjects("jobs", json!({"backup": 2}))).unwrap();
        let refused = opened(&path, "oslo").unwrap_err().to_string();
        assert!(refused.contains("state.json") && refused.starts_with("another process uses"), "{refused}");
        drop(first);
        let (_again, recalled) = ours(opened(&path, "oslo"));
        assert_eq!(recalled.subject("jobs"), Some(&json!({"backup": 2})));
        assert_eq!(recalled.moment(5, 10), Some(5), "the machine runs on");
        assert_eq!(names(folder.path()), ["state.json", "state.json.lock"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_of_no_use_is_moved_aside_and_so_is_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        ours(opened(&path, "oslo")).0.write(&Map::new()).unwrap();
        let cut_off = fs::read_to_string(&path).unwrap()[..20].to_owned();
        let huge = "x".repeat(2 << 20);
        let spoilt = ["{}", "[1]", "no JSON", &cut_off, &huge, "the sixth"];
        for text in spoilt {
            fs::write(&path, text).unwrap();
            let (mut file, recalled) = ours(opened(&path, "oslo"));
            assert_eq!(recalled.subject("jobs"), None);
            file.write(&subjects("jobs", json!({"y": 2}))).unwrap();
        }
        let aside = |ending: &str| fs::read_to_string(beside(&path, ending)).unwrap();
        let kept = ["bad", "bad.2", "bad.3", "bad.4", "bad.5"].map(aside);
        assert_eq!(kept, ["{}", "[1]", "no JSON", &cut_off, "the sixth"]);
        assert_eq!(names(folder.path()).len(), 7);
        // Somebody made it, to set its mode perhaps: there is nothing to be kept.
        fs::write(&path, "").unwrap();
        ours(opened(&path, "oslo"));
        assert_eq!(names(folder.path()).len(), 7);
    }

    #[test]
    fn a_disk_that_fails_is_no_fault_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state.json"), folder.path().join("away"));
        ours(opened(&path, "oslo")).0.write(&subjects("jobs", json!({"x": 1}))).unwrap();
        fs::rename(&path, &away).unwrap();
        // The one cannot be opened; the other can be, and its first byte cannot be read.
        for failing in [path.as_path(), Path::new("/proc/self/mem")] {
            std::os::unix::fs::symlink(failing, &path).unwrap();
            let Ok(Opened::Unread(file, _)) = opened(&path, "oslo") else { panic!("{failing:?}") };
            assert_eq!(names(folder.path()), ["away", "state.json", "state.json.lock"]);
            fs::remove_file(&path).unwrap();
            fs::copy(&away, &path).unwrap();
            let (_file, recalled) = ours(file.open());
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
        assert!(matches!(locked(&path, |_| Err(Errno::IO)), Err(NotTaken::Failed(_))));
        assert!(matches!(locked(&path, |_| Err(Errno::BADF)), Err(NotTaken::Failed(_))));
        assert!(matches!(locked(&path, |_| Err(Errno::WOULDBLOCK)), Err(NotTaken::InUse)));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        ours(opened(&path, "bergen")).0.write(&subjects("jobs", json!({"x": 1}))).unwrap();
        let of_another = fs::read_to_string(&path).unwrap();
        assert!(matches!(opened(&path, "oslo"), Ok(Opened::LeftAlone)));
        assert_eq!(fs::read_to_string(&path).unwrap(), of_another);
        let within = folder.path().join("folder");
        fs::create_dir(&within).unwrap();
        assert!(matches!(opened(&within, "oslo"), Ok(Opened::LeftAlone)));
        assert!(matches!(opened(Path::new("/dev/null"), "oslo"), Ok(Opened::LeftAlone)));
        assert!(within.is_dir() && Path::new("/dev/null").exists());
    }
}
