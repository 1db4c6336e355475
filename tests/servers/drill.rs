//! `heartbeat drill` where nothing can be played; what is played, `alerting` sees.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bridge::{EXCHANGE, QUEUE, SOON, role};
use crate::support::field::{BOUND, config};
use crate::support::ports::free_port;
use crate::support::program::Setup;
use crate::support::proxy::Proxy;
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::{Permissions, encode};
use crate::support::vhost::Vhost;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_waited_for_is_said_and_why_it_was_in_vain() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut drill = Setup::new("drill")
        .publisher_config(&config(&[], &[]).to_string())
        .env("PUBLISHER_ID", "oslo")
        .env("RABBITMQ_HOST", &nobody)
        .start();
    drill.wait_log(SOON, &format!("Connecting to RabbitMQ at {nobody}, for up to 15 s")).await;
    assert_eq!(drill.exit_code(BOUND).await, Some(1), "{}", drill.log());
    let log = drill.log();
    for told in ["Nothing was played: ", &nobody, "refused", "`heartbeat doctor publisher` says what to do"] {
        assert!(log.contains(told), "{told}: {log}");
    }
}

/// A user whom the broker does not let in is not waited for, and knocks once.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_at_once() {
    let vhost = RabbitMq::vhost().await;
    let path = Proxy::start(([127, 0, 0, 1], vhost.ports.amqp).into());
    let mut drill = drill(&vhost, &path).env("RABBITMQ_PASS", "canary-wrong").start();
    let began = Instant::now();
    assert_eq!(drill.exit_code(BOUND).await, Some(1), "{}", drill.log());
    let (log, took) = (drill.log(), began.elapsed());
    assert!(log.contains("Nothing was played: "), "{log}");
    assert_eq!(log.matches("ACCESS_REFUSED").count(), 1, "{log}");
    assert!(took < Duration::from_secs(10), "it waited for {took:?}: {log}");
    assert_eq!(path.counts().accepted, 1, "{log}");
}

/// Where a user may have no more connections, the one that is played on is enough.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough() {
    let vhost = RabbitMq::vhost().await;
    let limit = format!("/api/user-limits/{}/max-connections", encode(&vhost.name));
    vhost.api.must("PUT", &limit, &json!({"value": 1})).await;
    let path = Proxy::start(([127, 0, 0, 1], vhost.ports.amqp).into());
    let mut drill = drill(&vhost, &path).start();
    drill.wait_log(SOON, "drill:oslo is up").await;
    assert_eq!(path.counts().accepted, 1, "{}", drill.log());
    drill.terminate(SOON).await;
}

/// What the broker lets in and then refuses is told as it said it.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_may_not_be_made_is_told() {
    let vhost = RabbitMq::vhost().await;
    vhost.api.permit(&vhost.name, &vhost.name, Permissions::NONE).await;
    let path = Proxy::start(([127, 0, 0, 1], vhost.ports.amqp).into());
    let mut drill = drill(&vhost, &path).env("RABBITMQ_EXCHANGE", "nowhere").start();
    assert_eq!(drill.exit_code(BOUND).await, Some(1), "{}", drill.log());
    let log = drill.log();
    let why = "Nothing was played: RabbitMQ: creating exchange \"nowhere\" failed: ACCESS_REFUSED - ";
    assert!(log.contains(why) && !log.contains("takes no messages"), "{log}");
}

/// Likewise where it takes no message of this user.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_may_not_be_written_to_is_told() {
    let vhost = RabbitMq::vhost().await;
    vhost.declare_exchange(EXCHANGE).await;
    vhost.declare_queue(QUEUE, json!({})).await;
    vhost.api.permit(&vhost.name, &vhost.name, Permissions::NONE).await;
    let path = Proxy::start(([127, 0, 0, 1], vhost.ports.amqp).into());
    let mut drill = drill(&vhost, &path).start();
    assert_eq!(drill.exit_code(BOUND).await, Some(1), "{}", drill.log());
    let log = drill.log();
    let (_, why) = log.split_once("A heartbeat was not confirmed: ").unwrap_or_else(|| panic!("{log}"));
    assert!(why.contains("ACCESS_REFUSED - ") && !why.starts_with("unconfirmed"), "{log}");
}

fn drill(vhost: &Vhost, path: &Proxy) -> Setup {
    role("drill", vhost)
        .publisher_config(&config(&[], &[]).to_string())
        .env("PUBLISHER_ID", "oslo")
        .env("RABBITMQ_PORT", &path.port().to_string())
}
