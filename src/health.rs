//! How a role shows that it is alive, with nothing listening: a small file that it writes anew
//! every few seconds, and `heartbeat healthcheck` reads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock;

/// How often the file is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(2);

/// A file older than this says that its process hangs, or is gone.
const OLD_AFTER: Duration = Duration::from_secs(20);

/// A role whose own loop did not come round for so long hangs. It comes round at least once an
/// interval, so the role says how long that may be.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// Told by a role's loop each time it comes round.
#[derive(Clone, Debug)]
pub struct Pulse {
    inner: Arc<Mutex<Inner>>,
    /// Longest time between two rounds of the loop that is in order.
    idle_max: Duration,
}

#[derive(Debug)]
struct Inner {
    at: Duration,
    ready: Result<(), String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Written {
    role: String,
    pid: u32,
    /// By the clock that goes on while the machine sleeps, in milliseconds since its start.
    written_ms: u64,
    healthy: bool,
    ready: bool,
    #[serde(default)]
    reason: String,
}

/// Why a process does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The file is not there or cannot be read.
    #[error("no sign of life in {path}: is the process running, with the same HEALTH_FILE?")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// The file is none.
    #[error("{path} is no health file")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The process stopped writing it.
    #[error("the last sign of life of {role} (pid {pid}) is {age:?} old")]
    Old {
        /// Its role.
        role: String,
        /// Its process.
        pid: u32,
        /// How old.
        age: Duration,
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

impl Pulse {
    /// For a loop that comes round at least every `idle_max`.
    pub fn new(idle_max: Duration) -> Self {
        let inner = Inner { at: clock::boot(), ready: Err("starting".into()) };
        Self { inner: Arc::new(Mutex::new(inner)), idle_max }
    }

    /// The loop came round, and is ready or not.
    pub fn beat(&self, ready: Result<(), String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner { at: clock::boot(), ready };
    }

    /// Ready, or the reason why not.
    ///
    /// # Errors
    /// The reason.
    pub fn ready(&self) -> Result<(), String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).ready.clone()
    }

    fn written(&self, role: &str) -> Written {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::boot();
        let idle = now.saturating_sub(inner.at);
        let hangs = idle > self.idle_max + HANGS_AFTER;
        let reason = match &inner.ready {
            _ if hangs => format!("its loop has not come round for {} s", idle.as_secs()),
            Ok(()) => String::new(),
            Err(reason) => reason.clone(),
        };
        Written {
            role: role.to_owned(),
            pid: std::process::id(),
            written_ms: u64::try_from(now.as_millis()).unwrap_or(0),
            healthy: !hangs,
            ready: !hangs && inner.ready.is_ok(),
            reason,
        }
    }

    /// Writes the file until `stop`, then removes it.
    pub async fn write(self, role: &'static str, path: PathBuf, stop: CancellationToken) {
        let mut tick = interval(WRITTEN_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => break,
            }
            let text = serde_json::to_string(&self.written(role)).unwrap_or_default();
            match write_whole(&path, &text).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(path = %path.display(), %error, "Health file not written; healthcheck will fail");
                    }
                }
            }
        }
        let _ = tokio::fs::remove_file(&path).await;
    }
}

/// A reader never sees half a file.
async fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension(format!("health.{}", std::process::id()));
    tokio::fs::write(&fresh, text).await?;
    tokio::fs::rename(&fresh, path).await
}

/// Reads the file of a role. `ready` asks for more than life: that it does its work.
///
/// # Errors
/// Says why it does not count as healthy.
pub fn check(path: &Path, ready: bool) -> Result<(), Unhealthy> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Unhealthy::Missing { path: path.to_owned(), source })?;
    let written: Written =
        serde_json::from_str(&text).map_err(|_| Unhealthy::Malformed { path: path.to_owned() })?;
    let Written { role, pid, written_ms, healthy, ready: is_ready, reason } = written;
    let age = clock::boot().saturating_sub(Duration::from_millis(written_ms));
    if age > OLD_AFTER {
        return Err(Unhealthy::Old { role, pid, age });
    }
    if !healthy || (ready && !is_ready) {
        return Err(Unhealthy::Says { role, pid, reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_tells_of_life_and_readiness() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.health");
        assert!(matches!(check(&path, false), Err(Unhealthy::Missing { .. })));
        let pulse = Pulse::new(Duration::from_secs(1));
        write_whole(&path, &serde_json::to_string(&pulse.written("publisher")).unwrap()).await.unwrap();
        assert!(check(&path, false).is_ok());
        let error = check(&path, true).unwrap_err().to_string();
        assert!(error.contains("starting"), "{error}");
        pulse.beat(Ok(()));
        write_whole(&path, &serde_json::to_string(&pulse.written("publisher")).unwrap()).await.unwrap();
        assert!(check(&path, true).is_ok());
        let old = Written { written_ms: 0, ..pulse.written("publisher") };
        write_whole(&path, &serde_json::to_string(&old).unwrap()).await.unwrap();
        assert!(matches!(check(&path, false), Err(Unhealthy::Old { .. })));
    }
}
