//! What Redis answers, in our terms. What somebody else wrote under our keys is nothing that is looked for.

use std::borrow::Cow;
use std::sync::Arc;

use fred::prelude::*;
use tracing::warn;

use crate::heartbeat::Timestamp;
use crate::state::Record;
use crate::store::{Write, Written, decode_record};

/// A record, where it is one.
pub(super) fn readable(body: &Value) -> Option<Arc<Record>> {
    let record = body.as_str().and_then(|text| decode_record(&text));
    if record.is_none() {
        let bytes = body.as_bytes().map(<[u8]>::len);
        warn!(bytes, "A record in Redis cannot be read; the next heartbeat replaces it");
    }
    record.map(Arc::new)
}

/// An own write whose answer was lost is known again by its text.
pub(super) fn read_written(write: &Write, revision: &str, body: &Value) -> Written {
    if revision.is_empty() || body.as_bytes() == Some(&*write.body) {
        return Written::Stored;
    }
    // Empty: what was stored is there no more, which its writer is about to mend.
    let record = if body.as_bytes().is_some_and(<[u8]>::is_empty) { None } else { readable(body) };
    Written::Conflict { revision: self::revision(revision), record }
}

/// A value as text. What is no text was not written by us, and is nothing that is looked for.
pub(super) fn text(value: &Value) -> Cow<'_, str> {
    value.as_str_lossy().unwrap_or_default()
}

/// Names and values that follow each other, as the protocol has a hash.
pub(super) fn pairs(values: Value) -> impl Iterator<Item = (String, String)> {
    let mut values = values.into_array().into_iter();
    std::iter::from_fn(move || {
        let (name, value) = (values.next()?, values.next()?);
        Some((text(&name).into_owned(), text(&value).into_owned()))
    })
}

/// A revision; 0, as for none, where there is something else, as the script has it too.
pub(super) fn revision(text: &str) -> u64 {
    let digits = text.len() <= 16 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).unwrap_or(0)
}

/// The answer of TIME: seconds and microseconds.
pub(super) fn time_of(value: &Value) -> Option<Timestamp> {
    let parts: Vec<i64> = value.clone().convert().ok()?;
    let [seconds, micros] = parts[..] else { return None };
    Some(Timestamp::from_unix_ms(seconds.checked_mul(1000)?.checked_add(micros / 1000)?))
}

/// The id of the first entry of a range of a log.
pub(super) fn newest_id(entries: Value) -> Option<String> {
    let entry = entries.into_array().into_iter().next()?;
    entry.into_array().into_iter().next()?.into_string()
}

/// The id of one log entry, with publisher key and revision, where somebody else did not write it.
pub(super) type LogEntry = (String, Option<(String, u64)>);

/// The answer of XREAD: by stream, its entries. What has another form is skipped.
pub(super) fn streams_of(answer: Value) -> Vec<(String, Vec<LogEntry>)> {
    let mut streams = Vec::new();
    for stream in answer.into_array() {
        let mut parts = stream.into_array().into_iter();
        let (Some(name), Some(entries)) = (parts.next().and_then(Value::into_string), parts.next()) else {
            continue;
        };
        streams.push((name, entries.into_array().into_iter().filter_map(log_entry).collect()));
    }
    streams
}

fn log_entry(entry: Value) -> Option<LogEntry> {
    let mut parts = entry.into_array().into_iter();
    let id = parts.next()?.into_string()?;
    let (mut key, mut held) = (None, None);
    for (name, value) in pairs(parts.next()?) {
        match &*name {
            "k" => key = Some(value),
            "r" => held = Some(revision(&value)),
            _ => {}
        }
    }
    Some((id, key.zip(held)))
}
