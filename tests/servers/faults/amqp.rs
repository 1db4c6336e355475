//! What befalls RabbitMQ, and the line to it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::support::bridge::{Bridge, EXCHANGE, KEY, QUEUE, SOON, Sender, report};
use crate::support::field::{config, host, wait_failures, wait_published};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::{Permissions, encode};
use crate::support::redis;
use crate::support::tcp::Accepting;
use crate::support::v2::Simulated;
use crate::support::vhost::Vhost;
use crate::support::wait::{holds_for, wait_until};
use crate::support::watch::{Watch, nobody_down};

use super::stage::{BACK, Stage, within};

/// May read, and may change nothing.
const READER: Permissions<'static> = Permissions { configure: "^$", write: "^$", read: ".*" };

/// A stage whose subscriber has a user of its own, and that user's name.
async fn with_a_user() -> (Stage, String) {
    let bridge = Bridge::new().await;
    let user = format!("subscriber-{}", bridge.vhost.name);
    bridge.vhost.create_user(&user, "first", "", Permissions::ALL).await;
    let setup = bridge.subscriber().env("RABBITMQ_USER", &user).env("RABBITMQ_PASS", "first");
    (Stage::with(bridge, setup).await, user)
}

/// Attempts are few while nothing helps: at most one a second, and those that it begins with.
async fn patient(stage: &Stage) {
    const LOOKED: Duration = Duration::from_secs(3);
    let attempts = async || {
        let scrape = stage.subscriber.metrics().await.unwrap();
        scrape.sum("heartbeat_subscriber_consumer_failures_total", &[])
    };
    let before = attempts().await;
    sleep(LOOKED).await;
    let made = attempts().await - before;
    assert!(made <= LOOKED.as_secs_f64() + 2.0, "{made} attempts in {LOOKED:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_made_again_or_waited_for() {
    let (mut stage, user) = with_a_user().await;
    stage.may_lose = true;
    stage.bridge.vhost.delete_queue(QUEUE).await;
    let deleted = Instant::now();
    stage.failed("consumer", "cancelled", 0.0).await;
    stage.back("18 queue deleted", deleted, BACK).await;

    // A subscriber that may only read cannot make it; it says so, and goes on once somebody has made it.
    stage.bridge.vhost.api.permit(&stage.bridge.vhost.name, &user, READER).await;
    stage.bridge.vhost.delete_queue(QUEUE).await;
    stage.failed("consumer", "denied", 0.0).await;
    patient(&stage).await;
    stage.bridge.vhost.declare_queue(QUEUE, json!({})).await;
    stage.bridge.vhost.bind(EXCHANGE, QUEUE, KEY).await;
    stage.back("18 queue deleted, by another's hand again", Instant::now(), BACK).await;
    stage.end_with_losses().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_its_rights_says_so_and_comes_back_with_them() {
    let (stage, user) = with_a_user().await;
    let vhost = stage.bridge.vhost.clone();
    vhost.api.permit(&vhost.name, &user, Permissions::NONE).await;
    // A channel remembers for a while what it was allowed.
    close_connections_of(&vhost, &user).await;
    stage.failed("consumer", "denied", 0.0).await;
    patient(&stage).await;
    vhost.api.permit(&vhost.name, &user, Permissions::ALL).await;
    stage.back("20 rights taken and given", Instant::now(), BACK).await;

    let path = format!("/api/users/{}", encode(&user));
    vhost.api.must("DELETE", &path, &json!(null)).await;
    stage.failed("consumer", "refused", 0.0).await;
    patient(&stage).await;
    vhost.create_user(&user, "first", "", Permissions::ALL).await;
    stage.back("20 user deleted and made again", Instant::now(), BACK).await;
    stage.end().await;
}

async fn close_connections_of(vhost: &Vhost, user: &str) {
    wait_until("the connections of the user are seen and closed", SOON, async || {
        let all = vhost.api.must("GET", "/api/connections", &json!(null)).await;
        let of_it = all.as_array().unwrap().iter().filter(|one| one["user"] == user);
        let names: Vec<&str> = of_it.filter_map(|one| one["name"].as_str()).collect();
        for name in &names {
            let path = format!("/api/connections/{}", encode(name));
            let _ = vhost.api.call("DELETE", &path, "").await;
        }
        if names.is_empty() { Err("none yet".into()) } else { Ok(()) }
    })
    .await;
}

/// The broker counts the consumer no more, and tells nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_consumer_is_noticed() {
    let stage = Stage::set(Bridge::new().await).await;
    let forget = format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{}\">>, queue, <<\"{QUEUE}\">>)), \
         [ok = gen_server2:call(amqqueue:get_pid(Q), \
         {{basic_cancel, element(1, C), element(2, C), undefined, <<\"test\">>}}) \
         || C <- rabbit_amqqueue:consumers(Q)].",
        stage.bridge.vhost.name
    );
    RabbitMq::shared().await.control(&["eval", &forget]).await;
    let forgotten = Instant::now();
    stage.failed("consumer", "lost", 0.0).await;
    stage.back("23 consumer forgotten by the broker", forgotten, Duration::from_secs(60)).await;
    stage.end().await;
}

/// A quorum queue, declared by another with arguments of its own, whose leader then stands still.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_stands_still_proves_nobody_dead() {
    let bridge = Bridge::new().await;
    let quorum = json!({"x-queue-type": "quorum", "x-delivery-limit": 100});
    bridge.vhost.declare_queue("quorum", quorum).await;
    bridge.vhost.bind(EXCHANGE, "quorum", KEY).await;
    let setup = bridge.subscriber().env("RABBITMQ_QUEUE", "quorum").env("PUBLISHER_GRACE", "*=2s");
    let subscriber = setup.start_ready().await;
    let port = Accepting::open();
    let ours = bridge.publisher("oslo", &config(&[host("port", port.address)], &[]).to_string());
    let ours =
        ours.env("RABBITMQ_QUEUE", "quorum").env("PUBLISH_TIMEOUT", "1s").listening().start_ready().await;
    let oslo = [("publisher", "oslo")];
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &oslo, 1.0).await;
    report("21 a queue with other arguments: used as it is");

    let of_leader = |act: &str| {
        let queue = format!("rabbit_misc:r(<<\"{}\">>, queue, <<\"quorum\">>)", bridge.vhost.name);
        format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup({queue}), {{Name, _}} = amqqueue:get_pid(Q), sys:{act}(Name)."
        )
    };
    let broker = RabbitMq::shared().await;
    broker.control(&["eval", &of_leader("suspend")]).await;
    // Its deadline passes before anybody can know that the queue stands still.
    let watch = Watch::start(&subscriber, nobody_down(&[]));
    wait_failures(&ours, "unconfirmed", 1.0).await;
    // It lives, and cannot be heard: whoever is shown as dead now is lied about, and whoever is shown as alive after
    // its deadline, too.
    subscriber.wait_absent(SOON, "heartbeat_publisher_up", &oslo).await;
    holds_for("no verdict", Duration::from_secs(2), async || {
        match subscriber.metrics().await?.value("heartbeat_publisher_up", &oslo) {
            None => Ok(()),
            Some(up) => Err(format!("{up}")),
        }
    })
    .await;
    watch.end();
    broker.control(&["eval", &of_leader("resume")]).await;
    let resumed = Instant::now();
    let published = ours.metrics().await.unwrap().value("heartbeat_emitter_published_total", &[]).unwrap();
    wait_published(&ours, published + 2.0).await;
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &oslo, 1.0).await;
    // Its watchdog gives an answer ten seconds, and the next attempt a pause.
    within("22 quorum queue stalled", "a verdict", resumed.elapsed(), Duration::from_secs(25));
}

/// Its exchange is deleted under a publisher: nothing counts as published until it is there again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_to_a_deleted_exchange_is_not_confirmed() {
    let bridge = Bridge::new().await;
    let port = Accepting::open();
    let ours = bridge.publisher("oslo", &config(&[host("port", port.address)], &[]).to_string());
    let ours = ours.listening().start_ready().await;
    wait_published(&ours, 2.0).await;
    bridge.vhost.api.must("DELETE", &path_of_the_exchange(&bridge), &json!(null)).await;
    let deleted = Instant::now();
    wait_failures(&ours, "unconfirmed", 1.0).await;
    let published = ours.metrics().await.unwrap().value("heartbeat_emitter_published_total", &[]).unwrap();
    wait_published(&ours, published + 1.0).await;
    within("19 exchange deleted", "the next heartbeat confirmed", deleted.elapsed(), BACK);
    assert!(bridge.depth().await.0 >= 3, "it was not bound again");
}

fn path_of_the_exchange(bridge: &Bridge) -> String {
    format!("/api/exchanges/{}/{EXCHANGE}", encode(&bridge.vhost.name))
}

/// One broker, and one thing after the other: alarms, a freeze, and a start of everything at once.
#[tokio::test(flavor = "multi_thread")]
async fn alarms_a_freeze_and_a_cold_start() {
    let broker = RabbitMq::start_own().await;
    let options = redis::Options { append_only: true, ..redis::Options::default() };
    let bridge = Bridge::with(broker.new_vhost().await, options).await;
    let port = Accepting::open();
    let ours = bridge.publisher("oslo", &config(&[host("port", port.address)], &[]).to_string());
    let quick = |setup: Setup| setup.env("RABBITMQ_HEARTBEAT", "2s");
    let mut ours = quick(ours).env("PUBLISH_TIMEOUT", "1s").listening().start_ready().await;
    let setup = quick(bridge.subscriber());
    let stage = Stage::with(bridge, setup).await;

    let alarms = [("16 memory alarm", "memory"), ("17 disk alarm", "disk")];
    for (fault, resource) in alarms {
        let (begin, end) = alarm_by_hand(resource);
        let before = blocked(&ours).await;
        broker.control(&["eval", &begin]).await;
        wait_failures(&ours, "blocked", before + 1.0).await;
        let consuming = [
            ("heartbeat_subscriber_connected", &[("peer", "rabbitmq")][..]),
            ("heartbeat_subscriber_listening", &[]),
        ];
        let scrape = stage.subscriber.metrics().await.unwrap();
        for (name, labels) in consuming {
            assert_eq!(
                scrape.value(name, labels),
                Some(1.0),
                "{fault}: the subscriber does not go on consuming"
            );
        }
        broker.control(&["eval", &end]).await;
        let cleared = Instant::now();
        let published =
            ours.metrics().await.unwrap().value("heartbeat_emitter_published_total", &[]).unwrap();
        wait_published(&ours, published + 1.0).await;
        within(fault, "the next heartbeat confirmed", cleared.elapsed(), Duration::from_secs(3));
        stage.back(fault, cleared, BACK).await;
    }

    let (before, _) = stage.failures("consumer", "closed").await.unwrap();
    broker.pause();
    stage.failed("consumer", "closed", before).await;
    broker.resume();
    stage.back("5 broker frozen", Instant::now(), Duration::from_secs(15)).await;

    // Everything at once.
    let (bridge, mut subscriber, mut fleet) = stage.leave().await;
    broker.kill();
    bridge.redis.kill();
    ours.kill();
    subscriber.kill();
    broker.launch();
    bridge.redis.launch();
    ours.start_again();
    subscriber.start_again();
    let begun = Instant::now();
    let watch = Watch::start(&subscriber, nobody_down(&[]));
    broker.wait_serving().await;
    let serving = Instant::now();
    let restarts = [("publisher", "oslo")];
    subscriber.wait_value(SOON, "heartbeat_publisher_restarts_total", &restarts, 1.0).await;
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &restarts, 1.0).await;
    within("48 cold start of everything", "a fresh heartbeat", begun.elapsed(), Duration::from_secs(60));
    within("48 cold start, once the broker serves", "a fresh heartbeat", serving.elapsed(), BACK);
    let sender = Sender::to(&bridge.vhost).await;
    sender.send(fleet.iter_mut().map(Simulated::beat)).await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &fleet).await;
    watch.end();
}

fn alarm_by_hand(resource: &str) -> (String, String) {
    let of_it = format!("{{resource_limit, {resource}, node()}}");
    (format!("rabbit_alarm:set_alarm({{{of_it}, []}})."), format!("rabbit_alarm:clear_alarm({of_it})."))
}

async fn blocked(publisher: &Program) -> f64 {
    let scrape = publisher.metrics().await.unwrap();
    scrape.value("heartbeat_emitter_publish_failures_total", &[("reason", "blocked")]).unwrap()
}
