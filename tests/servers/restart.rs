//! What is known outlives a restart; who is gone is forgotten, on command or by itself; Redis behind locks.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::bridge::{Bridge, EXCHANGE, KEY, SOON};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis;
use crate::support::v1;
use crate::support::v2::Simulated;
use crate::support::wait::{holds_for, wait_until};

fn label(publisher: &str) -> [(&str, &str); 1] {
    [("publisher", publisher)]
}

/// Sends until it is shown as up.
async fn known_alive(bridge: &Bridge, subscriber: &Program, publisher: &mut Simulated) {
    let id = publisher.id.clone();
    wait_until("it is shown as up", SOON, async || {
        bridge.send([publisher.beat()]).await;
        sleep(Duration::from_millis(300)).await;
        match subscriber.metrics().await?.value("heartbeat_publisher_up", &label(&id)) {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_shows_what_redis_knows() {
    let bridge = Bridge::new().await;
    let mut running = bridge.subscriber().env("EXPECTED_PUBLISHERS", "oslo,bergen").start_ready().await;
    let scrape = running.metrics().await.unwrap();
    for id in ["oslo", "bergen"] {
        assert_eq!(scrape.value("heartbeat_publisher_up", &label(id)), Some(0.0), "{id}");
        assert_eq!(scrape.value("heartbeat_publisher_expected", &label(id)), Some(1.0), "{id}");
    }
    let mut oslo = Simulated::new("oslo");
    oslo.interval = Duration::from_secs(100);
    oslo.components[0].outcome = "down";
    known_alive(&bridge, &running, &mut oslo).await;
    bridge.drained(&running, SOON).await;
    let before = running.metrics().await.unwrap();
    running.kill();
    running.start_again();
    let sequence = f64::from(u32::try_from(oslo.sequence).unwrap());
    running.wait_value(SOON, "heartbeat_publisher_sequence", &label("oslo"), sequence).await;
    let after = running.metrics().await.unwrap();
    for name in [
        "heartbeat_publisher_up",
        "heartbeat_publisher_last_seen_timestamp_seconds",
        "heartbeat_publisher_heartbeats_total",
        "heartbeat_publisher_expected",
    ] {
        assert_eq!(after.value(name, &label("oslo")), before.value(name, &label("oslo")), "{name}");
    }
    let db = [("publisher", "oslo"), ("name", "oslo.db")];
    assert_eq!(after.value("heartbeat_component_up", &db), Some(0.0));
    assert_eq!(after.value("heartbeat_publisher_up", &label("bergen")), Some(0.0));
}

fn forget(bridge: &Bridge, id: &str) -> Program {
    Setup::new("forget").envs(bridge.redis.environment()).arg(id).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forgotten_stay_so_until_they_speak() {
    let bridge = Bridge::new().await;
    let one = bridge.subscriber().start_ready().await;
    let other = bridge.subscriber().start_ready().await;
    let mut gone = Simulated::new("gone");
    let first_life = gone.beat();
    bridge.send([&first_life]).await;
    let mut gone = gone.restarted();
    known_alive(&bridge, &one, &mut gone).await;
    other.wait_value(SOON, "heartbeat_publisher_up", &label("gone"), 1.0).await;
    let old = gone.beat();
    bridge.send([&old]).await;
    bridge.drained(&one, SOON).await;
    bridge.drained(&other, SOON).await;

    let mut command = forget(&bridge, "gone");
    assert_eq!(command.exit_code(SOON).await, Some(0), "{}", command.log());
    assert!(command.log().starts_with("OK: gone is forgotten"), "{}", command.log());
    for subscriber in [&one, &other] {
        subscriber.wait_absent(SOON, "heartbeat_publisher_up", &label("gone")).await;
        subscriber.wait_absent(SOON, "heartbeat_component_up", &[("name", "gone.db")]).await;
    }
    bridge.send([&old, &first_life]).await;
    holds_for("an old message brings nobody back", Duration::from_secs(3), async || {
        for subscriber in [&one, &other] {
            if let Some(up) = subscriber.metrics().await?.value("heartbeat_publisher_up", &label("gone")) {
                return Err(format!("{up}"));
            }
        }
        Ok(())
    })
    .await;
    let database = format!("Redis at 127.0.0.1:{}, database 0", bridge.redis.port);
    let mut again = forget(&bridge, "gone");
    assert_eq!(again.exit_code(SOON).await, Some(0), "{}", again.log());
    assert!(again.log().starts_with("OK: gone is forgotten already"), "{}", again.log());
    for (id, why) in [
        ("never heard", format!("heartbeat: not forgotten: {database} knows no publisher \"never heard\"")),
        ("never heard", "take it out of EXPECTED_PUBLISHERS".to_owned()),
    ] {
        let mut command = forget(&bridge, id);
        assert_eq!(command.exit_code(SOON).await, Some(1), "{id}");
        assert!(command.log().contains(&why), "{id}: {}", command.log());
    }
    known_alive(&bridge, &one, &mut gone).await;
    other.wait_value(SOON, "heartbeat_publisher_up", &label("gone"), 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_for_long_or_replaced_is_forgotten() {
    let bridge = Bridge::new().await;
    let running =
        bridge.subscriber().env("RETENTION", "60s").env("PUBLISHER_GRACE", "*=12s").start_ready().await;
    let mut silent = Simulated::new("silent");
    known_alive(&bridge, &running, &mut silent).await;

    // An original, then version 2 in its place, which names all its components.
    let (_connection, channel) = bridge.vhost.connect().await;
    let original = v1::Publisher::new();
    wait_until("the original is up", SOON, async || {
        let message =
            original.message(&[("oslo.db", true)], &[("oslo.inbox", true)], &[("oslo.ingest", true)]);
        original.publish(&channel, EXCHANGE, KEY, &message).await;
        sleep(Duration::from_millis(300)).await;
        match running.metrics().await?.value("heartbeat_publisher_up", &label("publisher")) {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let mut oslo = Simulated::new("oslo");
    known_alive(&bridge, &running, &mut oslo).await;
    running.wait_absent(SOON, "heartbeat_publisher_up", &label("publisher")).await;
    running.wait_log(SOON, "why=replaced").await;

    wait_until("the silent one is forgotten", Duration::from_secs(120), async || {
        bridge.send([oslo.beat()]).await;
        sleep(Duration::from_secs(1)).await;
        // Not its verdict, which is withheld where listening had a break, but all of it.
        let scrape = running.metrics().await?;
        match scrape.value("heartbeat_publisher_last_seen_timestamp_seconds", &label("silent")) {
            None => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let scrape = running.metrics().await.unwrap();
    assert_eq!(scrape.value("heartbeat_subscriber_forgotten_total", &[]), Some(2.0));
    assert_eq!(scrape.value("heartbeat_publisher_up", &label("oslo")), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_behind_tls_an_acl_user_and_a_password() {
    let least =
        "user least on >canary-least ~heartbeat:* ~service:* ~queue:* -@all +@read +@write +@scripting +time";
    let options = redis::Options {
        password: Some("canary-default".into()),
        tls: true,
        config: vec![least.into()],
        ..redis::Options::default()
    };
    let bridge = Bridge::with(RabbitMq::vhost().await, options).await;
    let ca = bridge.redis.certificates.as_ref().unwrap().ca.to_str().unwrap().to_owned();
    let with_tls = |setup: Setup| {
        setup
            .env("REDIS_HOST", "localhost")
            .env("REDIS_PORT", &bridge.redis.tls_port.to_string())
            .env("REDIS_TLS", "true")
            .env("REDIS_CA_CERT_PATH", &ca)
    };
    let mut oslo = Simulated::new("oslo");
    let least =
        with_tls(bridge.subscriber()).env("REDIS_USERNAME", "least").env("REDIS_PASSWORD", "canary-least");
    let mut running = least.start_ready().await;
    known_alive(&bridge, &running, &mut oslo).await;
    bridge.send(["{"]).await;
    bridge.drained(&running, SOON).await;
    bridge.assert_newest(&running, std::slice::from_ref(&oslo)).await;
    assert!(!running.log().contains("NOPERM"), "{}", running.log());
    running.terminate(SOON).await;

    let mut default = bridge.subscriber().env("REDIS_PASSWORD", "canary-default").start_ready().await;
    default.wait_value(SOON, "heartbeat_publisher_up", &label("oslo"), 1.0).await;
    default.terminate(SOON).await;
    for refused in [
        bridge.subscriber().env("REDIS_PASSWORD", "canary-wrong"),
        with_tls(bridge.subscriber()).env("REDIS_PASSWORD", "canary-default").env("REDIS_CA_CERT_PATH", ""),
    ] {
        let refused = refused.start();
        refused.wait_log(SOON, "No connection to Redis; trying again").await;
        let scrape = refused.metrics().await.unwrap();
        assert_eq!(scrape.value("heartbeat_subscriber_connected", &[("peer", "redis")]), Some(0.0));
        assert!(!refused.log().contains("canary"), "a secret in the log: {}", refused.log());
    }
    assert!(!running.log().contains("canary") && !default.log().contains("canary"));
}
