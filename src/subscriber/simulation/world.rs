//! One random step after the other, and then a rest in which everything must come right by itself.

use std::collections::HashMap;
use std::rc::Rc;

use super::broker::{Broker, Content};
use super::chance::Chance;
use super::fleet::{Emission, Publisher};
use super::oracle::Oracle;
use super::process::{Flight, Process, Surroundings};
use super::redis::Redis;
use crate::heartbeat::Outcome;
use crate::heartbeat::wire::Limits;
use crate::state::revision::Revisions;
use crate::state::view::Policy;
use crate::store::{StoreError, Written};
use crate::subscriber::intake::{Config, tests};

/// How a world is made.
pub(super) struct Shape {
    publishers: usize,
    replicas: usize,
    prefetch: usize,
    batch_max: usize,
    requeues_at_the_end: bool,
    /// Steps before it comes to rest.
    steps: u64,
    /// Longest time that a step takes, in milliseconds.
    pace_ms: u64,
    /// Restarts of each publisher.
    restarts_max: u64,
    /// How often things break: once in so many steps.
    fault_in: u64,
}

impl Shape {
    /// The shape that goes with a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9e37_79b9));
        Self {
            publishers: 1 + chance.index(4),
            replicas: 1 + chance.index(3),
            prefetch: [2, 10, 200][chance.index(3)],
            batch_max: [1, 3, 100][chance.index(3)],
            requeues_at_the_end: chance.once_in(3),
            steps: 3_000,
            pace_ms: [10, 40, 150][chance.index(3)],
            restarts_max: [3, 7, 100][chance.index(3)],
            fault_in: [15, 40, 120][chance.index(3)],
        }
    }
}

/// A replica that the others have not heard of for so long is not there, in milliseconds.
const PRESENT_MS: i64 = 5_000;

/// Everything there is.
pub(super) struct World {
    chance: Chance,
    shape: Shape,
    now: i64,
    pub(super) steps: u64,
    pub(super) oracle: Oracle,
    publishers: Vec<Publisher>,
    broker: Broker,
    redis: Redis,
    /// `None`: killed, and not started again yet.
    processes: Vec<Option<Process>>,
    redis_back_at: i64,
}

impl World {
    pub(super) fn new(seed: u64, shape: Shape) -> Self {
        let mut chance = Chance::new(seed);
        let now = 1_800_000_000_000;
        let hour = 3_600_000;
        let mut clock = || i64::try_from(chance.below(2 * hour)).unwrap() - hour.cast_signed();
        let publishers = (0..shape.publishers).map(|number| Publisher::start(number, now, clock())).collect();
        let mut this = Self {
            processes: (0..shape.replicas).map(|_| None).collect(),
            broker: Broker::new(shape.requeues_at_the_end),
            chance,
            shape,
            now,
            steps: 0,
            oracle: Oracle::default(),
            publishers,
            redis: Redis::new(),
            redis_back_at: 0,
        };
        for number in 0..this.processes.len() {
            this.start(number);
        }
        this
    }

    fn start(&mut self, number: usize) {
        if !self.redis.up {
            return;
        }
        let config = Config {
            limits: Limits::default(),
            batch_max: self.shape.batch_max,
            contract_keys: true,
            ..tests::config()
        };
        let policy = Policy { publishers_max: 1_000, components_max: 1_000, ..Policy::default() };
        let revisions = Revisions::seeded(self.chance.below(u64::MAX));
        let ready = self.broker.ready();
        let process = Process::start(self.now, &self.redis, config, policy, ready, revisions);
        self.processes[number] = Some(process);
    }

    /// All its steps.
    pub(super) fn run(&mut self) {
        for _ in 0..self.shape.steps {
            self.now += i64::try_from(self.chance.below(self.shape.pace_ms)).unwrap();
            self.go_on();
            if self.chance.once_in(self.shape.fault_in) {
                self.break_something();
            }
            self.redis.up |= self.now >= self.redis_back_at;
            for _ in 0..4 {
                self.step();
            }
        }
    }

    /// What goes on by itself: processes that are awake hear, publishers beat.
    fn go_on(&mut self) {
        let (ready, now) = (self.broker.ready(), self.now);
        let missed = |process: &Process| now > process.cut_off_since.saturating_add(PRESENT_MS);
        let missed: Vec<bool> = self.processes.iter().map(|p| p.as_ref().is_some_and(missed)).collect();
        for (number, process) in self.processes.iter_mut().enumerate() {
            let Some(process) = process.as_mut().filter(|process| !process.is_paused(now)) else { continue };
            let surroundings = Surroundings {
                ready,
                others: missed.len() > 1,
                redis_up: self.redis.up && now >= process.cut_off_until,
                // One that still consumes, and is not heard of in the store, is taken for a stranger.
                strangers: self.redis.up
                    && missed.iter().enumerate().any(|(other, missed)| other != number && *missed),
            };
            process.wakes(now, &surroundings);
        }
        for number in 0..self.publishers.len() {
            if self.publishers[number].alive && self.now >= self.publishers[number].next_beat {
                self.beat(number);
            }
        }
    }

    fn beat(&mut self, number: usize) {
        let outcome = [Outcome::Up, Outcome::Up, Outcome::Down, Outcome::Unknown][self.chance.index(4)];
        let emission = self.publishers[number].beat(self.now, outcome);
        self.oracle.claims(&emission);
        self.publish(emission);
    }

    fn publish(&mut self, emission: Emission) {
        let content = Rc::new(Content::Heartbeat(Box::new(emission)));
        let ahead = if self.chance.once_in(10) { self.chance.index(5) } else { 0 };
        if ahead > 0 {
            self.oracle.saw("sent out of order");
        }
        self.broker.publish(Rc::clone(&content), ahead);
        if self.chance.once_in(20) {
            // Its confirmation was lost.
            self.oracle.saw("sent twice");
            self.broker.publish(content, 0);
        }
    }

    /// One step of one process.
    fn step(&mut self) {
        self.steps += 1;
        let number = self.chance.index(self.processes.len());
        let what = self.chance.below(7);
        let Some(process) = &mut self.processes[number] else {
            if self.chance.once_in(10) {
                self.start(number);
            }
            return;
        };
        if what == 0 {
            // The broker and the network go on while a process is paused.
            self.deliver(number);
        } else if !process.is_paused(self.now) {
            match what {
                1 | 2 => drop(process.take()),
                3 => drop(process.send()),
                4 => drop(process.hear_answer()),
                5 => self.write_acks(number),
                _ if self.redis.up && self.now >= process.cut_off_until => {
                    process.follow(self.now, &self.redis)
                }
                _ => {}
            }
        }
        if self.chance.once_in(2) {
            self.store(number);
        }
        if self.chance.once_in(20) {
            self.look(number);
        }
    }

    fn deliver(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        for _ in 0..=self.chance.index(4) {
            let Some((tag, message)) = self.broker.deliver(number, self.shape.prefetch) else { return };
            if message.redelivered {
                self.oracle.saw("redelivered");
            }
            process.arrives(tag, message);
        }
    }

    /// A batch that was sent arrives at the store; now and then it does not, or its answer is lost.
    fn store(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        let Some((_, flight)) = &mut process.flight else { return };
        let Flight::Sent(batch) = flight else { return };
        let lost = || Err(StoreError::Disconnected { target: "redis".into(), reason: "closed" });
        if !self.redis.up || self.now < process.cut_off_until || self.chance.once_in(60) {
            self.oracle.saw("batch lost");
            *flight = Flight::Answered(lost());
            return;
        }
        let (answers, new) = self.redis.put(batch);
        for answer in &answers {
            if matches!(answer, Written::Conflict { .. }) {
                self.oracle.saw("conflict");
            }
        }
        let stored = answers.iter().filter(|answer| matches!(answer, Written::Stored)).count();
        if stored > new.len() {
            self.oracle.saw("sent again as it was");
        }
        let answer = if self.chance.once_in(60) {
            self.oracle.saw("batch stored, answer lost");
            lost()
        } else {
            Ok(answers)
        };
        *flight = Flight::Answered(answer);
        for record in new {
            self.oracle.stores(record);
        }
    }

    fn write_acks(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        for frame in process.acks() {
            let covered = self.broker.ack(number, frame);
            let holds: Vec<_> = self.broker.unacked(number).cloned().collect();
            for message in covered {
                self.oracle.acked(&message, &holds, self.redis.rejected);
            }
        }
    }

    fn look(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        let (received, in_flight, ended) = process.messages.balance();
        assert_eq!(received, in_flight + ended, "I6");
        // What was refused and is on its way to the list keeps its tag, also of a channel that is gone.
        if process.flight.is_none() {
            assert_eq!(in_flight, process.intake.acks.open() as u64, "in flight is what is not settled");
        }
        if !process.is_paused(self.now) {
            self.oracle.looks(self.now, &process.replica.snapshot(None));
        }
    }

    fn break_something(&mut self) {
        let number = self.chance.index(self.processes.len());
        match self.chance.below(13) {
            0..=3 => self.kill(number),
            4 => self.lose_channel(number),
            5 => {
                let pause = 1 + i64::try_from(self.chance.below(20_000)).unwrap();
                if let Some(process) = &mut self.processes[number] {
                    process.paused_until = self.now + pause;
                    self.oracle.saw("paused");
                }
            }
            6 => {
                self.redis.up = false;
                let away = [500, 5_000, 90_000][self.chance.index(3)];
                self.redis_back_at = self.now + 1 + i64::try_from(self.chance.below(away)).unwrap();
                self.oracle.saw("store away");
            }
            7 if self.chance.once_in(2) => {
                let away = [500, 8_000, 90_000][self.chance.index(3)];
                let until = self.now + 1 + i64::try_from(self.chance.below(away)).unwrap();
                if let Some(process) = &mut self.processes[number] {
                    process.cut_off_until = until;
                    self.oracle.saw("one cut off from the store");
                }
            }
            8 if self.chance.once_in(8) => {
                self.redis.go_back();
                self.oracle.store_went_back();
            }
            8 => self.redis.save(),
            9 => {
                self.oracle.saw("poison");
                self.broker.publish(Rc::new(Content::Poison), 0);
            }
            _ => self.disturb_a_publisher(),
        }
    }

    fn disturb_a_publisher(&mut self) {
        let number = self.chance.index(self.publishers.len());
        let hours = 3_600_000 * (1 + i64::try_from(self.chance.below(30)).unwrap());
        let publisher = &mut self.publishers[number];
        let may_restart = publisher.lives < self.shape.restarts_max;
        match self.chance.below(6) {
            2 | 3 if !may_restart => {}
            0 => {
                self.oracle.saw("publisher dead");
                publisher.alive = false;
            }
            1 if may_restart && !publisher.alive => {
                self.oracle.saw("publisher restarted");
                publisher.restart(self.now, 0);
            }
            2 => {
                self.oracle.saw("publisher restarted");
                publisher.restart(self.now, 0);
            }
            3 => {
                self.oracle.saw("publisher restarted with its clock back");
                publisher.restart(self.now, -hours);
            }
            4 => {
                self.oracle.steps(&publisher.id, &publisher.component.key.name);
                publisher.step_clock(if self.chance.once_in(2) { hours } else { -hours });
            }
            _ => {
                if publisher.alive {
                    self.beat(number);
                }
            }
        }
        let dead = !self.publishers[number].alive;
        if dead && self.broker.ready() > 3 {
            self.oracle.saw("backlog of a dead publisher");
        }
    }

    /// SIGKILL: nothing of the process is left, and what it had on its way to the store may arrive or not.
    fn kill(&mut self, number: usize) {
        let Some(mut process) = self.processes[number].take() else { return };
        self.oracle.saw("killed");
        if let Some((_, Flight::Sent(batch))) = &process.flight {
            self.oracle.saw("killed with a batch on its way");
            if self.redis.up && self.chance.once_in(2) {
                let (_, new) = self.redis.put(batch);
                for record in new {
                    self.oracle.stores(record);
                }
            }
        }
        if !process.acks().is_empty() {
            self.oracle.saw("killed with acks unwritten");
        }
        if self.broker.disconnect(number) > 0 {
            self.oracle.saw("killed with deliveries unacked");
        }
        self.oracle.killed(process.intake.let_go());
        if self.chance.once_in(2) {
            self.start(number);
        }
    }

    fn lose_channel(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        self.oracle.saw("channel lost");
        self.broker.disconnect(number);
        process.begin(self.now, self.broker.ready());
    }

    /// Nothing breaks any more. Without hands, everything must come right.
    pub(super) fn come_to_rest(&mut self) {
        self.redis.up = true;
        for number in 0..self.processes.len() {
            if self.processes[number].is_none() {
                self.start(number);
            }
            if let Some(process) = &mut self.processes[number] {
                (process.paused_until, process.cut_off_until) = (0, 0);
            }
        }
        // Long enough for every grace: who is dead is stale by then, and who lives has beaten.
        let until = self.now + 45_000;
        while self.now < until {
            self.now += 100;
            self.go_on();
            self.let_all_flow();
        }
        self.let_all_flow();
        assert!(self.broker.is_empty(), "after {} steps something is left: {:?}", self.steps, self.broker);
        self.judge_rest();
    }

    /// Until nothing moves any more.
    fn let_all_flow(&mut self) {
        loop {
            let mut moved = false;
            for number in 0..self.processes.len() {
                let before = self.broker.ready();
                self.deliver(number);
                moved |= self.broker.ready() != before;
                let ready = self.broker.ready();
                let others = self.processes.len() > 1;
                if let Some(process) = &mut self.processes[number] {
                    let surroundings = Surroundings { ready, others, redis_up: true, strangers: false };
                    process.wakes(self.now, &surroundings);
                    while process.take() {
                        moved = true;
                    }
                    moved |= process.send();
                }
                self.store(number);
                if let Some(process) = &mut self.processes[number] {
                    moved |= process.hear_answer();
                }
                self.write_acks(number);
                if let Some(process) = &mut self.processes[number] {
                    process.follow(self.now, &self.redis);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn judge_rest(&mut self) {
        let records: Vec<_> = self.redis.load().iter().map(|record| (**record).clone()).collect();
        let alive: HashMap<_, _> =
            self.publishers.iter().map(|publisher| (publisher.id.clone(), publisher.alive)).collect();
        let views: Vec<_> =
            self.processes.iter().flatten().map(|process| process.replica.snapshot(None)).collect();
        self.oracle.at_rest(&alive, &records, &views, &self.redis.contract);
        for number in 0..self.processes.len() {
            self.look(number);
            let process = self.processes[number].as_ref().expect("all were started");
            for publisher in &process.replica.snapshot(None).publishers {
                let (id, up) = (&publisher.id, publisher.up);
                assert_eq!(up, Some(alive[id]), "{id} at rest, as replica {number} shows it");
            }
            // I9: each has what is stored.
            for record in &records {
                assert_eq!(process.replica.get(&record.id).as_deref(), Some(record), "replica {number}");
            }
        }
    }
}
