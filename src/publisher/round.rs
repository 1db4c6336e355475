//! One round of checks: all targets side by side, bounded, each within its own deadline. Results
//! are told as they come, so that a hanging check holds no other up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::debug;

use super::link::Link;
use super::track::{Observation, Thresholds, Tracked};
use crate::amqp::publish::QueueState;
use crate::check::management::{
    ListenerSpec, ManagementClient, Passive, QueueChecked, QueueSpec, check_queues,
};
use crate::check::probe::{Prober, SharedFiles};
use crate::check::{Checked, Verdict, tcp};
use crate::clock;
use crate::config::targets::{HostTarget, ProbeTarget, QueueTarget, Targets};
use crate::dial::endpoint;
use crate::heartbeat::{ComponentKey, Outcome, check_name};

/// What is checked, and how.
#[derive(Debug)]
pub(super) struct Plan {
    hosts: Vec<HostTarget>,
    /// Queues by deadline: those that share one share the requests.
    queues: Vec<(Duration, Vec<QueueSpec>)>,
    /// What is checked otherwise.
    probes: Vec<(ComponentKey, Duration, Prober)>,
    timeout: Duration,
    concurrency: usize,
    management: Option<ManagementClient>,
    slots: Arc<Semaphore>,
}

impl Plan {
    pub(super) fn new(
        targets: Targets,
        timeout: Duration,
        concurrency: usize,
        management: Option<ManagementClient>,
    ) -> Self {
        let mut queues: Vec<(Duration, Vec<QueueSpec>)> = Vec::new();
        for target in targets.queues {
            let deadline = target.timeout.unwrap_or(timeout);
            let spec = spec(target);
            match queues.iter_mut().find(|(other, _)| *other == deadline) {
                Some((_, specs)) => specs.push(spec),
                None => queues.push((deadline, vec![spec])),
            }
        }
        let mut shared = SharedFiles::default();
        let probes = targets.probes.into_iter().map(|target| {
            let deadline = target.timeout.unwrap_or(timeout);
            (probe_key(&target), deadline, Prober::new(target.spec, &mut shared))
        });
        let probes = probes.collect();
        let slots = Arc::new(Semaphore::new(concurrency));
        Self { hosts: targets.hosts, queues, probes, timeout, concurrency, management, slots }
    }

    /// The same for other targets.
    pub(super) fn with(&self, targets: &Targets, management: Option<ManagementClient>) -> Self {
        Self::new(targets.clone(), self.timeout, self.concurrency, management)
    }

    /// Deadline of a check that has none of its own.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Checks everything once, and sends each result as it comes.
    pub(super) async fn run(self: Arc<Self>, link: Link, results: mpsc::Sender<Observation>) {
        let mut tasks = JoinSet::new();
        for index in 0..self.hosts.len() {
            let (plan, results) = (Arc::clone(&self), results.clone());
            tasks.spawn(async move {
                let checked = plan.check_host(&plan.hosts[index]).await;
                let key = ComponentKey::host(&plan.hosts[index].name);
                let _ = results.send(observation(key, checked)).await;
            });
        }
        for index in 0..self.probes.len() {
            let (plan, results) = (Arc::clone(&self), results.clone());
            tasks.spawn(async move {
                let (key, checked) = plan.check_probe(index).await;
                let _ = results.send(observation(key, checked)).await;
            });
        }
        for group in 0..self.queues.len() {
            let (plan, results, link) = (Arc::clone(&self), results.clone(), link.clone());
            tasks.spawn(async move { plan.check_group(group, link, results).await });
        }
        // A check that panicked is not told of; its component turns stale by its age.
        while tasks.join_next().await.is_some() {}
    }

    /// Up when all its endpoints are: entries of one name are one component.
    async fn check_host(&self, host: &HostTarget) -> Checked {
        let deadline = host.timeout.unwrap_or(self.timeout);
        let checks = host.endpoints.iter().map(async |(name, port)| {
            // Closed only when the program ends.
            let _slot = self.slots.acquire().await;
            tcp::connect(name, *port, deadline).await
        });
        let checked = join_all(checks).await;
        let took = checked.iter().map(|checked| checked.took).max().unwrap_or_default();
        let worst = checked.into_iter().max_by_key(|checked| checked.outcome);
        worst.map_or(Verdict::UP.after(took, None), |worst| Checked { took, ..worst })
    }

    async fn check_probe(&self, index: usize) -> (ComponentKey, Checked) {
        let (key, deadline, prober) = &self.probes[index];
        // Closed only when the program ends.
        (key.clone(), prober.check(*deadline, self.slots.acquire()).await)
    }

    async fn check_group(&self, group: usize, link: Link, results: mpsc::Sender<Observation>) {
        let (deadline, specs) = &self.queues[group];
        let Some(management) = &self.management else { return };
        let began = clock::boot();
        let names = specs.iter().map(|spec| Arc::clone(&spec.queue)).collect();
        // Counts over AMQP are quick where they are to be had at all.
        let passive = link.inspect(names, *deadline / 2).await;
        let passive: HashMap<_, _> =
            passive.into_iter().map(|(queue, state)| (queue, passive_of(state))).collect();
        let left = deadline.saturating_sub(clock::boot().saturating_sub(began));
        let round = check_queues(management, specs, &passive, left).await;
        let took = clock::boot().saturating_sub(began);
        for queue in round.queues {
            for seen in observations(queue, took, management.peer()) {
                let _ = results.send(seen).await;
            }
        }
    }
}

/// Every component that a configuration names, in its order: hosts, then each queue with its
/// listeners, then what is checked otherwise.
pub(super) fn components(targets: &Targets) -> Vec<Tracked> {
    let mut tracked = Vec::new();
    for host in &targets.hosts {
        let shown: Vec<String> = host.endpoints.iter().map(|(name, port)| endpoint(name, *port)).collect();
        let thresholds = Thresholds { failure: host.failure_threshold, success: host.success_threshold };
        tracked.push(Tracked::new(ComponentKey::host(&host.name), told(&shown.join(" ")), thresholds));
    }
    for queue in &targets.queues {
        let thresholds = Thresholds { failure: queue.failure_threshold, success: queue.success_threshold };
        tracked.push(Tracked::new(ComponentKey::queue(&queue.queue), None, thresholds));
        for listener in &queue.listeners {
            let key = ComponentKey::consumer(&listener.name, &queue.queue);
            tracked.push(Tracked::new(key, None, thresholds));
        }
    }
    for probe in &targets.probes {
        let thresholds = Thresholds { failure: probe.failure_threshold, success: probe.success_threshold };
        tracked.push(Tracked::new(probe_key(probe), told(&probe.spec.target()), thresholds));
    }
    tracked
}

fn probe_key(target: &ProbeTarget) -> ComponentKey {
    ComponentKey::other(target.spec.kind(), &target.name)
}

/// A target as it is told. Longer than a name may be is a long URL, or many endpoints that share one name; then none is told.
fn told(target: &str) -> Option<Arc<str>> {
    check_name(target).is_ok().then(|| target.into())
}

fn spec(target: QueueTarget) -> QueueSpec {
    let listeners = target
        .listeners
        .into_iter()
        .map(|listener| ListenerSpec { name: listener.name, patterns: listener.patterns })
        .collect();
    QueueSpec { queue: target.queue, listeners }
}

fn passive_of(state: QueueState) -> Passive {
    match state {
        QueueState::Missing => Passive::Missing,
        QueueState::Denied => Passive::Denied,
        QueueState::Present { messages, consumers } => Passive::Present { messages, consumers },
    }
}

fn observation(key: ComponentKey, checked: Checked) -> Observation {
    let Checked { outcome, reason, took, peer, certificate_not_after, detail } = checked;
    let (verdict, at) = (Verdict { outcome, reason }, clock::boot());
    log(&key, verdict, detail.as_deref());
    Observation { key, verdict, took, at, peer, figures: None, certificate_not_after, detail }
}

/// Says of a check that failed what is known of it.
fn log(key: &ComponentKey, verdict: Verdict, detail: Option<&str>) {
    if let Some(reason) = verdict.reason {
        let (kind, name, outcome) = (key.kind.as_str(), &*key.name, verdict.outcome.as_str());
        let queue = (!key.queue.is_empty()).then_some(&*key.queue);
        debug!(kind, name, queue, outcome, reason = reason.as_str(), detail, "Not found up");
    }
}

fn observations(queue: QueueChecked, took: Duration, peer: Option<SocketAddr>) -> Vec<Observation> {
    let at = clock::boot();
    let mut seen = Vec::with_capacity(queue.listeners.len() + 1);
    let seen_as = |key, outcome: Outcome, reason, figures| {
        let verdict = Verdict { outcome, reason };
        log(&key, verdict, None);
        Observation { key, verdict, took, at, peer, figures, certificate_not_after: None, detail: None }
    };
    for listener in &queue.listeners {
        let key = ComponentKey::consumer(&listener.name, &queue.name);
        seen.push(seen_as(key, listener.outcome, listener.reason, None));
    }
    let key = ComponentKey::queue(&queue.name);
    debug!(queue = &*queue.name, source = queue.source, "Queue checked");
    seen.push(seen_as(key, queue.outcome, queue.reason, queue.figures));
    seen
}
