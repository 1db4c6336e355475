//! The web configuration, read again when one of its files changes: a renewed certificate and another password
//! count without a restart.
//!
//! What cannot be used, or asks less of clients than before, changes nothing: the policy before stays in force, and
//! the log and a metric say so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::metrics::Metrics;
use super::policy::Policy;
use crate::config::Problems;
use crate::config::web::{self, WebFile};
use crate::tls::server::Served;
use crate::tls::{Certificate, Expiry};
use crate::watched::Stamp;

/// The policy in force, for all connections.
pub(super) type InForce = watch::Sender<Arc<Policy>>;

/// A web configuration that is watched.
#[derive(Debug)]
pub(super) struct Reload {
    path: PathBuf,
    health_without_auth: bool,
    expiry: Expiry,
    in_force: InForce,
    /// The file and those that it names, as they were before they were read last; `None`: not there.
    seen: Vec<(PathBuf, Option<Stamp>)>,
    /// Why the files as they are now do not count.
    failure: Option<String>,
    metrics: Metrics,
}

impl Reload {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Every problem that there is.
    pub(super) fn start(
        path: PathBuf,
        config: &Config,
        metrics: Metrics,
    ) -> Result<(Self, InForce), Problems> {
        let (seen, loaded) = load(&path, vec![path.clone()]);
        let (file, served) = loaded?;
        let (tls, users) = (served.is_some(), file.users.len());
        tracing::info!(file = %path.display(), tls, users, "Web configuration read");
        let (health_without_auth, expiry) = (config.health_without_auth, config.expiry.clone());
        tell_end(&expiry, served.as_ref());
        let (in_force, _) = watch::channel(Arc::new(Policy::new(file, served, health_without_auth, None)));
        metrics.web_config_read();
        let given = in_force.clone();
        Ok((Self { path, health_without_auth, expiry, in_force, seen, failure: None, metrics }, given))
    }

    /// Looks at the files every so often, until `stop`.
    pub(super) async fn watch(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // Files may be slow.
            let look = move || {
                self.look();
                self
            };
            match tokio::task::spawn_blocking(look).await {
                Ok(reload) => self = reload,
                Err(error) => {
                    tracing::error!(%error, "Web configuration is no longer watched");
                    return;
                }
            }
        }
    }

    /// Reads the files again if they changed, or could not be used the last time.
    fn look(&mut self) {
        let changed = self.seen.iter().any(|(path, seen)| Stamp::of(path).ok() != *seen);
        if !changed && self.failure.is_none() {
            return;
        }
        match self.read() {
            Ok(policy) => {
                self.failure = None;
                self.metrics.web_config_read();
                self.in_force.send_replace(Arc::new(policy));
                tracing::info!(file = %self.path.display(), "Web configuration read anew");
            }
            Err(why) => {
                self.metrics.web_config_refused();
                if self.failure.as_ref() != Some(&why) {
                    tracing::error!(
                        file = %self.path.display(),
                        error = why,
                        "Web configuration cannot be used; the one before stays in force"
                    );
                }
                self.failure = Some(why);
            }
        }
    }

    fn read(&mut self) -> Result<Policy, String> {
        let files = self.seen.iter().map(|(path, _)| path.clone()).collect();
        let (seen, loaded) = load(&self.path, files);
        self.seen = seen;
        let (file, served) = loaded.map_err(|problems| on_one_line(&problems))?;
        let before = self.in_force.borrow();
        if let Some(less) = file.asks_less_than(before.file()) {
            return Err(format!("it no longer asks for {less}; only a restart brings that into force"));
        }
        tell_end(&self.expiry, served.as_ref());
        Ok(Policy::new(file, served, self.health_without_auth, Some(&before)))
    }
}

fn tell_end(expiry: &Expiry, served: Option<&Served>) {
    if let Some(served) = served {
        expiry.ends_at(Certificate::Web, served.not_after);
    }
}

type Loaded = Result<(WebFile, Option<Served>), Problems>;

/// Loads the web configuration, with the stamps of its files from before. `files`: those that it is thought to have.
fn load(path: &Path, mut files: Vec<PathBuf>) -> (Vec<(PathBuf, Option<Stamp>)>, Loaded) {
    loop {
        let stamps: Vec<Option<Stamp>> = files.iter().map(|file| Stamp::of(file).ok()).collect();
        let loaded = web::load(path);
        let named = match &loaded {
            Ok((file, _)) => [path].into_iter().chain(file.files()).map(Path::to_path_buf).collect(),
            Err(_) => files.clone(),
        };
        // One that was not thought of has no stamp from before it was read.
        if named.iter().all(|file| files.contains(file)) {
            return (files.into_iter().zip(stamps).collect(), loaded);
        }
        files = named;
    }
}

fn on_one_line(problems: &Problems) -> String {
    let all = problems.iter().map(|problem| format!("{}: {}", problem.name, problem.why));
    all.collect::<Vec<_>>().join("; ")
}
