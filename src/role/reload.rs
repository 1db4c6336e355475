//! How a publisher's file comes to be read anew, and what a hang-up means to who has none.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{StartError, convert};
use crate::config::EmitterConfig;
use crate::config::targets::{Targets, Warning};
use crate::exposition::Registry;
use crate::publisher;
use crate::publisher::reload::{Reloader, Reloads, Wanted};
use crate::telemetry::Chain;
use crate::tls::Expiry;

/// Of jobs that come with a reload, as the start says it of those that were there.
const DEAF: &str = "have nowhere to tell of themselves: LOCAL_LISTEN_ADDRESS is not set, so all will be late";

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
        let (config, expiry) = (emitter.clone(), expiry.clone());
        let client: OnceLock<_> = checks.management.clone().map_or_else(OnceLock::new, OnceLock::from);
        let prepare = move |targets: &Targets| {
            let deaf = || Warning { path: "heartbeat.jobs".into(), why: DEAF.into() };
            let odd = config.is_deaf_to(targets).then(deaf).into_iter().collect();
            if targets.queues.is_empty() {
                return Ok((None, odd));
            }
            // The first file may have had no queue.
            let client = match client.get() {
                Some(client) => client,
                None => {
                    let made = convert::management(&config.management, &expiry);
                    let made = made.map_err(|error| Chain(&error).to_string())?;
                    client.get_or_init(|| made)
                }
            };
            Ok((Some(client.clone()), odd))
        };
        let (file, watched) = (emitter.targets_file.clone(), emitter.targets_watched);
        let (reloader, reloads, changes) = Reloader::new(file, first, Arc::new(prepare), watched, registry);
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
