//! A heartbeat as the broker gets it.

use crate::amqp::PUBLISHER_HEADER;
use crate::amqp::publish::Outgoing;
use crate::heartbeat::{Heartbeat, wire};
use crate::otlp::heartbeat::message_id;
use crate::signing::{KEY_ID_HEADER, SIGNATURE_HEADER, SigningKey};

/// The message of a heartbeat, signed where there is a key, with these headers more.
pub(super) fn outgoing(
    heartbeat: &Heartbeat,
    key: Option<&SigningKey>,
    more: impl IntoIterator<Item = (&'static str, String)>,
) -> Outgoing {
    let body = wire::encode(heartbeat);
    let mut headers = vec![(PUBLISHER_HEADER, heartbeat.publisher.as_str().to_owned())];
    headers.extend(more);
    if let Some(key) = key {
        headers.extend([(SIGNATURE_HEADER, key.sign(&body)), (KEY_ID_HEADER, key.id().to_string())]);
    }
    Outgoing {
        body,
        routing_key: None,
        message_id: message_id(heartbeat),
        message_type: wire::MESSAGE_TYPE,
        app_id: wire::APP_ID,
        timestamp: heartbeat.sent_at.unix_ms().unsigned_abs() / 1000,
        headers,
    }
}
