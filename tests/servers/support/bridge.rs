//! A vhost, a Redis and the topology between them: everything that a subscriber under test needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection};
use serde_json::{Value, json};

use super::program::{Program, Setup};
use super::rabbitmq::RabbitMq;
use super::redis::{self, Redis};
use super::resp::{Client, Reply};
use super::scrape::{Sample, Scrape};
use super::v2::Simulated;
use super::vhost::Vhost;
use super::wait::wait_until;

/// The exchange of every test.
pub const EXCHANGE: &str = "sda";
/// Its queue.
pub const QUEUE: &str = "inbox";
/// The key between them.
pub const KEY: &str = "beat";

/// Far above what anything takes here, so that only what never comes meets it.
pub const SOON: Duration = Duration::from_secs(60);

/// The room of one test.
pub struct Bridge {
    /// Its vhost.
    pub vhost: Vhost,
    /// Its Redis.
    pub redis: Redis,
    sender: Sender,
}

/// Sends messages, confirmed, over a connection of its own.
#[derive(Clone)]
pub struct Sender {
    _connection: Arc<Connection>,
    channel: Channel,
}

impl Sender {
    /// One to a vhost.
    pub async fn to(vhost: &Vhost) -> Self {
        let (connection, channel) = vhost.connect().await;
        Self { _connection: Arc::new(connection), channel }
    }

    /// Sends as a version 2 publisher does: persistent, and confirmed.
    pub async fn send(&self, bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        self.send_all(bodies.into_iter().map(|body| (FieldTable::default(), body))).await;
    }

    /// The same, each message with the name of its publisher.
    pub async fn send_named(&self, messages: impl IntoIterator<Item = (String, impl AsRef<[u8]>)>) {
        let named = messages.into_iter().map(|(publisher, body)| {
            let mut headers = FieldTable::default();
            headers.insert("heartbeat-publisher".into(), AMQPValue::LongString(publisher.into()));
            (headers, body)
        });
        self.send_all(named).await;
    }

    async fn send_all(&self, messages: impl Iterator<Item = (FieldTable, impl AsRef<[u8]>)>) {
        let mut confirms = Vec::new();
        for (headers, body) in messages {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
            let sent =
                self.channel.basic_publish(EXCHANGE.into(), KEY.into(), options, body.as_ref(), properties);
            confirms.push(sent.await.unwrap());
        }
        for confirm in confirms {
            let confirm = confirm.await.unwrap();
            assert!(confirm.is_ack(), "not taken: {confirm:?}");
        }
    }
}

impl Bridge {
    /// On the shared broker, with a plain Redis.
    pub async fn new() -> Self {
        Self::with(RabbitMq::vhost().await, redis::Options::default()).await
    }

    /// On a vhost, with a Redis of one's choice.
    pub async fn with(vhost: Vhost, options: redis::Options) -> Self {
        Self::with_queue(vhost, json!({}), options).await
    }

    /// The same, with a queue that has arguments.
    pub async fn with_queue(vhost: Vhost, arguments: Value, options: redis::Options) -> Self {
        vhost.declare_exchange(EXCHANGE).await;
        vhost.declare_queue(QUEUE, arguments).await;
        vhost.bind(EXCHANGE, QUEUE, KEY).await;
        let sender = Sender::to(&vhost).await;
        Self { vhost, redis: Redis::start_with(options).await, sender }
    }

    /// On a vhost with the exchange alone, for queues that the program makes.
    pub async fn without_queue(vhost: Vhost) -> Self {
        vhost.declare_exchange(EXCHANGE).await;
        let sender = Sender::to(&vhost).await;
        Self { vhost, redis: Redis::start_with(redis::Options::default()).await, sender }
    }

    /// A role with all that leads it to both servers.
    pub fn role(&self, role: &str) -> Setup {
        self::role(role, &self.vhost).envs(self.redis.environment())
    }

    /// A subscriber to be started.
    pub fn subscriber(&self) -> Setup {
        self.role("subscriber")
    }

    /// A publisher to be started, beating once a second, with a file of what to check.
    pub fn publisher(&self, id: &str, config: &str) -> Setup {
        self.role("publisher").env("PUBLISHER_ID", id).env("PUBLISH_INTERVAL", "1s").publisher_config(config)
    }

    /// A sender, to be taken into tasks.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Sends messages, confirmed.
    pub async fn send(&self, bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        self.sender.send(bodies).await;
    }

    /// Messages ready, and consumers.
    pub async fn depth(&self) -> (u32, u32) {
        self.vhost.queue_depth(QUEUE).await
    }

    /// Waits until nobody consumes the queue, and says how many messages are ready then.
    pub async fn depth_without_consumers(&self) -> u32 {
        wait_until("nobody consumes", SOON, async || match self.depth().await {
            (ready, 0) => Ok(ready),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// Waits until the queue is empty and a subscriber has nothing in flight.
    pub async fn drained(&self, subscriber: &Program, bound: Duration) {
        drained(&self.vhost, &[QUEUE], &[subscriber], bound).await;
    }

    /// Every stored record, by publisher.
    pub async fn records(&self) -> BTreeMap<String, Value> {
        records_in(&mut self.redis.client().await.unwrap()).await.unwrap()
    }

    /// The contract's keys and their values, as the Java proxy reads them.
    pub async fn contract_keys(&self) -> BTreeMap<String, String> {
        contract_keys(&self.redis).await
    }

    /// Asserts that Redis and a subscriber hold each publisher's newest heartbeat, and counted each of its
    /// heartbeats once and none as lost.
    pub async fn assert_newest(&self, subscriber: &Program, fleet: &[Simulated]) {
        let records = self.records().await;
        let scrape = subscriber.metrics().await.unwrap();
        let keys = self.contract_keys().await;
        let by_publisher = |name: &str| -> BTreeMap<String, f64> {
            scrape.all(name).iter().map(|sample| (sample.labels["publisher"].clone(), sample.value)).collect()
        };
        let sequences = by_publisher("heartbeat_publisher_sequence");
        let heartbeats = by_publisher("heartbeat_publisher_heartbeats_total");
        let lost = by_publisher("heartbeat_publisher_lost_total");
        for publisher in fleet {
            let Simulated { id, sequence, .. } = publisher;
            let record = records.get(id).unwrap_or_else(|| panic!("{id} is not stored"));
            assert_eq!(record["v2"]["sequence"], *sequence, "{id}: {record}");
            assert_eq!(
                (record["heartbeats"].as_u64(), record["lost"].as_u64()),
                (Some(*sequence), Some(0)),
                "{id}"
            );
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let sequence = *sequence as f64;
            assert_eq!(sequences.get(id), Some(&sequence), "{id} on /metrics");
            assert_eq!((heartbeats[id], lost[id]), (sequence, 0.0), "{id} on /metrics");
            for (key, at) in publisher.contract_keys() {
                assert_eq!(keys.get(&key), Some(&at), "{key}");
            }
        }
    }
}

/// A role with what leads it to the broker.
pub fn role(role: &str, vhost: &Vhost) -> Setup {
    let names = [("RABBITMQ_EXCHANGE", EXCHANGE), ("RABBITMQ_QUEUE", QUEUE), ("RABBITMQ_ROUTING_KEY", KEY)];
    let names = names.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Setup::new(role).envs(vhost.environment()).envs(names)
}

/// Every record that a Redis holds, by publisher; of a cluster, that one node of it does.
pub async fn records_in(client: &mut Client) -> Result<BTreeMap<String, Value>, String> {
    let mut records = BTreeMap::new();
    for bucket in 0..64 {
        let key = format!("heartbeat:{{b{bucket:02}}}:records");
        let bodies = match client.command(&["HVALS", &key]).await? {
            Reply::Array(bodies) => bodies,
            Reply::Error(error) if error.starts_with("MOVED") => continue,
            other => return Err(format!("{key} cannot be read: {other:?}")),
        };
        for body in Reply::Array(bodies).strings() {
            let record: Value = serde_json::from_str(&body).unwrap();
            records.insert(record["id"].as_str().unwrap().to_owned(), record);
        }
    }
    Ok(records)
}

/// The contract's keys of a Redis and their values.
pub async fn contract_keys(redis: &Redis) -> BTreeMap<String, String> {
    contract_keys_in(&mut redis.client().await.unwrap()).await.unwrap()
}

/// The same; of a cluster, those that one node of it has.
pub async fn contract_keys_in(client: &mut Client) -> Result<BTreeMap<String, String>, String> {
    let mut keys = BTreeMap::new();
    for pattern in ["service:*", "queue:*"] {
        for name in client.command(&["KEYS", pattern]).await?.strings() {
            match client.command(&["GET", &name]).await? {
                Reply::Bulk(Some(value)) => keys.insert(name, String::from_utf8(value).unwrap()),
                other => return Err(format!("{name}: {other:?}")),
            };
        }
    }
    Ok(keys)
}

/// Figures of each publisher that all replicas must show alike.
pub const COUNTED: [&str; 7] = [
    "heartbeat_publisher_heartbeats_total",
    "heartbeat_publisher_lost_total",
    "heartbeat_publisher_duplicate_total",
    "heartbeat_publisher_superseded_total",
    "heartbeat_publisher_restarts_total",
    "heartbeat_publisher_sequence",
    "heartbeat_publisher_up",
];

/// Waits until queues are empty and no subscriber has anything in flight.
pub async fn drained(vhost: &Vhost, queues: &[&str], subscribers: &[&Program], bound: Duration) {
    wait_until("everything is taken and stored", bound, async || {
        let mut depths = Vec::new();
        for queue in queues {
            depths.push(vhost.queue_depth(queue).await.0);
        }
        // Read after the depth: what was not ready then was received, or is unacked with another.
        let mut in_flight = Vec::new();
        for subscriber in subscribers {
            in_flight.push(subscriber.metrics().await?.value("heartbeat_subscriber_in_flight", &[]));
        }
        let empty = depths.iter().all(|ready| *ready == 0) && in_flight.iter().all(|held| *held == Some(0.0));
        if empty { Ok(()) } else { Err(format!("{depths:?}, {in_flight:?}")) }
    })
    .await;
}

/// These figures as one replica shows them, by name and publisher.
pub async fn counters(subscriber: &Program) -> Result<BTreeMap<(String, String), f64>, String> {
    let scrape = subscriber.metrics().await?;
    let samples = COUNTED.iter().flat_map(|name| scrape.all(name));
    let of = |sample: &Sample| ((sample.name.clone(), sample.labels["publisher"].clone()), sample.value);
    Ok(samples.map(of).collect())
}

/// Waits until a subscriber has taken in three heartbeats more of every publisher than there were `before`.
pub async fn wait_three_beats(subscriber: &Program, before: &BTreeMap<(String, String), f64>) {
    wait_until("three heartbeats more of every publisher", SOON, async || {
        let now = counters(subscriber).await?;
        let behind = now.iter().filter(|((name, _), _)| name.ends_with("sequence"));
        let behind: Vec<_> = behind.filter(|(key, value)| **value < before[*key] + 3.0).collect();
        if behind.is_empty() { Ok(()) } else { Err(format!("{behind:?}")) }
    })
    .await;
}

/// I6: every message is somewhere, at every scrape.
pub fn conserved(scrape: &Scrape) -> Result<(), String> {
    let value = |name| scrape.value(name, &[]).ok_or_else(|| format!("no {name}"));
    let received = value("heartbeat_subscriber_received_total")?;
    let in_flight = value("heartbeat_subscriber_in_flight")?;
    let ended = scrape.sum("heartbeat_subscriber_messages_total", &[]);
    if received == ended + in_flight {
        return Ok(());
    }
    Err(format!("{received} received, {ended} ended, {in_flight} in flight"))
}

/// A figure of a long form, from the environment.
pub fn figure(variable: &str, default: u64) -> u64 {
    let given = std::env::var_os(variable).and_then(|text| text.into_string().ok());
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// Prints what a long form found.
#[expect(clippy::print_stdout, reason = "the runner shows it with --nocapture, and beside a failure")]
pub fn report(text: &str) {
    println!("{text}");
}
