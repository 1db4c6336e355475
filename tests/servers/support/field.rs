//! The whole way of a heartbeat in one vhost: our subscriber with a Redis, and beside it a version 1 reader.

use std::time::Duration;

use serde_json::{Value, json};

use super::program::{Program, Setup};
use super::redis::Redis;
use super::scrape::Scrape;
use super::v1;
use super::vhost::Vhost;
use super::wait::wait_until;

/// Far above what anything here takes, for machines with much else to do.
pub const BOUND: Duration = Duration::from_secs(40);

/// The exchange of the field's deployments.
pub const EXCHANGE: &str = "sda";

/// The key of the heartbeats.
pub const KEY: &str = "service.heartbeat";

/// The queue of our subscriber.
const QUEUE: &str = "heartbeats";

/// The queue of the version 1 reader.
const READER_QUEUE: &str = "version-1";

/// What a component is to be shown as.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    Up,
    Down(&'static str),
    Unknown(&'static str),
}

/// A vhost with both subscribers.
pub struct Field {
    pub vhost: Vhost,
    pub redis: Redis,
    pub subscriber: Program,
    pub reader: v1::Subscriber,
}

impl Field {
    /// Starts both subscribers and waits until ours is ready.
    pub async fn start(vhost: Vhost) -> Self {
        Self::start_with(vhost, []).await
    }

    /// Likewise, with more variables for our subscriber.
    pub async fn start_with(vhost: Vhost, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        vhost.declare_exchange(EXCHANGE).await;
        vhost.declare_queue(READER_QUEUE, json!({})).await;
        vhost.bind(EXCHANGE, READER_QUEUE, KEY).await;
        let redis = Redis::start().await;
        let reader = v1::Subscriber::start(&vhost, READER_QUEUE, None).await;
        let setup = Setup::new("subscriber").envs(vhost.environment()).envs(redis.environment());
        let setup = setup.env("RABBITMQ_EXCHANGE", EXCHANGE).env("RABBITMQ_QUEUE", QUEUE).envs(variables);
        let subscriber = setup.start_ready().await;
        Self { vhost, redis, subscriber, reader }
    }

    /// A publisher that checks and beats each second.
    pub fn publisher(&self, id: &str, config: &Value) -> Setup {
        publisher(&self.vhost, QUEUE, id, config)
    }

    /// Waits until our subscriber shows a component as expected, in all of its metrics.
    pub async fn wait_shown(&self, publisher: &str, kind: &str, name: &str, shown: Shown) {
        wait_shown(&self.subscriber, &[("publisher", publisher), ("kind", kind), ("name", name)], shown)
            .await;
    }

    /// Once no publisher runs: waits until both subscribers have taken the same messages, and asserts that Redis
    /// holds exactly what the version 1 reader would have written.
    pub async fn assert_as_version_1(&mut self) {
        self.reader.assert_alive().await;
        wait_until("both subscribers have taken the same", BOUND, async || {
            for queue in [QUEUE, READER_QUEUE] {
                let (ready, _) = self.vhost.queue_depth(queue).await;
                if ready > 0 {
                    return Err(format!("{ready} messages wait in {queue}"));
                }
            }
            let scrape = self.subscriber.metrics().await?;
            let ours = scrape.sum("heartbeat_subscriber_messages_total", &[]);
            let theirs = self.reader.taken();
            if ours == theirs as f64 { Ok(()) } else { Err(format!("ours {ours}, version 1 {theirs}")) }
        })
        .await;
        self.reader.assert_alive().await;
        let expected = self.reader.keys();
        assert!(!expected.is_empty(), "nothing was read");
        let mut keys = self.redis.keys("service:*").await;
        keys.extend(self.redis.keys("queue:*").await);
        let mut held = std::collections::BTreeMap::new();
        for key in keys {
            let value = self.redis.get(&key).await.unwrap();
            held.insert(key, value);
        }
        assert_eq!(held, expected, "Redis is not as version 1 would have left it");
    }
}

/// Waits until a program shows a component as expected, in all of its metrics.
pub async fn wait_shown(program: &Program, labels: &[(&str, &str)], shown: Shown) {
    wait_until(&format!("{labels:?} is {shown:?}"), BOUND, async || {
        let scrape = program.metrics().await?;
        let seen = seen(&scrape, labels);
        let expected = match shown {
            Shown::Up => (Some(1.0), Some(0.0), None),
            Shown::Down(reason) => (Some(0.0), Some(0.0), Some(reason.to_owned())),
            Shown::Unknown(reason) => (None, Some(1.0), Some(reason.to_owned())),
        };
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

/// `component_up`, `component_unknown` and the reason.
fn seen(scrape: &Scrape, labels: &[(&str, &str)]) -> (Option<f64>, Option<f64>, Option<String>) {
    let reasons: Vec<String> = scrape
        .matching("heartbeat_component_reason", labels)
        .map(|sample| sample.labels["reason"].clone())
        .collect();
    assert!(reasons.len() < 2, "{labels:?} has several reasons: {reasons:?}");
    let up = scrape.value("heartbeat_component_up", labels);
    (up, scrape.value("heartbeat_component_unknown", labels), reasons.into_iter().next())
}

/// A publisher that checks and beats each second, into a queue.
pub fn publisher(vhost: &Vhost, queue: &str, id: &str, config: &Value) -> Setup {
    Setup::new("publisher")
        .envs(vhost.environment())
        .env("RABBITMQ_EXCHANGE", EXCHANGE)
        .env("RABBITMQ_QUEUE", queue)
        .env("RABBITMQ_ROUTING_KEY", KEY)
        .env("PUBLISHER_ID", id)
        .env("PUBLISH_INTERVAL", "1")
        .publisher_config(&config.to_string())
}

/// A configuration of the contract's form.
pub fn config(hosts: &[Value], consumers: &[Value]) -> Value {
    json!({"heartbeat": {"hosts": hosts, "rmq_consumers": consumers}})
}

/// A host to check.
pub fn host(name: &str, address: std::net::SocketAddr) -> Value {
    json!({"host": address.ip().to_string(), "port": address.port().to_string(), "name": name})
}

/// A queue with one expected listener.
pub fn listener(queue: &str, tag: &str, name: &str) -> Value {
    json!({"queue": queue, "listeners": [{"tag": tag, "name": name}]})
}

/// Ends publishers with SIGTERM, in order.
pub async fn stop(publishers: impl IntoIterator<Item = Program>) {
    for mut publisher in publishers {
        assert_eq!(publisher.terminate(BOUND).await, Some(0), "{}", publisher.log());
    }
}

/// Waits until a publisher has had so many heartbeats confirmed, by its own exposition.
pub async fn wait_published(publisher: &Program, least: f64) -> f64 {
    wait_until(&format!("{least} heartbeats are confirmed"), BOUND, async || {
        let scrape = publisher.metrics().await?;
        match scrape.value("heartbeat_emitter_published_total", &[]) {
            Some(seen) if seen >= least => Ok(seen),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await
}

/// Likewise for failures of one reason.
pub async fn wait_failures(publisher: &Program, reason: &str, least: f64) -> f64 {
    wait_until(&format!("{least} heartbeats fail as {reason}"), BOUND, async || {
        let scrape = publisher.metrics().await?;
        match scrape.value("heartbeat_emitter_publish_failures_total", &[("reason", reason)]) {
            Some(seen) if seen >= least => Ok(seen),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await
}
