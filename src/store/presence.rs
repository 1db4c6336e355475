//! What replicas tell each other, as text.

use serde::{Deserialize, Serialize};

use super::Presence;
use crate::heartbeat::Timestamp;

#[derive(Deserialize, Serialize)]
struct Said {
    at: i64,
    #[serde(default)]
    listening_since: Option<i64>,
    #[serde(default)]
    listened_until: Option<i64>,
    #[serde(default)]
    queue: String,
    #[serde(default)]
    consuming: bool,
}

pub(super) fn encode(presence: &Presence) -> String {
    let said = Said {
        at: presence.at.unix_ms(),
        listening_since: presence.listening_since.map(Timestamp::unix_ms),
        listened_until: presence.listened_until.map(Timestamp::unix_ms),
        queue: presence.queue.clone(),
        consuming: presence.consuming,
    };
    // Writing to memory cannot fail.
    serde_json::to_string(&said).unwrap_or_default()
}

pub(super) fn decode(replica: &str, text: &str) -> Option<Presence> {
    let said: Said = serde_json::from_str(text).ok()?;
    Some(Presence {
        replica: replica.to_owned(),
        at: Timestamp::from_unix_ms(said.at),
        listening_since: said.listening_since.map(Timestamp::from_unix_ms),
        listened_until: said.listened_until.map(Timestamp::from_unix_ms),
        queue: said.queue,
        consuming: said.consuming,
    })
}
