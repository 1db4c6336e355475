//! This replica's copy of the state: one writer, the ingest, and readers that never wait for it
//! longer than a map operation takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::versions::Versions;
use crate::clock::StoreClock;
use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::elsewhere::Elsewhere;
use crate::state::hearing::{Span, Spans};
use crate::state::moment::{Doubted, Judged};
use crate::state::record::Detail;
use crate::state::shard::Shard;
use crate::state::{Moment, Policy, Record, Snapshot, View};
use crate::store::{Known, RecordKey};

/// Records that are read under one lock: it is held for some ten microseconds.
const PIECE: usize = 256;

/// A view may be this far behind the store before it is no longer in step.
const LAG_MAX: Duration = Duration::from_secs(10);

/// The view, what is known of hearing, and the clock to judge by.
#[derive(Debug)]
pub struct Replica {
    // Std locks: held for map operations, never across an await.
    state: RwLock<State>,
    /// What is on its way to the store, by its key there.
    sending: Mutex<HashMap<RecordKey, u64>>,
    versions: Mutex<Versions>,
    standing: Mutex<Standing>,
    policy: Policy,
    clock: Arc<StoreClock>,
}

#[derive(Debug, Default)]
struct State {
    view: View,
    /// The same records by bucket and key of the store.
    index: HashMap<usize, HashMap<RecordKey, Arc<Record>>>,
}

/// How this replica stands to the others and to the store.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// All records were loaded once.
    pub(super) loaded: bool,
    /// When the change log was last followed to its end, in the store's clock.
    pub(super) followed_at: Option<Timestamp>,
    /// The store does not answer, or was not followed to its end since.
    cut_off: bool,
    /// Other replicas were there at the last meeting.
    pub(super) others: bool,
    /// When the others listened, as they said at the last meeting.
    pub(super) others_heard: Spans,
    /// When queues were heard that others consume and this one does not.
    pub(super) elsewhere_heard: Vec<Spans>,
    /// Consumers on our queue that are no replica of ours.
    pub(super) foreign: u32,
    /// When the last of them was seen.
    pub(super) foreign_at: Option<Timestamp>,
    /// Until when the shares of all others are known that consume our queue.
    company_at: Option<Timestamp>,
    /// When the oldest delivery came that is not stored yet, while there is one.
    pub(super) unstored_since: Option<Timestamp>,
    own: Ear,
}

/// When this replica itself heard whatever was sent.
#[derive(Debug, Default)]
struct Ear {
    current: Option<Span>,
    past: Spans,
    /// When it last looked whether it hears.
    looked_at: Option<Timestamp>,
}

/// A replica that was not heard of for so long is not there.
pub(super) const PRESENT: Duration = Duration::from_secs(5);

/// A break between two looks beyond this: the process was stopped, the machine suspended, or
/// starved. What was sent meanwhile is still on its way.
const AWAKE: Duration = Duration::from_secs(2);

/// Hearing that the broker has not confirmed for so long is none: it answers about once a second.
const CONFIRMED: Duration = Duration::from_secs(3);

/// With other replicas there, what this one heard counts so far beyond what it last followed of them.
const FOLLOWED: Duration = Duration::from_secs(3);

impl Standing {
    /// The store does not answer. With others there, what they hear is not known from then on, when they
    /// were last followed: as if nobody listened.
    pub(super) fn cut_off(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.cut_off, true) && self.others {
            self.own_broke(self.followed_at.unwrap_or(now).min(now));
        }
    }

    /// The others were followed to the end of what they had stored at `at`.
    pub(super) fn followed(&mut self, at: Timestamp) {
        if let Some(before) = self.followed_at.filter(|_| self.others)
            && at > before.plus(FOLLOWED)
        {
            self.own_broke(before);
        }
        self.followed_at = Some(at);
        self.cut_off = false;
    }

    /// What all others that consume our queue took is known until `at`. One that is silent for too long, or does not
    /// get what is sent to it, takes heartbeats of which nobody knows: since then this replica did not hear all.
    pub(super) fn met(&mut self, at: Option<Timestamp>) {
        if let (Some(before), Some(at)) = (self.company_at, at)
            && at > before.plus(FOLLOWED)
        {
            self.own_broke(before);
        }
        self.company_at = at;
    }

    /// Until when this replica knows of the shares of all others.
    fn known_until(&self, now: Timestamp) -> Timestamp {
        match self.company_at {
            Some(at) if now > at.plus(FOLLOWED) => at,
            _ => now,
        }
    }

    /// What was heard counts until then only.
    fn own_broke(&mut self, at: Timestamp) {
        if let Some(current) = self.own.current.take() {
            self.own.past.add(Span { until: current.until.min(at), ..current });
        }
    }

    /// This replica looks whether it hears: often, and whatever else goes on. `confirmed_at` is
    /// the latest moment of which it is sure; `None` while it does not hear.
    pub(super) fn hears(&mut self, now: Timestamp, confirmed_at: Option<Timestamp>) {
        let known_until = self.known_until(now);
        let own = &mut self.own;
        let awake = own.looked_at.is_some_and(|at| now <= at.plus(AWAKE));
        if own.looked_at.is_some_and(|at| now.plus(AWAKE) < at) {
            // The store's clock went back: the past lies in the future, and proves nothing there.
            *own = Ear::default();
        }
        own.looked_at = Some(now);
        let confirmed_at = confirmed_at.filter(|_| !(self.others && self.cut_off));
        if confirmed_at.is_none() || !awake {
            let current = own.current.take();
            own.past.add_all(current.map(|span| Span { until: span.until.min(known_until), ..span }));
        }
        let Some(confirmed_at) = confirmed_at else { return };
        let current = own.current.get_or_insert(Span { since: now, until: now });
        current.until = current.until.max(confirmed_at.min(now));
    }

    /// When this replica heard, as far as that is confirmed.
    pub(super) fn heard(&self, now: Timestamp) -> Spans {
        let until = self.known_until(now);
        let current = self.own.current.map(|current| Span { until: current.until.min(until), ..current });
        self.own.past.iter().chain(current).collect()
    }

    /// The same as far as others can know of it: what came later than the oldest that is not stored may be in nobody's
    /// view but this one.
    pub(super) fn vouched(&self, now: Timestamp) -> Spans {
        let until = self.unstored_since.unwrap_or(now);
        self.heard(now).iter().map(|span| Span { until: span.until.min(until), ..span }).collect()
    }

    /// What can be judged at `now`: silence by what is confirmed, and whether somebody listens still.
    pub(super) fn hearing(&self, now: Timestamp) -> Spans {
        let followed_until =
            self.followed_at.filter(|_| self.others).map_or(now, |at| at.plus(FOLLOWED).min(now));
        let heard = self.heard(now);
        let own = heard.iter().map(|span| Span { until: span.until.min(followed_until), ..span });
        // What lies in the future was told by a clock that has gone back since, and proves nothing.
        let past = |span: &Span| span.until <= now.plus(AWAKE);
        let mut hearing: Spans = own.chain(self.others_heard.iter()).filter(past).collect();
        let awake = self.own.looked_at.is_some_and(|at| now <= at.plus(AWAKE));
        let knows_all = followed_until.min(self.known_until(now)) >= now;
        let current = self.own.current.filter(|current| now <= current.until.plus(CONFIRMED));
        let mut current = current.filter(|span| awake && knows_all && past(span));
        for elsewhere in &self.elsewhere_heard {
            let elsewhere: Spans = elsewhere.iter().filter(past).collect();
            hearing = hearing.both(&elsewhere);
            let since = elsewhere.iter().last().map(|span| span.since);
            current = current
                .zip(since)
                .filter(|_| still_heard(&elsewhere, now))
                .map(|(current, since)| Span { since: current.since.max(since), ..current });
        }
        if let Some(current) = current {
            hearing.go_on(current);
        }
        hearing
    }
}

/// Whether what others last said of their hearing is of now.
pub(super) fn still_heard(heard: &Spans, now: Timestamp) -> bool {
    heard.iter().last().is_some_and(|span| now <= span.until.plus(CONFIRMED))
}

impl Replica {
    /// An empty copy.
    pub fn new(policy: Policy, clock: Arc<StoreClock>) -> Self {
        Self {
            state: RwLock::default(),
            sending: Mutex::default(),
            versions: Mutex::default(),
            standing: Mutex::default(),
            policy,
            clock,
        }
    }

    /// What the configuration says about publishers.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The store's clock.
    pub fn clock(&self) -> &StoreClock {
        &self.clock
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn sending(&self) -> MutexGuard<'_, HashMap<RecordKey, u64>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of one publisher.
    pub fn get(&self, id: &PublisherId) -> Option<Arc<Record>> {
        self.read().view.get(id).cloned()
    }

    /// Every record, tombstones too, by id. Nobody waits meanwhile: of each publisher it is the record as it is when its
    /// turn comes.
    pub fn records(&self) -> impl Iterator<Item = Arc<Record>> {
        let mut piece: Vec<Arc<Record>> = Vec::new();
        let mut after = None;
        std::iter::from_fn(move || {
            if piece.is_empty() {
                let state = self.read();
                piece.extend(state.view.records_after(after.as_ref()).take(PIECE).cloned());
                piece.reverse();
                after = piece.first().map(|record| record.id.clone());
            }
            piece.pop()
        })
    }

    /// Reads the view under its lock.
    pub fn with_view<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.read().view)
    }

    /// Has a version share its room with others that say the same.
    pub(super) fn share_version(&self, version: &mut Arc<str>) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).share(version);
    }

    pub(super) fn put(&self, mut record: Arc<Record>) {
        let key = RecordKey::of(record.id.as_str());
        // One that comes from the store is nobody else's yet.
        if let Some(Record { detail: Detail::V2 { version, .. }, .. }) = Arc::get_mut(&mut record) {
            self.share_version(version);
        }
        let mut state = self.write();
        state.index.entry(key.bucket()).or_default().insert(key, Arc::clone(&record));
        state.view.put(record);
    }

    pub(super) fn remove(&self, id: &PublisherId) {
        let key = RecordKey::of(id.as_str());
        let mut state = self.write();
        if let Some(bucket) = state.index.get_mut(&key.bucket()) {
            bucket.remove(&key);
        }
        state.view.remove(id);
    }

    /// These, and nothing else, are on their way to the store: the change log may name them before the answer comes.
    pub(super) fn sends<'a>(&self, records: impl Iterator<Item = &'a Record>) {
        let keyed = records.map(|record| (RecordKey::of(record.id.as_str()), record.revision));
        let mut sending = self.sending();
        sending.clear();
        sending.extend(keyed);
    }

    /// Whether the view is in step with the store, and how far it may be behind.
    ///
    /// Cut off, it stays in step with what it hears itself; what others hear is judged one by one.
    pub fn in_step(&self, now: Timestamp) -> (bool, Duration) {
        let standing = self.standing();
        let behind = standing.followed_at.map_or(0, |at| now.ms_since(at)).max(0);
        let lag = Duration::from_millis(behind.unsigned_abs());
        let synced = standing.loaded && (standing.cut_off || lag <= LAG_MAX);
        (synced, lag)
    }

    /// What records are judged by at `now`.
    pub(super) fn moment(&self, now: Timestamp) -> Moment<'_> {
        let hearing = self.standing().hearing(now);
        Moment::new(now, hearing, &self.policy)
    }

    /// The verdict on each publisher at `now`, tombstones too; `None` while not in step.
    pub(super) fn verdicts(&self, now: Timestamp) -> Option<impl Iterator<Item = Judged>> {
        let moment = self.in_step(now).0.then(|| self.moment(now))?;
        Some(self.records().map(move |record| moment.verdict(record)))
    }

    /// Components of fresh publishers that are not known all the same; `None` while not in step.
    pub(super) fn doubted(&self, now: Timestamp) -> Option<impl Iterator<Item = Doubted>> {
        let moment = self.in_step(now).0.then(|| self.moment(now))?;
        Some(self.records().flat_map(move |record| moment.doubted(&record)))
    }

    /// Everything, or one part of it, judged now.
    pub fn snapshot(&self, shard: Option<Shard>) -> Snapshot {
        let now = self.clock.now();
        self.moment(now).snapshot(self.records(), self.in_step(now), shard)
    }

    /// One publisher, judged now; nobody where it is neither known nor expected.
    pub fn one(&self, id: &PublisherId) -> Snapshot {
        let now = self.clock.now();
        self.moment(now).one(id, self.get(id).as_deref(), self.in_step(now))
    }

    /// Who else may have heartbeats of this publisher that came to our queue.
    ///
    /// A stranger, if one was there lately, or since the publisher was last heard, however slowly that
    /// beats. Another replica, which may be slow, or cannot tell while the store is away. The queue, while a
    /// backlog is taken in: what was given back may stand behind what came later, at the end even.
    pub(super) fn elsewhere(&self, now: Timestamp, record: Option<&Record>) -> Elsewhere {
        const REMEMBERED: Duration = Duration::from_secs(60);
        let last_seen = record.and_then(|record| record.last_seen);
        let standing = self.standing();
        let strange = standing.foreign_at.is_some_and(|at| {
            now < at.plus(REMEMBERED) || last_seen.is_some_and(|last_seen| last_seen < at.plus(PRESENT))
        });
        let backlog = standing.own.current.is_none();
        let held_back = backlog || (standing.others && standing.cut_off);
        match (strange, held_back, standing.others) {
            (true, ..) => Elsewhere::Stranger,
            (false, true, _) => Elsewhere::HeldBack,
            (false, false, true) => Elsewhere::Replica,
            (false, false, false) => Elsewhere::Nobody,
        }
    }
}

impl Known for Replica {
    fn revision(&self, key: &str) -> u64 {
        // What is no key of ours is no record that we hold.
        let Some(key) = RecordKey::parse(key) else { return 0 };
        let sent = self.sending().get(&key).copied().unwrap_or(0);
        let state = self.read();
        let held = state.index.get(&key.bucket()).and_then(|bucket| bucket.get(&key));
        held.map_or(0, |record| record.revision).max(sent)
    }

    fn bucket(&self, bucket: usize) -> Vec<(String, PublisherId, u64)> {
        let state = self.read();
        let held = state.index.get(&bucket).into_iter().flatten();
        held.map(|(key, record)| (key.to_string(), record.id.clone(), record.revision)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000 + ms)
    }

    /// The change log names what is written before the writer hears that it is.
    #[test]
    fn what_is_on_its_way_is_known() {
        let replica = Replica::new(Policy::default(), Arc::default());
        let id = PublisherId::new("p").unwrap();
        let key = RecordKey::of(id.as_str()).to_string();
        let of = |revision| Record { revision, ..Record::new(id.clone(), at(0)) };
        replica.put(Arc::new(of(3)));
        replica.sends([&of(7)].into_iter());
        assert_eq!(replica.revision(&key), 7);
        replica.sends(std::iter::empty());
        assert_eq!(replica.revision(&key), 3);
    }

    /// Looks four times a second from `from` to `to`; the broker confirms up to then.
    fn listens(standing: &mut Standing, from: i64, to: i64) {
        for ms in (from..=to).step_by(250) {
            standing.hears(at(ms), Some(at(ms)));
        }
    }

    #[test]
    fn it_hears_since_it_listens() {
        let mut standing = Standing::default();
        assert_eq!(standing.hearing(at(0)).since(at(0)), None);
        listens(&mut standing, 0, 10_000);
        assert_eq!(standing.hearing(at(10_100)).since(at(10_100)), Some(at(0)));
        standing.hears(at(10_250), None);
        assert_eq!(standing.hearing(at(10_250)).since(at(10_250)), None);
        assert_eq!(standing.heard(at(10_250)).iter().next(), Some(Span { since: at(0), until: at(10_000) }));
    }

    #[test]
    fn what_is_not_stored_is_vouched_for_to_nobody() {
        let mut standing = Standing::default();
        for quarter in 0..=40 {
            standing.hears(at(quarter * 250), Some(at(quarter * 250)));
        }
        let until = |until| vec![Span { since: at(0), until: at(until) }];
        let vouched = |standing: &Standing| standing.vouched(at(10_000)).iter().collect::<Vec<_>>();
        assert_eq!(vouched(&standing), until(10_000));
        standing.unstored_since = Some(at(4000));
        assert_eq!(vouched(&standing), until(4000));
        assert_eq!(standing.heard(at(10_000)).iter().collect::<Vec<_>>(), until(10_000), "it knows itself");
        standing.unstored_since = Some(at(-1));
        assert_eq!(vouched(&standing), []);
    }

    #[test]
    fn what_was_sent_while_it_slept_was_not_heard() {
        let mut standing = Standing::default();
        listens(&mut standing, 0, 10_000);
        // Before its first look after waking, too.
        assert_eq!(standing.hearing(at(24_000)).since(at(24_000)), None);
        listens(&mut standing, 24_000, 25_000);
        assert_eq!(standing.hearing(at(25_000)).since(at(25_000)), Some(at(24_000)));
    }

    /// A replica that is cut off from the store takes its share, and cannot tell of it.
    #[test]
    fn what_a_silent_replica_took_was_not_heard() {
        let mut standing = Standing { others: true, ..Standing::default() };
        listens(&mut standing, 0, 10_000);
        standing.followed_at = Some(at(20_000));
        standing.met(Some(at(9_000)));
        assert_eq!(standing.hearing(at(10_000)).since(at(10_000)), Some(at(0)));
        // No meeting need tell of it: what is not heard of is silent.
        listens(&mut standing, 10_000, 12_500);
        assert_eq!(standing.hearing(at(12_500)).since(at(12_500)), None);
        let until_then = Some(Span { since: at(0), until: at(9_000) });
        assert_eq!(standing.heard(at(12_500)).iter().next(), until_then);
        // Nor does it count when it turns out that nothing is heard for another reason.
        let mut deaf = Standing { others: true, followed_at: Some(at(20_000)), ..Standing::default() };
        deaf.met(Some(at(9_000)));
        listens(&mut deaf, 0, 12_500);
        deaf.hears(at(12_750), None);
        assert_eq!(deaf.heard(at(12_750)).iter().next(), until_then);
        // It is back, and what comes from then on is heard.
        standing.met(Some(at(14_000)));
        listens(&mut standing, 14_000, 15_000);
        assert_eq!(standing.hearing(at(15_000)).since(at(15_000)), Some(at(14_000)));
        assert_eq!(standing.heard(at(15_000)).iter().next(), until_then);
        // It is gone for good, and what it took has come again.
        standing.met(None);
        listens(&mut standing, 15_000, 20_000);
        assert_eq!(standing.hearing(at(20_000)).since(at(20_000)), Some(at(14_000)));
    }

    #[test]
    fn what_the_broker_does_not_confirm_was_not_heard() {
        let mut standing = Standing::default();
        listens(&mut standing, 0, 10_000);
        for ms in (10_250..=20_000).step_by(250) {
            standing.hears(at(ms), Some(at(10_000)));
            // It listens still for all it knows, and that proves nothing yet.
            let hearing = standing.hearing(at(ms));
            assert_eq!(hearing.since(at(ms)), (ms <= 13_000).then_some(at(0)));
            assert!(hearing.iter().eq([Span { since: at(0), until: at(10_000) }]), "{hearing:?}");
        }
        assert_eq!(standing.hearing(at(20_000)).since(at(20_000)), None);
        // Its answer shows that nothing was lost in between.
        standing.hears(at(20_250), Some(at(20_200)));
        assert_eq!(standing.hearing(at(20_250)).since(at(20_250)), Some(at(0)));
    }

    /// Follows the others and listens, four times a second.
    fn follows(standing: &mut Standing, from: i64, to: i64) {
        for ms in (from..=to).step_by(250) {
            standing.followed(at(ms));
            listens(standing, ms, ms);
        }
    }

    #[test]
    fn cut_off_from_the_others_it_hears_nothing_and_begins_anew() {
        let mut standing = Standing { others: true, ..Standing::default() };
        follows(&mut standing, 0, 10_000);
        // The store hangs, which is noticed late.
        listens(&mut standing, 10_250, 15_000);
        assert_eq!(standing.hearing(at(15_000)).since(at(15_000)), None);
        standing.cut_off(at(15_000));
        listens(&mut standing, 15_250, 20_000);
        assert_eq!(standing.hearing(at(20_000)).since(at(20_000)), None);
        follows(&mut standing, 20_250, 21_000);
        assert_eq!(standing.hearing(at(21_000)).since(at(21_000)), Some(at(20_250)));
        assert_eq!(standing.heard(at(10_250)).iter().next(), Some(Span { since: at(0), until: at(10_000) }));
    }

    #[test]
    fn a_store_that_hung_unnoticed_breaks_it_all_the_same() {
        let mut standing = Standing { others: true, ..Standing::default() };
        follows(&mut standing, 0, 10_000);
        listens(&mut standing, 10_250, 15_000);
        follows(&mut standing, 15_250, 16_000);
        assert_eq!(standing.hearing(at(16_000)).since(at(16_000)), Some(at(15_250)));
    }

    #[test]
    fn alone_it_hears_without_the_store() {
        let mut standing = Standing::default();
        follows(&mut standing, 0, 10_000);
        standing.cut_off(at(10_250));
        listens(&mut standing, 10_250, 60_000);
        assert_eq!(standing.hearing(at(60_000)).since(at(60_000)), Some(at(0)));
    }

    #[test]
    fn the_others_are_believed_as_far_as_they_said() {
        let mut standing = Standing::default();
        standing.others_heard.add(Span { since: at(0), until: at(9_000) });
        assert_eq!(standing.hearing(at(9_500)).since(at(9_500)), None);
        listens(&mut standing, 9_500, 10_000);
        assert_eq!(standing.hearing(at(10_000)).since(at(10_000)), Some(at(9_500)));
        standing.others_heard.add(Span { since: at(0), until: at(9_750) });
        assert_eq!(standing.hearing(at(10_000)).since(at(10_000)), Some(at(0)));
    }

    /// Publishers whose heartbeats go to a queue that others consume are heard by these alone.
    #[test]
    fn what_is_heard_elsewhere_alone_was_not_heard_by_all() {
        let mut standing = Standing::default();
        listens(&mut standing, 0, 10_000);
        standing.elsewhere_heard = vec![Spans::unbroken(at(2_000), at(9_000))];
        let hearing = standing.hearing(at(10_000));
        assert!(hearing.iter().eq([Span { since: at(2_000), until: at(9_000) }]), "{hearing:?}");
        assert_eq!(hearing.since(at(10_000)), Some(at(2_000)));
        // Its subscriber is gone, and nobody can tell who is silent there.
        listens(&mut standing, 10_250, 20_000);
        let hearing = standing.hearing(at(20_000));
        assert_eq!(hearing.since(at(20_000)), None);
        assert!(hearing.iter().eq([Span { since: at(2_000), until: at(9_000) }]), "{hearing:?}");
        // A queue that nobody was ever heard on.
        standing.elsewhere_heard.push(Spans::default());
        assert_eq!(standing.hearing(at(20_000)).iter().count(), 0);
    }

    #[test]
    fn a_clock_that_went_back_proves_nothing() {
        let mut standing = Standing::default();
        listens(&mut standing, 100_000, 200_000);
        standing.others_heard.add(Span { since: at(100_000), until: at(200_000) });
        // The broker's latest answer is still one of the clock before.
        standing.hears(at(0), Some(at(200_000)));
        listens(&mut standing, 250, 1_000);
        let hearing = standing.hearing(at(1_000));
        assert!(hearing.iter().eq([Span { since: at(0), until: at(1_000) }]), "{hearing:?}");
    }
}
