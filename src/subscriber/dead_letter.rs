//! Where refused messages go: to an exchange where one is configured, else to a list in the store.
//! Neither blocks the rest, and a refused message is acknowledged only once it has its place.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::amqp::consume::Delivery;
use crate::amqp::publish::{Outgoing, PublishFailure, Publisher};
use crate::heartbeat::Timestamp;
use crate::store::REJECTED_MAX;

/// Messages that wait for the exchange.
const WAITING_MAX: usize = 256;

/// Bytes of their bodies, which are whole: a few of the largest that brokers take.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// Bytes of a refused message that the list keeps; the exchange gets all.
const KEPT_BYTES: usize = 4096;

/// A message that was not taken.
#[derive(Debug)]
pub(super) struct Refused {
    /// Its delivery, while it can be acknowledged.
    pub(super) tag: Option<u64>,
    /// The channel on which alone that tag is good.
    pub(super) generation: u64,
    /// `None` once newer ones have taken its place in the list.
    body: Option<Vec<u8>>,
    bytes: usize,
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
            bytes: delivery.body.len(),
            body: Some(delivery.body),
            reason,
            detail,
            at: delivery.at,
        }
    }

    /// The entry of the list; `None` if it has no place there any more.
    pub(super) fn to_text(&self) -> Option<String> {
        let body = self.body.as_ref()?;
        let kept = Kept {
            at: self.at.to_rfc3339(),
            reason: self.reason,
            detail: &self.detail,
            routing_key: &self.routing_key,
            bytes: self.bytes,
            body: String::from_utf8_lossy(&body[..body.len().min(KEPT_BYTES)]),
        };
        // Writing to memory cannot fail.
        Some(serde_json::to_string(&kept).unwrap_or_default())
    }

    /// Keeps no more of the body than the list does.
    fn cut(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.truncate(KEPT_BYTES);
            body.shrink_to_fit();
        }
        self
    }
}

/// Refused messages that wait for the list. The list holds the latest alone, so the older ones wait
/// without their bodies, only to be acknowledged: however many wait, they need little room.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    refused: VecDeque<Refused>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    pub(super) fn push(&mut self, refused: Refused) {
        self.refused.push_back(refused.cut());
        if let Some(outlived) = self.refused.len().checked_sub(REJECTED_MAX + 1) {
            let outlived = &mut self.refused[outlived];
            (outlived.body, outlived.detail, outlived.routing_key) = (None, String::new(), String::new());
        }
    }

    /// Those that were taken and found no place: they are the oldest.
    pub(super) fn put_back(&mut self, refused: Vec<Refused>) {
        let newer = std::mem::take(&mut self.refused);
        for refused in refused.into_iter().chain(newer) {
            self.push(refused);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused).into()
    }

    /// The channel is gone; returns how many deliveries were given back.
    pub(super) fn forget_tags(&mut self) -> usize {
        let returned = self.refused.iter_mut().filter_map(|refused| refused.tag.take()).count();
        // Without a body they waited only to be acknowledged.
        self.refused.retain(|refused| refused.body.is_some());
        returned
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
        let bytes = || self.waiting.iter().map(|refused| refused.bytes).sum::<usize>();
        self.waiting.len() >= WAITING_MAX || bytes() >= WAITING_BYTES_MAX
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
                body: refused.body.clone().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::intake::tests::delivery;

    fn of_bytes(bytes: usize) -> Refused {
        Refused::new(Delivery { body: vec![b' '; bytes], ..delivery(1) }, "oversize", String::new())
    }

    /// Whole bodies wait for an exchange that does not answer: as many as there may be, or as long.
    #[test]
    fn what_waits_for_the_exchange_is_bounded_in_number_and_in_bytes() {
        let mut letters = DeadLetters::new(None);
        letters.waiting.push_back(of_bytes(WAITING_BYTES_MAX - 1));
        assert!(!letters.is_full());
        letters.waiting.push_back(of_bytes(1));
        assert!(letters.is_full());
        letters.waiting = std::iter::repeat_with(|| of_bytes(1)).take(WAITING_MAX).collect();
        assert!(letters.is_full());
    }
}
