//! Takes messages in: decode, decide, store, acknowledge, in that order.
//!
//! One task owns all of it: what is pending, the acks, and the writing of the view. While one
//! batch is on its way to the store the next is taken in, so batches grow with the load by
//! themselves. Nothing is acknowledged that is not stored, save what a held, newer message of the
//! same publisher stands for while the store is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::dead_letter::{DeadLetters, Refused, Waiting};
use super::metrics::{Hop, Metrics, OVER_LIMIT, Outcome};
use super::pending::{Due, Held, Pending, Released, Settled};
use super::replica::Replica;
use super::tell::{Teller, log_changes};
use super::trace::Stored;
use crate::amqp::acks::Acks;
use crate::amqp::consume::{Delivery, Event, HOLD_MAX, Window};
use crate::backoff::Backoff;
use crate::heartbeat::wire::{Limits, decode};
use crate::heartbeat::{Message, PublisherId, Timestamp};
use crate::otlp::TOLD_TARGET;
use crate::state::{Receipt, Record};
use crate::store::{Batch, Store, StoreError, Write, Written, contract};
use crate::telemetry::Chain;
use crate::trace::TraceContext;

/// What the ingest needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a message may be at most.
    pub limits: Limits,
    /// Publishers stored in one round trip at most.
    pub batch_max: usize,
    /// Whether the contract's keys are written.
    pub contract_keys: bool,
    /// Publisher ids of version 1 messages, by routing key.
    pub legacy_ids: HashMap<String, PublisherId>,
    /// Publisher id of every other version 1 message, where one is set for the queue.
    pub legacy_queue_id: Option<PublisherId>,
    /// Whether the broker's timestamps are trusted.
    pub broker_timestamp_trusted: bool,
}

/// What others ask of the ingest, which alone writes the view.
#[derive(Debug)]
pub(super) enum Command {
    /// Another replica stored these.
    Newer(Vec<Arc<Record>>),
    /// The store lost these, or has them only in an older form.
    Lost(Vec<PublisherId>),
    /// Make tombstones of these: their time is over, or nothing is left of them to say.
    Forget(Vec<PublisherId>, &'static str),
    /// These tombstones are gone.
    Bury(Vec<PublisherId>),
}

/// Commands that wait: the follower sends one a round.
pub(super) const COMMANDS_MAX: usize = 16;

/// Events taken in before the store is looked after.
const TAKE_MAX: usize = 512;

/// How often is looked for deliveries that were held for too long.
const MIND: Duration = Duration::from_secs(1);

/// Longest wait between two attempts to store.
const STORE_RETRY_MAX: Duration = Duration::from_secs(1);

/// The ingest task.
pub(super) struct Ingest {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) replica: Arc<Replica>,
    pub(super) metrics: Metrics,
    pub(super) teller: Arc<Teller>,
    pub(super) window: Arc<Window>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) dead_letters: DeadLetters,
    pub(super) state: State,
}

/// What changes while it runs.
pub(super) struct State {
    pending: Pending,
    acks: Acks,
    generation: u64,
    putting: Option<JoinHandle<Put>>,
    refused: Waiting,
    mind_at: Instant,
    store_down: bool,
    retry_at: Option<Instant>,
    backoff: Backoff,
    consumer_ended: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            pending: Pending::default(),
            acks: Acks::none(),
            generation: 0,
            putting: None,
            refused: Waiting::default(),
            mind_at: Instant::now(),
            store_down: false,
            retry_at: None,
            backoff: Backoff::new(STORE_RETRY_MAX),
            consumer_ended: false,
        }
    }
}

/// A batch that came back from the store.
struct Put {
    records: Vec<Arc<Record>>,
    refused: Vec<Refused>,
    result: Result<Vec<Written>, StoreError>,
    /// When it was sent, in the store's clock.
    sent_at: Timestamp,
}

impl Ingest {
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
            if stop.is_cancelled() && self.state.consumer_ended && self.is_idle() {
                break;
            }
            let retry_at = self.state.retry_at;
            tokio::select! {
                biased;
                () = give_up.cancelled() => {
                    warn!("Stopping before everything was stored; the rest stays in the queue");
                    break;
                }
                put = joined(&mut self.state.putting) => self.came_back(put).await,
                Some(command) = self.commands.recv() => self.obey(command),
                event = self.events.recv(), if !self.must_wait() => match event {
                    Some(event) => self.take_all(event).await,
                    None => break,
                },
                (tags, outcome) = self.dead_letters.next() => self.dead_lettered(tags, outcome).await,
                () = at(retry_at) => self.state.retry_at = None,
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
            self.start_put();
            self.mind_the_window();
        }
        drop(done);
    }

    fn is_idle(&self) -> bool {
        self.state.putting.is_none()
            && self.state.pending.is_empty()
            && self.state.refused.is_empty()
            && self.dead_letters.is_empty()
    }

    /// What waits for the dead-letter exchange is whole, so it is bounded by waiting.
    fn must_wait(&self) -> bool {
        self.dead_letters.is_full()
    }

    /// Takes an event and whatever else has come.
    async fn take_all(&mut self, first: Event) {
        self.take(first).await;
        for _ in 1..TAKE_MAX {
            if self.must_wait() {
                return;
            }
            match self.events.try_recv() {
                Ok(event) => self.take(event).await,
                Err(_) => return,
            }
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Began { generation, acks } => {
                self.give_up_tags();
                self.state.generation = generation;
                self.state.acks = acks;
                self.state.consumer_ended = false;
            }
            Event::Delivered(delivery) => self.delivered(delivery).await,
            Event::Ended => self.state.consumer_ended = true,
        }
    }

    /// The deliveries of the channel before come again.
    fn give_up_tags(&mut self) {
        let mut returned = self.state.pending.forget_tags();
        returned += self.state.refused.forget_tags();
        returned += self.dead_letters.forget_tags();
        for _ in 0..returned {
            self.metrics.messages.ended(Outcome::Returned);
        }
        self.state.acks = Acks::none();
    }

    /// What was on its way to the store while the channel changed kept its tags; on this channel
    /// they name other messages.
    fn give_up_old_tags(&self, refused: &mut [Refused]) {
        for refused in refused.iter_mut().filter(|refused| refused.generation != self.state.generation) {
            if refused.tag.take().is_some() {
                self.metrics.messages.ended(Outcome::Returned);
            }
        }
    }

    async fn delivered(&mut self, delivery: Delivery) {
        self.metrics.messages.received();
        self.state.acks.delivered(delivery.tag);
        let message = match decode(&delivery.body, &self.config.limits) {
            Ok(message) => self.identified(message, &delivery),
            Err(error) => {
                debug!(error = %error, routing_key = %delivery.routing_key, "Message refused");
                return self.refuse(delivery, error.reason.as_str(), error.detail);
            }
        };
        let id = publisher_of(&message).clone();
        if self.state.pending.attach(&id, &message, &delivery) {
            return;
        }
        let now = self.replica.clock().now();
        let known = self.replica.get(&id);
        let traced = self.teller.begin(&delivery);
        let context = traced.as_ref().map(|traced| traced.context);
        let receipt = Receipt {
            at: delivery.at,
            live: delivery.live,
            live_since: delivery.live_since,
            broker_at: delivery.broker_at.filter(|_| self.config.broker_timestamp_trusted),
            shared_queue: self.replica.queue_is_shared(now, known.as_deref()),
            trace: context.filter(|_| self.teller.records()),
        };
        if let Some(components) = self.too_much(&id, &message, known.as_deref()) {
            self.metrics.dropped_components.inc_by(components);
            let detail = "publishers or components over the configured limit".to_owned();
            return self.refuse(delivery, OVER_LIMIT, detail);
        }
        if let Message::V2(heartbeat) = &message {
            let example = self.example(&delivery);
            if let Some(broker_at) = receipt.broker_at {
                self.metrics.delivered(Hop::Broker, broker_at.ms_since(heartbeat.sent_at), example);
            }
            self.metrics.delivered(Hop::Subscriber, delivery.at.ms_since(heartbeat.sent_at), example);
        }
        let held = Held {
            message: Arc::new(message),
            receipt,
            effect: crate::state::Effect::Stored,
            tag: Some(delivery.tag),
            since: delivery.at,
            durable: delivery.durable,
            counted: false,
            released: false,
            example: self.example(&delivery),
            told: false,
            changes: None,
            traced,
        };
        let (record, _) = self.state.pending.add(&id, known, held);
        self.state.pending.with_newest_changes(&id, |changes| log_changes(&record, changes));
        self.replica.put(Arc::clone(&record));
        if self.state.store_down {
            // Nobody knows when it will be stored; what happens is told now.
            if let Some(changes) = self.state.pending.take_newest_changes(&id) {
                self.teller.changed(&id, &changes, record.clock_offset_ms, context, now);
            }
            self.release(&id).await;
        }
    }

    /// The trace that a delivery is an example of.
    fn example(&self, delivery: &Delivery) -> Option<TraceContext> {
        delivery.trace.filter(|trace| trace.sampled && self.teller.exemplars())
    }

    /// Gives a version 1 message the id under which it is kept.
    fn identified(&self, message: Message, delivery: &Delivery) -> Message {
        let Message::V1(mut heartbeat) = message else { return message };
        let configured = self.config.legacy_ids.get(&*delivery.routing_key);
        if let Some(id) = configured.or(self.config.legacy_queue_id.as_ref()) {
            heartbeat.service = id.clone();
        }
        heartbeat.service = self.replica.with_view(|view| view.legacy_id(&heartbeat.service));
        Message::V1(heartbeat)
    }

    /// How many components would go over the limits; `None` if there is room.
    fn too_much(&self, id: &PublisherId, message: &Message, known: Option<&Record>) -> Option<u64> {
        let known = known.filter(|known| !known.is_forgotten());
        let known_components = known.map_or(0, |known| known.components.len());
        // A version 2 message tells all there is; one of an original adds to what others told.
        let (told, after) = match message {
            Message::V1(heartbeat) => {
                let is_new = |key| known.is_none_or(|known| known.component(key).is_none());
                let added = heartbeat.components.iter().filter(|component| is_new(&component.key)).count();
                (heartbeat.components.len(), known_components + added)
            }
            Message::V2(heartbeat) => (heartbeat.components.len(), heartbeat.components.len()),
        };
        if known.is_some() && after <= known_components {
            return None;
        }
        let fits = after <= self.config.limits.components
            && self.replica.with_view(|view| view.has_room(self.replica.policy(), id, after));
        (!fits).then_some(told as u64)
    }

    /// Keeps a refused message for a look; it is acknowledged once it has its place.
    fn refuse(&mut self, delivery: Delivery, reason: &'static str, detail: String) {
        self.metrics.rejected(reason);
        self.teller.refused(&delivery, reason, self.replica.clock().now());
        let refused = Refused::new(delivery, reason, detail);
        if let Some(refused) = self.dead_letters.send(refused) {
            self.state.refused.push(refused);
        }
    }

    async fn dead_lettered(&mut self, refused: Vec<Refused>, delivered: bool) {
        if delivered {
            self.rejected(refused).await;
        } else {
            // Where the exchange does not take it, the list in the store does.
            for refused in refused {
                self.state.refused.push(refused);
            }
        }
    }

    /// Refused messages that have their place are done with.
    async fn rejected(&mut self, refused: Vec<Refused>) {
        let tags: Vec<u64> = refused.into_iter().filter_map(|refused| refused.tag).collect();
        for _ in &tags {
            self.metrics.messages.ended(Outcome::Rejected);
        }
        self.acknowledge(tags).await;
    }

    async fn acknowledge(&mut self, tags: Vec<u64>) {
        self.state.acks.settle(tags).await;
    }

    /// While the store is away, lets go what a held, newer message stands for.
    async fn release(&mut self, id: &PublisherId) {
        let Released { tags, traced } = self.state.pending.release(id);
        for _ in &tags {
            self.metrics.messages.ended(Outcome::Superseded);
        }
        let now = self.replica.clock().now();
        for (message, traced) in traced {
            self.teller.end(Some(traced), &message, Outcome::Superseded.as_str(), now, None);
        }
        if !tags.is_empty() {
            self.acknowledge(tags).await;
        }
    }

    /// Starts to store what is due, unless a batch is on its way or the store needs a pause.
    fn start_put(&mut self) {
        let state = &mut self.state;
        let paused = state.retry_at.is_some_and(|at| Instant::now() < at);
        if state.putting.is_some() || paused || (state.refused.is_empty() && !state.pending.has_due()) {
            return;
        }
        state.retry_at = None;
        let due = state.pending.take_due(self.config.batch_max);
        let refused = state.refused.take();
        let (store, contract_keys) = (self.store.clone(), self.config.contract_keys);
        let sent_at = self.replica.clock().now();
        state.putting =
            Some(tokio::spawn(async move { put(store, due, refused, contract_keys, sent_at).await }));
    }

    async fn came_back(&mut self, put: Option<Put>) {
        self.state.putting = None;
        // A task that panicked: the same as a store that did not answer.
        let Some(Put { records, mut refused, result, sent_at }) = put else {
            self.state.pending.unsent();
            self.pause();
            return;
        };
        self.give_up_old_tags(&mut refused);
        match result {
            Ok(written) => {
                if self.state.store_down {
                    info!("Storing again");
                }
                self.state.store_down = false;
                self.state.backoff.reset();
                self.stored(&records, written, sent_at).await;
                self.rejected(refused).await;
            }
            Err(error) => {
                self.state.pending.unsent();
                self.state.refused.put_back(refused);
                self.pause();
                if !std::mem::replace(&mut self.state.store_down, true) {
                    warn!(error = %Chain(&error), "Not stored; heartbeats are held until the store is back");
                    let now = self.replica.clock().now();
                    for (record, changes, context) in self.state.pending.take_changes() {
                        self.teller.changed(&record.id, &changes, record.clock_offset_ms, context, now);
                    }
                    for id in self.state.pending.ids() {
                        self.release(&id).await;
                    }
                }
            }
        }
    }

    fn pause(&mut self) {
        self.state.retry_at = Some(Instant::now() + self.state.backoff.next_wait());
    }

    async fn stored(&mut self, records: &[Arc<Record>], written: Vec<Written>, sent_at: Timestamp) {
        let now = self.replica.clock().now();
        let stored = Stored { from_ms: sent_at.unix_ms(), to_ms: now.unix_ms(), batch: records.len() };
        let mut tags = Vec::new();
        for (record, written) in records.iter().zip(written) {
            let Settled { done, show } = self.state.pending.settle(record, written);
            if let Some(show) = show {
                self.replica.put(show);
            }
            for held in done {
                if !held.counted {
                    self.metrics.messages.ended(held.effect.into());
                }
                if let Message::V2(heartbeat) = &*held.message {
                    self.metrics.delivered(Hop::Store, now.ms_since(heartbeat.sent_at), held.example);
                }
                let context = held.traced.as_ref().map(|traced| traced.context);
                if let Some(changes) = &held.changes {
                    self.teller.changed(&record.id, changes, record.clock_offset_ms, context, now);
                }
                let effect = Outcome::from(held.effect).as_str();
                self.teller.end(held.traced, &held.message, effect, now, Some(stored));
                tags.extend(held.tag);
            }
        }
        self.acknowledge(tags).await;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Newer(records) => {
                for record in records {
                    self.newer(record);
                }
            }
            Command::Lost(ids) => {
                for id in ids {
                    if let Some(record) = self.replica.get(&id)
                        && !self.state.pending.contains(&id)
                    {
                        self.state.pending.rewrite(record, 0);
                    }
                }
            }
            Command::Forget(ids, why) => self.forget(ids, why),
            Command::Bury(ids) => {
                for id in ids {
                    if self.replica.get(&id).is_some_and(|record| record.is_forgotten()) {
                        self.replica.remove(&id);
                    }
                }
            }
        }
    }

    /// Another replica stored a newer form.
    fn newer(&mut self, record: Arc<Record>) {
        let id = record.id.clone();
        let known = self.replica.get(&id);
        if self.state.pending.contains(&id) {
            // On its way, the answer tells; otherwise what is held is applied on the newer form.
            return;
        }
        if known.as_ref().is_some_and(|known| known.revision >= record.revision) {
            return;
        }
        if record.is_forgotten() && known.is_some_and(|known| !known.is_forgotten()) {
            info!(target: TOLD_TARGET, publisher = id.as_str(), "Publisher forgotten");
        }
        self.replica.put(record);
    }

    fn forget(&mut self, ids: Vec<PublisherId>, why: &'static str) {
        let now = self.replica.clock().now();
        for id in ids {
            let Some(record) = self.replica.get(&id) else { continue };
            if record.is_forgotten() || self.state.pending.contains(&id) {
                continue;
            }
            info!(target: TOLD_TARGET, publisher = id.as_str(), why, "Publisher forgotten");
            self.metrics.forgotten.inc();
            let tombstone = Arc::new(record.forget(now));
            let expected = tombstone.revision;
            self.replica.put(Arc::clone(&tombstone));
            self.state.pending.rewrite(tombstone, expected);
        }
    }

    /// Tells the consumer when the window should grow, or when what is held must go back.
    fn mind_the_window(&mut self) {
        let Self { state, window, .. } = self;
        window.open.store(state.acks.open(), Ordering::Relaxed);
        window.wants_more.store(state.store_down, Ordering::Relaxed);
        if !state.store_down || state.consumer_ended || Instant::now() < state.mind_at {
            return;
        }
        state.mind_at = Instant::now() + MIND;
        let now = self.replica.clock().now();
        let limit = i64::try_from(HOLD_MAX.as_millis()).unwrap_or(i64::MAX);
        if state.pending.oldest().is_some_and(|oldest| now.ms_since(oldest) > limit) {
            window.give_back.store(true, Ordering::Relaxed);
        }
    }
}

/// Encodes and stores a batch, away from the task that takes messages in.
async fn put(
    store: Store,
    due: Vec<Due>,
    refused: Vec<Refused>,
    contract_keys: bool,
    sent_at: Timestamp,
) -> Put {
    let mut keys = HashMap::new();
    let mut records = Vec::with_capacity(due.len());
    let mut writes = Vec::with_capacity(due.len());
    for Due { record, expected, messages } in due {
        if contract_keys {
            for message in &messages {
                contract::add_keys(message, &mut keys);
            }
            if messages.is_empty() {
                contract::add_record_keys(&record, &mut keys);
            }
        }
        records.push(Arc::clone(&record));
        writes.push(Write::new(record, expected));
    }
    let rejected = refused.iter().filter_map(Refused::to_text).collect();
    let result = store.put(&Batch { writes, contract: keys, rejected }).await;
    Put { records, refused, result, sent_at }
}

/// Waits for the batch on its way; for ever if there is none. `None` if its task failed.
async fn joined(putting: &mut Option<JoinHandle<Put>>) -> Option<Put> {
    match putting {
        Some(handle) => handle.await.ok(),
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn publisher_of(message: &Message) -> &PublisherId {
    match message {
        Message::V1(heartbeat) => &heartbeat.service,
        Message::V2(heartbeat) => &heartbeat.publisher,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::state::Policy;
    use crate::store::MemoryStore;
    use crate::subscriber::tell::Outlets;

    pub(in crate::subscriber) fn config() -> Config {
        Config {
            limits: Limits::default(),
            batch_max: 10,
            contract_keys: false,
            legacy_ids: HashMap::new(),
            legacy_queue_id: None,
            broker_timestamp_trusted: false,
        }
    }

    fn ingest() -> Ingest {
        Ingest {
            config: config(),
            store: Store::Memory(MemoryStore::default()),
            replica: Arc::new(Replica::new(Policy::default(), Arc::default())),
            metrics: Metrics::register(&mut Registry::default()),
            teller: Arc::new(Teller::new(Outlets::none())),
            window: Arc::default(),
            events: mpsc::channel(1).1,
            commands: mpsc::channel(1).1,
            dead_letters: DeadLetters::new(None),
            state: State::default(),
        }
    }

    pub(in crate::subscriber) fn delivery(generation: u64) -> Delivery {
        Delivery {
            generation,
            tag: 3,
            body: b"no heartbeat".to_vec(),
            routing_key: "key".into(),
            redelivered: false,
            durable: false,
            at: Timestamp::EPOCH,
            live: false,
            live_since: Timestamp::EPOCH,
            broker_at: None,
            trace: None,
        }
    }

    /// A tag is good on its own channel alone: on the next one it names another message.
    #[tokio::test]
    async fn what_comes_back_from_the_store_is_not_acked_on_another_channel() {
        for stored in [true, false] {
            let mut ingest = ingest();
            ingest.take(Event::Began { generation: 1, acks: Acks::none() }).await;
            ingest.take(Event::Delivered(delivery(1))).await;
            let refused = ingest.state.refused.take();
            ingest.take(Event::Began { generation: 2, acks: Acks::none() }).await;
            ingest.state.acks.delivered(3);
            let result =
                if stored { Ok(Vec::new()) } else { Err(StoreError::Disconnected { target: String::new() }) };
            ingest
                .came_back(Some(Put { records: Vec::new(), refused, result, sent_at: Timestamp::EPOCH }))
                .await;
            let again = ingest.state.refused.take();
            ingest.rejected(again).await;
            assert_eq!(ingest.state.acks.open(), 1, "stored: {stored}");
        }
    }
}
