//! Answers of the management API, or of whatever else listens on its port.

use std::sync::Arc;

use heartbeat_bridge::check::management::{
    Evidence, ListenerSpec, Passive, QueueSpec, SeenConsumer, Single, consumer_list, decide, needs_single,
    queue_answer,
};
use heartbeat_bridge::check::pattern::TagPattern;
use heartbeat_bridge::heartbeat::Outcome;

const QUEUE: &str = "inbox";

/// The body is read as each of the two answers, and judged with what else may be known. No listener is up
/// that nobody showed.
pub fn run(data: &[u8]) {
    let patterns = ["ingest", r"^ctag-\d+$"].map(|pattern| TagPattern::new(pattern).unwrap());
    let listeners = [&patterns[..1], &patterns[..]].map(|patterns| ListenerSpec {
        name: format!("listener {}", patterns.len()).into(),
        patterns: patterns.to_vec(),
    });
    let spec = QueueSpec { queue: QUEUE.into(), listeners: listeners.to_vec() };

    let list = consumer_list(data);
    let single = match queue_answer(QUEUE, data) {
        Ok(answer) => Single::Answered(answer),
        Err(failure) => Single::Failed(failure),
    };
    let shown = |list: &[SeenConsumer]| {
        let active = |pattern: &TagPattern| {
            list.iter().any(|seen| seen.active && pattern.is_match(&seen.tag) == Ok(true))
        };
        patterns.clone().map(|pattern| active(&pattern))
    };
    let details = match &single {
        Single::Answered(answer) => answer.details.as_deref().unwrap_or_default(),
        _ => &[],
    };
    let listed = list.as_ref().map(|list| list.get(QUEUE).map_or(&[][..], Vec::as_slice));
    let somewhere = [shown(listed.unwrap_or_default()), shown(details)];

    let passives = [
        Passive::NotAsked,
        Passive::Missing,
        Passive::Denied,
        Passive::Present { messages: 1, consumers: 0 },
        Passive::Present { messages: 0, consumers: 2 },
    ];
    for passive in passives {
        let _ = needs_single(&spec, listed, passive);
        for single in [&single, &Single::NotAsked] {
            for seen in [Some(listed), None] {
                let checked = decide(&spec, &Evidence { seen, single, passive, genuine: list.is_ok() });
                assert_eq!(checked.listeners.len(), spec.listeners.len());
                assert_eq!(checked.reason.is_none(), checked.outcome == Outcome::Up);
                let all_up = checked.listeners.iter().all(|listener| listener.outcome == Outcome::Up);
                assert_eq!(checked.outcome == Outcome::Up, all_up, "{checked:?}");
                for (listener, wanted) in checked.listeners.iter().zip([1, 2]) {
                    let found = (0..wanted).all(|pattern| somewhere.iter().any(|shown| shown[pattern]));
                    assert!(found || listener.outcome != Outcome::Up, "{checked:?}");
                }
            }
        }
    }
    let bare = QueueSpec { queue: Arc::from(QUEUE), listeners: Vec::new() };
    let evidence =
        Evidence { seen: Some(listed), single: &single, passive: Passive::NotAsked, genuine: false };
    let _ = decide(&bare, &evidence);
}
