//! How a role shows that it is alive, with nothing listening: a small file that it writes anew
//! every few seconds, and `heartbeat healthcheck` reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Condition, Health};
use crate::clock;

/// How often the file is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(2);

/// For what is under way when the process stops, and to remove the file.
const REMOVED_WITHIN: Duration = Duration::from_secs(1);

/// A file older than this says that its process hangs, or is gone.
const OLD_AFTER: Duration = Duration::from_secs(20);

#[derive(Debug, Deserialize, Serialize)]
struct Written {
    role: String,
    pid: u32,
    /// By the clock that goes on while the machine sleeps, in milliseconds since its start.
    written_ms: u64,
    /// The run of the machine by which that counts.
    #[serde(default)]
    boot_id: String,
    healthy: bool,
    ready: bool,
    #[serde(default)]
    reason: String,
}

/// Why a process does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The file is not there or cannot be read.
    #[error("no sign of life in {path}: {why}; is the process running, with the same HEALTH_FILE?")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be read.
        why: std::io::Error,
    },
    /// The file is none.
    #[error("{path} is no health file")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// It is of another role.
    #[error(
        "{path} is of a {role}, and not of a {wanted}: name the role that runs here, or give each a HEALTH_FILE of its own"
    )]
    OtherRole {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        role: String,
        /// Whose it is to be.
        wanted: &'static str,
    },
    /// The process stopped writing it.
    #[error("the last sign of life of {role} (pid {pid}) is {} s old", .age.as_secs())]
    Old {
        /// Its role.
        role: String,
        /// Its process.
        pid: u32,
        /// How old.
        age: Duration,
    },
    /// The machine was started anew since.
    #[error("the last sign of life of {role} (pid {pid}) is of before the machine was started")]
    OfEarlierRun {
        /// Its role.
        role: String,
        /// Its process.
        pid: u32,
    },
    /// The process says so itself.
    #[error("{role} (pid {pid}): {reason}")]
    Says {
        /// Its role.
        role: String,
        /// Its process.
        pid: u32,
        /// In its words.
        reason: String,
    },
}

impl Written {
    fn now(role: &str, condition: &Condition) -> Self {
        Self {
            role: role.to_owned(),
            pid: std::process::id(),
            written_ms: u64::try_from(clock::boot().as_millis()).unwrap_or(0),
            boot_id: clock::boot_id().to_owned(),
            healthy: condition.is_healthy(),
            ready: *condition == Condition::Ready,
            reason: condition.reason(),
        }
    }
}

/// Writes the file until `stop`, then removes it. A disk that does not answer by then is left.
pub async fn write(health: Health, role: &'static str, path: PathBuf, stop: CancellationToken) {
    let given_up = async {
        stop.cancelled().await;
        sleep(REMOVED_WITHIN).await;
    };
    tokio::select! {
        () = follow(&health, role, &path, &stop) => {}
        () = given_up => warn!(path = %path.display(), "Health file not removed: the disk does not answer"),
    }
}

async fn follow(health: &Health, role: &str, path: &Path, stop: &CancellationToken) {
    let mut tick = interval(WRITTEN_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failing, mut shared, mut written) = (false, false, false);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        if written && let Some(pid) = other_writer(path).await {
            if !std::mem::replace(&mut shared, true) {
                let path = path.display();
                warn!(%path, pid, "Another process writes the health file, too; give each a HEALTH_FILE of its own");
            }
        } else {
            shared = false;
        }
        let text = serde_json::to_string(&Written::now(role, &health.condition())).unwrap_or_default();
        match write_whole(path, &text).await {
            Ok(()) => (failing, written) = (false, true),
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(path = %path.display(), %error, "Health file not written; healthcheck will fail");
                }
            }
        }
    }
    if other_writer(path).await.is_none() {
        let _ = tokio::fs::remove_file(path).await;
    }
}

/// The process that wrote the file last, where that is not this one.
async fn other_writer(path: &Path) -> Option<u32> {
    let text = tokio::fs::read_to_string(path).await.ok()?;
    let written: Written = serde_json::from_str(&text).ok()?;
    (written.pid != std::process::id()).then_some(written.pid)
}

/// A reader never sees half a file.
async fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension(format!("health.{}", std::process::id()));
    tokio::fs::write(&fresh, text).await?;
    tokio::fs::rename(&fresh, path).await
}

/// Reads the file of a role, of whichever where none is `wanted`. `ready` asks for more than life: that it does its work.
///
/// # Errors
/// Says why it does not count as healthy.
pub fn check(path: &Path, wanted: Option<&'static str>, ready: bool) -> Result<(), Unhealthy> {
    let text =
        std::fs::read_to_string(path).map_err(|why| Unhealthy::Missing { path: path.to_owned(), why })?;
    let written: Written =
        serde_json::from_str(&text).map_err(|_| Unhealthy::Malformed { path: path.to_owned() })?;
    let Written { role, pid, written_ms, boot_id, healthy, ready: is_ready, reason } = written;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != role) {
        return Err(Unhealthy::OtherRole { path: path.to_owned(), role, wanted });
    }
    let is_named_otherwise = !boot_id.is_empty() && boot_id != clock::boot_id() && !is_fresh(path);
    // Where it is not named, a moment that is still to come tells.
    let age = clock::boot().checked_sub(Duration::from_millis(written_ms));
    let Some(age) = age.filter(|_| !is_named_otherwise) else {
        return Err(Unhealthy::OfEarlierRun { role, pid });
    };
    if age > OLD_AFTER {
        return Err(Unhealthy::Old { role, pid, age });
    }
    if !healthy || (ready && !is_ready) {
        return Err(Unhealthy::Says { role, pid, reason });
    }
    Ok(())
}

/// Whether the wall clock, too, says that the file was just written. That makes it one of this run, whatever its name: in a
/// container, a service that has a `/proc` of its own is told another name than its neighbours.
fn is_fresh(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|file| file.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age <= OLD_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_tells_of_life_and_readiness() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.health");
        assert!(matches!(check(&path, None, false), Err(Unhealthy::Missing { .. })));
        let write = async |written: Written| {
            write_whole(&path, &serde_json::to_string(&written).unwrap()).await.unwrap();
        };
        write(Written::now("publisher", &Condition::Starting)).await;
        assert!(check(&path, None, false).is_ok());
        let error = check(&path, Some("publisher"), true).unwrap_err().to_string();
        assert!(error.contains("starting"), "{error}");
        write(Written::now("publisher", &Condition::Ready)).await;
        assert!(check(&path, Some("publisher"), true).is_ok());
        let error = check(&path, Some("subscriber"), false).unwrap_err().to_string();
        assert!(error.contains("is of a publisher, and not of a subscriber"), "{error}");
        write(Written::now("publisher", &Condition::Hangs(Duration::from_secs(45)))).await;
        let error = check(&path, None, false).unwrap_err().to_string();
        assert!(error.contains("not come round for 45 s"), "{error}");
        write(Written { written_ms: 0, ..Written::now("publisher", &Condition::Ready) }).await;
        assert!(matches!(check(&path, None, false), Err(Unhealthy::Old { .. })));
        let ready = || Written::now("publisher", &Condition::Ready);
        // Of a run of the machine that lasted longer, whether the system names its runs or not.
        let to_come = ready().written_ms + 3_600_000;
        for earlier in [
            Written { boot_id: "another".into(), ..ready() },
            Written { boot_id: "another".into(), written_ms: to_come, ..ready() },
            Written { written_ms: to_come, ..ready() },
        ] {
            write(earlier).await;
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
            let error = check(&path, None, false).unwrap_err().to_string();
            assert!(error.contains("of before the machine was started"), "{error}");
        }
        // As of a service in a container, which is told another name than whoever asks.
        write(Written { boot_id: "another".into(), ..ready() }).await;
        assert!(check(&path, None, true).is_ok());
        let age = Duration::from_millis(20_363);
        let old = Unhealthy::Old { role: "publisher".into(), pid: 7, age };
        assert_eq!(old.to_string(), "the last sign of life of publisher (pid 7) is 20 s old");
    }

    #[tokio::test]
    async fn whoever_ends_takes_no_other_process_file_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.health");
        for (other, is_left) in [(false, false), (true, true)] {
            let stop = CancellationToken::new();
            let writing = tokio::spawn(write(Health::of([]), "publisher", path.clone(), stop.clone()));
            while check(&path, None, false).is_err() {
                assert!(!writing.is_finished());
                tokio::task::yield_now().await;
            }
            if other {
                let pid = std::process::id() + 1;
                let written = Written { pid, ..Written::now("publisher", &Condition::Ready) };
                write_whole(&path, &serde_json::to_string(&written).unwrap()).await.unwrap();
                assert_eq!(other_writer(&path).await, Some(pid));
            }
            stop.cancel();
            writing.await.unwrap();
            assert_eq!(path.exists(), is_left);
        }
    }

    /// A pipe in the place of the file is read once somebody writes to it.
    #[tokio::test]
    async fn a_disk_that_hangs_does_not_hold_up_the_stop() {
        use rustix::fs::{CWD, FileType, Mode, OFlags};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.health");
        let stop = CancellationToken::new();
        let mut writing = tokio::spawn(write(Health::of([]), "publisher", path.clone(), stop.clone()));
        while check(&path, None, false).is_err() {
            assert!(!writing.is_finished());
            tokio::task::yield_now().await;
        }
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::fs::rename(&pipe, &path).unwrap();
        // It is opened to be written to at once where somebody reads, and only there.
        let begun = std::time::Instant::now();
        let held = loop {
            match rustix::fs::open(&path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                Ok(held) => break held,
                Err(error) => assert!(begun.elapsed() < WRITTEN_EVERY * 10, "nobody reads: {error}"),
            }
            sleep(Duration::from_millis(10)).await;
        };
        stop.cancel();
        let ended = tokio::time::timeout(REMOVED_WITHIN * 10, &mut writing).await;
        drop(held);
        assert!(ended.is_ok(), "it waits for the disk");
    }
}
