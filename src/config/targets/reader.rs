//! Takes single values out of the file, and keeps what is wrong with them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::files::Named;
use super::meant::meant;
use super::{HEARTBEAT_KEYS, Problem, Warning};
use crate::check::pattern::TagPattern;
use crate::config::parse;
use crate::config::problem::without_credentials;
use crate::heartbeat::{Timestamp, check_name};
use crate::telemetry::is_dangerous;

/// Longest host name, in bytes: what DNS allows, with the dot that ends it (RFC 1035).
const HOST_BYTES_MAX: usize = 254;

/// Characters of a value that a message repeats.
const SHOWN_MAX: usize = 60;

#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
    /// The files that entries name, whatever else is wrong with these.
    pub(super) files: Vec<Named>,
    /// Where windows are that come once, and when each of them ends.
    pub(super) once: Vec<(String, Timestamp)>,
}

impl Reader {
    pub(super) fn warn(&mut self, path: String, why: String) {
        self.warnings.push(Warning { path, why });
    }

    pub(super) fn problem(
        &mut self,
        path: String,
        value: &Value,
        why: impl Into<String>,
        example: &'static str,
    ) {
        self.problems.push(Problem { path, value: Some(shown(value)), why: why.into(), example });
    }

    /// Warns of an entry whose name stood before.
    pub(super) fn repeated(&mut self, path: &str, name: &str, what: &str, effect: &str) {
        let name = shown(&Value::from(name));
        self.warn(path.into(), format!("is a {what} named {name} again: {effect}"));
    }

    /// An object.
    pub(super) fn object<'a>(
        &mut self,
        value: &'a Value,
        path: &str,
        example: &'static str,
    ) -> Option<&'a Map<String, Value>> {
        if !value.is_object() {
            self.problem(path.into(), value, "which is no object", example);
        }
        value.as_object()
    }

    /// Warns of every key that nothing reads.
    pub(super) fn unknown_keys(&mut self, object: &Map<String, Value>, path: &str, known: &[&str]) {
        for (path, hint) in unknown_keys(object, path, known) {
            self.warn(path, format!("is not known and has no effect{hint}"));
        }
    }

    /// Refuses every key that nothing reads.
    pub(super) fn refuse_unknown_keys(&mut self, object: &Map<String, Value>, path: &str, known: &[&str]) {
        let unknown: Vec<&String> = object.keys().filter(|key| !known.contains(&key.as_str())).collect();
        for (at, key) in unknown.into_iter().enumerate() {
            let free = known.iter().copied().filter(|known| !object.contains_key(*known));
            let hint = meant(key, free).map(|meant| format!("; is `{meant}` meant?")).unwrap_or_default();
            let mut why = format!("is not known{hint}");
            // Told once of an entry.
            if at == 0 {
                let there_are = if hint.is_empty() { "; there are" } else { " There are" };
                why.push_str(&format!("{there_are} {}", known.join(", ")));
            }
            self.amiss(below(path, key), why, "");
        }
    }

    /// A list; nothing where the key is missing.
    pub(super) fn list<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        key: &str,
        path: &str,
        example: &'static str,
    ) -> &'a [Value] {
        match object.get(key) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.problem(format!("{path}.{key}"), other, "which is no list", example);
                &[]
            }
        }
    }

    /// A value that has to be there.
    fn required<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        key: &str,
        path: &str,
        example: &'static str,
    ) -> Option<&'a Value> {
        let value = object.get(key);
        if value.is_none() {
            let mut why = "is missing".to_owned();
            if let Some(instead) = object.keys().find(|other| meant(other, [key]).is_some()) {
                why.push_str(&format!("; is `{}` meant to be it?", escaped(instead)));
            }
            self.problems.push(Problem { path: format!("{path}.{key}"), value: None, why, example });
        }
        value
    }

    /// A text that has to be there.
    pub(super) fn text<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        key: &str,
        path: &str,
        example: &'static str,
    ) -> Option<&'a str> {
        let value = self.required(object, key, path, example)?;
        if !value.is_string() {
            self.problem(format!("{path}.{key}"), value, "which is no text", example);
        }
        value.as_str()
    }

    /// A component's name that has to be there.
    pub(super) fn name(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        path: &str,
        example: &'static str,
    ) -> Option<Arc<str>> {
        let text = self.text(object, key, path, example)?;
        if let Err(error) = check_name(text) {
            let why = format!("which is no name: {error}");
            self.problem(format!("{path}.{key}"), &Value::from(text), why, example);
            return None;
        }
        Some(text.into())
    }

    /// Notes that something does not go together.
    pub(super) fn amiss(&mut self, path: String, why: impl Into<String>, example: &'static str) {
        self.problems.push(Problem { path, value: None, why: why.into(), example });
    }

    /// A time that has to be there, in RFC 3339.
    pub(super) fn time(&mut self, object: &Map<String, Value>, key: &str, path: &str) -> Option<Timestamp> {
        const EXAMPLE: &str = r#""2026-12-06T02:00:00Z""#;
        let text = self.text(object, key, path, EXAMPLE)?;
        let time = Timestamp::parse_rfc3339(text).ok();
        if time.is_none() {
            self.problem(
                format!("{path}.{key}"),
                &Value::from(text),
                "which is no time with its zone",
                EXAMPLE,
            );
        }
        time
    }

    /// A host that serves as its own name, which then has to be one.
    pub(super) fn name_as(&mut self, host: &str, path: &str) -> Option<Arc<str>> {
        if let Err(error) = check_name(host) {
            let why = format!("which is no name: {error}; a `name` beside it would do");
            self.problem(path.into(), &Value::from(host), why, r#""db""#);
            return None;
        }
        Some(host.into())
    }

    /// What to connect to.
    pub(super) fn host<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Option<&'a str> {
        const EXAMPLE: &str = r#""db.example.org""#;
        let host = self.text(object, key, path, EXAMPLE)?;
        if host.is_empty() || host.len() > HOST_BYTES_MAX || host.chars().any(char::is_control) {
            let why = "which is no host name or address";
            self.problem(format!("{path}.{key}"), &Value::from(host), why, EXAMPLE);
            return None;
        }
        Some(host)
    }

    /// What to connect to in a list of the contract.
    pub(super) fn contract_host<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        path: &str,
    ) -> Option<&'a str> {
        let host = self.host(object, "host", path)?;
        // The original takes it, and finds it down for ever.
        if is_no_host(host) {
            let why = format!("is {}: only a host name or an address can be looked up", shown(&host.into()));
            self.warn(format!("{path}.host"), why);
        }
        Some(host)
    }

    /// A port, as a number or a text.
    pub(super) fn port(&mut self, object: &Map<String, Value>, path: &str) -> Option<u16> {
        const EXAMPLE: &str = "5432";
        let value = self.required(object, "port", path, EXAMPLE)?;
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
            // As Python's int() reads it.
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let port = number.filter(|port| *port > 0);
        if port.is_none() {
            self.problem(format!("{path}.port"), value, "which is not a port from 1 to 65535", EXAMPLE);
        }
        port
    }

    /// The pattern of a listener's consumer tags.
    pub(super) fn pattern(&mut self, object: &Map<String, Value>, path: &str) -> Option<TagPattern> {
        const EXAMPLE: &str = r#""sda-ingest""#;
        let text = self.text(object, "tag", path, EXAMPLE)?;
        let path = format!("{path}.tag");
        if text.is_empty() {
            self.warn(path.clone(), "is empty: it finds every consumer of the queue".into());
        }
        match TagPattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = format!("which cannot be searched for: {}", escaped(&error.to_string()));
                self.problem(path, &Value::from(text), why, EXAMPLE);
                None
            }
        }
    }

    /// A duration: seconds as a number, or a text such as `500ms`.
    pub(super) fn duration(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        path: &str,
        max: Duration,
        example: &'static str,
    ) -> Option<Duration> {
        let value = object.get(key).filter(|value| !value.is_null())?;
        let seconds = |number: f64| Duration::try_from_secs_f64(number).ok();
        let duration = match value {
            Value::Number(number) => number.as_f64().and_then(seconds),
            Value::String(text) => match text.trim().parse::<f64>() {
                Ok(number) => seconds(number),
                Err(_) => humantime::parse_duration(text.trim()).ok(),
            },
            _ => None,
        };
        let is_number = value.is_number();
        let why = match duration {
            None if !is_number => "which is no duration".into(),
            None => "which is no time above 0".into(),
            Some(duration) if duration.is_zero() => "which is no time above 0".into(),
            Some(duration) if duration > max => {
                format!("which is longer than {}, the longest that it may be", parse::shown_time(max))
            }
            Some(duration) => return Some(duration),
        };
        self.problem(format!("{path}.{key}"), value, why, example);
        None
    }

    /// A duration that has to be there.
    pub(super) fn required_duration(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        path: &str,
        max: Duration,
        example: &'static str,
    ) -> Option<Duration> {
        let value = self.required(object, key, path, example)?;
        if value.is_null() {
            self.problem(format!("{path}.{key}"), value, "which is no duration", example);
        }
        self.duration(object, key, path, max, example)
    }

    /// A count from 1.
    pub(super) fn count(&mut self, object: &Map<String, Value>, key: &str, path: &str) -> Option<u32> {
        let value = object.get(key).filter(|value| !value.is_null())?;
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        if count.is_none() {
            self.problem(format!("{path}.{key}"), value, "which is no whole number above 0", "3");
        }
        count
    }
}

/// Where keys are that nothing reads, and what may be meant by them.
fn unknown_keys(
    object: &Map<String, Value>,
    path: &str,
    known: &[&str],
) -> impl Iterator<Item = (String, String)> {
    object.keys().filter(|key| !known.contains(&key.as_str())).map(move |key| {
        let free = known.iter().copied().filter(|known| !object.contains_key(*known));
        let hint = match meant(key, free) {
            Some(meant) => format!("; is `{meant}` meant?"),
            None if path.is_empty() && HEARTBEAT_KEYS.contains(&key.as_str()) => {
                "; its place is within `heartbeat`".to_owned()
            }
            None => String::new(),
        };
        (below(path, key), hint)
    })
}

/// A key of the file below a path.
pub(super) fn below(path: &str, key: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{}", escaped(key))
}

/// Whether a text is most likely a URL, or has a port in it: a name has neither, and an address several colons.
pub(super) fn is_no_host(host: &str) -> bool {
    host.contains(|c: char| c == '/' || c.is_whitespace()) || host.matches(':').count() == 1
}

/// A value as a message shows it: as JSON, on one line, shortened.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    // An address with a user and a password in it, wherever it was put.
    let text = if text.contains("://") || text.contains('@') { without_credentials(&text) } else { text };
    let text = escaped(&text);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Text of the file, without what steers a terminal or is not seen for what it is.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
