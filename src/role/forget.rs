//! `heartbeat forget`: leaves a tombstone in the store, which every replica follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{EXIT_FAILURE, EXIT_OK, convert};
use crate::clock::StoreClock;
use crate::config::ForgetConfig;
use crate::heartbeat::PublisherId;
use crate::state::revision::Revisions;
use crate::store::{Batch, RedisStore, Store, StoreError, Write, Written};
use crate::telemetry::Chain;
use crate::tls::Expiry;

/// Longest wait for Redis.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A publisher that beats at the same moment changes its record; so often is it tried again.
const ATTEMPTS: usize = 10;

/// Forgets one publisher. Returns the exit code.
pub(super) async fn run(config: ForgetConfig, publisher: &str, clock_set_back: bool) -> u8 {
    let id = match PublisherId::new(publisher) {
        Ok(id) => id,
        Err(error) => {
            error!(publisher, %error, "Not a publisher's id");
            return EXIT_FAILURE;
        }
    };
    let clock = Arc::new(StoreClock::default());
    let redis = match convert::redis(&config.store, &Expiry::default()) {
        Ok(redis) => redis,
        Err(failure) => {
            error!(publisher, error = %Chain(&failure), "Not forgotten");
            return EXIT_FAILURE;
        }
    };
    let (redis, task) = RedisStore::new(redis, Arc::clone(&clock));
    let store = Store::Redis(redis);
    let stop = CancellationToken::new();
    let task = tokio::spawn(task.run(stop.clone()));
    let mut link = store.link();
    let connected = timeout(CONNECT_WITHIN, link.wait_for(|link| link.connected)).await.is_ok();
    let code = if connected {
        forget(&store, &clock, &id, clock_set_back).await
    } else {
        error!(publisher, "Not forgotten: no connection to Redis");
        EXIT_FAILURE
    };
    stop.cancel();
    let _ = timeout(CONNECT_WITHIN, task).await;
    code
}

async fn forget(store: &Store, clock: &StoreClock, id: &PublisherId, clock_set_back: bool) -> u8 {
    let publisher = id.as_str();
    match try_forget(store, clock, id, clock_set_back).await {
        Ok(Some(true)) => {
            info!(publisher, "Publisher forgotten; it comes back only if it is heard of again");
            EXIT_OK
        }
        Ok(Some(false)) => {
            error!(publisher, "Not forgotten: its record changed at each attempt; is it still beating?");
            EXIT_FAILURE
        }
        Ok(None) => {
            error!(publisher, "Not forgotten: no such publisher is known");
            EXIT_FAILURE
        }
        Err(failure) => {
            error!(publisher, error = %Chain(&failure), "Not forgotten");
            EXIT_FAILURE
        }
    }
}

/// `None` if there is no such publisher, else whether the tombstone stands.
async fn try_forget(
    store: &Store,
    clock: &StoreClock,
    id: &PublisherId,
    clock_set_back: bool,
) -> Result<Option<bool>, StoreError> {
    let mut revisions = Revisions::seeded(rand::random());
    for _ in 0..ATTEMPTS {
        let Some(record) = store.get(id).await?.filter(|record| clock_set_back || !record.is_forgotten())
        else {
            return Ok(None);
        };
        let expected = record.revision;
        let mut tombstone = record.forget(clock.now());
        if clock_set_back {
            tombstone = tombstone.without_starts();
        }
        tombstone.revision = revisions.after(expected);
        let batch = Batch { writes: vec![Write::new(Arc::new(tombstone), expected)], ..Batch::default() };
        if let Some(Written::Stored) = store.put(&batch).await?.first() {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}
