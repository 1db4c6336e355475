//! Keeps a connection: makes the next one for ever, and asks of each whether it is still there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fred::prelude::*;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::answers::time_of;
use super::connection::{Live, Shared};
use crate::backoff::Backoff;
use crate::clock;
use crate::store::{StoreError, StoreLink};
use crate::telemetry::Chain;

/// A connection that served for longer was a good one.
const LASTING: Duration = Duration::from_secs(10);

/// How often the watchdog asks.
const WATCHDOG: Duration = Duration::from_secs(1);

/// Keeps a connection: makes the next one for ever, until told to stop.
pub struct RedisTask {
    pub(super) shared: Arc<Shared>,
    pub(super) link: watch::Sender<StoreLink>,
}

impl RedisTask {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let shared = &self.shared;
        let mut backoff = Backoff::new(shared.config.reconnect_max);
        let mut generation = 0;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                connected = shared.connect() => connected,
                () = stop.cancelled() => return,
            };
            match connected {
                Ok((client, task)) => {
                    generation += 1;
                    let began = Instant::now();
                    self.serve(&client, generation, &stop).await;
                    task.abort();
                    // One that is refused as soon as it is used is no success: a replica that may
                    // not write, say.
                    if began.elapsed() > LASTING {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    shared.set_away(error.reason());
                    warn!(error = %Chain(&error), "No connection to Redis; trying again");
                }
            }
            let denied = shared.denied.swap(false, Ordering::Relaxed);
            tokio::select! {
                () = sleep(backoff.next_wait_after(denied)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Offers one connection to the others until it is no longer any good, or until `stop`.
    async fn serve(&self, client: &Client, generation: u64, stop: &CancellationToken) {
        let shared = &self.shared;
        // The clock first: whoever uses the connection goes by it.
        if let Err(error) = self.ask_time(client).await {
            shared.set_away(error.reason());
            warn!(error = %Chain(&error), "Redis accepts connections and cannot be used; trying again");
            return;
        }
        info!(target_address = shared.target(), "Connected to Redis");
        shared.set_live(Some(Live { client: client.clone(), generation }));
        self.link.send_modify(|link| {
            link.connected = true;
            link.reconnects = generation - 1;
        });
        let ended = self.watch(client, generation, stop).await;
        shared.set_live(None);
        self.link.send_modify(|link| link.connected = false);
        if ended.is_err() {
            warn!(target_address = shared.target(), "Connection to Redis lost; reconnecting");
        } else {
            let _ = timeout(Duration::from_secs(1), client.quit()).await;
        }
    }

    /// Asks once a second, which also keeps the clock; ends with an error when the connection is
    /// no longer any good.
    async fn watch(&self, client: &Client, generation: u64, stop: &CancellationToken) -> Result<(), ()> {
        loop {
            tokio::select! {
                // What was said of an earlier connection does not end this one.
                () = self.shared.broken.notified() => if !self.shared.is_live(generation) { return Err(()) },
                () = sleep(WATCHDOG) => {
                    let asked = self.ask_time(client).await;
                    asked.map_err(|error| self.shared.set_away(error.reason()))?;
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn ask_time(&self, client: &Client) -> Result<(), StoreError> {
        const OPERATION: &str = "asking for the time";
        let asked = clock::boot();
        let time = client.custom::<Value, Value>(fred::cmd!("TIME"), vec![]);
        let answer = timeout(self.shared.config.timeout, time).await;
        let answer = answer
            .map_err(|_| StoreError::Deadline { target: self.shared.target(), operation: OPERATION })?
            .map_err(|source| self.shared.refused(OPERATION, source))?;
        if let Some(time) = time_of(&answer) {
            self.shared.clock.sample(time, asked, clock::boot());
        }
        Ok(())
    }
}
