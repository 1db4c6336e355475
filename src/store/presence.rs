//! What replicas tell each other, as text.

use serde::{Deserialize, Serialize};

use super::Presence;
use crate::heartbeat::Timestamp;
use crate::state::hearing::Span;

#[derive(Deserialize, Serialize)]
struct Said {
    at: i64,
    /// Beginning and end of each span.
    #[serde(default)]
    heard: Vec<(i64, i64)>,
    #[serde(default)]
    broker: String,
    #[serde(default)]
    queue: String,
    #[serde(default)]
    consumers: u32,
    #[serde(default)]
    consuming: bool,
}

pub(super) fn encode(presence: &Presence) -> String {
    let said = Said {
        at: presence.at.unix_ms(),
        heard: presence.heard.iter().map(|span| (span.since.unix_ms(), span.until.unix_ms())).collect(),
        broker: presence.broker.clone(),
        queue: presence.queue.clone(),
        consumers: presence.consumers,
        consuming: presence.consuming,
    };
    // Writing to memory cannot fail.
    serde_json::to_string(&said).unwrap_or_default()
}

/// Reads what a replica said; `None` for what it cannot have said.
pub fn decode(replica: &str, text: &str) -> Option<Presence> {
    let said: Said = serde_json::from_str(text).ok()?;
    Some(Presence {
        replica: replica.to_owned(),
        at: Timestamp::from_unix_ms(said.at),
        heard: said.heard.into_iter().map(span).collect(),
        broker: said.broker,
        queue: said.queue,
        consumers: said.consumers,
        consuming: said.consuming,
    })
}

fn span((since, until): (i64, i64)) -> Span {
    Span { since: Timestamp::from_unix_ms(since), until: Timestamp::from_unix_ms(until) }
}
