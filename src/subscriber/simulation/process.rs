//! One subscriber: the real intake and the real view, with every wait taken out.

use std::collections::VecDeque;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::broker::{Content, Message};
use super::fleet::at;
use super::redis::Redis;
use crate::amqp::acks::{Acks, Frame};
use crate::amqp::consume::{Delivery, Event};
use crate::clock::StoreClock;
use crate::heartbeat::{PublisherId, Timestamp};
use crate::state::live::LiveGate;
use crate::state::revision::Revisions;
use crate::state::view::Policy;
use crate::store::{Batch, StoreError, Written};
use crate::subscriber::dead_letter::DeadLetters;
use crate::subscriber::intake::{Command, Config, Intake, tests};
use crate::subscriber::load::OnItsWay;
use crate::subscriber::metrics::{Messages, Metrics, PEERS};
use crate::subscriber::replica::Replica;
use crate::subscriber::tell::{Outlets, Teller};

/// A batch between this process and the store.
pub(super) enum Flight {
    /// Not there yet.
    Sent(Batch),
    /// The store's answer is not here yet.
    Answered(Result<Vec<Written>, StoreError>),
}

/// One process.
pub(super) struct Process {
    pub(super) intake: Intake,
    pub(super) replica: Arc<Replica>,
    pub(super) messages: Messages,
    clock: Arc<StoreClock>,
    gate: LiveGate,
    generation: u64,
    /// The channel that the intake knows of; an older one is gone, and takes no acks.
    taken: u64,
    inbox: VecDeque<Event>,
    /// Arrived at the machine, and not looked at yet.
    socket: VecDeque<(u64, Message)>,
    pub(super) flight: Option<(OnItsWay, Flight)>,
    /// Stopped until then, in true time.
    pub(super) paused_until: i64,
    /// Without the store until then, alone.
    pub(super) cut_off_until: i64,
    /// Since when it is without the store; the end of all time while it is not.
    pub(super) cut_off_since: i64,
    looked_at: i64,
    woke_at: i64,
    /// The latest moment of which it is sure that all that had been sent has come.
    confirmed: Option<Timestamp>,
}

/// What a process finds when it looks around.
pub(super) struct Surroundings {
    /// Messages that are ready in the queue.
    pub(super) ready: usize,
    /// Other replicas were there at the last meeting.
    pub(super) others: bool,
    /// The store answers it.
    pub(super) redis_up: bool,
    /// Somebody consumes the queue who is not known.
    pub(super) strangers: bool,
}

/// The consumer of the program wakes at least so often; a longer pause is noticed.
const SLEPT_MS: i64 = 1_000;

/// How often the queue is looked at.
const LOOK_MS: i64 = 1_000;

impl Process {
    /// Starts one that has loaded what is stored, and consumes.
    pub(super) fn start(
        now: i64,
        redis: &Redis,
        config: Config,
        policy: Policy,
        ready: usize,
        revisions: Revisions,
    ) -> Self {
        let clock = Arc::new(StoreClock::held(at(now)));
        let replica = Arc::new(Replica::new(policy, Arc::clone(&clock)));
        for record in redis.load() {
            replica.put(record);
        }
        replica.standing().loaded = true;
        replica.standing().followed(at(now));
        let metrics = Metrics::register(&mut Registry::default(), &PEERS);
        let messages = metrics.messages.clone();
        let teller = Arc::new(Teller::new(Outlets::none()));
        let dead_letters = DeadLetters::new(None);
        let intake = Intake::new(config, Arc::clone(&replica), metrics, teller, dead_letters, revisions);
        let mut this = Self {
            intake,
            replica,
            messages,
            clock,
            gate: LiveGate::begin(at(now), ready as u64),
            generation: 0,
            taken: 0,
            inbox: VecDeque::new(),
            socket: VecDeque::new(),
            flight: None,
            paused_until: 0,
            cut_off_until: 0,
            cut_off_since: i64::MAX,
            looked_at: now,
            woke_at: now,
            confirmed: None,
        };
        this.begin(now, ready);
        this
    }

    /// A new channel.
    pub(super) fn begin(&mut self, now: i64, ready: usize) {
        self.generation += 1;
        self.socket.clear();
        self.gate = LiveGate::begin(at(now), ready as u64);
        self.looked_at = now;
        self.confirmed = None;
        self.inbox.push_back(Event::Began { generation: self.generation, acks: Acks::none() });
    }

    pub(super) fn arrives(&mut self, tag: u64, message: Message) {
        self.socket.push_back((tag, message));
    }

    pub(super) fn is_paused(&self, now: i64) -> bool {
        now < self.paused_until
    }

    /// What runs by itself while the process is awake: stamps what has come, looks at the queue once a
    /// second, and notes whether it hears.
    pub(super) fn wakes(&mut self, now: i64, around: &Surroundings) {
        let &Surroundings { ready, others, redis_up, strangers } = around;
        self.clock.hold(at(now));
        if now - self.woke_at > SLEPT_MS {
            self.gate.something_waits(at(now));
        }
        self.woke_at = now;
        while let Some((tag, message)) = self.socket.pop_front() {
            let live = self.gate.delivered(at(now), message.redelivered);
            let event = Event::Delivered(self.stamped(tag, &message, at(now), live));
            self.inbox.push_back(event);
        }
        if now - self.looked_at >= LOOK_MS {
            self.looked_at = now;
            self.gate.looked(at(now), at(now), Some(ready as u64));
        }
        self.confirmed = self.gate.caught_up(at(now)).or(self.confirmed);
        let mut standing = self.replica.standing();
        standing.others = others;
        if redis_up {
            self.cut_off_since = i64::MAX;
        } else {
            self.cut_off_since = self.cut_off_since.min(now);
            standing.cut_off(at(now));
        }
        standing.foreign = u32::from(strangers);
        if strangers {
            standing.foreign_at = Some(at(now));
        }
        let hears = self.gate.is_drained() && !strangers;
        standing.hears(at(now), self.confirmed.filter(|_| hears));
    }

    fn stamped(&self, tag: u64, message: &Message, at: Timestamp, live: bool) -> Delivery {
        let body = match &*message.content {
            Content::Heartbeat(emission) => emission.body.clone(),
            Content::Poison => b"{\"status\": ".to_vec(),
        };
        Delivery {
            tag,
            body,
            redelivered: message.redelivered,
            durable: true,
            at,
            live,
            live_since: self.gate.live_since(),
            ..tests::delivery(self.generation)
        }
    }

    /// Takes one event in; says whether there was one.
    pub(super) fn take(&mut self) -> bool {
        let Some(event) = self.inbox.pop_front() else { return false };
        if let Event::Began { generation, .. } = event {
            self.taken = generation;
        }
        self.intake.take(event);
        true
    }

    /// The acks that are due, as far as their channel stands.
    pub(super) fn acks(&mut self) -> Vec<Frame> {
        let due = self.intake.acks.take_due();
        if self.taken == self.generation { due } else { Vec::new() }
    }

    /// Sends what is due; says whether anything was.
    pub(super) fn send(&mut self) -> bool {
        if self.flight.is_some() {
            return false;
        }
        let Some(load) = self.intake.load() else { return false };
        let (batch, on_its_way) = load.into_batch();
        self.flight = Some((on_its_way, Flight::Sent(batch)));
        true
    }

    /// Hears the store's answer; says whether there was one.
    pub(super) fn hear_answer(&mut self) -> bool {
        match self.flight.take() {
            Some((on_its_way, Flight::Answered(result))) => {
                self.intake.came_back(on_its_way, result);
                true
            }
            other => {
                self.flight = other;
                false
            }
        }
    }

    /// Follows what others stored, and finds what the store lost.
    pub(super) fn follow(&mut self, now: i64, redis: &Redis) {
        let stored = redis.load();
        let held = |id: &PublisherId| self.replica.get(id).map_or(0, |record| record.revision);
        let newer = stored.iter().filter(|record| record.revision > held(&record.id)).cloned().collect();
        let known = self.replica.with_view(|view| {
            view.records().map(|record| (record.id.clone(), record.revision)).collect::<Vec<_>>()
        });
        let lost =
            known.into_iter().filter(|(id, revision)| *revision > redis.revision(id)).map(|(id, _)| id);
        let lost = lost.collect();
        self.intake.obey(Command::Newer(newer));
        self.intake.obey(Command::Lost(lost));
        self.replica.standing().followed(at(now));
    }
}
