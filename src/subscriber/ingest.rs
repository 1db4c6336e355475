//! The task that takes messages in: decode, decide, store, acknowledge, in that order.
//!
//! One task owns all of it, and [`Intake`] decides. While one batch is on its way to the store the next
//! is taken in, so batches grow with the load by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::intake::{Command, Intake};
use super::load::{Load, OnItsWay};
use crate::amqp::consume::{Event, Window};
use crate::backoff::Backoff;
use crate::clock;
use crate::health::Pulse;
use crate::store::{Store, StoreError, Written};

/// Commands that wait: the follower sends one a round.
pub(super) const COMMANDS_MAX: usize = 16;

/// Events taken in before the store is looked after.
const TAKE_MAX: usize = 512;

/// How often is looked for deliveries that were held for too long.
pub(super) const MIND: Duration = Duration::from_secs(1);

/// How often is looked since when something waits to be stored, while something always does.
const LOOK: Duration = Duration::from_millis(200);

/// Longest wait between two attempts to store.
const STORE_RETRY_MAX: Duration = Duration::from_secs(1);

/// The ingest task.
pub(super) struct Ingest {
    intake: Intake,
    store: Store,
    window: Arc<Window>,
    events: mpsc::Receiver<Event>,
    commands: mpsc::Receiver<Command>,
    pulse: Pulse,
    putting: Option<JoinHandle<Put>>,
    mind_at: Instant,
    /// A heartbeat waits to be stored, and the replica says so.
    unstored: bool,
    look_at: Instant,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

/// A batch that came back from the store.
type Put = (OnItsWay, Result<Vec<Written>, StoreError>);

impl Ingest {
    /// A task that takes `events` in and obeys `commands`. It comes round every second, which its `pulse` hears.
    pub(super) fn new(
        intake: Intake,
        store: Store,
        window: Arc<Window>,
        events: mpsc::Receiver<Event>,
        commands: mpsc::Receiver<Command>,
        pulse: Pulse,
    ) -> Self {
        Self {
            intake,
            store,
            window,
            events,
            commands,
            pulse,
            putting: None,
            mind_at: Instant::now(),
            unstored: false,
            look_at: Instant::now(),
            retry_at: None,
            backoff: Backoff::new(STORE_RETRY_MAX),
        }
    }

    /// Runs until `stop`, the consumer has ended and everything is stored, or until `give_up`.
    /// Then cancels `acked`: nothing will be acknowledged any more.
    pub(super) async fn run(
        mut self,
        stop: CancellationToken,
        give_up: CancellationToken,
        acked: CancellationToken,
    ) {
        let done = acked.drop_guard();
        loop {
            if stop.is_cancelled() && self.putting.is_none() && self.intake.is_done() {
                break;
            }
            let retry_at = self.retry_at;
            tokio::select! {
                biased;
                () = give_up.cancelled() => {
                    warn!("Stopping before everything was stored; the rest stays in the queue");
                    break;
                }
                put = joined(&mut self.putting) => self.came_back(put),
                Some(command) = self.commands.recv() => self.intake.obey(command),
                event = self.events.recv(), if !self.intake.must_wait() => match event {
                    Some(event) => self.take_all(event),
                    None => break,
                },
                (refused, taken) = self.intake.dead_letters.next() => self.intake.dead_lettered(refused, taken),
                () = clock::at(retry_at) => self.retry_at = None,
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = sleep_until(self.mind_at) => {}
            }
            self.pulse.beat(Ok(()));
            self.start_put();
            self.intake.acks.write().await;
            self.mind_the_window();
            self.tell_unstored();
        }
        drop(done);
    }

    /// Takes an event and whatever else has come.
    fn take_all(&mut self, first: Event) {
        self.intake.take(first);
        for _ in 1..TAKE_MAX {
            if self.intake.must_wait() {
                return;
            }
            match self.events.try_recv() {
                Ok(event) => self.intake.take(event),
                Err(_) => return,
            }
        }
    }

    /// Starts to store what is due, unless a batch is on its way or the store needs a pause.
    fn start_put(&mut self) {
        let paused = self.retry_at.is_some_and(|at| Instant::now() < at);
        if self.putting.is_some() || paused {
            return;
        }
        if let Some(load) = self.intake.load() {
            self.retry_at = None;
            self.putting = Some(tokio::spawn(put(self.store.clone(), load)));
        }
    }

    fn came_back(&mut self, put: Option<Put>) {
        self.putting = None;
        let there = match put {
            Some((on_its_way, result)) => self.intake.came_back(on_its_way, result),
            // A task that panicked.
            None => {
                self.intake.vanished();
                false
            }
        };
        if there {
            self.backoff.reset();
        } else {
            self.retry_at = Some(Instant::now() + self.backoff.next_wait());
        }
    }

    /// Tells since when something waits to be stored. At once where that begins: a store that is slow may be slow for long.
    fn tell_unstored(&mut self) {
        let open = self.intake.acks.open() > 0;
        let due = if self.unstored { !open || Instant::now() >= self.look_at } else { open };
        if due {
            self.look_at = Instant::now() + LOOK;
            self.unstored = self.intake.tell_unstored();
        }
    }

    /// Tells the consumer when the window should grow, or when what is held must go back.
    fn mind_the_window(&mut self) {
        let Self { intake, window, .. } = self;
        window.open.store(intake.acks.open(), Ordering::Relaxed);
        window.store_is_away.store(intake.store_is_down(), Ordering::Relaxed);
        if Instant::now() >= self.mind_at {
            self.mind_at = Instant::now() + MIND;
            if intake.held_too_long() {
                window.give_back.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Encodes and stores a batch, away from the task that takes messages in.
async fn put(store: Store, load: Load) -> Put {
    let (batch, on_its_way) = load.into_batch();
    let result = store.put(&batch).await;
    (on_its_way, result)
}

/// Waits for the batch on its way; for ever if there is none. `None` if its task failed.
async fn joined(putting: &mut Option<JoinHandle<Put>>) -> Option<Put> {
    match putting {
        Some(handle) => handle.await.ok(),
        None => std::future::pending().await,
    }
}
