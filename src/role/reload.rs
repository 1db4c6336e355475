//! How a publisher's file comes to be read anew, and what a hang-up means to who has none.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{StartError, convert};
use crate::config::EmitterConfig;
use crate::exposition::Registry;
use crate::publisher;
use crate::publisher::reload::{Reloader, Reloads, Wanted};
use crate::telemetry::Chain;
use crate::tls::Expiry;

/// A file that is to be read anew whenever somebody asks for it.
pub(super) struct Reloading {
    reloader: Reloader,
    hangups: Signal,
    /// Where to ask.
    pub(super) reloads: Reloads,
    /// What the file says that is in force.
    pub(super) in_force: watch::Receiver<Wanted>,
}

impl Reloading {
    /// For the file of `emitter`, whose checks have the changes then.
    pub(super) fn new(
        emitter: &EmitterConfig,
        checks: &mut publisher::Config,
        expiry: &Expiry,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        let hangups = hangups()?;
        let first = Wanted { targets: checks.targets.clone().into(), management: checks.management.clone() };
        let (config, expiry) = (emitter.management.clone(), expiry.clone());
        let mut client = checks.management.clone();
        let prepare = move |targets: &crate::config::targets::Targets| {
            if targets.queues.is_empty() {
                return Ok(None);
            }
            // The first file may have had no queue.
            if client.is_none() {
                let made = convert::management(&config, &expiry);
                client = Some(made.map_err(|error| Chain(&error).to_string())?);
            }
            Ok(client.clone())
        };
        let (file, watched) = (emitter.targets_file.clone(), emitter.targets_watched);
        let (reloader, reloads, changes) = Reloader::new(file, first, Box::new(prepare), watched, registry);
        checks.changes = Some(changes.clone());
        Ok(Self { reloader, hangups, reloads, in_force: changes })
    }

    /// Runs until `stop`.
    pub(super) fn spawn(self, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(self.reloader.run(self.hangups, stop))
    }
}

/// Takes SIGHUP, by which a process ends that does not, and says that there is nothing to do.
pub(super) fn ignore_hangups() -> Result<(), StartError> {
    let mut hangups = hangups()?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            info!(
                "Nothing to reload at SIGHUP: files are read anew when they change, settings at the start alone"
            );
        }
    });
    Ok(())
}

fn hangups() -> Result<Signal, StartError> {
    signal(SignalKind::hangup()).map_err(StartError::Signals)
}
