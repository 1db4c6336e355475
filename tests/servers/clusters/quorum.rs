//! A quorum queue is made where it is asked for, and its delivery limit costs no heartbeat.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::bridge::{Bridge, QUEUE, SOON, role};
use crate::support::program::{Program, Setup};
use crate::support::proxy::Proxy;
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::{self, Redis};
use crate::support::v2::Simulated;
use crate::support::vhost::Vhost;
use crate::support::wait::wait_until;

fn led(name: &str, vhost: &Vhost, redis: &Redis) -> Setup {
    role(name, vhost).envs(redis.environment())
}

#[tokio::test(flavor = "multi_thread")]
async fn either_role_makes_one_that_drops_nothing_and_uses_what_stands() {
    let redis = Redis::start().await;
    for first in ["subscriber", "publisher"] {
        let vhost = RabbitMq::vhost().await;
        let quorum = led(first, &vhost, &redis).env("RABBITMQ_QUEUE_TYPE", "quorum");
        let _first = quorum.publisher_config("{\"heartbeat\": {}}").env("PUBLISHER_ID", "oslo").start();
        let made = wait_until("the queue is made", SOON, async || vhost.queue(QUEUE).await).await;
        assert_eq!((&made["type"], &made["durable"]), (&json!("quorum"), &json!(true)), "{made}");
        assert_eq!(made["arguments"]["x-delivery-limit"], 1_000_000, "{made}");
        // Whoever asks for another kind is told, and works.
        for (kind, differs) in [("classic", true), ("", false), ("quorum", false)] {
            let other =
                led("subscriber", &vhost, &redis).env("RABBITMQ_QUEUE_TYPE", kind).start_ready().await;
            assert_eq!(other.log().contains("used as it is"), differs, "{kind}: {}", other.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_one_is_made_on_request() {
    let (redis, vhost) = (Redis::start().await, RabbitMq::vhost().await);
    let _subscriber =
        led("subscriber", &vhost, &redis).env("RABBITMQ_QUEUE_TYPE", "classic").start_ready().await;
    let made = vhost.queue(QUEUE).await.unwrap();
    assert_eq!(made["arguments"], json!({"x-queue-type": "classic"}));
}

/// What RabbitMQ 4 gives every quorum queue that has no other.
const LIMIT: u64 = 20;

async fn received(subscriber: &Program) -> f64 {
    let scrape = subscriber.metrics().await.unwrap();
    scrape.value("heartbeat_subscriber_received_total", &[]).unwrap_or_default()
}

/// Redis is away, and the connection to RabbitMQ breaks far more often than the limit allows a message to come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_with_a_flapping_connection_wears_no_heartbeat_out() {
    let arguments = json!({"x-queue-type": "quorum", "x-delivery-limit": LIMIT});
    let options = redis::Options { append_only: true, ..redis::Options::default() };
    let bridge = Bridge::with_queue(RabbitMq::vhost().await, arguments, options).await;
    let path = Proxy::start(([127, 0, 0, 1], bridge.vhost.ports.amqp).into());
    let subscriber = bridge.subscriber().env("RABBITMQ_PORT", &path.port().to_string()).start_ready().await;
    bridge.redis.kill();
    subscriber.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "redis")], 0.0).await;
    let mut fleet: Vec<Simulated> = (0..10).map(|number| Simulated::new(&format!("p{number}"))).collect();
    bridge.send(fleet.iter_mut().map(Simulated::beat)).await;
    let mut spared = false;
    for _ in 0..LIMIT * 2 {
        let before = received(&subscriber).await;
        path.reset();
        // They come again, unless that would be once too often.
        spared = wait_until("they are delivered again or spared", SOON, async || {
            match (
                received(&subscriber).await,
                subscriber.log().contains("not consuming until the store is back"),
            ) {
                (_, true) => Ok(true),
                (now, false) if now >= before + 10.0 => Ok(false),
                seen => Err(format!("{before} then {seen:?}")),
            }
        })
        .await;
        if spared {
            break;
        }
    }
    assert!(spared, "nothing was spared, so nothing is proven");
    let before = received(&subscriber).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(received(&subscriber).await, before, "it consumes");
    bridge.redis.start_again().await;
    subscriber.wait_value(SOON, "heartbeat_publisher_sequence", &[("publisher", "p9")], 1.0).await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &fleet).await;
}

/// The commands of the documentation, as they stand there, save for the vhost.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_policies_give_a_queue_of_others_its_limit() {
    let page = include_str!("../../../docs/clusters.md");
    let commands = page.lines().filter(|line| line.starts_with("rabbitmqctl set_policy"));
    let vhost = RabbitMq::vhost().await;
    vhost.declare_queue("heartbeat", json!({"x-queue-type": "quorum"})).await;
    let mut limits = Vec::new();
    for command in commands {
        let mut shell = RabbitMq::shared().await.shell();
        let there = command.replace("set_policy", &format!("set_policy -p {}", vhost.name));
        shell.args(["-c", &there]);
        let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{there}: {output:?}");
        let wanted = command.split('\'').nth(3).unwrap();
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        wait_until("the policy is in force", SOON, async || {
            let queue = vhost.queue("heartbeat").await?;
            let effective = &queue["effective_policy_definition"];
            if *effective == wanted { Ok(()) } else { Err(effective.to_string()) }
        })
        .await;
        limits.push(wanted["delivery-limit"].as_u64());
    }
    assert_eq!(limits, [Some(1_000_000), Some(1000)]);
}
