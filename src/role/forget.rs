//! `heartbeat forget`: leaves a tombstone in the store, which every replica follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{EXIT_OK, answer, convert};
use crate::clock::StoreClock;
use crate::config::ForgetConfig;
use crate::heartbeat::{InvalidName, PublisherId};
use crate::state::revision::Revisions;
use crate::store::probe::RedisProbe;
use crate::store::{Batch, RedisConfig, RedisStore, Store, StoreError, Write, Written};
use crate::telemetry::Chain;
use crate::terminal::Terminal;
use crate::tls::Expiry;

/// Longest wait for Redis.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A publisher that beats at the same moment changes its record; so often is it tried again.
const ATTEMPTS: usize = 10;

/// Why a publisher was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum NotForgotten {
    /// It can be nobody's name.
    #[error("{id:?} is no publisher's id")]
    NoId {
        /// As it was typed.
        id: String,
        /// Why not.
        source: InvalidName,
    },
    /// Redis was not reached.
    #[error(
        "not forgotten: no connection to Redis at {place}: {why}; `heartbeat doctor subscriber` says what to do"
    )]
    NoConnection {
        /// Where.
        place: String,
        /// Why not.
        why: String,
    },
    /// There is nobody of this name.
    #[error(
        "not forgotten: Redis at {place} knows no publisher {id:?}. One that was never heard, and is shown as silent, is \
         expected: take it out of EXPECTED_PUBLISHERS of the subscribers"
    )]
    Unknown {
        /// As it was typed.
        id: String,
        /// Where.
        place: String,
    },
    /// Its record changes all the time.
    #[error("not forgotten: the record of {id:?} changed at each attempt; is it still beating?")]
    Beating {
        /// As it was typed.
        id: String,
    },
    /// Redis did not tell of it, or may not be written by this user.
    #[error("not forgotten")]
    Refused(#[source] StoreError),
    /// Redis did not say that it did it, and may have.
    #[error("it is not known whether it is forgotten; try again, which does no harm")]
    Doubtful(#[source] StoreError),
}

/// What became of a publisher.
enum Forgotten {
    Now,
    Before,
}

/// Forgets a publisher, and with `clock_set_back` also when its processes began. Returns the exit code.
///
/// # Errors
/// It was not forgotten.
pub fn forget(
    config: &ForgetConfig,
    publisher: &str,
    clock_set_back: bool,
    terminal: &mut Terminal,
) -> Result<u8, NotForgotten> {
    let id = PublisherId::new(publisher)
        .map_err(|source| NotForgotten::NoId { id: publisher.to_owned(), source })?;
    answer(async {
        let redis = convert::redis(&config.store, &Expiry::default())?;
        let forgotten = connected(redis, &id, clock_set_back).await;
        Ok(forgotten.map(|forgotten| {
            let already = match forgotten {
                Forgotten::Now => "",
                Forgotten::Before => " already",
            };
            terminal.line(format!(
                "OK: {id} is forgotten{already}, and comes back only if it is heard of again. Where EXPECTED_PUBLISHERS names \
                 it, take it out there, too."
            ));
            EXIT_OK
        }))
    })
}

async fn connected(
    redis: RedisConfig,
    id: &PublisherId,
    clock_set_back: bool,
) -> Result<Forgotten, NotForgotten> {
    let clock = Arc::new(StoreClock::default());
    let (client, task) = RedisStore::new(redis.clone(), Arc::clone(&clock));
    let store = Store::Redis(client);
    let stop = CancellationToken::new();
    let task = tokio::spawn(task.run(stop.clone()));
    let mut link = store.link();
    let is_connected = timeout(CONNECT_WITHIN, link.wait_for(|link| link.connected)).await.is_ok();
    let forgotten = if is_connected {
        try_forget(&store, &clock, &redis, id, clock_set_back).await
    } else {
        Err(NotForgotten::NoConnection { place: redis.topology.place(), why: why_not(&redis).await })
    };
    stop.cancel();
    let _ = timeout(CONNECT_WITHIN, task).await;
    forgotten
}

/// What is in the way, as one more attempt has it.
async fn why_not(redis: &RedisConfig) -> String {
    match RedisProbe::open(redis).await {
        Ok(probe) => {
            probe.close().await;
            format!("none within {} s", CONNECT_WITHIN.as_secs())
        }
        Err((_, error)) => {
            // Where, it is told already.
            let cause = std::error::Error::source(&error);
            cause.map_or_else(|| error.to_string(), |cause| Chain(cause).to_string())
        }
    }
}

async fn try_forget(
    store: &Store,
    clock: &StoreClock,
    redis: &RedisConfig,
    id: &PublisherId,
    clock_set_back: bool,
) -> Result<Forgotten, NotForgotten> {
    let name = || id.as_str().to_owned();
    let mut revisions = Revisions::seeded(rand::random());
    for _ in 0..ATTEMPTS {
        let Some(record) = store.get(id).await.map_err(NotForgotten::Refused)? else {
            return Err(NotForgotten::Unknown { id: name(), place: redis.topology.place() });
        };
        if record.is_forgotten() && !clock_set_back {
            return Ok(Forgotten::Before);
        }
        let expected = record.revision;
        let mut tombstone = record.forget(clock.now());
        if clock_set_back {
            tombstone = tombstone.without_starts();
        }
        tombstone.revision = revisions.after(expected);
        let revision = tombstone.revision;
        let batch = Batch { writes: vec![Write::new(Arc::new(tombstone), expected)], ..Batch::default() };
        match store.put(&batch).await {
            Ok(written) if matches!(written.first(), Some(Written::Stored)) => return Ok(Forgotten::Now),
            Ok(_) => {}
            Err(error) => {
                // What a script did before it was denied a step is done.
                let is_denied = matches!(error, StoreError::Denied { .. });
                let is_as_before = async || {
                    let record = store.get(id).await;
                    record.is_ok_and(|record| record.is_none_or(|record| record.revision != revision))
                };
                return Err(match is_denied && is_as_before().await {
                    true => NotForgotten::Refused(error),
                    false => NotForgotten::Doubtful(error),
                });
            }
        }
    }
    Err(NotForgotten::Beating { id: name() })
}
