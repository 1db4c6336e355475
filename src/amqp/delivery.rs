//! A message as it came: its body, its tag, and all that tells how old it may be.

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::message::Delivery as LapinDelivery;
use lapin::types::AMQPValue;

use crate::heartbeat::Timestamp;
use crate::signing::{Claim, KEY_ID_HEADER, Proof, SIGNATURE_HEADER};
use crate::trace::{TRACEPARENT, TraceContext};

/// One message, with all that must be known of how it came.
#[derive(Debug)]
pub struct Delivery {
    /// Which channel it came on; acks are void on any other.
    pub generation: u64,
    /// Its tag on that channel.
    pub tag: u64,
    /// The body.
    pub body: Vec<u8>,
    /// The routing key with which it was published.
    pub routing_key: Arc<str>,
    /// The broker has tried to deliver it before.
    pub redelivered: bool,
    /// It survives a restart of the broker, does not expire, and was seldom redelivered: a message
    /// that it supersedes may be let go.
    pub durable: bool,
    /// It was redelivered so often that its queue may drop it soon.
    pub worn: bool,
    /// When it came, in the store's clock.
    pub at: Timestamp,
    /// Whether nothing had been waiting (see [`LiveGate`](crate::state::live::LiveGate)).
    pub live: bool,
    /// Since when deliveries have been live.
    pub live_since: Timestamp,
    /// When the broker took it, if it says so.
    pub broker_at: Option<Timestamp>,
    /// The trace that it says it belongs to.
    pub trace: Option<TraceContext>,
    /// What it brings to prove whose it is.
    pub proof: Proof,
}

/// Redeliveries of a message after which it is worn: it may not stand in for others, nor be taken again while it cannot
/// be stored. RabbitMQ 4 drops a message after 20 of them by default, and others may take it, too.
const WORN: i64 = 10;

fn text_in<'a>(properties: &'a BasicProperties, header: &str) -> Option<&'a str> {
    match properties.headers().as_ref()?.inner().get(header)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    }
}

fn proof_of(properties: &BasicProperties) -> Proof {
    let text = |header| text_in(properties, header).map(Into::into);
    let claim = Claim { signature: text(SIGNATURE_HEADER), key_id: text(KEY_ID_HEADER) };
    Proof { claim, user_id: properties.user_id().as_ref().map(|user| user.as_str().into()), signer: None }
}

/// What came from the library, with when and how it came.
pub(super) fn stamp(
    delivery: LapinDelivery,
    generation: u64,
    at: Timestamp,
    live: bool,
    live_since: Timestamp,
) -> Delivery {
    let properties = &delivery.properties;
    let header = |name: &str| {
        let headers = properties.headers().as_ref()?;
        let value = headers.inner().iter().find(|(key, _)| key.as_str() == name)?.1;
        match value {
            AMQPValue::LongLongInt(number) => Some(*number),
            AMQPValue::LongInt(number) => Some(i64::from(*number)),
            AMQPValue::LongUInt(number) => Some(i64::from(*number)),
            AMQPValue::Timestamp(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    };
    let worn = header("x-delivery-count").is_some_and(|count| count >= WORN);
    let durable = *properties.delivery_mode() == Some(2) && properties.expiration().is_none() && !worn;
    let broker_at = header("timestamp_in_ms").map(Timestamp::from_unix_ms);
    let trace = text_in(properties, TRACEPARENT).and_then(TraceContext::parse);
    let proof = proof_of(properties);
    Delivery {
        generation,
        tag: delivery.delivery_tag,
        routing_key: delivery.routing_key.as_str().into(),
        redelivered: delivery.redelivered,
        durable,
        worn,
        at,
        live,
        live_since,
        broker_at,
        trace,
        proof,
        body: delivery.data,
    }
}
