//! Heartbeats as they pass, told one by one: a line for people, or the whole message as JSON.
//!
//! Pure: how they come is [`amqp::tap`](crate::amqp::tap)'s.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::amqp::consume::Delivery;
use crate::heartbeat::wire::{self, DecodeError, Limits};
use crate::heartbeat::{ComponentKey, Heartbeat, Kind, LegacyHeartbeat, Message, Outcome, Reason};
use crate::terminal::{Painted, Style, Terminal};

/// Components that are named of one heartbeat at most; the rest is counted.
const NAMED_MAX: usize = 5;

/// As much of an epoch as tells it from the one before.
const EPOCH_CHARS: usize = 8;

/// Columns of a publisher's name, so that what follows is mostly in line.
const NAME_COLUMNS: usize = 16;

/// One message that passed.
pub struct Passed {
    delivery: Delivery,
    message: Result<Message, DecodeError>,
}

impl Passed {
    /// Reads a message as a subscriber would.
    pub fn read(delivery: Delivery, limits: &Limits) -> Self {
        let message = wire::decode(&delivery.body, limits);
        Self { delivery, message }
    }

    /// A line for people.
    pub fn line(&self, terminal: &Terminal) -> Painted {
        let at = self.delivery.at.to_rfc3339_seconds();
        let (name, told) = match &self.message {
            Ok(Message::V2(heartbeat)) => (heartbeat.publisher.as_str(), v2(heartbeat, terminal)),
            Ok(Message::V1(heartbeat)) => (heartbeat.service.as_str(), v1(heartbeat, terminal)),
            Err(error) => {
                let mut told = terminal.paint(Style::Bad, format!("refused ({})", error.reason.as_str()));
                let Delivery { body, routing_key, .. } = &self.delivery;
                told.push(format!(": {}; {} bytes by {routing_key}", error.detail, body.len()));
                ("?", told)
            }
        };
        let mut line = Painted::from(format!("{at}  {name:<NAME_COLUMNS$}  "));
        line.push(told);
        line
    }

    /// All of it, to be written as JSON.
    pub fn whole(&self) -> impl Serialize {
        let Delivery { body, routing_key, at, proof, .. } = &self.delivery;
        let refused = self.message.as_ref().err();
        let message: Option<&RawValue> = serde_json::from_slice(body).ok();
        Told {
            received_at: at.to_rfc3339(),
            routing_key,
            user_id: proof.user_id.as_deref(),
            key_id: proof.claim.key_id.as_deref(),
            signed: proof.claim.signature.is_some(),
            refused: refused.map(|error| error.reason.as_str()),
            detail: refused.map(|error| error.detail.as_str()),
            text: message.is_none().then(|| String::from_utf8_lossy(body)),
            message,
        }
    }
}

/// A message with how it came.
#[derive(Serialize)]
struct Told<'a> {
    received_at: String,
    routing_key: &'a str,
    user_id: Option<&'a str>,
    key_id: Option<&'a str>,
    /// Whether it has a signature, which is not judged here.
    signed: bool,
    refused: Option<&'static str>,
    detail: Option<&'a str>,
    /// What is no JSON.
    text: Option<Cow<'a, str>>,
    /// As it was sent.
    message: Option<&'a RawValue>,
}

fn v2(heartbeat: &Heartbeat, terminal: &Terminal) -> Painted {
    let Heartbeat { epoch, sequence, components, .. } = heartbeat;
    let epoch: String = epoch.as_str().chars().take(EPOCH_CHARS).collect();
    let found = components.iter().map(|component| (&component.key, component.outcome, component.reason));
    let mut told = Painted::from(format!("#{sequence} of {epoch}  "));
    told.push(outcomes(found, terminal));
    if !heartbeat.maintenance.is_empty() {
        told.push("; with windows of maintenance");
    }
    told
}

fn v1(heartbeat: &LegacyHeartbeat, terminal: &Terminal) -> Painted {
    let found = heartbeat.components.iter().map(|component| (&component.key, component.outcome(), None));
    let mut told = Painted::from("version 1  ");
    told.push(outcomes(found, terminal));
    told
}

/// How many are how, and which are not up.
fn outcomes<'a>(
    found: impl Iterator<Item = (&'a ComponentKey, Outcome, Option<Reason>)>,
    terminal: &Terminal,
) -> Painted {
    let found: Vec<_> = found.collect();
    let count = |of| found.iter().filter(|(_, outcome, _)| *outcome == of).count();
    let counts = [(Outcome::Up, Style::Good), (Outcome::Unknown, Style::Odd), (Outcome::Down, Style::Bad)];
    let mut text = Painted::default();
    for (at, (outcome, style)) in counts.into_iter().enumerate() {
        let count = count(outcome);
        text.push(if at == 0 { "" } else { ", " });
        text.push(
            terminal.paint(if count == 0 { Style::Plain } else { style }, format!("{count} {outcome}")),
        );
    }
    let mut odd: Vec<_> = found.iter().filter(|(_, outcome, _)| *outcome != Outcome::Up).collect();
    odd.sort_by_key(|(_, outcome, _)| std::cmp::Reverse(*outcome));
    let named = odd.iter().take(NAMED_MAX).map(|(key, outcome, reason)| {
        let why = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        format!("{} ({outcome}{why})", name(key))
    });
    let named: Vec<String> = named.collect();
    if !named.is_empty() {
        text.push(format!(": {}", named.join(", ")));
    }
    if odd.len() > NAMED_MAX {
        text.push(format!(", and {} more", odd.len() - NAMED_MAX));
    }
    text
}

fn name(key: &ComponentKey) -> String {
    match key.kind {
        Kind::Consumer if !key.queue.is_empty() => format!("consumer {} of {}", key.name, key.queue),
        _ => format!("{} {}", key.kind, key.name),
    }
}
