//! What stands in Redis, by whose hand ever: a publisher's record, and what a replica says of itself.

use std::collections::HashMap;

use heartbeat_bridge::heartbeat::wire::{Limits, decode as decode_message};
use heartbeat_bridge::heartbeat::{Message, Timestamp, check_name};
use heartbeat_bridge::state::change::Changes;
use heartbeat_bridge::state::{Record, apply};
use heartbeat_bridge::store::{contract, decode_presence, decode_record, encode_record};
use serde_json::json;

use super::exposition::is_shown_as_it_is;
use super::state::{NOW_MS, ask_everything, receipt, snapshot, view_of};

/// A record that is taken keeps the rules, is written as it was read, and serves like any other: messages are
/// applied on it, and it is shown. Whatever else stands there is no record.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(presence) = decode_presence("replica", text) {
        let _ = presence.shares_queue(&presence);
        let _ = presence.heard.since(Timestamp::from_unix_ms(NOW_MS));
        assert!(presence.heard.iter().count() <= 8, "spans are bounded");
    }
    let Some(record) = decode_record(text) else { return };
    let written = encode_record(&record);
    assert_eq!(decode_record(&written).as_ref(), Some(&record), "read as it was written");
    keeps_the_rules(&record);

    contract::add_record_keys(&record, &mut HashMap::new());
    let tombstone = record.forget(Timestamp::from_unix_ms(NOW_MS));
    for message in messages(&record) {
        for live in [true, false] {
            let (next, _) = apply(Some(&record), &message, &receipt(NOW_MS, live));
            keeps_the_rules(&next);
            let _ = Changes::between(Some(&record), &next);
            let _ = apply(Some(&tombstone), &message, &receipt(NOW_MS, live));
            shows(next);
        }
    }
    shows(record);
}

fn shows(record: Record) {
    let view = view_of(record);
    for ms in [0, NOW_MS, i64::MAX] {
        ask_everything(&view, ms);
        is_shown_as_it_is(&snapshot(&view, ms, true));
    }
}

fn keeps_the_rules(record: &Record) {
    check_name(record.id.as_str()).unwrap();
    assert!(record.lives.len() <= 9, "{} lives", record.lives.len());
    let sorted = record.components.iter().is_sorted_by(|a, b| a.component.key < b.component.key);
    assert!(sorted, "components are sorted, and each once");
}

/// The next messages of that publisher: of the shown epoch, of another, and of an original.
fn messages(record: &Record) -> Vec<Message> {
    let at = Timestamp::from_unix_ms(NOW_MS);
    let id = record.id.as_str();
    let epochs = [&*record.shown, "another"].map(|epoch| {
        json!({"v2": {
            "publisher": id, "epoch": epoch, "started_at": at.to_rfc3339(), "uptime_ms": 1000, "sequence": 99,
            "sent_at": at.to_rfc3339(), "interval_seconds": 10, "version": "1",
            "components": [{"kind": "host", "name": "db", "outcome": "down", "checked_at": at.to_rfc3339()}],
        }})
    });
    let original = json!({
        "service": id, "timestamp": at.to_legacy(),
        "hosts": [{"name": "db", "status": "ok", "timestamp": at.to_legacy()}],
        "rmq_consumers": {"queues_status": [], "services_status": []},
    });
    let bodies = epochs.into_iter().chain([original]).map(|message| message.to_string());
    // An epoch that no message could bear is no epoch of a message.
    bodies.filter_map(|body| decode_message(body.as_bytes(), &Limits::default()).ok()).collect()
}
