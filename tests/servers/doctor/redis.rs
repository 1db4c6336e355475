//! Broken ways to Redis, and what is broken there.

use serde_json::json;
use tempfile::TempDir;

use super::{Patient, keys};
use crate::support::certificates::Certificates;
use crate::support::ports::free_port;
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::{Options, Redis};
use crate::support::redis_cluster::RedisCluster;

/// What `docs/least-privilege.md` gives a subscriber.
const LEAST: &str = "~heartbeat:* ~service:* ~queue:* +time +get +set +mget +mset +hget +hset +hmget +hdel +hkeys +hgetall \
                     +hexists +lpush +ltrim +xadd +xread +xrevrange +evalsha +script|load";

/// A subscriber whose broker is well, and sees all of it.
async fn subscriber() -> Patient {
    let vhost = RabbitMq::vhost().await;
    vhost.declare_exchange("sda").await;
    vhost.declare_queue("heartbeat", json!({})).await;
    vhost.bind("sda", "heartbeat", "service.heartbeat").await;
    Patient::new("subscriber").at(vhost.ports, &vhost.name, &vhost.name)
}

fn at(patient: &Patient, redis: &Redis) -> Patient {
    at_port(patient, redis.port)
}

fn at_port(patient: &Patient, port: u16) -> Patient {
    let port = port.to_string();
    patient.clone().env("REDIS_HOST", "127.0.0.1").env("REDIS_PORT", &port).called(&port, "6379")
}

#[tokio::test]
async fn the_way_to_redis() {
    let subscriber = subscriber().await;
    at_port(&subscriber, free_port()).examine().await.is("redis-away", 2, Some("TCP"));

    let redis = Redis::start_with(Options { tls: true, ..Options::default() }).await;
    let before = keys(&redis).await;
    at(&subscriber, &redis).examine().await.is("well-subscriber", 0, None);

    let folder = TempDir::new().unwrap();
    let other = Certificates::make(folder.path()).ca;
    let tls = |patient: Patient| {
        patient.env("REDIS_TLS", "true").env("REDIS_CA_CERT_PATH", other.to_str().unwrap())
    };
    let wrong =
        tls(at_port(&subscriber, redis.tls_port)).called(other.to_str().unwrap(), "/etc/heartbeat/ca.pem");
    wrong.examine().await.is("redis-other-ca", 2, Some("TLS"));
    tls(at(&subscriber, &redis)).examine().await.is("redis-tls-to-plain-port", 2, Some("TLS"));
    at_port(&subscriber, redis.tls_port).examine().await.is("redis-plain-to-tls-port", 2, Some("login"));
    assert_eq!(keys(&redis).await, before);
}

#[tokio::test]
async fn the_login() {
    let subscriber = subscriber().await;
    let options = Options { password: Some("right".to_owned()), ..Options::default() };
    let redis = Redis::start_with(options).await;
    at(&subscriber, &redis).examine().await.is("redis-without-password", 2, Some("login"));
    let wrong = at(&subscriber, &redis).env("REDIS_PASSWORD", "wrong");
    wrong.examine().await.is("redis-password", 2, Some("login"));
}

#[tokio::test]
async fn what_a_user_may_not_do() {
    let subscriber = subscriber().await;
    let without = |words: &[&str]| {
        let kept = LEAST.split(' ').filter(|word| !words.contains(word));
        kept.collect::<Vec<_>>().join(" ")
    };
    let config = vec![
        format!("user least on >least resetchannels {LEAST}"),
        format!("user lacks on >lacks resetchannels {}", without(&["+hset", "+xadd", "+evalsha"])),
        format!("user keyless on >keyless resetchannels {}", without(&["~service:*"])),
        // May touch every key, and is not told what else it may.
        format!(
            "user broad on >broad resetchannels ~* {}",
            without(&["~heartbeat:*", "~service:*", "~queue:*"])
        ),
    ];
    let redis = Redis::start_with(Options { config, ..Options::default() }).await;
    let before = keys(&redis).await;
    for (user, code, first) in [
        ("least", 0, None),
        ("lacks", 2, Some("permissions")),
        ("keyless", 2, Some("permissions")),
        ("broad", 0, None),
    ] {
        let patient = at(&subscriber, &redis).env("REDIS_USERNAME", user).env("REDIS_PASSWORD", user);
        patient.examine().await.is(&format!("redis-user-{user}"), code, first);
    }
    assert_eq!(keys(&redis).await, before);
}

#[tokio::test]
async fn what_redis_is() {
    let subscriber = subscriber().await;
    let config = vec!["maxmemory 100mb".to_owned(), "maxmemory-policy allkeys-lru".to_owned()];
    let redis = Redis::start_with(Options { config, ..Options::default() }).await;
    at(&subscriber, &redis).examine().await.is("redis-evicts", 1, Some("eviction"));
    let replica = Redis::replica_of(&redis).await;
    at(&subscriber, &replica).examine().await.is("redis-replica", 2, Some("service"));
}

#[tokio::test]
async fn by_sentinels() {
    let subscriber = subscriber().await;
    let primary = Redis::start().await;
    let _replica = Redis::replica_of(&primary).await;
    let sentinel = Redis::sentinel_of(&primary).await;
    let port = free_port();
    let nodes = format!("127.0.0.1:{port},127.0.0.1:{}", sentinel.port);
    let patient = subscriber
        .env("REDIS_MODE", "sentinel")
        .env("REDIS_NODES", &nodes)
        .called(&port.to_string(), "26378")
        .called(&sentinel.port.to_string(), "26379");
    // One of them is away, and the other leads on.
    patient.examine().await.is("redis-sentinels", 2, Some("TCP"));
}

#[tokio::test]
async fn by_a_sentinel_to_a_primary_that_is_away() {
    let primary = Redis::start().await;
    let replica = Redis::replica_of(&primary).await;
    let sentinel = Redis::sentinel_of(&primary).await;
    // Nobody is left to take its place.
    replica.kill();
    primary.kill();
    let patient = subscriber()
        .await
        .env("REDIS_MODE", "sentinel")
        .env("REDIS_NODES", &format!("127.0.0.1:{}", sentinel.port))
        .called(&sentinel.port.to_string(), "26379")
        .called(&primary.port.to_string(), "6379");
    patient.examine().await.is("redis-sentinel-without-primary", 2, Some("service"));
}

#[tokio::test]
async fn by_nodes_of_a_cluster() {
    let subscriber = subscriber().await;
    let cluster = RedisCluster::apart().await;
    let mut patient = subscriber;
    for (name, value) in cluster.environment() {
        patient = patient.env(&name, &value);
    }
    for (node, shown) in cluster.nodes.iter().zip(["7001", "7002"]) {
        patient = patient.called(&node.port.to_string(), shown);
    }
    patient.examine().await.is("redis-cluster", 0, None);
    // A node is gone, and its keys with it.
    cluster.nodes[1].kill();
    patient.examine().await.is("redis-cluster-in-part", 2, Some("TCP"));
}
