//! Messages as bytes: the only place that knows the JSON fields of a heartbeat.
//!
//! A version 2 message is a complete version 1 object plus one top-level key, `v2`, so that the
//! original's subscriber reads it as one of its own.

mod maintenance;
mod trace;
mod v1;
pub(crate) mod v2;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Heartbeat, Message};

pub use maintenance::{decode_windows, encode_windows};
pub use trace::TRACE_BYTES_MAX;

/// `type` property of our messages.
pub const MESSAGE_TYPE: &str = "heartbeat.v2";

/// `app_id` property of our messages.
pub const APP_ID: &str = "heartbeat";

/// The `service` of the original's messages, which stands for its publisher id.
pub const LEGACY_SERVICE: &str = "publisher";

/// What a message may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the body.
    pub message_bytes: usize,
    /// Components, or entries of a version 1 message.
    pub components: usize,
    /// Bytes of the trace that a message carries; a larger one is left out. 0: none is asked for, and none
    /// is read.
    pub trace_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 1 << 20, components: 2000, trace_bytes: 0 }
    }
}

/// Why a message was not taken: the label of the rejected counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// No bytes at all.
    Empty,
    /// More bytes than the limit.
    Oversize,
    /// Not JSON in UTF-8.
    NotJson,
    /// JSON, but fields are missing, doubled, or of the wrong type.
    Shape,
    /// A name, id or epoch that breaks the rules for names.
    Name,
    /// A time that cannot be read.
    Time,
    /// A number out of range, or a status that is none.
    Value,
    /// More components than the limit.
    TooManyComponents,
    /// One component twice.
    DuplicateComponent,
}

impl Rejection {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::Empty,
        Self::Oversize,
        Self::NotJson,
        Self::Shape,
        Self::Name,
        Self::Time,
        Self::Value,
        Self::TooManyComponents,
        Self::DuplicateComponent,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Oversize => "oversize",
            Self::NotJson => "not_json",
            Self::Shape => "shape",
            Self::Name => "name",
            Self::Time => "time",
            Self::Value => "value",
            Self::TooManyComponents => "too_many_components",
            Self::DuplicateComponent => "duplicate_component",
        }
    }
}

/// A message that was not taken, with what was found where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message refused ({}): {detail}", reason.as_str())]
pub struct DecodeError {
    /// The bounded reason.
    pub reason: Rejection,
    /// For people: never a label.
    pub detail: String,
}

/// Longest detail of a refusal, in bytes. A parser repeats what it found, which may be all of the message.
const DETAIL_BYTES_MAX: usize = 512;

impl DecodeError {
    fn new(reason: Rejection, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            let ends = detail.char_indices().map(|(end, _)| end);
            let end = ends.take_while(|end| end + '…'.len_utf8() <= DETAIL_BYTES_MAX).last();
            detail.truncate(end.unwrap_or(0));
            detail.shrink_to_fit();
            detail.push('…');
        }
        Self { reason, detail }
    }
}

/// The whole top level. What version 2 does not use of the version 1 part is skipped unread.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    v2: Option<v2::Wire<'a, v2::Read>>,
}

#[derive(Serialize)]
struct OutgoingMessage<'a> {
    #[serde(flatten)]
    v1: v1::Outgoing<'a>,
    v2: v2::Wire<'a, v2::Written<'a>>,
}

/// Writes a heartbeat as one message that both kinds of subscriber read.
pub fn encode(heartbeat: &Heartbeat) -> Vec<u8> {
    let trace = trace::encode(heartbeat);
    let body = encode_with(heartbeat, trace.as_deref());
    if trace.is_some() && body.len() > Limits::default().message_bytes {
        // The heartbeat matters more than how it came about.
        return encode_with(heartbeat, None);
    }
    body
}

fn encode_with(heartbeat: &Heartbeat, trace: Option<&RawValue>) -> Vec<u8> {
    let maintenance = Some(&heartbeat.maintenance).filter(|windows| !windows.is_empty());
    let maintenance = maintenance.map(|windows| encode_windows(windows));
    let v2 = v2::Wire::new(heartbeat, maintenance.as_deref(), trace);
    let message = OutgoingMessage { v1: v1::Outgoing::from(heartbeat), v2 };
    // Writing to memory cannot fail, and the map keys are all strings.
    serde_json::to_vec(&message).unwrap_or_default()
}

/// Reads a message of either version. Size is judged before anything is parsed.
///
/// # Errors
/// Says by a bounded reason why the message is not taken.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Message, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::new(Rejection::Empty, "the body is empty"));
    }
    if body.len() > limits.message_bytes {
        let detail = format!("{} bytes, the limit is {}", body.len(), limits.message_bytes);
        return Err(DecodeError::new(Rejection::Oversize, detail));
    }
    // All at once, which is faster than text by text.
    let text = std::str::from_utf8(body)
        .map_err(|error| DecodeError::new(Rejection::NotJson, format!("no UTF-8: {error}")))?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|e| json_error(&e))?;
    match envelope.v2 {
        Some(wire) => wire.into_heartbeat(limits).map(|heartbeat| Message::V2(Box::new(heartbeat))),
        None => {
            let wire: v1::Incoming<'_> = serde_json::from_str(text).map_err(|e| json_error(&e))?;
            wire.into_heartbeat(limits).map(Message::V1)
        }
    }
}

fn json_error(error: &serde_json::Error) -> DecodeError {
    let reason = if error.is_data() { Rejection::Shape } else { Rejection::NotJson };
    DecodeError::new(reason, error.to_string())
}

/// A borrowed string where the JSON has no escapes, an owned one otherwise.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests;
