//! Simulated publishers of version 2, their messages written by hand from the contract and the design, not by our
//! encoder: each with its own epoch, uptime, sequence and clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bridge::{Bridge, Sender};
use super::v1::v1_time;

/// What a publisher checks, and what it remembers of it.
#[derive(Clone, Debug)]
pub struct Checked {
    kind: &'static str,
    name: String,
    queue: Option<String>,
    /// `up`, `down` or `unknown`, told from the next beat on.
    pub outcome: &'static str,
    checked_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
    told: &'static str,
    last: BTreeMap<&'static str, Timestamp>,
    checks: u64,
    failures: u64,
}

/// One publisher.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Its id.
    pub id: String,
    /// Its life.
    pub epoch: String,
    /// The number of its newest heartbeat; 0 before the first.
    pub sequence: u64,
    /// What it announces, and beats by.
    pub interval: Duration,
    /// How far its wall clock is ahead.
    pub clock_error: SignedDuration,
    /// What it checks.
    pub components: Vec<Checked>,
    started: Instant,
    uptime_at_start: Duration,
}

impl Simulated {
    /// One that checks a host, a queue and its consumer, all up.
    pub fn new(id: &str) -> Self {
        let queue = format!("{id}.inbox");
        Self {
            components: vec![
                Checked::new("host", &format!("{id}.db"), None),
                Checked::new("consumer", &format!("{id}.ingest"), Some(&queue)),
                Checked::new("queue", &queue, None),
            ],
            ..Self::small(id)
        }
    }

    /// One that checks a single host.
    pub fn small(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            epoch: new_epoch(),
            sequence: 0,
            interval: Duration::from_secs(1),
            clock_error: SignedDuration::ZERO,
            components: vec![Checked::new("host", &format!("{id}.db"), None)],
            started: Instant::now(),
            uptime_at_start: Duration::from_secs(100),
        }
    }

    /// The same publisher after a restart.
    pub fn restarted(&self) -> Self {
        let fresh = Self::small(&self.id);
        Self {
            interval: self.interval,
            clock_error: self.clock_error,
            components: self.components.clone(),
            ..fresh
        }
    }

    /// Its own time since its start.
    pub fn uptime(&self) -> Duration {
        self.uptime_at_start + self.started.elapsed()
    }

    /// Checks everything now and makes the next heartbeat.
    pub fn beat(&mut self) -> Vec<u8> {
        self.beat_at(self.uptime())
    }

    /// Makes the next heartbeat as of an uptime of its choice.
    pub fn beat_at(&mut self, uptime: Duration) -> Vec<u8> {
        self.sequence += 1;
        let started = Timestamp::now() - SignedDuration::try_from(self.uptime()).unwrap() + self.clock_error;
        let at = started + SignedDuration::try_from(uptime).unwrap();
        for component in &mut self.components {
            component.check(at);
        }
        let message = json!({
            "status": "heartbeat", "service": "publisher", "timestamp": v1_time(at),
            "hosts": self.v1_list("host"),
            "rmq_consumers":
                {"queues_status": self.v1_list("queue"), "services_status": self.v1_list("consumer")},
            "v2": {
                "publisher": self.id, "epoch": self.epoch, "started_at": rfc3339(started),
                "uptime_ms": u64::try_from(uptime.as_millis()).unwrap(), "sequence": self.sequence,
                "sent_at": rfc3339(at), "interval_seconds": self.interval.as_secs_f64(), "version": "9.9.9",
                "components": self.components.iter().map(Checked::v2).collect::<Vec<_>>(),
                "something_of_a_later_version": {"a": [1, null]},
            },
        });
        message.to_string().into_bytes()
    }

    /// What the contract's keys must hold after its newest heartbeat.
    pub fn contract_keys(&self) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        for component in &self.components {
            let prefix = if component.kind == "queue" { "queue" } else { "service" };
            let last = |outcome| component.last.get(outcome);
            let not_ok = last("down").max(last("unknown"));
            for (status, at) in [("ok", last("up")), ("not_ok", not_ok)] {
                if let Some(at) = at {
                    keys.insert(format!("{prefix}:{}:{status}", component.name), v1_time(*at));
                }
            }
        }
        keys
    }

    fn v1_list(&self, kind: &str) -> Vec<Value> {
        self.components.iter().filter(|component| component.kind == kind).map(Checked::v1).collect()
    }
}

impl Checked {
    fn new(kind: &'static str, name: &str, queue: Option<&str>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            queue: queue.map(str::to_owned),
            outcome: "up",
            checked_at: None,
            changed_at: None,
            told: "",
            last: BTreeMap::new(),
            checks: 0,
            failures: 0,
        }
    }

    /// The same under another name.
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Its kind and name, and what the next beat tells of it.
    pub fn told(&self) -> ((String, String), String) {
        ((self.kind.to_owned(), self.name.clone()), self.outcome.to_owned())
    }

    fn check(&mut self, at: Timestamp) {
        self.checked_at = Some(at);
        if std::mem::replace(&mut self.told, self.outcome) != self.outcome {
            self.changed_at = Some(at);
        }
        self.last.insert(self.outcome, at);
        self.checks += 1;
        self.failures += u64::from(self.outcome != "up");
    }

    fn v1(&self) -> Value {
        let status = if self.outcome == "up" { "ok" } else { "not_ok" };
        json!({"name": self.name, "status": status, "timestamp": v1_time(self.checked_at.unwrap())})
    }

    fn v2(&self) -> Value {
        let mut wire = json!({
            "kind": self.kind, "name": self.name, "outcome": self.outcome,
            "checked_at": rfc3339(self.checked_at.unwrap()), "duration_seconds": 0.002,
            "changed_at": rfc3339(self.changed_at.unwrap()),
            "checks_total": self.checks, "failures_total": self.failures,
        });
        if let Some(queue) = &self.queue {
            wire["queue"] = json!(queue);
        }
        if self.kind == "queue" {
            wire["messages"] = json!(3);
            wire["consumers"] = json!(1);
            wire["source"] = json!("management");
        }
        if self.outcome != "up" {
            wire["reason"] = json!("refused");
        }
        for (outcome, key) in [("up", "last_up_at"), ("down", "last_down_at"), ("unknown", "last_unknown_at")]
        {
            if let Some(at) = self.last.get(outcome) {
                wire[key] = json!(rfc3339(*at));
            }
        }
        wire
    }
}

/// Publishers that beat in a task of their own, all once in `interval`, until told to stop.
pub struct Beating {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Simulated>>,
}

impl Beating {
    /// Starts them; `retouch` may change a publisher before each of its beats.
    pub fn start(
        bridge: &Bridge,
        fleet: Vec<Simulated>,
        interval: Duration,
        retouch: impl FnMut(&mut Simulated) + Send + 'static,
    ) -> Self {
        Self::by(bridge.sender(), fleet, interval, retouch)
    }

    /// The same by a sender of one's choice.
    pub fn by(
        sender: Sender,
        mut fleet: Vec<Simulated>,
        interval: Duration,
        mut retouch: impl FnMut(&mut Simulated) + Send + 'static,
    ) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(interval);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    _ = stopped.changed() => return fleet,
                }
                let bodies = fleet.iter_mut().map(|publisher| {
                    retouch(publisher);
                    (publisher.id.clone(), publisher.beat())
                });
                sender.send_named(bodies.collect::<Vec<_>>()).await;
            }
        });
        Self { stop, task }
    }

    /// Ends them, and hands them back as they are after their last heartbeat.
    pub async fn end(self) -> Vec<Simulated> {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

fn new_epoch() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("e{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A generator of which a failed run tells the seed: splitmix64.
pub struct Chance(u64);

impl Chance {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
