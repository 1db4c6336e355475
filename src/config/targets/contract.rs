//! The lists of the original's file: `hosts` and `rmq_consumers`. Entries of one name are one target.

use serde_json::{Map, Value};

use super::limits::{Limits, merge, read_limits};
use super::reader::Reader;
use super::{HostTarget, ListenerTarget, QueueTarget};

const HOST_EXAMPLE: &str = r#"{"host": "db", "port": 5432, "name": "database"}"#;
const QUEUE_EXAMPLE: &str = r#"{"queue": "inbox", "listeners": [{"tag": "sda-ingest", "name": "ingest"}]}"#;
const LISTENER_EXAMPLE: &str = r#"{"tag": "sda-ingest", "name": "ingest"}"#;

const HOST_KEYS: &[&str] = &["host", "port", "name", "timeout", "failure_threshold", "success_threshold"];
const QUEUE_KEYS: &[&str] = &["queue", "listeners", "timeout", "failure_threshold", "success_threshold"];
const LISTENER_KEYS: &[&str] = &["tag", "name"];

/// The list `hosts`.
pub(super) fn hosts(reader: &mut Reader, heartbeat: &Map<String, Value>) -> Vec<HostTarget> {
    let mut hosts = Vec::new();
    for (index, host) in reader.list(heartbeat, "hosts", "heartbeat", "[]").iter().enumerate() {
        read_host(reader, host, &format!("heartbeat.hosts[{index}]"), &mut hosts);
    }
    let limited = |(host, limits): (HostTarget, Limits)| HostTarget {
        timeout: limits.timeout,
        failure_threshold: limits.failure_threshold.unwrap_or(1),
        success_threshold: limits.success_threshold.unwrap_or(1),
        ..host
    };
    hosts.into_iter().map(limited).collect()
}

/// The list `rmq_consumers`.
pub(super) fn queues(reader: &mut Reader, heartbeat: &Map<String, Value>) -> Vec<QueueTarget> {
    let mut queues = Vec::new();
    for (index, queue) in reader.list(heartbeat, "rmq_consumers", "heartbeat", "[]").iter().enumerate() {
        read_queue(reader, queue, &format!("heartbeat.rmq_consumers[{index}]"), &mut queues);
    }
    let limited = |(queue, limits): (QueueTarget, Limits)| QueueTarget {
        timeout: limits.timeout,
        failure_threshold: limits.failure_threshold.unwrap_or(1),
        success_threshold: limits.success_threshold.unwrap_or(1),
        ..queue
    };
    queues.into_iter().map(limited).collect()
}

/// Reads one host into the list, or into the host of the same name that stands there already.
fn read_host(reader: &mut Reader, entry: &Value, path: &str, hosts: &mut Vec<(HostTarget, Limits)>) {
    let Some(entry) = reader.object(entry, path, HOST_EXAMPLE) else { return };
    reader.unknown_keys(entry, path, HOST_KEYS);
    let host = reader.contract_host(entry, path);
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
