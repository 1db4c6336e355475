//! The connection that there is, shared by all who use it: what is asked on it, and when it is no longer any good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::clients::WithOptions;
use fred::error::{Error, ErrorKind};
use fred::prelude::*;
use fred::types::ConnectHandle;
use fred::types::config::Options;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::config::Config;
use super::refusal::{is_denial, reason};
use super::scripts::Scripts;
use crate::clock::StoreClock;
use crate::store::StoreError;

/// Commands that are sent together.
pub(super) type Pipeline = WithOptions<fred::clients::Pipeline<Client>>;

/// Commands in one pipeline at most. Each pipeline is answered within the deadline or ends the connection, so what is asked
/// of Redis must not grow beyond what it does in that time: what was held while it was away comes all at once, in a
/// cluster in a command for each key, of which a server that syncs each to a slow disk does some hundred a second.
const TOGETHER: usize = 32;

/// One connection.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) client: Client,
    pub(super) generation: u64,
}

impl Live {
    fn pipeline(&self, limit: Duration) -> Pipeline {
        let options = Options { timeout: Some(limit), ..Options::default() };
        self.client.pipeline().with_options(&options)
    }
}

/// What the store and its task share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Arc<StoreClock>,
    pub(super) scripts: Scripts,
    /// The connection, while there is one. A std lock: held to clone, never across an await.
    live: RwLock<Option<Live>>,
    /// Why there is none, by the latest attempt or end. A std lock, likewise.
    away: RwLock<&'static str>,
    pub(super) broken: Notify,
    /// Whether Redis said since the last attempt that this user may not do something.
    pub(super) denied: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(config: Config, clock: Arc<StoreClock>) -> Self {
        Self {
            config,
            clock,
            scripts: Scripts::default(),
            live: RwLock::new(None),
            away: RwLock::new("unreachable"),
            broken: Notify::new(),
            denied: AtomicBool::new(false),
        }
    }

    pub(super) fn target(&self) -> String {
        self.config.topology.target()
    }

    pub(super) fn live(&self) -> Result<Live, StoreError> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.clone().ok_or_else(|| self.disconnected())
    }

    fn disconnected(&self) -> StoreError {
        let reason = *self.away.read().unwrap_or_else(PoisonError::into_inner);
        StoreError::Disconnected { target: self.target(), reason }
    }

    pub(super) fn set_away(&self, reason: &'static str) {
        *self.away.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(super) fn set_live(&self, live: Option<Live>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    pub(super) fn is_live(&self, generation: u64) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().is_some_and(|live| live.generation == generation)
    }

    /// The connection of this generation is no longer any good.
    fn end(&self, live: &Live, reason: &'static str) {
        let mut slot = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|current| current.generation == live.generation) {
            *slot = None;
            self.set_away(reason);
            self.broken.notify_one();
        }
    }

    pub(super) async fn connect(&self) -> Result<(Client, ConnectHandle), StoreError> {
        let failed = |source: Error| {
            self.denied.fetch_or(is_denial(&source), Ordering::Relaxed);
            StoreError::Connect { target: self.target(), source: source.into() }
        };
        let client = self.config.client().await.map_err(failed)?;
        let handle = match timeout(self.config.connecting_limit(), client.init()).await {
            Ok(Ok(handle)) => handle,
            Ok(Err(source)) => return Err(failed(source)),
            Err(_) => {
                return Err(StoreError::Deadline { target: self.target(), operation: "connecting" });
            }
        };
        // Whoever may not load them may still use them, where somebody else did.
        let _ = self.load_scripts(&client).await;
        Ok((client, handle))
    }

    /// A failure shows at the first use of a script, which loads it again; an error is that this is not allowed.
    async fn load_scripts(&self, client: &Client) -> Result<(), StoreError> {
        let mut denied = Ok(());
        for lua in self.scripts.texts() {
            let loaded = if self.config.topology.is_cluster() {
                timeout(self.config.timeout, client.script_load_cluster::<(), _>(lua)).await
            } else {
                timeout(self.config.timeout, client.script_load::<(), _>(lua)).await
            };
            if let Ok(Err(source)) = loaded
                && is_denial(&source)
            {
                denied = Err(self.refused("loading its scripts", source));
            }
        }
        denied
    }

    /// Begins a round whose trips answer within the time of one command.
    pub(super) fn round<'a>(&'a self, live: &'a Live, operation: &'static str) -> Round<'a> {
        self.long_round(live, operation, self.config.timeout)
    }

    /// Begins a round of which a trip may take as long as `limit`.
    pub(super) fn long_round<'a>(
        &'a self,
        live: &'a Live,
        operation: &'static str,
        limit: Duration,
    ) -> Round<'a> {
        Round {
            shared: self,
            live,
            operation,
            limit,
            full: Vec::new(),
            pipeline: live.pipeline(limit),
            queued: 0,
        }
    }

    /// Judges an error: a connection that is gone, or that leads to a replica that may not write,
    /// is ended.
    fn failed(&self, live: &Live, operation: &'static str, source: Error) -> StoreError {
        if !self.is_live(live.generation) {
            // It failed because the connection was ended here, and counts by why that was done.
            return self.disconnected();
        }
        let gone = matches!(
            source.kind(),
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Protocol | ErrorKind::Auth
        );
        if gone || source.details().starts_with("READONLY") {
            self.end(live, reason(&source));
        }
        self.refused(operation, source)
    }

    /// What Redis said no to.
    pub(super) fn refused(&self, operation: &'static str, source: Error) -> StoreError {
        let target = self.target();
        if !is_denial(&source) {
            return StoreError::Command { target, operation, source: source.into() };
        }
        self.denied.store(true, Ordering::Relaxed);
        StoreError::Denied { target, operation, source: source.into() }
    }

    pub(super) fn malformed(&self, operation: &'static str) -> StoreError {
        StoreError::Answer { target: self.target(), operation }
    }
}

/// Commands that are sent together and answered together, each by its node in a cluster: one round trip for
/// [`TOGETHER`] of them.
pub(super) struct Round<'a> {
    shared: &'a Shared,
    live: &'a Live,
    operation: &'static str,
    limit: Duration,
    full: Vec<Pipeline>,
    /// What is queued next goes here.
    pub(super) pipeline: Pipeline,
    queued: usize,
}

impl Round<'_> {
    /// Takes in that a command was queued, which says nothing of what becomes of it.
    pub(super) fn queued(&mut self, result: Result<(), Error>) -> Result<(), StoreError> {
        result.map_err(|source| self.shared.refused(self.operation, source))?;
        self.queued += 1;
        if self.queued.is_multiple_of(TOGETHER) {
            self.full.push(std::mem::replace(&mut self.pipeline, self.live.pipeline(self.limit)));
        }
        Ok(())
    }

    /// Sends all and waits for all answers, one for each command. Any error fails all of it: whatever was done all the
    /// same is recognised when it is sent again.
    pub(super) async fn answers(self) -> Result<Vec<Value>, StoreError> {
        let Self { shared, live, operation, limit, full, pipeline, queued } = self;
        let mut values = Vec::with_capacity(queued);
        for pipeline in full.into_iter().chain([pipeline]) {
            let Ok(answers) = timeout(limit, pipeline.try_all::<Value>()).await else {
                shared.end(live, "timeout");
                return Err(StoreError::Deadline { target: shared.target(), operation });
            };
            for answer in answers {
                match answer {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        if error.details().starts_with("NOSCRIPT") {
                            shared.load_scripts(&live.client).await?;
                        }
                        return Err(shared.failed(live, operation, error));
                    }
                }
            }
        }
        if values.len() == queued { Ok(values) } else { Err(shared.malformed(operation)) }
    }
}
