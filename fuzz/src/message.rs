//! A body from the broker, of either version.

use heartbeat_bridge::heartbeat::wire::{Limits, TRACE_BYTES_MAX, decode, encode};
use heartbeat_bridge::heartbeat::{Heartbeat, LegacyHeartbeat, Message, Outcome, check_name};

/// Whatever is taken keeps the rules of the message, and is read again as it was written.
pub fn run(data: &[u8]) {
    let limits = Limits { message_bytes: 1 << 16, components: 50, trace_bytes: TRACE_BYTES_MAX };
    match decode(data, &limits) {
        Err(error) => assert!(!error.detail.is_empty() && error.detail.len() <= 512, "{error}"),
        Ok(Message::V1(heartbeat)) => keeps_the_rules_of_version_1(&heartbeat, &limits),
        Ok(Message::V2(heartbeat)) => {
            keeps_the_rules(&heartbeat, &limits);
            // What we write is larger than what we read: an offset in a time, a number with an exponent.
            let larger = Limits { message_bytes: usize::MAX, ..limits };
            let again = decode(&encode(&heartbeat), &larger);
            assert_eq!(again, Ok(Message::V2(heartbeat)));
        }
    }
}

fn keeps_the_rules(heartbeat: &Heartbeat, limits: &Limits) {
    check_name(heartbeat.publisher.as_str()).unwrap();
    check_name(&heartbeat.version).unwrap();
    assert!(heartbeat.sequence > 0);
    assert!(!heartbeat.interval.is_zero());
    assert!(heartbeat.totals.blocked_seconds >= 0.0);
    assert!(heartbeat.components.len() <= limits.components);
    assert!(heartbeat.components.is_sorted_by(|a, b| a.key < b.key), "sorted, and each once");
    for component in &heartbeat.components {
        check_name(&component.key.name).unwrap();
        assert_eq!(component.reason.is_none(), component.outcome == Outcome::Up);
        assert!(component.duration_seconds.is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0));
    }
    for check in heartbeat.trace.iter().flat_map(|trace| &trace.checks) {
        assert!(heartbeat.components.iter().any(|component| component.key == check.key));
    }
}

fn keeps_the_rules_of_version_1(heartbeat: &LegacyHeartbeat, limits: &Limits) {
    check_name(heartbeat.service.as_str()).unwrap();
    assert!(heartbeat.life.chars().count() <= 32);
    assert!(heartbeat.components.len() <= limits.components);
    assert!(heartbeat.components.is_sorted_by(|a, b| a.key < b.key), "sorted, and each once");
    for component in &heartbeat.components {
        check_name(&component.key.name).unwrap();
        assert!(component.ok_at.is_some() || component.not_ok_at.is_some());
    }
}
