//! Version 1 as the contract describes it, written from the contract and not from our code: a reader that dies of
//! what kills the original, and a publisher that sends what the original sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use jiff::Timestamp;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use super::redis::Redis;
use super::vhost::Vhost;

/// The original's text form of a time.
pub fn v1_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What one message makes the original write, in its order: key and value.
///
/// Panics where the original dies: a component is passed on as keyword arguments, so a missing or an unknown key
/// ends it, and so does a missing `rmq_consumers`. Unknown keys at the top level it never looks at.
pub fn writes(body: &[u8]) -> Vec<(String, String)> {
    let message: Value = serde_json::from_slice(body).expect("the original dies of what is not JSON");
    let message = message.as_object().expect("the original dies of what is not an object");
    for key in ["status", "service", "timestamp"] {
        assert!(field(message, key).is_string(), "the original dies of {key} that is no text");
    }
    let consumers = field(message, "rmq_consumers").as_object().expect("rmq_consumers is an object");
    let mut keys = Vec::new();
    for (prefix, list) in [
        ("service", field(message, "hosts")),
        ("queue", field(consumers, "queues_status")),
        ("service", field(consumers, "services_status")),
    ] {
        for component in list.as_array().expect("components are a list") {
            keys.push(write_of(prefix, component));
        }
    }
    keys
}

fn write_of(prefix: &str, component: &Value) -> (String, String) {
    let component = component.as_object().expect("a component is an object");
    let unknown = component.keys().find(|key| !["name", "status", "timestamp"].contains(&key.as_str()));
    assert!(unknown.is_none(), "the original dies of {unknown:?} in a component: {component:?}");
    let text =
        |key| field(component, key).as_str().unwrap_or_else(|| panic!("{key} is no text: {component:?}"));
    let status = text("status");
    assert!(["ok", "not_ok"].contains(&status), "no status of version 1: {component:?}");
    let time = text("timestamp");
    let parsed = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S UTC", time);
    assert!(parsed.is_ok(), "no time of version 1: {component:?}");
    (format!("{prefix}:{}:{status}", text("name")), time.to_owned())
}

fn field<'a>(object: &'a Map<String, Value>, key: &str) -> &'a Value {
    object.get(key).unwrap_or_else(|| panic!("the original dies of a missing {key}: {object:?}"))
}

/// A subscriber of the original's kind: it acks at once, has no prefetch limit, and dies of a bad message.
pub struct Subscriber {
    task: JoinHandle<()>,
    state: Arc<Mutex<Read>>,
}

#[derive(Default)]
struct Read {
    messages: Vec<(Instant, Value)>,
    keys: BTreeMap<String, String>,
}

impl Subscriber {
    /// Consumes a queue that exists, writing to a Redis where one is given, and to memory.
    pub async fn start(vhost: &Vhost, queue: &str, redis: Option<&Redis>) -> Self {
        let (connection, channel) = vhost.connect().await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.unwrap();
        let mut redis = match redis {
            Some(redis) => Some(redis.client().await.unwrap()),
            None => None,
        };
        let state = Arc::new(Mutex::new(Read::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let _connection = connection;
            while let Some(delivery) = consumer.next().await {
                let body = delivery.unwrap().data;
                let at = Instant::now();
                let writes = writes(&body);
                for (key, value) in &writes {
                    if let Some(redis) = &mut redis {
                        redis.command(&["SET", key, value]).await.unwrap();
                    }
                }
                let mut state = shared.lock().unwrap();
                state.messages.push((at, serde_json::from_slice(&body).unwrap()));
                state.keys.extend(writes);
            }
        });
        Self { task, state }
    }

    /// Messages taken so far.
    pub fn taken(&self) -> u64 {
        self.state.lock().unwrap().messages.len() as u64
    }

    /// What it has written so far.
    pub fn keys(&self) -> BTreeMap<String, String> {
        self.state.lock().unwrap().keys.clone()
    }

    /// What version 2 says in the messages taken so far, with the time of each arrival: those of one publisher.
    pub fn heartbeats(&self, publisher: &str) -> Vec<(Instant, Value)> {
        let read = self.state.lock().unwrap();
        let of_it = read.messages.iter().filter(|(_, message)| message["v2"]["publisher"] == publisher);
        of_it.map(|(at, message)| (*at, message["v2"].clone())).collect()
    }

    /// Panics when it has died of a message.
    pub async fn assert_alive(&mut self) {
        if self.task.is_finished() {
            (&mut self.task).await.expect("the version 1 reader lives");
            panic!("the version 1 reader lost its connection");
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A publisher of the original's kind: its top-level time stays that of its start, and it sets no property at all.
pub struct Publisher {
    started: String,
    /// Added to the clock, for one that goes wrong.
    pub clock_error: jiff::SignedDuration,
}

impl Publisher {
    /// One that starts now.
    pub fn new() -> Self {
        Self { started: v1_time(Timestamp::now()), clock_error: jiff::SignedDuration::ZERO }
    }

    /// A message with hosts, queues and listeners, each a name and whether it is ok, checked now.
    pub fn message(
        &self,
        hosts: &[(&str, bool)],
        queues: &[(&str, bool)],
        listeners: &[(&str, bool)],
    ) -> Vec<u8> {
        let now = v1_time(Timestamp::now() + self.clock_error);
        let list = |components: &[(&str, bool)]| -> Vec<Value> {
            let status = |ok| if ok { "ok" } else { "not_ok" };
            let component =
                |&(name, ok): &(&str, bool)| json!({"name": name, "status": status(ok), "timestamp": now});
            components.iter().map(component).collect()
        };
        let message = json!({
            "status": "heartbeat", "service": "publisher", "timestamp": self.started, "hosts": list(hosts),
            "rmq_consumers": {"queues_status": list(queues), "services_status": list(listeners)},
        });
        message.to_string().into_bytes()
    }

    /// Sends a message as the original does: transient, without properties, without waiting for anything.
    pub async fn publish(&self, channel: &Channel, exchange: &str, key: &str, message: &[u8]) {
        let options = BasicPublishOptions::default();
        let sent =
            channel.basic_publish(exchange.into(), key.into(), options, message, BasicProperties::default());
        let confirm = tokio::time::timeout(Duration::from_secs(10), sent.await.unwrap()).await;
        confirm.expect("the broker confirms").unwrap();
    }
}

#[test]
fn captured_messages_are_read() {
    let mixed = writes(include_bytes!("../../fixtures/v1-mixed.json"));
    assert!(mixed.contains(&("service:sda-db:not_ok".into(), "2026-11-23 16:24:49 UTC".into())), "{mixed:?}");
    assert!(writes(include_bytes!("../../fixtures/v1-empty.json")).is_empty());
    writes(include_bytes!("../../fixtures/v1-management-down.json"));
    let built = Publisher::new().message(&[("db", true)], &[("inbox", false)], &[("a", true), ("a", false)]);
    let keys: Vec<String> = writes(&built).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["service:db:ok", "queue:inbox:not_ok", "service:a:ok", "service:a:not_ok"]);
}

#[test]
#[should_panic(expected = "the original dies of Some(\"reason\") in a component")]
fn an_unknown_key_in_a_component_kills() {
    let component =
        json!({"name": "db", "status": "ok", "timestamp": "2026-11-23 16:24:49 UTC", "reason": "x"});
    write_of("service", &component);
}

#[test]
#[should_panic(expected = "missing rmq_consumers")]
fn a_missing_list_kills() {
    writes(br#"{"status": "heartbeat", "service": "publisher", "timestamp": "t", "hosts": []}"#);
}
