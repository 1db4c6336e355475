//! The publisher: checks its targets in rounds, and sends a full snapshot on the beat, and at once
//! when something turned.

mod components;
mod drill;
mod job;
pub mod jobs;
mod life;
mod link;
mod maintenance;
pub mod memory;
mod metrics;
mod once;
mod outgoing;
pub mod reload;
mod round;
mod sending;
mod trace;
mod track;
mod turns;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::amqp::publish::PublishFailure;
use crate::check::management::ManagementClient;
use crate::check::probe::Prober;
use crate::clock;
use crate::config::targets::{PlannedWindow, Targets};
use crate::health::Pulse;
use crate::heartbeat::PublisherId;
use crate::signing::SigningKey;
use crate::watched::Held;

use components::{Components, Difference};
use jobs::{JobLineEnd, Jobs};
use life::Life;
use memory::Memory;
use metrics::Metrics;
use reload::Wanted;
use round::Plan;
use trace::Waiting;
use track::Observation;

pub use drill::{Drill, Stage};
pub use link::{InProcessEnd, Link};
pub use maintenance::{Begun, Commanded, TooMany};
pub use once::{Found, check_once};
pub use trace::Tracing;

/// What a publisher needs to know.
pub struct Config {
    /// Who it is.
    pub id: PublisherId,
    /// What it checks.
    pub targets: Targets,
    /// Time between two heartbeats.
    pub publish_interval: Duration,
    /// Time between two rounds of checks.
    pub probe_interval: Duration,
    /// Deadline of a check that has none of its own.
    pub check_timeout: Duration,
    /// Checks that run at one time at most.
    pub check_concurrency: usize,
    /// Where consumers are looked up; `None` where no queue is checked.
    pub management: Option<ManagementClient>,
    /// How heartbeats are traced.
    pub tracing: Tracing,
    /// The key that signs them; `None` where they are not signed.
    pub signing_key: Option<KeyInUse>,
    /// Windows of maintenance that are begun by command.
    pub maintenance: Commanded,
    /// Other targets, once there are some; `None` where they never change.
    pub changes: Option<watch::Receiver<Wanted>>,
    /// Where jobs are heard.
    pub jobs: JobLineEnd,
    /// What outlives the process.
    pub memory: Memory,
}

/// The key that signs, as its file was read last.
pub type KeyInUse = watch::Receiver<Held<SigningKey>>;

/// Results that wait to be noted.
const RESULTS_MAX: usize = 256;

/// How much longer than its checks a round may take before the beat does not wait for it.
const ROUND_SLACK: Duration = Duration::from_secs(1);

type Publishing = Pin<Box<dyn Future<Output = Result<(), PublishFailure>> + Send>>;

/// A running publisher.
pub struct Emitter {
    life: Life,
    publish_interval: Duration,
    probe_interval: Duration,
    plan: Arc<Plan>,
    components: Components,
    jobs: Jobs,
    heard: JobLineEnd,
    /// When a job turns, if none says anything.
    jobs_due: Option<Instant>,
    changes: Option<watch::Receiver<Wanted>>,
    planned: Vec<PlannedWindow>,
    maintenance: Commanded,
    commanded: watch::Receiver<Vec<Begun>>,
    memory: Memory,
    results: (mpsc::Sender<Observation>, mpsc::Receiver<Observation>),
    link: Link,
    metrics: Metrics,
    pulse: Pulse,
    publish_failures: u64,
    round: Option<JoinHandle<()>>,
    round_due: Instant,
    round_give_up: Duration,
    beat_at: Instant,
    beat_due: bool,
    turn_due: Option<Instant>,
    last_sent: Option<Instant>,
    publishing: Option<Publishing>,
    failing: bool,
    tracing: Tracing,
    signing_key: Option<KeyInUse>,
    /// The trace of the heartbeat that is on its way, where it is exported from here.
    waiting: Option<Waiting>,
}

impl Emitter {
    /// Prepares a publisher; [`Emitter::run`] sets it going.
    pub fn new(config: Config, link: Link, pulse: Pulse, registry: &mut Registry) -> Self {
        let components = Components::new(&config.targets);
        let jobs = Jobs::new(&config.targets.jobs, config.memory.clone(), clock::boot_ms());
        let metrics = Metrics::register(registry);
        metrics.components.set(i64::try_from(components.len()).unwrap_or(i64::MAX));
        let round_give_up = longest_timeout(&config.targets, config.check_timeout) + ROUND_SLACK;
        let planned = config.targets.maintenance.clone();
        let plan =
            Plan::new(config.targets, config.check_timeout, config.check_concurrency, config.management);
        Self {
            life: Life::begin(config.id),
            publish_interval: config.publish_interval,
            probe_interval: config.probe_interval,
            plan: Arc::new(plan),
            components,
            jobs,
            heard: config.jobs,
            jobs_due: None,
            changes: config.changes,
            planned,
            commanded: config.maintenance.watch(),
            maintenance: config.maintenance,
            memory: config.memory,
            results: mpsc::channel(RESULTS_MAX),
            link,
            metrics,
            pulse,
            publish_failures: 0,
            round: None,
            round_due: Instant::now(),
            round_give_up,
            beat_at: Instant::now(),
            beat_due: false,
            turn_due: None,
            last_sent: None,
            publishing: None,
            failing: false,
            tracing: config.tracing,
            signing_key: config.signing_key,
            waiting: None,
        }
    }

    /// Checks and publishes until `stop`; then a heartbeat that is on its way gets `grace` to be
    /// confirmed.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        info!(
            publisher = self.life.id.as_str(),
            epoch = self.life.epoch.as_str(),
            components = self.components.len(),
            "Publisher started"
        );
        // Before anything is told of a job.
        self.take_over();
        let mut link_state = self.link.state();
        let mut was_writable = link_state.borrow().is_writable();
        // A fleet that starts together must not beat together for ever.
        let first_gap = self.publish_interval.mul_f64(rand::random_range(0.5..=1.0));
        let (mut first_beat, mut checked) = (true, false);
        loop {
            let round_ends = self.beat_due.then(|| self.beat_at + self.round_give_up);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(self.round_due) => self.start_round(),
                Some(seen) = self.results.1.recv() => self.note(&seen),
                () = finished(&mut self.round) => {
                    self.round = None;
                    checked = true;
                    while let Ok(seen) = self.results.1.try_recv() {
                        self.note(&seen);
                    }
                }
                () = sleep_until(self.beat_at), if !self.beat_due => self.beat_due = true,
                () = clock::at(round_ends), if self.publishing.is_none() => self.publish(),
                () = clock::at(self.turn_due), if self.publishing.is_none() => self.publish(),
                result = published(&mut self.publishing) => {
                    self.publishing = None;
                    self.confirmed(result);
                }
                wanted = changed(&mut self.changes) => self.adopt(wanted),
                Ok(()) = self.commanded.changed() => self.windows_changed(),
                // However long a round takes, the pulse goes on.
                () = tokio::time::sleep(self.publish_interval.min(self.probe_interval)) => {}
                Some(heard) = self.heard.recv() => {
                    self.jobs.hear(heard, clock::boot_ms());
                    self.judge_jobs();
                }
                () = clock::at(self.jobs_due) => self.judge_jobs(),
                () = self.memory.found() => self.take_over(),
                changed = link_state.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let writable = link_state.borrow_and_update().is_writable();
                    self.metrics.connected.set(i64::from(link_state.borrow().connected));
                    // Whoever was cut off tells at once that it lives.
                    if writable && !was_writable && self.last_sent.is_some() {
                        self.turn_due = Some(Instant::now());
                    }
                    was_writable = writable;
                }
            }
            if self.is_settled(was_writable, checked) {
                self.publish();
            }
            if first_beat && self.last_sent.is_some() {
                first_beat = false;
                self.beat_at = Instant::now() + first_gap;
            }
            self.pulse.beat(self.readiness(&link_state.borrow()));
        }
        if let Some(round) = self.round.take() {
            round.abort();
        }
        if let Some(publishing) = self.publishing.take()
            && let Ok(result) = timeout(grace, publishing).await
        {
            self.confirmed(result);
        }
        info!(publisher = self.life.id.as_str(), "Publisher stopped");
    }

    /// Whether the beat is due and nothing is worth waiting for: the round that is under way, the
    /// confirm of the heartbeat before, and at the start the first round and the first connection.
    fn is_settled(&self, writable: bool, checked: bool) -> bool {
        let idle = self.round.is_none() && self.publishing.is_none();
        self.beat_due && idle && checked && (writable || self.last_sent.is_some())
    }

    fn readiness(&self, link: &crate::amqp::publish::LinkState) -> Result<(), String> {
        match link {
            link if !link.connected => Err("not connected to RabbitMQ".into()),
            link if link.blocked => Err("RabbitMQ has blocked publishers".into()),
            _ if self.failing => Err("the latest heartbeat was not confirmed".into()),
            _ => Ok(()),
        }
    }

    /// Starts a round, unless one still runs: rounds never overlap.
    fn start_round(&mut self) {
        // From when it should have been, so that rounds keep their beat; after a stall, from now.
        let now = Instant::now();
        self.round_due = (self.round_due + self.probe_interval).max(now);
        if self.round.is_some() {
            self.round_due = self.round_due.max(now + self.probe_interval);
            self.metrics.rounds_skipped.inc();
            return;
        }
        self.metrics.rounds.inc();
        let round = Arc::clone(&self.plan).run(self.link.clone(), self.results.0.clone());
        self.round = Some(tokio::spawn(round));
    }

    /// Puts other targets in force: checks them at once, and tells when all were checked.
    fn adopt(&mut self, wanted: Wanted) {
        // Of the round that is under way nothing counts any more, lest a result of the old file be told under the new one.
        // The next round asks all of it again.
        if let Some(round) = self.round.take() {
            round.abort();
        }
        self.results = mpsc::channel(RESULTS_MAX);
        let Difference { added, removed } = self.components.adopt(&wanted.targets);
        self.jobs.adopt(&wanted.targets.jobs, clock::boot_ms());
        self.judge_jobs();
        info!(components = self.components.len(), added, removed, "Targets changed");
        self.metrics.components.set(i64::try_from(self.components.len()).unwrap_or(i64::MAX));
        self.round_give_up = longest_timeout(&wanted.targets, self.plan.timeout()) + ROUND_SLACK;
        self.planned.clone_from(&wanted.targets.maintenance);
        self.plan = Arc::new(self.plan.with(&wanted.targets, wanted.management));
        self.round_due = Instant::now();
        self.start_round();
        if self.last_sent.is_some() {
            self.beat_due = true;
            self.beat_at = Instant::now();
        }
    }
}

/// The longest time that any one check may take.
fn longest_timeout(targets: &Targets, check_timeout: Duration) -> Duration {
    let hosts = targets.hosts.iter().filter_map(|host| host.timeout);
    let queues = targets.queues.iter().filter_map(|queue| queue.timeout);
    let probes = targets.probes.iter().map(|probe| Prober::time_max(probe.timeout.unwrap_or(check_timeout)));
    hosts.chain(queues).chain(probes).max().unwrap_or_default().max(check_timeout)
}

/// Other targets, once there are some.
async fn changed(changes: &mut Option<watch::Receiver<Wanted>>) -> Wanted {
    if let Some(receiver) = changes
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    // Nobody is left who could change them.
    *changes = None;
    std::future::pending().await
}

async fn finished(round: &mut Option<JoinHandle<()>>) {
    match round {
        Some(handle) => {
            let _ = handle.await;
        }
        None => std::future::pending().await,
    }
}

async fn published(publishing: &mut Option<Publishing>) -> Result<(), PublishFailure> {
    match publishing {
        Some(publishing) => publishing.await,
        None => std::future::pending().await,
    }
}
