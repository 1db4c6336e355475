//! One round of checks by itself, for whoever asks what a publisher would find now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::RESULTS_MAX;
use super::link::Link;
use super::round::{Plan, components};
use super::track::Observation;
use crate::check::Verdict;
use crate::check::management::ManagementClient;
use crate::config::targets::Targets;
use crate::heartbeat::{ComponentKey, Reason};

/// What a round found of one component.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which one.
    pub key: ComponentKey,
    /// What is connected to, for hosts.
    pub target: Option<Arc<str>>,
    /// What was found.
    pub verdict: Verdict,
    /// How long the check took; `None` if it came to no end.
    pub took: Option<Duration>,
    /// What is known beside the reason. No secret, nothing of a body, and no query of a URL.
    pub detail: Option<Box<str>>,
}

/// Checks everything once, and tells of each component in the order of the configuration. What one check finds is told as
/// it is: thresholds are for checks in a row.
pub async fn check_once(
    targets: Targets,
    timeout: Duration,
    concurrency: usize,
    management: Option<ManagementClient>,
    link: Link,
) -> Vec<Found> {
    let wanted = components(&targets);
    let plan = Arc::new(Plan::new(targets, timeout, concurrency, management));
    let (sender, mut results) = mpsc::channel(RESULTS_MAX);
    let round = tokio::spawn(plan.run(link, sender));
    let mut seen: HashMap<ComponentKey, Observation> = HashMap::with_capacity(wanted.len());
    while let Some(observation) = results.recv().await {
        seen.insert(observation.key.clone(), observation);
    }
    let _ = round.await;
    let found = wanted.iter().map(|component| {
        let seen = seen.get(component.key());
        Found {
            key: component.key().clone(),
            target: component.target().cloned(),
            verdict: seen.map_or(Verdict::unknown(Reason::Stale), |seen| seen.verdict),
            took: seen.map(|seen| seen.took),
            detail: seen.and_then(|seen| seen.detail.clone()),
        }
    });
    found.collect()
}
