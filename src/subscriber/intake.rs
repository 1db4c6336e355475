//! What is decided about each message, without waiting: decode, identify, apply, and what of it is to be stored,
//! acknowledged, refused and told. [`super::ingest`] drives it, and so does a simulation that interrupts it anywhere.
//!
//! Nothing is acknowledged that is not stored, save what a held, newer message of the same publisher
//! stands for while the store is away.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::authenticity::{Authenticity, Judged, publisher_of};
use super::dead_letter::{DeadLetters, Refused, Waiting};
use super::load::{Load, OnItsWay};
use super::metrics::{Hop, Metrics, OVER_LIMIT, Outcome};
use super::pending::{Held, Pending, Released, Settled};
use super::replica::Replica;
use super::tell::{Teller, log_changes};
use super::trace::Stored;
use crate::amqp::acks::Acks;
use crate::amqp::consume::{Delivery, Event, HOLD_MAX};
use crate::heartbeat::wire::{Limits, Rejection, decode};
use crate::heartbeat::{Message, PublisherId, Timestamp};
use crate::otlp::TOLD_TARGET;
use crate::signing::{Rules, Unproven};
use crate::state::join::{follows, join};
use crate::state::revision::Revisions;
use crate::state::{Receipt, Record};
use crate::store::{StoreError, Written};
use crate::telemetry::Chain;
use crate::trace::TraceContext;

/// What the operator is to know of a message that is too long: it was in memory before it could be refused.
const OVERSIZE: &str = "A message is longer than LIMIT_MESSAGE_BYTES and was refused after it had come; \
                        set max_message_size on the broker, so that it does not come at all";

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
    /// What messages must prove.
    pub rules: Rules,
}

/// What others ask of the intake, which alone writes the view.
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

/// Takes messages in, and holds them until they are stored.
pub(super) struct Intake {
    config: Config,
    replica: Arc<Replica>,
    metrics: Metrics,
    teller: Arc<Teller>,
    authenticity: Authenticity,
    /// The way to the dead-letter exchange; what it does not take goes to `refused`.
    pub(super) dead_letters: DeadLetters,
    /// What is to be acknowledged on the channel of `generation`.
    pub(super) acks: Acks,
    generation: u64,
    pending: Pending,
    refused: Waiting,
    store_down: bool,
    consumer_ended: bool,
    /// Of this channel, a message that is too long was spoken of.
    oversize_told: bool,
}

impl Intake {
    /// One that holds nothing.
    pub(super) fn new(
        config: Config,
        replica: Arc<Replica>,
        metrics: Metrics,
        teller: Arc<Teller>,
        dead_letters: DeadLetters,
        revisions: Revisions,
    ) -> Self {
        Self {
            authenticity: Authenticity::new(config.rules.clone()),
            config,
            replica,
            metrics,
            teller,
            dead_letters,
            acks: Acks::none(),
            generation: 0,
            pending: Pending::new(revisions),
            refused: Waiting::default(),
            store_down: false,
            consumer_ended: false,
            oversize_told: false,
        }
    }

    /// Nothing is held, and nothing comes any more.
    pub(super) fn is_done(&self) -> bool {
        self.consumer_ended
            && self.pending.is_empty()
            && self.refused.is_empty()
            && self.dead_letters.is_empty()
    }

    /// What waits for the dead-letter exchange is whole, so it is bounded by waiting.
    pub(super) fn must_wait(&self) -> bool {
        self.dead_letters.is_full()
    }

    /// Whether the latest batch found the store away.
    pub(super) fn store_is_down(&self) -> bool {
        self.store_down
    }

    /// What was let go, and is not stored yet.
    #[cfg(test)]
    pub(super) fn let_go(&self) -> Vec<(PublisherId, crate::heartbeat::Epoch, u64)> {
        self.pending.let_go()
    }

    /// While the store is away: whether a delivery was held for so long that it must go back.
    pub(super) fn held_too_long(&self) -> bool {
        let now = self.replica.clock().now();
        let limit = i64::try_from(HOLD_MAX.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.pending.oldest().filter(|_| self.store_down && !self.consumer_ended);
        oldest.is_some_and(|oldest| now.ms_since(oldest) > limit)
    }

    /// Has the replica know since when a heartbeat waits to be stored. Says whether one does.
    pub(super) fn tell_unstored(&self) -> bool {
        let oldest = self.pending.oldest();
        self.replica.standing().unstored_since = oldest;
        oldest.is_some()
    }

    /// Takes in what comes from the consumer.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Began { generation, acks } => {
                self.give_up_tags();
                self.generation = generation;
                self.acks = acks;
                self.consumer_ended = false;
                self.oversize_told = false;
            }
            Event::Delivered(delivery) => self.delivered(delivery),
            Event::Ended(failed) => {
                self.consumer_ended = true;
                if let Some(reason) = failed {
                    self.metrics.consumer_failed(reason);
                }
            }
        }
    }

    /// The deliveries of the channel before come again.
    fn give_up_tags(&mut self) {
        let mut returned = self.pending.forget_tags();
        returned += self.refused.forget_tags();
        returned += self.dead_letters.forget_tags();
        for _ in 0..returned {
            self.metrics.messages.ended(Outcome::Returned);
        }
        self.acks = Acks::none();
    }

    /// What was on its way to the store while the channel changed kept its tags; on this channel
    /// they name other messages.
    fn give_up_old_tags(&self, refused: &mut [Refused]) {
        for refused in refused.iter_mut().filter(|refused| refused.generation != self.generation) {
            if refused.tag.take().is_some() {
                self.metrics.messages.ended(Outcome::Returned);
            }
        }
    }

    fn delivered(&mut self, delivery: Delivery) {
        self.metrics.messages.received();
        self.acks.delivered(delivery.tag);
        if let Err(unproven) = self.authenticity.unread(&delivery) {
            return self.refuse_unproven(delivery, "", unproven);
        }
        let message = match decode(&delivery.body, &self.config.limits) {
            Ok(message) => self.named(message, &delivery),
            Err(error) => {
                debug!(error = %error, routing_key = %delivery.routing_key, "Message refused");
                if error.reason == Rejection::Oversize && !std::mem::replace(&mut self.oversize_told, true) {
                    let (bytes, limit) = (delivery.body.len(), self.config.limits.message_bytes);
                    warn!(bytes, limit, routing_key = %delivery.routing_key, "{OVERSIZE}");
                }
                return self.refuse(delivery, error.reason.as_str(), error.detail);
            }
        };
        let now = self.replica.clock().now();
        let named = publisher_of(&message).clone();
        let mut known = self.replica.get(&named);
        let mut receipt = Receipt {
            live: delivery.live,
            live_since: delivery.live_since,
            broker_at: delivery.broker_at.filter(|_| self.config.broker_timestamp_trusted),
            ..Receipt::at(delivery.at)
        };
        // Before anything is touched: what is held for a publisher may be let go for the sake of this message.
        let judged =
            Judged { message: &message, delivery: &delivery, receipt: &receipt, known: known.as_deref() };
        match self.authenticity.judge(&judged, &self.metrics) {
            Ok(guarded) => receipt.guarded = guarded,
            Err(unproven) => return self.refuse_unproven(delivery, named.as_str(), unproven),
        }
        let message = self.kept(message);
        let id = publisher_of(&message).clone();
        if self.pending.attach(&id, &message, &delivery) {
            return;
        }
        if id != named {
            known = self.replica.get(&id);
        }
        let traced = self.teller.begin(&delivery);
        let context = traced.as_ref().map(|traced| traced.context);
        receipt.trace = context.filter(|_| self.teller.records());
        receipt.elsewhere = self.replica.elsewhere(now, known.as_deref());
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
        let (record, _) = self.pending.add(&id, known, held);
        self.pending.with_newest_changes(&id, |changes| log_changes(&record, changes));
        self.replica.put(Arc::clone(&record));
        if self.store_down {
            // Nobody knows when it will be stored; what happens is told now.
            if let Some(changes) = self.pending.take_newest_changes(&id) {
                self.teller.changed(&id, &changes, record.clock_offset_ms, context, now);
            }
            self.release(&id);
        }
    }

    /// The trace that a delivery is an example of.
    fn example(&self, delivery: &Delivery) -> Option<TraceContext> {
        delivery.trace.filter(|trace| trace.sampled && self.teller.exemplars())
    }

    /// Gives a version 1 message the id that is configured for its like.
    fn named(&self, message: Message, delivery: &Delivery) -> Message {
        let Message::V1(mut heartbeat) = message else { return message };
        let configured = self.config.legacy_ids.get(&*delivery.routing_key);
        if let Some(id) = configured.or(self.config.legacy_queue_id.as_ref()) {
            heartbeat.service = id.clone();
        }
        Message::V1(heartbeat)
    }

    /// Gives a version 1 message the id under which it is kept, and has one of version 2 share what many say.
    fn kept(&self, mut message: Message) -> Message {
        match &mut message {
            Message::V1(heartbeat) => {
                heartbeat.service = self.replica.with_view(|view| view.legacy_id(&heartbeat.service));
            }
            Message::V2(heartbeat) => self.replica.share_version(&mut heartbeat.version),
        }
        message
    }

    /// How many components would go over the limits; `None` if there is room.
    fn too_much(&self, id: &PublisherId, message: &Message, known: Option<&Record>) -> Option<u64> {
        let known = known.filter(|known| !known.is_forgotten());
        let known_components = known.map_or(0, |known| known.components.len());
        // A version 2 message tells all there is; one of an original adds to what others told.
        let (told, after) = match message {
            Message::V1(heartbeat) => {
                let held: BTreeSet<_> = known
                    .into_iter()
                    .flat_map(|known| known.components.iter())
                    .map(|state| state.component.key)
                    .collect();
                let added =
                    heartbeat.components.iter().filter(|told| !held.contains(&told.key.borrowed())).count();
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

    /// Refuses a message that does not prove whose it is.
    fn refuse_unproven(&mut self, delivery: Delivery, publisher: &str, unproven: Unproven) {
        let now = self.replica.clock().now();
        self.authenticity.tell(&delivery, publisher, &unproven, false, now);
        self.refuse(delivery, unproven.doubt.as_str(), unproven.detail);
    }

    /// Keeps a refused message for a look; it is acknowledged once it has its place.
    fn refuse(&mut self, delivery: Delivery, reason: &'static str, detail: String) {
        self.metrics.rejected(reason);
        self.teller.refused(&delivery, reason, self.replica.clock().now());
        let refused = Refused::new(delivery, reason, detail);
        if let Some(refused) = self.dead_letters.send(refused) {
            self.refused.push(refused);
        }
    }

    /// The dead-letter exchange took these, or did not.
    pub(super) fn dead_lettered(&mut self, refused: Vec<Refused>, delivered: bool) {
        if delivered {
            self.rejected(refused);
        } else {
            // Where the exchange does not take it, the list in the store does.
            for refused in refused {
                self.refused.push(refused);
            }
        }
    }

    /// Refused messages that have their place are done with.
    fn rejected(&mut self, refused: Vec<Refused>) {
        let tags: Vec<u64> = refused.into_iter().filter_map(|refused| refused.tag).collect();
        for _ in &tags {
            self.metrics.messages.ended(Outcome::Rejected);
        }
        self.acks.settle(tags);
    }

    /// While the store is away, lets go what a held, newer message stands for.
    fn release(&mut self, id: &PublisherId) {
        let Released { tags, traced } = self.pending.release(id);
        for _ in &tags {
            self.metrics.messages.ended(Outcome::Superseded);
        }
        let now = self.replica.clock().now();
        for (message, traced) in traced {
            self.teller.end(Some(traced), &message, Outcome::Superseded.as_str(), now, None);
        }
        if !tags.is_empty() {
            self.acks.settle(tags);
        }
    }

    /// What is due to be stored, if anything is. One load is on its way at a time.
    pub(super) fn load(&mut self) -> Option<Load> {
        if self.refused.is_empty() && !self.pending.has_due() {
            return None;
        }
        let due = self.pending.take_due(self.config.batch_max);
        self.replica.sends(due.iter().map(|due| &*due.record));
        Some(Load {
            due,
            refused: self.refused.take(),
            contract_keys: self.config.contract_keys,
            sent_at: self.replica.clock().now(),
        })
    }

    /// A load came back from the store. Says whether the store is there.
    pub(super) fn came_back(
        &mut self,
        on_its_way: OnItsWay,
        result: Result<Vec<Written>, StoreError>,
    ) -> bool {
        let OnItsWay { records, mut refused, sent_at } = on_its_way;
        self.give_up_old_tags(&mut refused);
        let there = match result {
            Ok(written) => {
                if std::mem::replace(&mut self.store_down, false) {
                    info!("Storing again");
                }
                self.stored(&records, written, sent_at);
                self.rejected(refused);
                true
            }
            Err(error) => {
                self.metrics.store_failed(error.reason());
                self.pending.unsent();
                self.refused.put_back(refused);
                if !std::mem::replace(&mut self.store_down, true) {
                    warn!(error = %Chain(&error), "Not stored; heartbeats are held until the store is back");
                    self.begin_to_hold();
                }
                false
            }
        };
        // Last, so that none of them is unknown in between.
        self.replica.sends(std::iter::empty());
        there
    }

    /// Nobody knows what became of the load: the same as a store that did not answer.
    pub(super) fn vanished(&mut self) {
        self.pending.unsent();
        self.replica.sends(std::iter::empty());
    }

    /// Nobody knows when the store will be back: what happened is told now, and what is superseded is let go.
    fn begin_to_hold(&mut self) {
        let now = self.replica.clock().now();
        for (record, changes, context) in self.pending.take_changes() {
            self.teller.changed(&record.id, &changes, record.clock_offset_ms, context, now);
        }
        for id in self.pending.ids() {
            self.release(&id);
        }
    }

    fn stored(&mut self, records: &[Arc<Record>], written: Vec<Written>, sent_at: Timestamp) {
        let now = self.replica.clock().now();
        let stored = Stored { from_ms: sent_at.unix_ms(), to_ms: now.unix_ms(), batch: records.len() };
        let mut tags = Vec::new();
        for (record, written) in records.iter().zip(written) {
            let Settled { done, show } = self.pending.settle(record, written);
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
        self.acks.settle(tags);
    }

    /// Does what others ask.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Newer(records) => {
                for record in records {
                    self.newer(record);
                }
            }
            Command::Lost(ids) => {
                for id in ids {
                    if let Some(record) = self.replica.get(&id)
                        && !self.pending.contains(&id)
                    {
                        self.pending.rewrite(record, 0);
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
        if self.pending.contains(&id) {
            // On its way, the answer tells; otherwise what is held is applied on the newer form.
            return;
        }
        if known.as_ref().is_some_and(|known| known.revision >= record.revision) {
            return;
        }
        if let Some(known) = known.as_ref().filter(|known| !follows(&record, known)) {
            // The store lost what is known here, and somebody went on without it.
            let joined = Arc::new(join(known, &record));
            self.replica.put(Arc::clone(&joined));
            self.pending.rewrite(joined, record.revision);
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
            if record.is_forgotten() || self.pending.contains(&id) {
                continue;
            }
            info!(target: TOLD_TARGET, publisher = id.as_str(), why, "Publisher forgotten");
            // Nobody misses a drill.
            if !id.is_drill() {
                self.metrics.forgotten.inc();
            }
            let tombstone = Arc::new(record.forget(now));
            let expected = tombstone.revision;
            self.replica.put(Arc::clone(&tombstone));
            self.pending.rewrite(tombstone, expected);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::heartbeat::{Epoch, Heartbeat, PublisherTotals};
    use crate::state::{Policy, apply};
    use crate::subscriber::metrics::PEERS;
    use crate::subscriber::tell::Outlets;

    pub(in crate::subscriber) fn config() -> Config {
        Config {
            limits: Limits::default(),
            batch_max: 10,
            contract_keys: false,
            legacy_ids: HashMap::new(),
            legacy_queue_id: None,
            broker_timestamp_trusted: false,
            rules: Rules::default(),
        }
    }

    fn intake() -> Intake {
        let policy = Policy { publishers_max: 10, components_max: 10, ..Policy::default() };
        Intake::new(
            config(),
            Arc::new(Replica::new(policy, Arc::default())),
            Metrics::register(&mut Registry::default(), &PEERS),
            Arc::new(Teller::new(Outlets::none())),
            DeadLetters::new(None),
            Revisions::seeded(1),
        )
    }

    /// A heartbeat of the one publisher, so many milliseconds after all began.
    pub(in crate::subscriber) fn beat(sequence: u64) -> Message {
        Message::V2(Box::new(Heartbeat {
            publisher: PublisherId::new("p").unwrap(),
            epoch: Epoch::parse("0123456789abcdef0123456789abcdef").unwrap(),
            started_at: Timestamp::EPOCH,
            uptime: Duration::from_millis(sequence),
            sequence,
            sent_at: Timestamp::from_unix_ms(sequence.cast_signed()),
            interval: Duration::from_secs(1),
            version: "1".into(),
            totals: PublisherTotals::default(),
            components: Vec::new(),
            maintenance: Vec::new(),
            trace: None,
        }))
    }

    pub(in crate::subscriber) fn delivery(generation: u64) -> Delivery {
        Delivery {
            generation,
            tag: 3,
            body: b"no heartbeat".to_vec(),
            routing_key: "key".into(),
            redelivered: false,
            durable: false,
            worn: false,
            at: Timestamp::EPOCH,
            live: false,
            live_since: Timestamp::EPOCH,
            broker_at: None,
            trace: None,
            proof: crate::signing::Proof::default(),
        }
    }

    /// After a failover that lost a write which every replica had followed, another went on from the form before it.
    #[test]
    fn what_the_store_lost_is_stored_again_though_it_went_on() {
        let of = |numbers: std::ops::RangeInclusive<u64>, revision| {
            let beats = numbers.map(beat);
            let record = beats.fold(None, |record: Option<Record>, beat| {
                Some(apply(record.as_ref(), &beat, &Receipt::at(Timestamp::EPOCH)).0)
            });
            Arc::new(Record { revision, ..record.unwrap() })
        };
        let mut intake = intake();
        intake.obey(Command::Newer(vec![of(1..=2, 10)]));
        intake.obey(Command::Newer(vec![of(1..=3, 20)]));
        assert!(intake.load().is_none(), "what follows is taken as it is");
        let (lost, goes_on) = (of(1..=4, 30), of(5..=5, 40));
        intake.obey(Command::Newer(vec![lost]));
        intake.obey(Command::Newer(vec![goes_on]));
        let (batch, _) = intake.load().expect("what was lost is due").into_batch();
        let [write] = &batch.writes[..] else { panic!("{batch:?}") };
        assert_eq!(write.expected, 40);
        let window = &write.record.lives[0].sequence;
        assert_eq!((window.first, window.highest, window.seen), (1, 5, 0b1111));
        let shown = intake.replica.get(&write.record.id).unwrap();
        assert_eq!(shown.lives[0].sequence, *window);
    }

    /// A tag is good on its own channel alone: on the next one it names another message.
    #[test]
    fn what_comes_back_from_the_store_is_not_acked_on_another_channel() {
        for stored in [true, false] {
            let mut intake = intake();
            intake.take(Event::Began { generation: 1, acks: Acks::none() });
            intake.take(Event::Delivered(delivery(1)));
            let (_, on_its_way) = intake.load().expect("the refused message is due").into_batch();
            intake.take(Event::Began { generation: 2, acks: Acks::none() });
            intake.acks.delivered(3);
            let away = || StoreError::Disconnected { target: String::new(), reason: "closed" };
            let result = if stored { Ok(Vec::new()) } else { Err(away()) };
            assert_eq!(intake.came_back(on_its_way, result), stored);
            if let Some((_, on_its_way)) = intake.load().map(Load::into_batch) {
                intake.came_back(on_its_way, Ok(Vec::new()));
            }
            assert_eq!(intake.acks.take_due(), [], "stored: {stored}");
            assert_eq!(intake.acks.open(), 1, "stored: {stored}");
        }
    }

    /// What waits for a store that is slow is known to nobody else.
    #[test]
    fn the_others_are_told_since_when_something_is_not_stored() {
        let mut intake = intake();
        let body = |sequence| match beat(sequence) {
            Message::V2(heartbeat) => crate::heartbeat::wire::encode(&heartbeat),
            Message::V1(_) => unreachable!("it is made as the other"),
        };
        let delivered = |sequence: u64| Delivery {
            tag: sequence,
            body: body(sequence),
            at: Timestamp::from_unix_ms(sequence.cast_signed() * 1000),
            ..delivery(1)
        };
        intake.take(Event::Began { generation: 1, acks: Acks::none() });
        assert!(!intake.tell_unstored());
        intake.take(Event::Delivered(delivered(7)));
        assert!(intake.tell_unstored());
        let (batch, on_its_way) = intake.load().expect("the heartbeat is due").into_batch();
        intake.take(Event::Delivered(delivered(9)));
        let since = |intake: &Intake| {
            intake.tell_unstored();
            intake.replica.standing().unstored_since
        };
        assert_eq!(since(&intake), Some(Timestamp::from_unix_ms(7000)), "on its way is not stored");
        assert!(intake.came_back(on_its_way, Ok(vec![Written::Stored; batch.writes.len()])));
        assert_eq!(since(&intake), Some(Timestamp::from_unix_ms(9000)));
        let (batch, on_its_way) = intake.load().expect("the next one is due").into_batch();
        assert!(intake.came_back(on_its_way, Ok(vec![Written::Stored; batch.writes.len()])));
        assert_eq!(since(&intake), None);
    }
}
