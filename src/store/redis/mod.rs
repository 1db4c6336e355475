//! Redis: the only user of fred.
//!
//! fred's own reconnection is not used, for it has gaps: without a policy its commands hang for
//! ever, and a busy connection that has gone dead is never noticed. Here a client lives as long as
//! one connection. Every command has a deadline, a watchdog asks once a second, and whatever goes
//! wrong ends the client; a task makes the next one.
//!
//! Reading order: `config` (which servers), `connection` (the one there is, and round trips on it), `task` (makes the next),
//! `scripts` (what runs in Redis), `write`, `follow`, and here what a replica does besides; `answers` and `refusal` read
//! what Redis says; `probe` asks what changes nothing.
//!
//! Keys (see `keys.rs`): per bucket a hash of records, a hash of their revisions and a stream of
//! changes; beside them the contract's keys, the replicas, and the refused messages.

mod answers;
mod config;
mod connection;
mod error;
mod follow;
pub mod probe;
mod refusal;
mod scripts;
mod task;
mod write;

use std::sync::Arc;

use fred::prelude::*;
use tokio::sync::watch;

use super::keys::{self, REPLICAS};
use super::{Presence, RecordKey, StoreError, StoreLink, presence};
use crate::clock::StoreClock;
use crate::heartbeat::PublisherId;
use crate::state::Record;
use answers::{pairs, readable};
use connection::Shared;

pub use config::{Config, Topology};
pub use error::RedisError;
pub(super) use refusal::reason;
pub(super) use task::RedisTask;

/// Refused messages kept for a look.
pub const REJECTED_MAX: usize = 100;

/// Replicas that were not heard of for so long are dropped.
const REPLICA_KEPT_MS: i64 = 86_400_000;

/// Speaks to Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
    link: watch::Receiver<StoreLink>,
}

impl RedisStore {
    /// Makes the store and the task to be spawned by its owner.
    pub fn new(config: Config, clock: Arc<StoreClock>) -> (Self, RedisTask) {
        let (sender, link) = watch::channel(StoreLink::default());
        let shared = Arc::new(Shared::new(config, clock));
        (Self { shared: Arc::clone(&shared), link }, RedisTask { shared, link: sender })
    }

    pub(super) fn link(&self) -> watch::Receiver<StoreLink> {
        self.link.clone()
    }

    pub(super) async fn get(&self, id: &PublisherId) -> Result<Option<Arc<Record>>, StoreError> {
        let live = self.shared.live()?;
        let key = RecordKey::of(id.as_str());
        let mut round = self.shared.round(&live, "reading a record");
        let records = keys::records(key.bucket());
        round.queued(round.pipeline.hget::<(), _, _>(records, key.to_string()).await)?;
        let body = round.answers().await?.pop().filter(|body| !body.is_null());
        Ok(body.as_ref().and_then(readable))
    }

    pub(super) async fn meet(&self, own: &Presence) -> Result<Vec<Presence>, StoreError> {
        const OPERATION: &str = "meeting the other replicas";
        let live = self.shared.live()?;
        let said = presence::encode(own);
        let mut round = self.shared.round(&live, OPERATION);
        round.queued(round.pipeline.hset::<(), _, _>(REPLICAS, (own.replica.as_str(), said)).await)?;
        round.queued(round.pipeline.hgetall::<(), _>(REPLICAS).await)?;
        let all = round.answers().await?.pop().ok_or_else(|| self.shared.malformed(OPERATION))?;
        let (mut others, mut gone) = (Vec::new(), Vec::new());
        for (replica, said) in pairs(all) {
            match presence::decode(&replica, &said) {
                Some(presence) if own.at.ms_since(presence.at) < REPLICA_KEPT_MS => {
                    if presence.replica != own.replica {
                        others.push(presence);
                    }
                }
                _ => gone.push(replica),
            }
        }
        if !gone.is_empty() {
            let mut round = self.shared.round(&live, OPERATION);
            round.queued(round.pipeline.hdel::<(), _, _>(REPLICAS, gone).await)?;
            round.answers().await?;
        }
        Ok(others)
    }
}
