//! What replicas tell each other, as text.

use serde::{Deserialize, Serialize};

use super::Presence;
use crate::heartbeat::Timestamp;
use crate::state::hearing::Span;

/// What was stored may be anything; this bounds it. More than any replica consumes.
const QUEUES_MAX: usize = 64;

#[derive(Deserialize, Serialize)]
struct Said {
    at: i64,
    /// Beginning and end of each span.
    #[serde(default)]
    heard: Vec<(i64, i64)>,
    #[serde(default)]
    broker: String,
    /// The queue, as subscribers before several queues say it and understand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// The queues, where they are not one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queues: Vec<String>,
    #[serde(default)]
    consumers: u32,
    #[serde(default)]
    consuming: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirmed: Option<i64>,
    #[serde(default)]
    active: u32,
    /// Subscribers before several queues say that they consume no more, and go.
    left: Option<bool>,
}

pub(super) fn encode(presence: &Presence) -> String {
    let (queue, queues) = match presence.queues.as_slice() {
        [queue] => (Some(queue.clone()), Vec::new()),
        several => (None, several.to_vec()),
    };
    let said = Said {
        at: presence.at.unix_ms(),
        heard: presence.heard.iter().map(|span| (span.since.unix_ms(), span.until.unix_ms())).collect(),
        broker: presence.broker.clone(),
        queue,
        queues,
        consumers: presence.consumers,
        consuming: presence.consuming,
        confirmed: presence.confirmed.map(Timestamp::unix_ms),
        active: presence.active,
        left: Some(presence.left),
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
        queues: said.queue.into_iter().chain(said.queues).take(QUEUES_MAX).collect(),
        consumers: said.consumers,
        consuming: said.consuming,
        confirmed: said.confirmed.map(Timestamp::from_unix_ms),
        active: said.active,
        left: said.left.unwrap_or(!said.consuming),
    })
}

fn span((since, until): (i64, i64)) -> Span {
    Span { since: Timestamp::from_unix_ms(since), until: Timestamp::from_unix_ms(until) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::hearing::Spans;

    fn presence(queues: &[&str]) -> Presence {
        let at = Timestamp::from_unix_ms(5_000);
        Presence {
            replica: "a".to_owned(),
            at,
            heard: Spans::unbroken(Timestamp::from_unix_ms(1_000), at),
            broker: "rabbitmq:5672".to_owned(),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            consumers: 2,
            consuming: true,
            confirmed: Some(Timestamp::from_unix_ms(4_900)),
            active: 1,
            left: false,
        }
    }

    #[test]
    fn one_queue_is_said_as_it_always_was_and_several_apart() {
        let one = encode(&presence(&["/heartbeat"]));
        assert!(one.contains(r#""queue":"/heartbeat""#) && !one.contains("queues"), "{one}");
        for queues in [&["/heartbeat"][..], &["/one", "/two"], &[]] {
            assert_eq!(decode("a", &encode(&presence(queues))), Some(presence(queues)));
        }
        let before = r#"{"at":5000,"heard":[[1000,5000]],"broker":"rabbitmq:5672","queue":"/heartbeat"}"#;
        let before = decode("a", before).expect("what was said before is understood");
        assert_eq!((before.queues, before.active, before.left), (vec!["/heartbeat".to_owned()], 0, true));
    }

    /// Replicas of two versions meet while one replaces the other.
    #[test]
    fn what_another_version_says_is_understood() {
        let earlier = decode("r", include_str!("../../tests/fixtures/0.1.0/presence.json")).unwrap();
        let later = decode("r", include_str!("../../tests/fixtures/later/presence.json")).unwrap();
        assert_eq!(earlier, later);
        assert_eq!((earlier.consumers, earlier.consuming, earlier.heard.iter().count()), (2, true, 2));
        assert_eq!(decode("r", &encode(&earlier)), Some(earlier));
    }
}
