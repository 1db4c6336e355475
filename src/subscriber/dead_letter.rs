//! Where refused messages go: to an exchange where one is configured, else to a list in the store.
//! Neither blocks the rest, and a refused message is acknowledged only once it has its place.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::amqp::consume::Delivery;
use crate::amqp::publish::{Outgoing, PublishFailure, Publisher};
use crate::heartbeat::Timestamp;

/// Messages that wait for the exchange.
const WAITING_MAX: usize = 256;

/// Bytes of a refused message that the list keeps; the exchange gets all.
const KEPT_BYTES: usize = 4096;

/// A message that was not taken.
#[derive(Debug)]
pub(super) struct Refused {
    /// Its delivery, while it can be acknowledged.
    pub(super) tag: Option<u64>,
    /// The channel on which alone that tag is good.
    pub(super) generation: u64,
    body: Vec<u8>,
    routing_key: String,
    reason: &'static str,
    detail: String,
    at: Timestamp,
}

#[derive(Serialize)]
struct Kept<'a> {
    at: String,
    reason: &'static str,
    detail: &'a str,
    routing_key: &'a str,
    bytes: usize,
    /// What is no UTF-8 is replaced, so that the list can be read.
    body: std::borrow::Cow<'a, str>,
}

impl Refused {
    pub(super) fn new(delivery: Delivery, reason: &'static str, detail: String) -> Self {
        Self {
            tag: Some(delivery.tag),
            generation: delivery.generation,
            routing_key: delivery.routing_key.to_string(),
            body: delivery.body,
            reason,
            detail,
            at: delivery.at,
        }
    }

    /// The entry of the list.
    pub(super) fn to_text(&self) -> String {
        let shown = &self.body[..self.body.len().min(KEPT_BYTES)];
        let kept = Kept {
            at: self.at.to_rfc3339(),
            reason: self.reason,
            detail: &self.detail,
            routing_key: &self.routing_key,
            bytes: self.body.len(),
            body: String::from_utf8_lossy(shown),
        };
        // Writing to memory cannot fail.
        serde_json::to_string(&kept).unwrap_or_default()
    }
}

/// The way to the dead-letter exchange, if there is one.
pub(super) struct DeadLetters {
    exchange: Option<Publisher>,
    waiting: VecDeque<Refused>,
    sending: Option<(Refused, BoxFuture<'static, Result<(), PublishFailure>>)>,
}

impl DeadLetters {
    pub(super) fn new(exchange: Option<Publisher>) -> Self {
        Self { exchange, waiting: VecDeque::new(), sending: None }
    }

    /// Takes a message on its way; gives it back where there is no exchange.
    pub(super) fn send(&mut self, refused: Refused) -> Option<Refused> {
        if self.exchange.is_none() {
            return Some(refused);
        }
        self.waiting.push_back(refused);
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sending.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// The channel is gone; returns how many deliveries were given back.
    pub(super) fn forget_tags(&mut self) -> usize {
        let sending = self.sending.iter_mut().map(|(refused, _)| refused);
        sending.chain(&mut self.waiting).filter_map(|refused| refused.tag.take()).count()
    }

    /// The next message that the exchange took or did not take. Safe to cancel.
    pub(super) async fn next(&mut self) -> (Vec<Refused>, bool) {
        if self.sending.is_none()
            && let (Some(exchange), Some(refused)) = (self.exchange.clone(), self.waiting.pop_front())
        {
            let message = Outgoing {
                body: refused.body.clone(),
                routing_key: Some(refused.routing_key.clone()),
                message_id: String::new(),
                message_type: "heartbeat.rejected",
                app_id: crate::heartbeat::wire::APP_ID,
                timestamp: refused.at.unix_ms().unsigned_abs() / 1000,
                headers: vec![
                    ("x-heartbeat-reason", refused.reason.to_owned()),
                    ("x-heartbeat-detail", refused.detail.clone()),
                ],
            };
            let sending = Box::pin(async move { exchange.publish(message).await });
            self.sending = Some((refused, sending));
        }
        let Some((_, sending)) = &mut self.sending else { return std::future::pending().await };
        let sent = sending.await;
        let refused = self.sending.take().map(|(refused, _)| refused);
        (refused.into_iter().collect(), sent.is_ok())
    }
}
