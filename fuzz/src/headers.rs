//! Headers: `traceparent` of a message, `Accept` of a request, and numbers and times as text.

use heartbeat_bridge::config::parse;
use heartbeat_bridge::exposition::text::negotiate;
use heartbeat_bridge::heartbeat::{Epoch, Kind, Timestamp};
use heartbeat_bridge::trace::TraceContext;

/// What is taken is written as it was read.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(context) = TraceContext::parse(&text) {
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
    }
    let _ = negotiate(Some(&text));
    if let Ok(time) = Timestamp::parse_rfc3339(&text) {
        assert_eq!(Timestamp::parse_rfc3339(&time.to_rfc3339()), Ok(time));
    }
    if let Ok(time) = Timestamp::parse_legacy(&text) {
        assert_eq!(time.to_legacy(), text);
    }
    if let Some(kind) = Kind::parse(&text) {
        assert_eq!(kind.as_str(), text);
    }
    if let Some(epoch) = Epoch::parse(&text) {
        assert_eq!(epoch.as_str(), text);
    }
    let _ = parse::listen_addresses(&text);
    let _ = parse::nodes(&text);
    let _ = parse::legacy_ids(&text);
    let _ = parse::grace_rules(&text);
}
