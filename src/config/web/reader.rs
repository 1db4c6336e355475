//! Takes single values out of the file, and keeps what is wrong with them.

use std::time::Duration;

use yaml_serde::{Mapping, Value};

use crate::config::likeness;
use crate::config::problem::{Problem, Problems};
use crate::telemetry::is_dangerous;

/// Longest part of a key that a message repeats, in characters.
const KEY_CHARS_MAX: usize = 60;

/// Where a key belongs that stands in the wrong place, or what there is in its stead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cert_file", "its place is within tls_server_config"),
    ("key_file", "its place is within tls_server_config"),
    ("client_ca_file", "its place is within tls_server_config"),
    ("client_auth_type", "its place is within tls_server_config"),
    ("min_version", "its place is within tls_server_config"),
    ("http2", "its place is within http_server_config"),
    ("headers", "its place is within http_server_config"),
    ("auth_excluded_paths", "WEB_HEALTH_WITHOUT_AUTH is the setting for health checks"),
    ("tls_config", "it is what a client has; here it is tls_server_config"),
    ("basic_auth", "it is what a client has; here it is basic_auth_users"),
];

#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Problems,
}

impl Reader {
    /// Notes that something in the file cannot be used.
    pub(super) fn problem(
        &mut self,
        path: &str,
        value: Option<String>,
        why: impl Into<String>,
        example: impl Into<String>,
    ) {
        let (name, why, example) = (path.to_owned(), why.into(), example.into());
        self.problems.push(Problem { name, value, why, example });
    }

    /// Keys with values.
    pub(super) fn mapping<'a>(&mut self, value: &'a Value, path: &str, example: &str) -> Option<&'a Mapping> {
        let mapping = value.as_mapping();
        if mapping.is_none() {
            self.problem(path, None, "it has to hold keys with values", example);
        }
        mapping
    }

    /// Keys with values under a key that may be missing.
    pub(super) fn mapping_of<'a>(
        &mut self,
        mapping: &'a Mapping,
        path: &str,
        key: &str,
        example: &str,
    ) -> Option<&'a Mapping> {
        let value = mapping.get(key)?;
        self.mapping(value, &joined(path, key), example)
    }

    /// A part of the whole file, which may be missing.
    pub(super) fn section<'a>(&mut self, root: &'a Mapping, key: &str, example: &str) -> Option<&'a Mapping> {
        self.mapping_of(root, "", key, example)
    }

    /// Refuses every key that nothing reads, and guesses what was meant.
    pub(super) fn known_keys(&mut self, mapping: &Mapping, path: &str, known: &[&str]) {
        for key in mapping.keys() {
            let Some(key) = key.as_str() else {
                self.problem(path, None, "it has a key that is no text", "");
                continue;
            };
            if known.contains(&key) {
                continue;
            }
            let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == key).map(|(_, where_)| *where_);
            let unused = known.iter().copied().filter(|known| !mapping.contains_key(*known));
            let why = match (likeness::nearest(key, unused), elsewhere) {
                (_, Some(elsewhere)) => format!("there is no such key; {elsewhere}"),
                (Some(meant), None) => format!("there is no such key; is `{meant}` meant?"),
                (None, None) => format!("there is no such key; here may be {}", known.join(", ")),
            };
            self.problem(&joined(path, &harmless(key)), None, why, "");
        }
    }

    /// A text that is not empty; `None` where the key is missing.
    pub(super) fn text<'a>(&mut self, mapping: &'a Mapping, path: &str, key: &str) -> Option<&'a str> {
        let value = mapping.get(key)?;
        let text = value.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            self.problem(
                &joined(path, key),
                None,
                "it is no text, or empty; leave it out if none is meant",
                "",
            );
        }
        text
    }

    /// A list of texts that is not empty; `None` where the key is missing.
    pub(super) fn texts<'a>(&mut self, mapping: &'a Mapping, path: &str, key: &str) -> Option<Vec<&'a str>> {
        let value = mapping.get(key)?;
        let texts: Option<Vec<&str>> =
            value.as_sequence().and_then(|list| list.iter().map(Value::as_str).collect());
        let texts = texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.is_empty()));
        if texts.is_none() {
            let why = "it is no list of texts, or empty; leave it out if none is meant";
            self.problem(&joined(path, key), None, why, "");
        }
        texts
    }

    /// A switch.
    pub(super) fn boolean(&mut self, mapping: &Mapping, path: &str, key: &str) -> Option<bool> {
        let value = mapping.get(key)?;
        if !value.is_bool() {
            self.problem(&joined(path, key), None, "it is neither true nor false", "");
        }
        value.as_bool()
    }

    /// A time with its unit, or 0; it has to be there.
    pub(super) fn duration(
        &mut self,
        mapping: &Mapping,
        path: &str,
        key: &str,
        max: Duration,
    ) -> Option<Duration> {
        const EXAMPLE: &str = "100ms";
        let place = joined(path, key);
        let Some(value) = mapping.get(key) else {
            self.problem(&place, None, "it is missing", EXAMPLE);
            return None;
        };
        let duration = match value {
            // Of numbers, 0 alone means the same to everybody: Go counts nanoseconds.
            Value::Number(number) if number.as_u64() == Some(0) => Some(Duration::ZERO),
            Value::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        let fits = duration.filter(|duration| *duration <= max);
        if fits.is_none() {
            let why = format!("it is no time with a unit, up to {}", humantime::format_duration(max));
            self.problem(&place, None, why, EXAMPLE);
        }
        fits
    }

    /// A count from 1; it has to be there.
    pub(super) fn count(&mut self, mapping: &Mapping, path: &str, key: &str, max: u64) -> Option<u32> {
        let place = joined(path, key);
        let Some(value) = mapping.get(key) else {
            self.problem(&place, None, "it is missing", "20");
            return None;
        };
        let count = value.as_u64().filter(|count| (1..=max).contains(count));
        if count.is_none() {
            self.problem(&place, None, format!("it is no whole number from 1 to {max}"), "20");
        }
        count.and_then(|count| u32::try_from(count).ok())
    }
}

/// A key below a path.
pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Text of the file on one line, shortened, so that nothing of it does anything to a terminal or a log.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(KEY_CHARS_MAX) {
        if is_dangerous(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    if text.chars().nth(KEY_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}
