//! What goes on beside the messages: following what other replicas store, meeting them, judging
//! who listens, forgetting who is long gone, and a log line for each publisher that turns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::company::Company;
use super::doubts::Doubts;
use super::intake::Command;
use super::metrics::Metrics;
use super::neighbours::elsewhere;
use super::replica::{PRESENT, Replica, still_heard};
use super::sharing::Sharing;
use super::tell::Teller;
use super::verdicts::{Verdicts, What};
use crate::amqp::consume::{Confirmed, ConsumerState, Window};
use crate::heartbeat::Timestamp;
use crate::otlp::TOLD_TARGET;
use crate::state::change::Changes;
use crate::store::{Position, Presence, Store, StoreError, StoreLink};
use crate::telemetry::Chain;

/// How often the change log is read.
const FOLLOW: Duration = Duration::from_millis(250);

/// How often replicas meet, and verdicts are looked at.
const MEET: Duration = Duration::from_secs(1);

/// How often is looked for publishers to be forgotten.
const TIDY: Duration = Duration::from_secs(5);

/// The retention of drills: one that was killed leaves no more behind for longer than one that ended.
const DRILL_RETENTION: Duration = Duration::from_secs(600);

/// How often this replica looks whether it hears.
const HEAR: Duration = Duration::from_millis(250);

/// Meetings in a row that count a stranger before it is believed: a replica that starts consumes
/// a moment before it is known.
const STRANGER_MEETINGS: u32 = 3;

/// Notes whether this replica hears what is sent, until `stop`. Apart from the follower, whom a
/// store that hangs holds up.
pub(super) async fn hear(
    replica: Arc<Replica>,
    mut consumer: watch::Receiver<ConsumerState>,
    stop: CancellationToken,
) {
    let mut tick = interval(HEAR);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            Ok(()) = consumer.changed() => {}
            () = stop.cancelled() => return,
        }
        let consumer = consumer.borrow_and_update().clone();
        let now = replica.clock().now();
        let confirmed_at = match consumer.confirmed {
            Confirmed::Always => Some(now),
            Confirmed::At(at) => Some(at),
            Confirmed::Never => None,
        };
        let mut standing = replica.standing();
        // On a queue that a stranger shares, silence proves nothing: as if nobody listened.
        let hears = consumer.listening && standing.foreign == 0;
        standing.hears(now, confirmed_at.filter(|_| hears));
    }
}

/// Follows until told to stop.
pub(super) struct Follower {
    pub(super) store: Store,
    pub(super) replica: Arc<Replica>,
    pub(super) metrics: Metrics,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) consumer: watch::Receiver<ConsumerState>,
    pub(super) link: watch::Receiver<StoreLink>,
    pub(super) position: Position,
    pub(super) own: Presence,
    /// Since when its consumer stands, where it was never sure to hear since then.
    pub(super) unsure_since: Option<Timestamp>,
    /// Publishers silent for longer are forgotten, and tombstones older are removed.
    pub(super) retention: Duration,
    pub(super) strangers: u32,
    /// Of each of our queues.
    pub(super) company: Vec<Company>,
    pub(super) window: Arc<Window>,
    /// Each queue serves one consumer at a time.
    pub(super) single_active: bool,
    pub(super) sharing: Sharing,
    pub(super) neighbours: u32,
    pub(super) verdicts: Verdicts,
    pub(super) doubts: Doubts,
    pub(super) teller: Arc<Teller>,
    pub(super) failing: Failing,
}

/// What the store refuses of late, each told once until it ends.
#[derive(Debug, Default)]
pub(super) struct Failing {
    follow: bool,
    meet: bool,
    bury: bool,
}

/// Warns of a failure, unless it goes on. That there is no connection is told where there should be one.
fn tell<T>(failing: &mut bool, text: &'static str, done: Result<T, StoreError>) -> Option<T> {
    match done {
        Ok(done) => {
            *failing = false;
            return Some(done);
        }
        Err(StoreError::Disconnected { .. }) => {}
        Err(error) => {
            if !std::mem::replace(failing, true) {
                warn!(error = %Chain(&error), "{text}");
            }
        }
    }
    None
}

impl Follower {
    /// Runs until `stop`, then says goodbye to the others.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut follow = interval(FOLLOW);
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut meet_at, mut tidy_at) = (Instant::now(), Instant::now() + TIDY);
        loop {
            tokio::select! {
                _ = follow.tick() => {}
                () = stop.cancelled() => break,
            }
            self.note_link();
            if Instant::now() >= meet_at {
                meet_at = Instant::now() + MEET;
                self.meet().await;
                self.note_verdicts();
                self.note_doubts();
            }
            let followed = self.follow().await;
            tell(&mut self.failing.follow, "Not following the other replicas", followed);
            if Instant::now() >= tidy_at {
                tidy_at = Instant::now() + TIDY;
                self.tidy().await;
            }
        }
        self.own.at = self.replica.clock().now();
        self.teller.tell_held(self.own.at, true);
        (self.own.consuming, self.own.active, self.own.left) = (false, 0, true);
        self.own.heard = self.replica.standing().heard(self.own.at);
        let _ = self.store.meet(&self.own).await;
    }

    fn note_link(&mut self) {
        let link = *self.link.borrow_and_update();
        self.metrics.link("redis", link.connected, link.reconnects);
        if !link.connected {
            let now = self.replica.clock().now();
            self.replica.standing().cut_off(now);
        }
    }

    async fn follow(&mut self) -> Result<(), StoreError> {
        let began = self.replica.clock().now();
        let followed = self.store.follow(&mut self.position, &*self.replica).await?;
        if !followed.records.is_empty() {
            let _ = self.commands.send(Command::Newer(followed.records)).await;
        }
        if !followed.missing.is_empty() {
            let _ = self.commands.send(Command::Lost(followed.missing)).await;
        }
        self.replica.standing().followed(began);
        Ok(())
    }

    /// Tells the others and hears of them; judges who listens and whether a stranger does.
    async fn meet(&mut self) {
        let consumer = self.consumer.borrow_and_update().clone();
        self.metrics.link("rabbitmq", consumer.connected, consumer.reconnects);
        self.own.at = self.replica.clock().now();
        self.own.consuming = consumer.consuming;
        self.own.consumers = consumer.consumers.iter().copied().max().unwrap_or(0);
        let confirmed = self.confirmed(&consumer);
        self.own.active = consumer.served;
        {
            let standing = self.replica.standing();
            // Of what is not stored, the others know nothing.
            self.own.confirmed = confirmed.into_iter().chain(standing.unstored_since).min();
            self.own.heard = standing.vouched(self.own.at);
        }
        // While the store is away nobody knows who is there; the last meeting counts.
        let met = self.store.meet(&self.own).await;
        let Some(others) = tell(&mut self.failing.meet, "Not meeting the other replicas", met) else {
            self.metrics.listening.set(i64::from(consumer.listening));
            return;
        };
        // The answer may have come late: who is there is judged by now.
        let now = self.replica.clock().now();
        let known_until = self.known_until(now, &consumer, &others);
        {
            let mut standing = self.replica.standing();
            standing.others = others.iter().any(|other| is_present(other, now));
            let ours = others.iter().filter(|other| self.own.shares_queue(other) && other.covers(&self.own));
            standing.others_heard = ours.flat_map(|other| other.heard.iter()).collect();
            standing.met(known_until);
        }
        self.judge_neighbours(now, &consumer, &others);
        self.choose_speaker(now, &others);
        self.judge_strangers(now, &consumer, &others);
        self.share_out(now, &others);
    }

    /// Until when this replica is sure that whatever had been sent to it has come. One that consumes, and was never sure
    /// yet, may have been sent anything since it does.
    fn confirmed(&mut self, consumer: &ConsumerState) -> Option<Timestamp> {
        let since = self.unsure_since.take();
        match consumer.confirmed {
            Confirmed::At(at) => Some(at),
            Confirmed::Never if consumer.consuming => {
                self.unsure_since = since.or(Some(self.own.at));
                self.unsure_since
            }
            Confirmed::Never | Confirmed::Always => None,
        }
    }

    /// Who consumes one of our queues with us, by what they said, lately or not.
    fn beside<'a>(&'a self, queue: &'a str, others: &'a [Presence]) -> impl Iterator<Item = &'a Presence> {
        others
            .iter()
            .filter(move |other| other.consuming && other.consumes(queue) && self.own.shares_queue(other))
    }

    /// Until when the shares of all those are known who consume one of our queues with us.
    fn known_until(
        &mut self,
        now: Timestamp,
        consumer: &ConsumerState,
        others: &[Presence],
    ) -> Option<Timestamp> {
        let mut company = std::mem::take(&mut self.company);
        company.resize_with(consumer.consumers.len(), Company::default);
        let mut known_until = None;
        for ((queue, counted), company) in self.own.queues.iter().zip(&consumer.consumers).zip(&mut company) {
            let counted = counted.saturating_sub(u32::from(consumer.consuming));
            let known = company.known_until(now, counted, self.beside(queue, others));
            known_until = [known_until, known].into_iter().flatten().min();
        }
        self.company = company;
        known_until
    }

    /// Where this Redis also holds what is heard on another queue, silence is proven only while that is heard too.
    /// Says so, since it may be by mistake.
    fn judge_neighbours(&mut self, now: Timestamp, consumer: &ConsumerState, others: &[Presence]) {
        let elsewhere = elsewhere(&self.own, others, now);
        let deaf = elsewhere.values().any(|heard| !still_heard(heard, now));
        self.metrics.listening.set(i64::from(consumer.listening && !deaf));
        let queue = elsewhere.keys().next().cloned();
        self.replica.standing().elsewhere_heard = elsewhere.into_values().collect();
        let Some(other_queue) = queue else {
            self.neighbours = 0;
            return;
        };
        self.neighbours = self.neighbours.saturating_add(1);
        if self.neighbours == STRANGER_MEETINGS {
            warn!(
                queue = self.own.queues.join(","),
                other_queue,
                "Another subscriber keeps the heartbeats of another queue in the same Redis database; nobody is \
                 called silent unless both are heard; give all of them the same queues, or another REDIS_DB"
            );
        }
    }

    /// Counts the consumers of our queues that are none of us: on that queue where they are most.
    fn judge_strangers(&mut self, now: Timestamp, consumer: &ConsumerState, others: &[Presence]) {
        if !consumer.consuming {
            // Whoever does not consume cannot count the others. What was last seen of them still
            // counts in judgements, and is shown again once it is seen again.
            self.metrics.foreign_consumers.set(0);
            return;
        }
        let foreign_on = |(queue, counted): (&String, &u32)| {
            let known = 1 + self.beside(queue, others).filter(|other| is_present(other, now)).count();
            counted.saturating_sub(u32::try_from(known).unwrap_or(u32::MAX))
        };
        let foreign = self.own.queues.iter().zip(&consumer.consumers).map(foreign_on).max().unwrap_or(0);
        if foreign == 0 {
            if self.strangers >= STRANGER_MEETINGS {
                info!(queue = self.own.queues.join(","), "No stranger consumes the queue any more");
            }
            self.strangers = 0;
        } else {
            self.strangers = self.strangers.saturating_add(1);
            if self.strangers == STRANGER_MEETINGS {
                warn!(
                    queue = self.own.queues.join(","),
                    foreign,
                    "A stranger consumes this subscriber's queue and takes heartbeats from it; \
                     give each kind of subscriber a queue of its own"
                );
            }
        }
        let believed = if self.strangers >= STRANGER_MEETINGS { foreign } else { 0 };
        self.metrics.foreign_consumers.set(i64::from(believed));
        let mut standing = self.replica.standing();
        standing.foreign = believed;
        if foreign > 0 {
            standing.foreign_at = Some(now);
        }
    }

    /// Where each queue has a single active consumer, the first to come is served from all of them, until it
    /// leaves some to those that came later.
    fn share_out(&mut self, now: Timestamp, others: &[Presence]) {
        let there = others.iter().filter(|other| other.consuming && is_present(other, now));
        if self.own.consuming && self.single_active && self.sharing.meets(&self.own, there) {
            self.window.give_way.store(true, Ordering::Relaxed);
        }
    }

    /// A line for each publisher whose verdict turned.
    fn note_verdicts(&mut self) {
        let (publishers, components) = self.replica.with_view(|view| (view.publishers(), view.components()));
        self.metrics.publishers.set(i64::try_from(publishers).unwrap_or(i64::MAX));
        self.metrics.components.set(i64::try_from(components).unwrap_or(i64::MAX));
        let now = self.replica.clock().now();
        self.teller.tell_held(now, false);
        let Some(judged) = self.replica.verdicts(now) else { return };
        for turn in self.verdicts.look(now, judged) {
            let publisher = turn.publisher.as_str();
            match turn.what {
                What::Stale => {
                    let last_seen = turn.last_seen.map(Timestamp::to_rfc3339).unwrap_or_default();
                    warn!(target: TOLD_TARGET, publisher, last_seen, "Publisher stale");
                }
                What::Back => info!(target: TOLD_TARGET, publisher, "Publisher back"),
                // Said where it is done, or taken over, with the reason.
                What::Forgotten => {}
            }
            if self.verdicts.speaks() {
                self.teller.turned(&turn, now);
            }
        }
    }

    /// A record for each component that its publisher does not check any more, or again.
    fn note_doubts(&mut self) {
        let now = self.replica.clock().now();
        if !self.teller.records() {
            return;
        }
        let Some(doubted) = self.replica.doubted(now) else { return };
        let verdicts = &self.verdicts;
        let turned = self.doubts.look(now, doubted, |publisher, key| {
            let record = self.replica.get(publisher).filter(|_| verdicts.is_up(publisher))?;
            record.component(key).map(|component| component.owned())
        });
        if self.verdicts.speaks() {
            for (publisher, turned) in turned {
                let changes = Changes { components: vec![turned], ..Changes::default() };
                self.teller.changed(&publisher, &changes, None, None, now);
            }
        }
    }

    /// One replica tells of publishers for all: the one with the lowest id that is there.
    fn choose_speaker(&mut self, now: Timestamp, others: &[Presence]) {
        let ours =
            |other: &&Presence| other.consuming && self.own.shares_queue(other) && is_present(other, now);
        let speaker = others.iter().filter(ours).min_by(|a, b| a.replica.cmp(&b.replica));
        // Who does not consume is not taken for there by the others, so one of them speaks.
        let speaker = speaker.filter(|speaker| !self.own.consuming || speaker.replica < self.own.replica);
        for turn in self.verdicts.speaker(speaker.map(|speaker| speaker.at)) {
            self.teller.turned(&turn, now);
        }
    }

    /// Forgets who is long gone, originals that have nothing left to say, and old tombstones.
    async fn tidy(&mut self) {
        let now = self.replica.clock().now();
        let (synced, _) = self.replica.in_step(now);
        let (moment, policy) = (self.replica.moment(now), self.replica.policy());
        let (true, Some(since)) = (synced, moment.heard_since()) else { return };
        let (mut gone, mut buried, mut drills) = (Vec::new(), Vec::new(), Vec::new());
        for record in self.replica.records() {
            let retention =
                if record.id.is_drill() { DRILL_RETENTION.min(self.retention) } else { self.retention };
            let over = |at: Timestamp| now >= at.plus(retention);
            if record.rare.forgotten_at.is_some_and(over) {
                buried.push(record);
            } else if record.is_drill_over() {
                drills.push(record.id.clone());
            } else if over(record.last_seen.unwrap_or(record.first_received)) && moment.is_stale(&record) {
                // Who was silent only because nobody listened is not gone.
                gone.push(record.id.clone());
            }
        }
        let retired = self.replica.with_view(|view| view.retired_originals(policy, now, since));
        if !gone.is_empty() {
            let _ = self.commands.send(Command::Forget(gone, "retention")).await;
        }
        if !drills.is_empty() {
            let _ = self.commands.send(Command::Forget(drills, "its drill is over")).await;
        }
        if !retired.is_empty() {
            let _ = self.commands.send(Command::Forget(retired, "replaced")).await;
        }
        if buried.is_empty() {
            return;
        }
        let removed = self.store.bury(&buried).await;
        if tell(&mut self.failing.bury, "What was forgotten is not removed from the store", removed).is_some()
        {
            let ids = buried.iter().map(|record| record.id.clone()).collect();
            let _ = self.commands.send(Command::Bury(ids)).await;
        }
    }
}

fn is_present(other: &Presence, now: Timestamp) -> bool {
    now < other.at.plus(PRESENT) && other.at < now.plus(PRESENT)
}
