//! The publisher's configuration file: what is checked. The original's format, read unchanged, with a few
//! optional keys of ours (`timeout`, `failure_threshold`, `success_threshold`) on each host and queue; or the same in YAML.
//!
//! Every problem is reported in one go. What the original would have ignored is a warning: a file that
//! served it goes on to serve.

mod file;
mod form;
mod reader;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::check::pattern::TagPattern;
pub use file::{Unusable, load};
pub use form::Form;
use reader::Reader;

/// Longest time that a check may be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Everything that a publisher checks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// TCP endpoints, each name once.
    pub hosts: Vec<HostTarget>,
    /// Queues, each name once.
    pub queues: Vec<QueueTarget>,
}

/// A host by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTarget {
    /// Its name; that of `host`, where the file gives none.
    pub name: Arc<str>,
    /// Host and port, at least one pair. Entries of one name are one target.
    pub endpoints: Vec<(Arc<str>, u16)>,
    /// Deadline of a check, where the file sets one.
    pub timeout: Option<Duration>,
    /// Failed checks in a row after which it is down; 1 unless set.
    pub failure_threshold: u32,
    /// Good checks in a row after which it is up; 1 unless set.
    pub success_threshold: u32,
}

/// A queue and who is expected to consume it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueTarget {
    /// Its name on the broker.
    pub queue: Arc<str>,
    /// Expected listeners, each name once; none, where only the queue is to exist.
    pub listeners: Vec<ListenerTarget>,
    /// Deadline of a check, where the file sets one.
    pub timeout: Option<Duration>,
    /// Failed checks in a row after which it is down; 1 unless set.
    pub failure_threshold: u32,
    /// Good checks in a row after which it is up; 1 unless set.
    pub success_threshold: u32,
}

/// A listener of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTarget {
    /// Its name.
    pub name: Arc<str>,
    /// Patterns of its consumers' tags, at least one; several where the file gives the name several times.
    pub patterns: Vec<TagPattern>,
}

/// Something in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `heartbeat.hosts[3].port`, counted from 0.
    pub path: String,
    /// What stands there, shortened; `None` where nothing does.
    pub value: Option<String>,
    /// What is wrong with it.
    pub why: String,
    /// What could stand there.
    pub example: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, value, why, example } = self;
        match value {
            Some(value) => write!(f, "{path} is {value}, {why}; example: {example}"),
            None => write!(f, "{path} {why}; example: {example}"),
        }
    }
}

/// Something in the file that has no effect, or not the effect that it seems to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where: `heartbeat.hosts[3].prot`, counted from 0.
    pub path: String,
    /// What is odd about it.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.why)
    }
}

/// Settings that hosts and queues have alike. `None` where the file is silent, so that of two entries of
/// one name the one that speaks is heard.
#[derive(Clone, Copy, Default)]
struct Limits {
    timeout: Option<Duration>,
    failure_threshold: Option<u32>,
    success_threshold: Option<u32>,
}

const HEARTBEAT_EXAMPLE: &str =
    r#"{"heartbeat": {"hosts": [{"host": "db", "port": 5432}], "rmq_consumers": []}}"#;
const HOST_EXAMPLE: &str = r#"{"host": "db", "port": 5432, "name": "database"}"#;
const QUEUE_EXAMPLE: &str = r#"{"queue": "inbox", "listeners": [{"tag": "sda-ingest", "name": "ingest"}]}"#;
const LISTENER_EXAMPLE: &str = r#"{"tag": "sda-ingest", "name": "ingest"}"#;

const HEARTBEAT_KEYS: &[&str] = &["hosts", "rmq_consumers"];
const HOST_KEYS: &[&str] = &["host", "port", "name", "timeout", "failure_threshold", "success_threshold"];
const QUEUE_KEYS: &[&str] = &["queue", "listeners", "timeout", "failure_threshold", "success_threshold"];
const LISTENER_KEYS: &[&str] = &["tag", "name"];

/// Reads the file's text.
///
/// # Errors
/// All problems at once, in the order of the file's lists.
pub fn parse(text: &str, form: Form) -> Result<(Targets, Vec<Warning>), Vec<Problem>> {
    let root = form.read(text).map_err(|why| {
        vec![Problem { path: "the file".into(), value: None, why, example: HEARTBEAT_EXAMPLE }]
    })?;
    let mut reader = Reader::default();
    let targets = read_root(&mut reader, &root);
    if reader.problems.is_empty() { Ok((targets, reader.warnings)) } else { Err(reader.problems) }
}

fn read_root(reader: &mut Reader, root: &Value) -> Targets {
    let Some(root) = reader.object(root, "the file", HEARTBEAT_EXAMPLE) else { return Targets::default() };
    reader.unknown_keys(root, "", &["heartbeat"]);
    let Some(heartbeat) = root.get("heartbeat").filter(|value| !value.is_null()) else {
        reader.warn("heartbeat".into(), "is missing: nothing is checked".into());
        return Targets::default();
    };
    let Some(heartbeat) = reader.object(heartbeat, "heartbeat", HEARTBEAT_EXAMPLE) else {
        return Targets::default();
    };
    reader.unknown_keys(heartbeat, "heartbeat", HEARTBEAT_KEYS);
    let (mut hosts, mut queues) = (Vec::new(), Vec::new());
    for (index, host) in reader.list(heartbeat, "hosts", "heartbeat", "[]").iter().enumerate() {
        read_host(reader, host, &format!("heartbeat.hosts[{index}]"), &mut hosts);
    }
    for (index, queue) in reader.list(heartbeat, "rmq_consumers", "heartbeat", "[]").iter().enumerate() {
        read_queue(reader, queue, &format!("heartbeat.rmq_consumers[{index}]"), &mut queues);
    }
    let limited_host = |(host, limits): (HostTarget, Limits)| HostTarget {
        timeout: limits.timeout,
        failure_threshold: limits.failure_threshold.unwrap_or(1),
        success_threshold: limits.success_threshold.unwrap_or(1),
        ..host
    };
    let limited_queue = |(queue, limits): (QueueTarget, Limits)| QueueTarget {
        timeout: limits.timeout,
        failure_threshold: limits.failure_threshold.unwrap_or(1),
        success_threshold: limits.success_threshold.unwrap_or(1),
        ..queue
    };
    Targets {
        hosts: hosts.into_iter().map(limited_host).collect(),
        queues: queues.into_iter().map(limited_queue).collect(),
    }
}

/// Reads one host into the list, or into the host of the same name that stands there already.
fn read_host(reader: &mut Reader, entry: &Value, path: &str, hosts: &mut Vec<(HostTarget, Limits)>) {
    let Some(entry) = reader.object(entry, path, HOST_EXAMPLE) else { return };
    reader.unknown_keys(entry, path, HOST_KEYS);
    let host = reader.host(entry, path);
    let port = reader.port(entry, path);
    let name = match entry.get("name") {
        None | Some(Value::Null) => host.and_then(|host| reader.name_as(host, &format!("{path}.host"))),
        Some(_) => reader.name(entry, "name", path, r#""database""#),
    };
    let limits = read_limits(reader, entry, path);
    let (Some(host), Some(port), Some(name)) = (host, port, name) else { return };
    let endpoint = (host.into(), port);
    let Some((known, known_limits)) = hosts.iter_mut().find(|(known, _)| known.name == name) else {
        let endpoints = vec![endpoint];
        let (failure_threshold, success_threshold) = (1, 1);
        let host = HostTarget { name, endpoints, timeout: None, failure_threshold, success_threshold };
        hosts.push((host, limits));
        return;
    };
    reader.repeated(path, &name, "host", "its endpoints are one target, up when all of them are");
    if !known.endpoints.contains(&endpoint) {
        known.endpoints.push(endpoint);
    }
    merge(reader, path, known_limits, limits);
}

/// Reads one queue into the list, or into the queue of the same name that stands there already.
fn read_queue(reader: &mut Reader, entry: &Value, path: &str, queues: &mut Vec<(QueueTarget, Limits)>) {
    let Some(entry) = reader.object(entry, path, QUEUE_EXAMPLE) else { return };
    reader.unknown_keys(entry, path, QUEUE_KEYS);
    let queue = reader.name(entry, "queue", path, r#""inbox""#);
    let limits = read_limits(reader, entry, path);
    let known = queue.as_ref().and_then(|queue| queues.iter_mut().find(|(known, _)| known.queue == *queue));
    // Those of an entry without a name are read all the same, for the problems that they may have.
    let mut own = Vec::new();
    let listeners = match known {
        Some((known, known_limits)) => {
            reader.repeated(path, &known.queue, "queue", "the listeners of both are expected on it");
            merge(reader, path, known_limits, limits);
            &mut known.listeners
        }
        None => &mut own,
    };
    for (index, listener) in reader.list(entry, "listeners", path, "[]").iter().enumerate() {
        read_listener(reader, listener, &format!("{path}.listeners[{index}]"), listeners);
    }
    let Some(queue) = queue.filter(|queue| !queues.iter().any(|(known, _)| known.queue == *queue)) else {
        return;
    };
    let (failure_threshold, success_threshold) = (1, 1);
    let queue = QueueTarget { queue, listeners: own, timeout: None, failure_threshold, success_threshold };
    queues.push((queue, limits));
}

fn read_listener(reader: &mut Reader, entry: &Value, path: &str, listeners: &mut Vec<ListenerTarget>) {
    let Some(entry) = reader.object(entry, path, LISTENER_EXAMPLE) else { return };
    reader.unknown_keys(entry, path, LISTENER_KEYS);
    let pattern = reader.pattern(entry, path);
    let name = reader.name(entry, "name", path, r#""ingest""#);
    let (Some(pattern), Some(name)) = (pattern, name) else { return };
    let Some(known) = listeners.iter_mut().find(|known| known.name == name) else {
        listeners.push(ListenerTarget { name, patterns: vec![pattern] });
        return;
    };
    reader.repeated(path, &name, "listener of this queue", "it is up when each of its tags finds a consumer");
    if !known.patterns.contains(&pattern) {
        known.patterns.push(pattern);
    }
}

fn read_limits(reader: &mut Reader, entry: &Map<String, Value>, path: &str) -> Limits {
    Limits {
        timeout: reader.duration(entry, "timeout", path, TIMEOUT_MAX),
        failure_threshold: reader.count(entry, "failure_threshold", path),
        success_threshold: reader.count(entry, "success_threshold", path),
    }
}

/// Of two entries of one name the first that sets a limit is heard.
fn merge(reader: &mut Reader, path: &str, first: &mut Limits, second: Limits) {
    keep_first(reader, path, "timeout", &mut first.timeout, second.timeout);
    keep_first(reader, path, "failure_threshold", &mut first.failure_threshold, second.failure_threshold);
    keep_first(reader, path, "success_threshold", &mut first.success_threshold, second.success_threshold);
}

fn keep_first<T: PartialEq>(
    reader: &mut Reader,
    path: &str,
    key: &str,
    first: &mut Option<T>,
    second: Option<T>,
) {
    match (&first, second) {
        (None, second) => *first = second,
        (Some(kept), Some(second)) if *kept != second => {
            let why = "has no effect: an earlier entry of the same name sets another";
            reader.warn(format!("{path}.{key}"), why.into());
        }
        (Some(_), _) => {}
    }
}

#[cfg(test)]
mod tests;
