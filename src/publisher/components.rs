//! All components of a publisher, in the order of its file, across changes of the file.
//!
//! Pure.

use std::collections::HashMap;

use super::jobs::{Judged, KIND};
use super::round;
use super::track::{Observation, Thresholds, Tracked, Turn};
use crate::clock::SteadyWall;
use crate::config::targets::Targets;
use crate::heartbeat::{Component, ComponentKey};

/// Components and where each is found.
#[derive(Debug, Default)]
pub(super) struct Components {
    tracked: Vec<Tracked>,
    by_key: HashMap<ComponentKey, usize>,
}

/// How many components a change of the file concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Not there before.
    pub(super) added: usize,
    /// Gone.
    pub(super) removed: usize,
}

impl Components {
    /// Those that a file names; none was checked yet.
    pub(super) fn new(targets: &Targets) -> Self {
        Self::of(wanted(targets).collect())
    }

    fn of(tracked: Vec<Tracked>) -> Self {
        let by_key = tracked.iter().enumerate().map(|(index, one)| (one.key().clone(), index)).collect();
        Self { tracked, by_key }
    }

    /// Takes another file in. What both name keeps what is known of it; what the new one does not name is forgotten.
    pub(super) fn adopt(&mut self, targets: &Targets) -> Difference {
        let before = std::mem::take(self);
        let known = before.tracked.len();
        let mut held: HashMap<ComponentKey, Tracked> =
            before.tracked.into_iter().map(|tracked| (tracked.key().clone(), tracked)).collect();
        let mut added = 0;
        let wanted = wanted(targets).map(|new| match held.remove(new.key()) {
            Some(held) => held.wanted_as(new),
            None => {
                added += 1;
                new
            }
        });
        *self = Self::of(wanted.collect());
        Difference { added, removed: known + added - self.tracked.len() }
    }

    /// Takes a check in; says which component turned by it, if one did. What is not named any more is nobody's.
    pub(super) fn note(&mut self, seen: &Observation) -> Option<(&Tracked, Turn)> {
        let tracked = self.find(&seen.key)?;
        let turn = tracked.note(seen)?;
        Some((tracked, turn))
    }

    /// Likewise for a job.
    pub(super) fn judge(&mut self, judged: &Judged) -> Option<(&Tracked, Turn)> {
        let tracked = self.find(&judged.key)?;
        let turn = tracked.judge(judged)?;
        Some((tracked, turn))
    }

    fn find(&mut self, key: &ComponentKey) -> Option<&mut Tracked> {
        Some(&mut self.tracked[*self.by_key.get(key)?])
    }

    /// Those that were checked, as they are told.
    pub(super) fn told(&self, wall: &SteadyWall) -> Vec<Component> {
        self.tracked.iter().filter_map(|tracked| tracked.component(wall)).collect()
    }

    /// Each of them.
    pub(super) fn each(&mut self) -> &mut [Tracked] {
        &mut self.tracked
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tracked.len()
    }
}

/// What a file names: what is checked, and then what tells of itself.
fn wanted(targets: &Targets) -> impl Iterator<Item = Tracked> {
    let at_once = Thresholds { failure: 1, success: 1 };
    let jobs = targets.jobs.iter().map(move |job| (ComponentKey::other(KIND, &job.name), at_once));
    let jobs = jobs.map(|(key, thresholds)| Tracked::new(key, None, thresholds));
    round::components(targets).into_iter().chain(jobs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::check::Verdict;
    use crate::config::targets::{HostTarget, ListenerTarget, QueueTarget};
    use crate::heartbeat::{Outcome, Reason, Timestamp};

    fn host(name: &str, port: u16, failure_threshold: u32) -> HostTarget {
        HostTarget {
            name: name.into(),
            endpoints: vec![("db".into(), port)],
            timeout: None,
            failure_threshold,
            success_threshold: 1,
        }
    }

    fn queue(name: &str, listeners: &[&str]) -> QueueTarget {
        let listener = |name: &&str| ListenerTarget { name: (*name).into(), patterns: Vec::new() };
        QueueTarget {
            queue: name.into(),
            listeners: listeners.iter().map(listener).collect(),
            timeout: None,
            failure_threshold: 1,
            success_threshold: 1,
        }
    }

    fn targets(hosts: Vec<HostTarget>, queues: Vec<QueueTarget>) -> Targets {
        Targets { hosts, queues, ..Targets::default() }
    }

    fn note(components: &mut Components, key: ComponentKey, verdict: Verdict, second: u64) -> bool {
        let (at, took) = (Duration::from_secs(second), Duration::from_millis(1));
        let (peer, figures, certificate_not_after) = (None, None, None);
        components
            .note(&Observation { key, verdict, took, at, peer, figures, certificate_not_after, detail: None })
            .is_some()
    }

    fn told(components: &Components) -> Vec<Component> {
        components.told(&SteadyWall::new(Timestamp::EPOCH, Duration::ZERO))
    }

    const REFUSED: Verdict = Verdict::down(Reason::Refused);

    #[test]
    fn what_stays_keeps_all_and_what_is_gone_is_told_no_more() {
        let before = targets(vec![host("a", 1, 1), host("b", 1, 3)], vec![queue("q", &["l"])]);
        let mut components = Components::new(&before);
        for (key, verdict) in [
            (ComponentKey::host("a"), Verdict::UP),
            (ComponentKey::host("b"), Verdict::UP),
            (ComponentKey::queue("q"), REFUSED),
            (ComponentKey::consumer("l", "q"), REFUSED),
        ] {
            assert!(note(&mut components, key, verdict, 1));
        }
        // Two of the three that it takes.
        assert!(!note(&mut components, ComponentKey::host("b"), REFUSED, 2));
        assert!(!note(&mut components, ComponentKey::host("b"), REFUSED, 3));
        let was = told(&components);
        let after = targets(vec![host("c", 1, 1), host("b", 1, 3)], vec![queue("q", &["m"])]);
        assert_eq!(components.adopt(&after), Difference { added: 2, removed: 2 });
        assert_eq!(told(&components), [was[1].clone(), was[2].clone()], "the new ones were never checked");
        // A result that was under way for one that is gone.
        assert!(!note(&mut components, ComponentKey::host("a"), REFUSED, 4));
        assert!(note(&mut components, ComponentKey::host("b"), REFUSED, 4), "the third in a row");
        let names: Vec<_> = told(&components).iter().map(|one| one.key.name.to_string()).collect();
        assert_eq!(names, ["b", "q"]);
        assert_eq!(components.adopt(&after), Difference::default());
    }

    /// A name that means another endpoint now is told with the old one until the new one was checked.
    #[test]
    fn another_endpoint_counts_from_its_first_check() {
        let mut components = Components::new(&targets(vec![host("a", 1, 3)], Vec::new()));
        note(&mut components, ComponentKey::host("a"), Verdict::UP, 1);
        note(&mut components, ComponentKey::host("a"), REFUSED, 2);
        components.adopt(&targets(vec![host("a", 2, 2)], Vec::new()));
        assert_eq!(told(&components)[0].target.as_deref(), Some("db:1"));
        assert!(!note(&mut components, ComponentKey::host("a"), REFUSED, 3), "the row was of the other one");
        assert_eq!(told(&components)[0].target.as_deref(), Some("db:2"));
        assert!(note(&mut components, ComponentKey::host("a"), REFUSED, 4), "the new threshold");
        let told = &told(&components)[0];
        assert_eq!((told.outcome, told.checks_total, told.failures_total), (Outcome::Down, Some(4), Some(3)));
    }

    proptest! {
        /// Whatever order files and results come in, exactly those are told that the file names and that were checked
        /// since it names them.
        #[test]
        fn nothing_is_lost_and_nothing_comes_back(
            steps in prop::collection::vec(
                prop_oneof![
                    prop::collection::btree_set(0_u8..6, 0..6).prop_map(Ok),
                    (0_u8..6).prop_map(Err),
                ],
                0..40,
            )
        ) {
            let mut components = Components::new(&Targets::default());
            let mut model: std::collections::BTreeMap<u8, u64> = Default::default();
            for (second, step) in steps.into_iter().enumerate() {
                match step {
                    Ok(names) => {
                        let hosts = names.iter().map(|name| host(&name.to_string(), 1, 1)).collect();
                        let difference = components.adopt(&targets(hosts, Vec::new()));
                        let added = names.iter().filter(|name| !model.contains_key(name)).count();
                        let removed = model.keys().filter(|name| !names.contains(name)).count();
                        prop_assert_eq!(difference, Difference { added, removed });
                        model = names.into_iter().map(|name| (name, model.get(&name).copied().unwrap_or(0))).collect();
                    }
                    Err(name) => {
                        note(&mut components, ComponentKey::host(&name.to_string()), Verdict::UP, second as u64);
                        model.entry(name).and_modify(|checks| *checks += 1);
                    }
                }
                let told: Vec<_> =
                    told(&components).iter().map(|one| (one.key.name.to_string(), one.checks_total)).collect();
                let checked = model.iter().filter(|(_, checks)| **checks > 0);
                let expected: Vec<_> = checked.map(|(name, checks)| (name.to_string(), Some(*checks))).collect();
                prop_assert_eq!(told, expected);
            }
        }
    }
}
