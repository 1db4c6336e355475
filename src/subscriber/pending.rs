//! What is known and not yet stored: per publisher the messages since the stored form, so that they
//! can be applied again where another replica was faster. Pure: no waiting, no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::trace::Traced;
use crate::amqp::consume::Delivery;
use crate::heartbeat::{LegacyHeartbeat, Message, PublisherId, Timestamp};
use crate::state::change::Changes;
use crate::state::join::{follows, join};
use crate::state::recent::remember;
use crate::state::revision::Revisions;
use crate::state::{Effect, Receipt, Record, apply};
use crate::store::Written;
use crate::trace::TraceContext;

/// One message that was applied and not stored yet.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The message; without its components once a newer one stands for it.
    pub(super) message: Arc<Message>,
    /// How it came.
    pub(super) receipt: Receipt,
    /// What it did, as of the last application.
    pub(super) effect: Effect,
    /// Its delivery, while it can be acknowledged.
    pub(super) tag: Option<u64>,
    /// When that delivery came; it may have been given back and have come again since the receipt.
    pub(super) since: Timestamp,
    /// Survives the broker's restart: see `Delivery::durable`.
    pub(super) durable: bool,
    /// Its end has been counted.
    pub(super) counted: bool,
    /// It was let go: a newer one stands for it.
    pub(super) released: bool,
    /// The trace that its delivery is an example of.
    pub(super) example: Option<TraceContext>,
    /// What it changed is told.
    pub(super) told: bool,
    /// What it changed, until that is told; `None` where that is nothing.
    pub(super) changes: Option<Box<Changes>>,
    /// Its span, where one is recorded.
    pub(super) traced: Option<Box<Traced>>,
}

/// One publisher that is ahead of the store.
#[derive(Debug)]
struct Entry {
    /// The stored form, as far as it is known, or the best that is known of a lost one.
    base: Option<Arc<Record>>,
    /// The revision that the store is expected to hold.
    expected: u64,
    /// `base` with all that is held applied.
    current: Arc<Record>,
    held: Vec<Held>,
    /// What is on its way to the store.
    sending: Option<Sent>,
    /// What was on its way when the store fell silent: nobody knows whether it is stored. It is
    /// sent again as it was, so that the store can tell, before anything else of this publisher.
    unsure: Option<Sent>,
    /// `current` is to be stored though no message is held: a repair, or a tombstone.
    rewrite: bool,
    /// It stands in the queue of those that wait for their turn.
    queued: bool,
}

/// One write as it was sent.
#[derive(Debug)]
struct Sent {
    record: Arc<Record>,
    expected: u64,
    /// So many of the first held messages are in it.
    held: usize,
    /// It was sent before, and may be stored since then.
    again: bool,
}

/// One write to be made.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) record: Arc<Record>,
    pub(super) expected: u64,
    /// The messages in it, whose contract keys belong to the same batch.
    pub(super) messages: Vec<Arc<Message>>,
}

/// What a stored or failed write leaves to be done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Messages that are stored.
    pub(super) done: Vec<Held>,
    /// The newest form to show.
    pub(super) show: Option<Arc<Record>>,
}

/// Messages that were let go.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// Their deliveries, as far as these can be acknowledged.
    pub(super) tags: Vec<u64>,
    /// Those whose spans end thereby.
    pub(super) traced: Vec<(Arc<Message>, Box<Traced>)>,
}

/// All publishers that are ahead of the store.
#[derive(Debug)]
pub(super) struct Pending {
    entries: HashMap<PublisherId, Entry>,
    /// What the next forms are numbered by.
    revisions: Revisions,
    /// Whose turn it is to be stored, in the order in which they came: under any load nobody waits for ever.
    queue: VecDeque<PublisherId>,
    /// Who is on the way to the store.
    on_the_way: Vec<PublisherId>,
    /// Held messages that were let go.
    released: usize,
}

/// Messages let go of which a little is kept, some 400 bytes each. Beyond, none is let go until the
/// store is back: the window fills, and the rest waits in the queue.
const RELEASED_MAX: usize = 250_000;

impl Pending {
    /// Nobody is ahead of the store.
    pub(super) fn new(revisions: Revisions) -> Self {
        let (entries, queue, on_the_way) = (HashMap::new(), VecDeque::new(), Vec::new());
        Self { entries, revisions, queue, on_the_way, released: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether anything waits that is not on its way.
    pub(super) fn has_due(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn contains(&self, id: &PublisherId) -> bool {
        self.entries.contains_key(id)
    }

    /// A delivery that comes again after its first was given back with its connection: taken as
    /// the delivery of the held message. Says whether there was one.
    pub(super) fn attach(&mut self, id: &PublisherId, message: &Message, delivery: &Delivery) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        let same = |held: &&mut Held| held.tag.is_none() && same_message(&held.message, message);
        match entry.held.iter_mut().find(same) {
            Some(held) if held.counted => {
                held.tag = Some(delivery.tag);
                held.since = delivery.at;
                held.durable = delivery.durable;
                self.released -= usize::from(std::mem::take(&mut held.released));
                held.counted = false;
                // It may have been stripped meanwhile; what came again is whole.
                held.message = Arc::new(message.clone());
                true
            }
            _ => false,
        }
    }

    /// Applies a message on what is known. Returns the new record.
    pub(super) fn add(
        &mut self,
        id: &PublisherId,
        known: Option<Arc<Record>>,
        mut held: Held,
    ) -> (Arc<Record>, Effect) {
        let before = self.entries.get(id).map(|entry| Arc::clone(&entry.current)).or_else(|| known.clone());
        let (record, effect, changes) = take_in(before.as_deref(), &held);
        let record = Arc::new(record);
        held.effect = effect;
        held.changes = changes;
        let entry = self.entries.entry(id.clone()).or_insert_with(|| Entry {
            expected: known.as_ref().map_or(0, |record| record.revision),
            base: known,
            current: Arc::clone(&record),
            held: Vec::new(),
            sending: None,
            unsure: None,
            rewrite: false,
            queued: false,
        });
        entry.current = Arc::clone(&record);
        entry.held.push(held);
        self.enqueue(id);
        (record, effect)
    }

    /// Stores a record as it is, if nobody changes it meanwhile: a tombstone, or one that the
    /// store lost.
    pub(super) fn rewrite(&mut self, record: Arc<Record>, expected: u64) {
        let id = record.id.clone();
        self.entries.entry(id.clone()).or_insert_with(|| Entry {
            base: Some(Arc::clone(&record)),
            expected,
            current: record,
            held: Vec::new(),
            sending: None,
            unsure: None,
            rewrite: true,
            queued: false,
        });
        self.enqueue(&id);
    }

    /// Puts one that is due at the end of the queue.
    fn enqueue(&mut self, id: &PublisherId) {
        if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.is_due() && !entry.queued) {
            entry.queued = true;
            self.queue.push_back(id.clone());
        }
    }

    /// Up to `max` writes that are due; they count as on their way.
    pub(super) fn take_due(&mut self, max: usize) -> Vec<Due> {
        let mut due = Vec::new();
        self.on_the_way.clear();
        while due.len() < max
            && let Some(id) = self.queue.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.queued = false;
            if !entry.is_due() {
                continue;
            }
            let sent = entry.unsure.take().unwrap_or_else(|| {
                let stored = entry.base.as_ref().map_or(0, |record| record.revision);
                let revision = self.revisions.after(stored.max(entry.expected));
                let record = Record { revision, ..(*entry.current).clone() };
                let (record, expected) = (Arc::new(record), entry.expected);
                Sent { record, expected, held: entry.held.len(), again: false }
            });
            due.push(Due {
                record: Arc::clone(&sent.record),
                expected: sent.expected,
                messages: telling(&entry.held[..sent.held]),
            });
            entry.sending = Some(sent);
            self.on_the_way.push(id);
        }
        due
    }

    /// Takes in what became of a write.
    pub(super) fn settle(&mut self, record: &Arc<Record>, written: Written) -> Settled {
        let Some(entry) = self.entries.get_mut(&record.id) else { return Settled::default() };
        let sent = entry.sending.take();
        let (sent, again) = sent.map_or((0, false), |sent| (sent.held.min(entry.held.len()), sent.again));
        match written {
            Written::Stored => {
                let done: Vec<Held> = entry.held.drain(..sent).collect();
                self.released -= done.iter().filter(|held| held.released).count();
                entry.base = Some(Arc::clone(record));
                entry.expected = record.revision;
                entry.rewrite = false;
                entry.current = match &entry.held[..] {
                    // Nothing has come since it was sent.
                    [] => Arc::clone(record),
                    _ => Arc::new(Record { revision: record.revision, ..(*entry.current).clone() }),
                };
                let show = Arc::clone(&entry.current);
                if entry.held.is_empty() {
                    self.entries.remove(&record.id);
                }
                self.enqueue(&record.id);
                Settled { done, show: Some(show) }
            }
            Written::Conflict { revision, record: stored } => {
                let maybe_stored = if again { sent } else { 0 };
                let show = self.rebase(&record.id, revision, stored, maybe_stored);
                self.enqueue(&record.id);
                Settled { done: Vec::new(), show }
            }
        }
    }

    /// The write did not reach the store, or nobody knows: it is due again.
    pub(super) fn unsent(&mut self) {
        for id in std::mem::take(&mut self.on_the_way).into_iter().rev() {
            if let Some(entry) = self.entries.get_mut(&id)
                && let Some(sent) = entry.sending.take()
            {
                entry.unsure = Some(Sent { again: true, ..sent });
                entry.queued = true;
                self.queue.push_front(id);
            }
        }
    }

    /// Another form is stored: what is held is applied on it, joined with what is known here where it does not
    /// follow from that. So many of the
    /// first held messages may be in the stored form by our own hand. Returns what to show.
    fn rebase(
        &mut self,
        id: &PublisherId,
        revision: u64,
        stored: Option<Arc<Record>>,
        maybe_stored: usize,
    ) -> Option<Arc<Record>> {
        let entry = self.entries.get_mut(id)?;
        entry.expected = revision;
        match (stored, &entry.base) {
            (Some(stored), Some(base)) if stored.revision < base.revision || !follows(&stored, base) => {
                // The store went back (a failover, a loss), and somebody may have gone on from there.
                entry.base = Some(Arc::new(join(base, &stored)));
                entry.rewrite = true;
            }
            (Some(stored), _) => {
                entry.base = Some(stored);
                entry.rewrite = false;
            }
            // It lost it altogether: what is known here is all there is.
            (None, _) => {}
        }
        let mut record = entry.base.as_deref().cloned();
        for (index, held) in entry.held.iter_mut().enumerate() {
            let (next, effect, changes) = take_in(record.as_ref(), held);
            if effect == Effect::Duplicate && index < maybe_stored {
                // It was not taken before by anybody but us, and is counted already.
                continue;
            }
            held.effect = effect;
            if !held.told {
                held.changes = changes;
            }
            record = Some(next);
        }
        if let Some(record) = record {
            entry.current = Arc::new(record);
        }
        let show = Arc::clone(&entry.current);
        if entry.held.is_empty() && !entry.rewrite {
            self.entries.remove(id);
        }
        Some(show)
    }

    /// The channel is gone: no tag is good any more. Returns how many deliveries were given back.
    pub(super) fn forget_tags(&mut self) -> usize {
        let mut returned = 0;
        for held in self.entries.values_mut().flat_map(|entry| entry.held.iter_mut()) {
            if held.tag.take().is_some() {
                held.counted = true;
                returned += 1;
            }
        }
        returned
    }

    /// While the store is away: deliveries of one publisher that a held, newer one stands for may
    /// be let go.
    pub(super) fn release(&mut self, id: &PublisherId) -> Released {
        let mut released = Released::default();
        let Some(entry) = self.entries.get_mut(id) else { return released };
        let Some((newest, older)) = entry.held.split_last_mut() else { return released };
        if newest.tag.is_none() {
            return released;
        }
        // What was given back and has gone to another replica is kept as little as what was let go.
        for held in older.iter_mut().filter(|held| !held.released) {
            if self.released >= RELEASED_MAX {
                break;
            }
            if newest.durable >= held.durable && stands_for(&newest.message, &held.message) {
                released.tags.extend(held.tag.take());
                released.traced.extend(held.traced.take().map(|traced| (Arc::clone(&held.message), traced)));
                held.counted = true;
                held.released = true;
                held.message = Arc::new(stripped(&held.message));
                self.released += 1;
            }
        }
        released
    }

    /// What held messages changed and was not told yet, with the newest form of each publisher.
    pub(super) fn take_changes(&mut self) -> Vec<(Arc<Record>, Changes, Option<TraceContext>)> {
        let mut taken = Vec::new();
        for entry in self.entries.values_mut() {
            for held in &mut entry.held {
                let context = held.traced.as_ref().map(|traced| traced.context);
                held.told = true;
                let changes = held.changes.take();
                taken.extend(changes.map(|changes| (Arc::clone(&entry.current), *changes, context)));
            }
        }
        taken
    }

    /// Shows what one publisher's newest message changed.
    pub(super) fn with_newest_changes(&self, id: &PublisherId, show: impl FnOnce(&Changes)) {
        let newest = self.entries.get(id).and_then(|entry| entry.held.last());
        if let Some(changes) = newest.and_then(|held| held.changes.as_deref()) {
            show(changes);
        }
    }

    /// The same of one publisher's newest message.
    pub(super) fn take_newest_changes(&mut self, id: &PublisherId) -> Option<Box<Changes>> {
        let newest = self.entries.get_mut(id)?.held.last_mut()?;
        newest.told = true;
        newest.changes.take()
    }

    /// Every publisher that is ahead of the store.
    pub(super) fn ids(&self) -> Vec<PublisherId> {
        self.entries.keys().cloned().collect()
    }

    /// What was let go, and is not stored yet.
    #[cfg(test)]
    pub(super) fn let_go(&self) -> Vec<(PublisherId, crate::heartbeat::Epoch, u64)> {
        let held = self.entries.values().flat_map(|entry| &entry.held).filter(|held| held.released);
        let named = |held: &Held| match &*held.message {
            Message::V2(heartbeat) => {
                Some((heartbeat.publisher.clone(), heartbeat.epoch.clone(), heartbeat.sequence))
            }
            Message::V1(_) => None,
        };
        held.filter_map(named).collect()
    }

    /// When the oldest delivery that is held came.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let held = self.entries.values().flat_map(|entry| &entry.held);
        held.filter(|held| held.tag.is_some()).map(|held| held.since).min()
    }
}

impl Entry {
    fn is_due(&self) -> bool {
        self.sending.is_none() && (self.rewrite || !self.held.is_empty())
    }
}

/// What a message makes of a record, with what it did, and what it changed, if anything.
fn take_in(before: Option<&Record>, held: &Held) -> (Record, Effect, Option<Box<Changes>>) {
    let (mut record, effect) = apply(before, &held.message, &held.receipt);
    let changes = Changes::between(before, &record);
    remember(&mut record, before, &changes);
    (record, effect, Some(changes).filter(|changes| !changes.is_empty()).map(Box::new))
}

/// The messages that tell something of their own: of version 2, the newest of each epoch tells all.
fn telling(held: &[Held]) -> Vec<Arc<Message>> {
    let mut telling: Vec<Arc<Message>> = Vec::new();
    for held in held.iter().rev() {
        if !telling.iter().any(|newer| is_later(newer, &held.message)) {
            telling.push(Arc::clone(&held.message));
        }
    }
    telling
}

/// Whether both are snapshots of one process, and the first is the later one.
fn is_later(newer: &Message, older: &Message) -> bool {
    match (newer, older) {
        (Message::V2(newer), Message::V2(older)) => {
            newer.publisher == older.publisher
                && newer.epoch == older.epoch
                && newer.sequence > older.sequence
        }
        _ => false,
    }
}

/// Whether the newer message holds all that the older one told.
///
/// Version 2 messages are full snapshots with running totals and the times of the last up and the
/// last down, so a newer one of the same epoch does. Version 1 messages carry no such times: only
/// one that says the same of the same components does.
fn stands_for(newer: &Message, older: &Message) -> bool {
    match (newer, older) {
        (Message::V2(_), Message::V2(_)) => is_later(newer, older),
        (Message::V1(newer), Message::V1(older)) => {
            let said = |heartbeat: &LegacyHeartbeat| -> BTreeMap<_, _> {
                let of = |c: &crate::heartbeat::LegacyComponent| (c.ok_at.is_some(), c.not_ok_at.is_some());
                heartbeat.components.iter().map(|c| (c.key.clone(), of(c))).collect()
            };
            let later = |heartbeat: &LegacyHeartbeat| {
                heartbeat.components.iter().map(|component| component.checked_at()).max()
            };
            newer.life == older.life && later(newer) > later(older) && said(newer) == said(older)
        }
        _ => false,
    }
}

/// What must stay of a message that was let go: its number and its times.
fn stripped(message: &Message) -> Message {
    match message {
        Message::V2(heartbeat) => Message::V2(Box::new(heartbeat.bare())),
        // Its components are what names its process and its times; it is small.
        Message::V1(heartbeat) => Message::V1(heartbeat.clone()),
    }
}

fn same_message(a: &Message, b: &Message) -> bool {
    match (a, b) {
        (Message::V2(a), Message::V2(b)) => a.epoch == b.epoch && a.sequence == b.sequence,
        (Message::V1(a), Message::V1(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::intake::tests::{beat, delivery};

    fn held(sequence: u64, tag: u64) -> Held {
        let at = Timestamp::from_unix_ms(sequence.cast_signed());
        let receipt = Receipt { live: true, live_since: at, ..Receipt::at(at) };
        let effect = Effect::Stored;
        Held {
            message: Arc::new(beat(sequence)),
            receipt,
            effect,
            tag: Some(tag),
            since: at,
            durable: true,
            counted: false,
            released: false,
            example: None,
            told: false,
            changes: None,
            traced: None,
        }
    }

    fn id(held: &Held) -> PublisherId {
        let Message::V2(heartbeat) = &*held.message else { panic!() };
        heartbeat.publisher.clone()
    }

    #[test]
    fn what_was_given_back_and_came_again_is_held_from_then() {
        let mut pending = Pending::new(Revisions::seeded(1));
        let first = held(1, 1);
        let (id, message) = (id(&first), Arc::clone(&first.message));
        pending.add(&id, None, first);
        assert_eq!(pending.oldest(), Some(Timestamp::from_unix_ms(1)));
        assert_eq!(pending.forget_tags(), 1);
        assert_eq!(pending.oldest(), None);
        let again = Delivery { tag: 9, at: Timestamp::from_unix_ms(700), ..delivery(2) };
        assert!(pending.attach(&id, &message, &again));
        assert_eq!(pending.oldest(), Some(Timestamp::from_unix_ms(700)));
    }

    /// After a failover that lost a write of ours, somebody went on from the form before it, to a higher revision.
    #[test]
    fn what_the_store_lost_is_joined_with_what_went_on_without_it() {
        let mut pending = Pending::new(Revisions::seeded(1));
        let first = held(1, 1);
        let id = id(&first);
        pending.add(&id, None, first);
        let ours = pending.take_due(1).remove(0).record;
        pending.settle(&ours, Written::Stored);
        let theirs = held(2, 2);
        let (theirs, _) = apply(None, &theirs.message, &theirs.receipt);
        let theirs = Arc::new(Record { revision: ours.revision + (1 << 20), ..theirs });

        pending.add(&id, Some(ours), held(3, 3));
        let third = pending.take_due(1).remove(0).record;
        let conflict = Written::Conflict { revision: theirs.revision, record: Some(Arc::clone(&theirs)) };
        pending.settle(&third, conflict);
        let joined = pending.take_due(1).remove(0);
        assert_eq!(joined.expected, theirs.revision);
        let window = &joined.record.lives[0].sequence;
        assert_eq!((window.first, window.highest, window.seen), (1, 3, 0b11), "{:?}", joined.record);
    }

    /// Held messages that went to another replica are not kept whole either.
    #[test]
    fn what_was_given_back_is_let_go_too() {
        let mut pending = Pending::new(Revisions::seeded(1));
        let first = held(1, 1);
        let id = id(&first);
        pending.add(&id, None, first);
        pending.forget_tags();
        pending.add(&id, None, held(2, 2));
        assert_eq!(pending.release(&id).tags, [0u64; 0]);
        assert_eq!(pending.released, 1);
    }

    #[test]
    fn no_more_is_let_go_than_may_be_kept_of_it() {
        let mut pending = Pending { released: RELEASED_MAX - 1, ..Pending::new(Revisions::seeded(1)) };
        let first = held(1, 1);
        let id = id(&first);
        pending.add(&id, None, first);
        for number in 2..=3 {
            pending.add(&id, None, held(number, number));
        }
        assert_eq!(pending.release(&id).tags, [1]);
        pending.add(&id, None, held(4, 4));
        assert_eq!(pending.release(&id).tags, [0u64; 0]);
        let due = pending.take_due(1).remove(0);
        let settled = pending.settle(&due.record, Written::Stored);
        assert_eq!(settled.done.iter().filter_map(|held| held.tag).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(pending.released, RELEASED_MAX - 1);
    }
}
