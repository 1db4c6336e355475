//! The web configuration, read again when one of its files changes: a renewed certificate and another password
//! count without a restart.
//!
//! What cannot be used, or asks less of clients than before, or lies on a disk that does not answer, changes nothing: the
//! policy before stays in force, and the log and a metric say so.

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
use crate::reading::{Reading, Unread};
use crate::tls::server::Served;
use crate::tls::{Certificate, Expiry};
use crate::watched::{Stamp, look_aside};

/// What is said of disks then.
const HANGS: &str = "its disk, or that of a file that it names, does not answer";

/// The policy in force, for all connections.
pub(super) type InForce = watch::Sender<Arc<Policy>>;

/// A web configuration that is watched.
#[derive(Debug)]
pub(super) struct Reload {
    path: PathBuf,
    health_without_auth: bool,
    expiry: Expiry,
    in_force: InForce,
    looking: Reading<Option<Looked>>,
    seen: Seen,
    /// Why the files as they are now do not count.
    failure: Option<String>,
    metrics: Metrics,
}

/// The file and those that it names, as they were before they were read last; `None`: not there.
type Seen = Vec<(PathBuf, Option<Stamp>)>;

/// How the files looked, and what they say.
type Looked = (Seen, Loaded);

type Loaded = Result<(WebFile, Option<Served>), Problems>;

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
        let (looking, failure) = (Reading::default(), None);
        let reload = Self { path, health_without_auth, expiry, in_force, looking, seen, failure, metrics };
        Ok((reload, given))
    }

    /// Looks at the files every so often, until `stop`, whatever their disks do.
    pub(super) async fn watch(mut self, every: Duration, stop: CancellationToken) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = async {
            loop {
                ticks.tick().await;
                self.look().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looks => {}
        }
    }

    /// Reads the files again if they changed, or could not be used the last time.
    async fn look(&mut self) {
        let (path, seen, anew) = (self.path.clone(), self.seen.clone(), self.failure.is_some());
        match look_aside(&self.looking, move || look_at(&path, seen, anew)).await {
            Ok(None) => {}
            Ok(Some((seen, loaded))) => {
                self.seen = seen;
                let policy = self.policy(loaded);
                self.take(policy);
            }
            Err(Unread::Late { .. }) => self.take(Err(HANGS.into())),
            Err(error) => self.take(Err(error.to_string())),
        }
    }

    /// Puts a policy in force. The one place where a reload ends.
    fn take(&mut self, policy: Result<Policy, String>) {
        match policy {
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

    fn policy(&self, loaded: Loaded) -> Result<Policy, String> {
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

/// Reads the files where they changed, or at all events where that is to be. `None`: they are those that were seen.
fn look_at(path: &Path, seen: Seen, anew: bool) -> Option<Looked> {
    let is_changed = seen.iter().any(|(path, seen)| Stamp::of(path).ok() != *seen);
    (is_changed || anew).then(|| load(path, seen.into_iter().map(|(path, _)| path).collect()))
}

/// Loads the web configuration, with the stamps of its files from before. `files`: those that it is thought to have.
fn load(path: &Path, mut files: Vec<PathBuf>) -> Looked {
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::watched::PATIENCE;
    use crate::watched::tests::{hang, pass_until, replace};

    const EVERY: Duration = Duration::from_secs(1);

    fn naming(users: &[&str]) -> String {
        let hash = bcrypt::hash("sesame", 4).unwrap();
        let user = |user: &&str| format!("  {user}: {hash}\n");
        format!("basic_auth_users:\n{}", users.iter().map(user).collect::<String>())
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_told_and_counts_when_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        replace(&path, &naming(&["a"]));
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.register_web_config(&mut registry);
        let config = Config::on(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
        let (reload, in_force) = Reload::start(path.clone(), &config, metrics).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(reload.watch(EVERY, stop.clone()));
        let until = async |users: &[&str], successful: u8| {
            let told = format!("heartbeat_web_config_last_reload_successful {successful}\n");
            let is = || {
                let mut text = String::new();
                encode(&mut text, &registry).unwrap();
                text.contains(&told) && in_force.borrow().file().users.keys().eq(users)
            };
            pass_until(&format!("{users:?}, successful: {successful}"), is).await
        };
        hang(&path);
        let took = until(&["a"], 0).await;
        assert!((PATIENCE..PATIENCE + 2 * EVERY).contains(&took), "{took:?}");
        // As a mount that is made anew: who asked before is never answered.
        replace(&path, &naming(&["a", "b"]));
        until(&["a", "b"], 1).await;
        // What a slow one tells counts, too.
        let pipe = hang(&path);
        until(&["a", "b"], 0).await;
        std::fs::write(pipe, naming(&["b"])).unwrap();
        until(&["b"], 1).await;
        until(&["b"], 0).await;
        stop.cancel();
        task.await.unwrap();
    }
}
