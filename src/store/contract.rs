//! The contract's keys, as the Java proxy reads them: `service:{name}:{status}` for hosts and
//! listeners, `queue:{name}:{status}` for queues, each with the time of that status.

use std::collections::HashMap;

use crate::heartbeat::{Component, ComponentKey, Kind, Message, Outcome, Timestamp};
use crate::state::Record;

/// Adds the keys of a message. Of two times for one key the later stays.
pub fn add_keys(message: &Message, keys: &mut HashMap<String, Timestamp>) {
    match message {
        Message::V1(heartbeat) => {
            for component in &heartbeat.components {
                add(keys, &component.key, "ok", component.ok_at);
                add(keys, &component.key, "not_ok", component.not_ok_at);
            }
        }
        Message::V2(heartbeat) => {
            for component in &heartbeat.components {
                add_component(component, keys);
            }
        }
    }
}

/// Adds the keys of a record: for one that the store lost.
pub fn add_record_keys(record: &Record, keys: &mut HashMap<String, Timestamp>) {
    for state in record.components.iter() {
        add_component(&state.component, keys);
    }
}

fn add_component<S: AsRef<str>>(component: &Component<S>, keys: &mut HashMap<String, Timestamp>) {
    // What was skipped on the way is in these times too, so the pair stays right.
    // Unknown counts as not ok: the proxy would go on showing the last ok otherwise.
    let mut ok = component.last_up_at;
    let mut not_ok = component.last_down_at.max(component.last_unknown_at);
    match component.outcome {
        Outcome::Up => ok = ok.max(Some(component.checked_at)),
        Outcome::Down | Outcome::Unknown => not_ok = not_ok.max(Some(component.checked_at)),
    }
    add(keys, &component.key, "ok", ok);
    add(keys, &component.key, "not_ok", not_ok);
}

fn add<S: AsRef<str>>(
    keys: &mut HashMap<String, Timestamp>,
    key: &ComponentKey<S>,
    status: &str,
    at: Option<Timestamp>,
) {
    let (Some(at), Some(prefix)) = (at, prefix(&key.kind)) else { return };
    // The proxy drops keys that do not have exactly three parts.
    let name = key.name.as_ref();
    let name = if name.contains(':') { &name.replace(':', "%3A") } else { name };
    let held = keys.entry([prefix, ":", name, ":", status].concat()).or_insert(at);
    *held = (*held).max(at);
}

/// Kinds of later versions have no place in the contract.
fn prefix<S>(kind: &Kind<S>) -> Option<&'static str> {
    match kind {
        Kind::Host | Kind::Consumer => Some("service"),
        Kind::Queue => Some("queue"),
        Kind::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::wire::{Limits, decode};

    #[test]
    fn a_captured_message_gives_what_the_original_writes() {
        let message =
            decode(include_bytes!("../../tests/fixtures/v1-mixed.json"), &Limits::default()).unwrap();
        let mut keys = HashMap::new();
        add_keys(&message, &mut keys);
        assert_eq!(keys["service:sda-doa:ok"].to_legacy(), "2026-11-23 16:24:49 UTC");
        assert!(keys.contains_key("service:sda-db:not_ok"));
        assert!(keys.contains_key("queue:mappings:not_ok"));
        assert!(!keys.contains_key("queue:mappings:ok"));
        assert_eq!(keys.len(), 2 + 9 + 6);
    }

    #[test]
    fn a_colon_is_encoded_so_that_the_proxy_reads_three_parts() {
        let mut keys = HashMap::new();
        add(&mut keys, &ComponentKey::host("a:b"), "ok", Some(Timestamp::EPOCH));
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["service:a%3Ab:ok"]);
    }
}
