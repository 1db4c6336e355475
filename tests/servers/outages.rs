//! Redis and RabbitMQ away for a while: nothing is lost, nothing false is shown, nothing is restarted by hand.
//!
//! The long form: `HEARTBEAT_TEST_OUTAGE=30 cargo test --test servers outages -- --nocapture`; with it, being back
//! within five seconds is required.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::bridge::{Bridge, SOON, figure, report};
use crate::support::program::Program;
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis;
use crate::support::tcp::Accepting;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, nobody_down};

const BEAT: Duration = Duration::from_millis(500);

fn outage() -> Duration {
    Duration::from_secs(figure("HEARTBEAT_TEST_OUTAGE", 8))
}

/// The sum of all shown sequence numbers: it grows while fresh heartbeats go on showing.
async fn shown(subscriber: &Program) -> f64 {
    subscriber.metrics().await.unwrap().sum("heartbeat_publisher_sequence", &[])
}

async fn wait_shown(subscriber: &Program, at_least: f64) {
    wait_until("fresh heartbeats go on showing", SOON, async || {
        let now = shown(subscriber).await;
        if now >= at_least { Ok(()) } else { Err(format!("{now} of {at_least}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_under_load_loses_nothing() {
    let options = redis::Options { append_only: true, ..redis::Options::default() };
    let bridge = Bridge::with(RabbitMq::vhost().await, options).await;
    let subscriber = bridge.subscriber().start_ready().await;
    let fleet: Vec<Simulated> = (0..50).map(|number| Simulated::new(&format!("p{number:02}"))).collect();
    let publishers = 50.0;
    let flip = |publisher: &mut Simulated| {
        publisher.components[0].outcome = if publisher.sequence % 5 == 3 { "down" } else { "up" };
    };
    let beating = Beating::start(&bridge, fleet, BEAT, flip);
    wait_shown(&subscriber, publishers).await;
    let cut_off = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&cut_off);
    let mut nobody = nobody_down(&[]);
    let watch = Watch::start(&subscriber, move |scrape| {
        if scrape.value("heartbeat_subscriber_connected", &[("peer", "redis")]) == Some(0.0) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        nobody(scrape)
    });

    bridge.redis.stop().await;
    let stopped = Instant::now();
    subscriber.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "redis")], 0.0).await;
    for round in 1..=3 {
        let before = shown(&subscriber).await;
        wait_shown(&subscriber, before + publishers).await;
        sleep((outage() * round / 3).saturating_sub(stopped.elapsed())).await;
    }
    let open = subscriber.metrics().await.unwrap().value("heartbeat_subscriber_in_flight", &[]);
    bridge.redis.start_again().await;
    subscriber.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "redis")], 1.0).await;
    let before = shown(&subscriber).await;
    wait_shown(&subscriber, before + 3.0 * publishers).await;

    // Frozen, it takes writes and does not answer: nobody knows what was stored.
    for _ in 0..3 {
        bridge.redis.pause();
        sleep(Duration::from_secs(3)).await;
        let before = shown(&subscriber).await;
        bridge.redis.resume();
        wait_shown(&subscriber, before + 3.0 * publishers).await;
    }
    let fleet = beating.end().await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &fleet).await;
    let scrape = subscriber.metrics().await.unwrap();
    assert_eq!(
        scrape.sum("heartbeat_publisher_duplicate_total", &[]),
        0.0,
        "an own write was taken for another's"
    );
    let seen = watch.end();
    assert_eq!(seen.unanswered, 0);
    assert!(cut_off.load(Ordering::Relaxed) > 0);
    report(&format!(
        "Redis away for {:?}: {} scrapes, slowest {:?}, {} said disconnected; {open:?} in flight before it was back",
        outage(),
        seen.answered,
        seen.slowest,
        cut_off.load(Ordering::Relaxed)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_away_and_both_are_back_by_themselves() {
    let broker = RabbitMq::start_own().await;
    let bridge = Bridge::with(broker.new_vhost().await, redis::Options::default()).await;
    let port = Accepting::open();
    let config = format!(
        r#"{{"heartbeat": {{"hosts": [{{"name": "db", "host": "127.0.0.1", "port": {}}}]}}}}"#,
        port.address.port()
    );
    let subscriber = bridge.subscriber().start_ready().await;
    let publisher = bridge.publisher("oslo", &config).start();
    let oslo = [("publisher", "oslo")];
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &oslo, 1.0).await;
    let (subscriber_pid, publisher_pid) = (subscriber.pid(), publisher.pid());
    let watch = Watch::start(&subscriber, nobody_down(&[]));

    broker.stop().await;
    let stopped = Instant::now();
    subscriber.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "rabbitmq")], 0.0).await;
    sleep(outage().saturating_sub(stopped.elapsed())).await;
    broker.launch();
    let accepting = wait_until("the port accepts", Duration::from_secs(120), async || {
        TcpStream::connect(broker.amqp()).map(|_| Instant::now()).map_err(|error| error.to_string())
    })
    .await;
    let before = last_seen(&subscriber).await;
    subscriber.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "rabbitmq")], 1.0).await;
    let subscriber_took = accepting.elapsed();
    wait_until("a heartbeat comes again", SOON, async || {
        let now = last_seen(&subscriber).await;
        if now > before { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    let heartbeat_took = accepting.elapsed();
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &oslo, 1.0).await;
    subscriber.wait_value(SOON, "heartbeat_component_up", &[("name", "db")], 1.0).await;
    let scrape = subscriber.metrics().await.unwrap();
    assert_eq!(
        scrape.value("heartbeat_publisher_restarts_total", &oslo),
        Some(0.0),
        "the publisher was restarted"
    );
    assert!(scrape.value("heartbeat_publisher_reconnects_total", &oslo) >= Some(1.0));
    assert_eq!((subscriber.pid(), publisher.pid()), (subscriber_pid, publisher_pid));
    let seen = watch.end();
    assert_eq!(seen.unanswered, 0);
    report(&format!(
        "RabbitMQ away for {:?}: subscriber back {subscriber_took:?} after its port accepted, a heartbeat through \
         {heartbeat_took:?} after; {} scrapes, slowest {:?}",
        outage(),
        seen.answered,
        seen.slowest
    ));
    if outage() >= Duration::from_secs(30) {
        assert!(heartbeat_took <= Duration::from_secs(5), "back after {heartbeat_took:?}");
    }
}

async fn last_seen(subscriber: &Program) -> Option<f64> {
    let scrape = subscriber.metrics().await.unwrap();
    scrape.value("heartbeat_publisher_last_seen_timestamp_seconds", &[("publisher", "oslo")])
}
