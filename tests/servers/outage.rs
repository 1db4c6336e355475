//! A broker that blocks, dies and comes back.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::support::field::{BOUND, config, host, publisher, wait_failures, wait_published};
use crate::support::http;
use crate::support::program::Program;
use crate::support::rabbitmq::{RabbitMq, answers_amqp};
use crate::support::tcp::Accepting;
use crate::support::v1;
use crate::support::wait::wait_until;

/// From the broker's port to the first heartbeat confirmed.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// The default of `SHUTDOWN_GRACE`.
const GRACE: Duration = Duration::from_secs(10);

/// For the machine to look.
const SLACK: Duration = Duration::from_secs(2);

async fn published(program: &Program) -> f64 {
    program.metrics().await.unwrap().value("heartbeat_emitter_published_total", &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_outlives_its_broker() {
    let broker = RabbitMq::start_own().await;
    let vhost = broker.new_vhost().await;
    let port = Accepting::open();
    let setup = publisher(&vhost, "beats", "steady", &config(&[host("port", port.address)], &[]));
    let mut ours = setup.env("PUBLISH_TIMEOUT", "1s").listening().start_ready().await;
    wait_published(&ours, 2.0).await;

    // An alarm: the broker takes no message any more.
    broker.control(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    wait_until("the publisher is not ready", BOUND, async || {
        let answer = http::get(ours.http(), "/-/ready").await?;
        let text = answer.text();
        if answer.status == 503 && text.contains("blocked") { Ok(()) } else { Err(text) }
    })
    .await;
    let blocked_at = Timestamp::now();
    wait_failures(&ours, "blocked", 4.0).await;
    let before = published(&ours).await;
    let freed_at = Timestamp::now();
    broker.control(&["set_vm_memory_high_watermark", "0.9"]).await;
    wait_published(&ours, before + 3.0).await;
    assert!(ours.log().contains("RabbitMQ lets publishers go on"), "{}", ours.log());

    // A kill, and the same broker again.
    broker.kill();
    ours.wait_value(BOUND, "heartbeat_emitter_connected", &[], 0.0).await;
    wait_failures(&ours, "disconnected", 2.0).await;
    let before = published(&ours).await;
    broker.launch();
    let mut accepting = None;
    let took = wait_until("a heartbeat is confirmed again", Duration::from_secs(120), async || {
        if accepting.is_none() {
            answers_amqp(broker.amqp()).await?;
            accepting = Some(Instant::now());
        }
        match published(&ours).await {
            now if now > before => Ok(accepting.unwrap().elapsed()),
            _ => Err("none yet".to_owned()),
        }
    })
    .await;
    assert!(took < BACK_WITHIN, "it took {took:?} from the port's opening");
    wait_published(&ours, before + 2.0).await;
    broker.wait_serving().await;

    // An end while the broker hangs: what is not confirmed in half the grace period is let go.
    broker.pause();
    assert_eq!(ours.terminate(GRACE + SLACK).await, Some(0), "{}", ours.log());
    broker.resume();
    broker.wait_serving().await;

    let mut told = Vec::new();
    while let Some((body, properties)) = vhost.take("beats").await {
        v1::writes(&body);
        assert_eq!(properties.delivery_mode(), &Some(2));
        told.push(serde_json::from_slice::<Value>(&body).unwrap()["v2"].clone());
    }
    assert!(told.iter().all(|one| one["epoch"] == told[0]["epoch"]), "one life, one epoch");
    let numbers: Vec<u64> = told.iter().map(|one| one["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    let sent = |one: &Value| one["sent_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let stale = told.iter().filter(|one| (blocked_at..freed_at).contains(&sent(one))).count();
    assert_eq!(stale, 0, "what was current while it was blocked came after it");
    let last = told.last().unwrap();
    let span = (freed_at.as_millisecond() - blocked_at.as_millisecond()) as f64 / 1000.0;
    assert!(last["blocked_seconds_total"].as_f64().unwrap() >= span, "{last}");
    assert_eq!(last["reconnects_total"], 1, "a block is no reason to connect anew");
    assert!(last["publish_failures_total"].as_u64() >= Some(6), "{last}");
}
