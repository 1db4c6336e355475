//! Messages that cannot be taken, and a stop under load: the others go on, and everything is counted once.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::bridge::{Bridge, EXCHANGE, KEY, SOON};
use crate::support::otlp::clients::gzip;
use crate::support::rabbitmq::{Options, RabbitMq};
use crate::support::redis;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, nobody_down};

/// A good message with one thing changed.
fn spoilt(spoil: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut message = serde_json::from_slice(&Simulated::new("spoilt").beat()).unwrap();
    spoil(&mut message);
    message.to_string().into_bytes()
}

/// Each kind of poison, with the reason that it must be counted by.
fn poison() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let component = |key: &'static str, value: Value| spoilt(move |m| m["v2"]["components"][0][key] = value);
    let top = |key: &'static str, value: Value| spoilt(move |m| m["v2"][key] = value);
    let v1 = |key: &'static str, value: &'static str| {
        spoilt(move |m| {
            m.as_object_mut().unwrap().remove("v2");
            m["hosts"][0][key] = json!(value);
        })
    };
    vec![
        ("empty", text("")),
        ("oversize", vec![b' '; 100_000]),
        ("not_json", text("{")),
        ("not_json", text("heartbeat")),
        ("not_json", text(r#"{"v2": NaN}"#)),
        ("not_json", vec![0xff, 0xfe, 0]),
        ("not_json", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
        ("not_json", format!("{{\"hosts\":{}", "[".repeat(10_000)).into_bytes()),
        ("shape", text("[]")),
        ("shape", text("17")),
        ("shape", text("{}")),
        ("shape", text(r#"{"v2": {}}"#)),
        ("shape", text(r#"{"v3": {"publisher": "of a later version"}}"#)),
        ("shape", text(r#"{"hosts": [], "hosts": [], "rmq_consumers": {}}"#)),
        ("shape", top("components", json!("none"))),
        ("shape", top("sequence", json!(-1))),
        ("shape", top("sequence", json!(1e300))),
        ("shape", top("sequence", json!("9".repeat(30_000)))),
        ("shape", spoilt(|m| m["v2"]["components"][0]["name"] = json!(vec![json!({}); 5_000]))),
        ("name", top("publisher", json!(""))),
        ("name", top("publisher", json!("a\nb"))),
        ("name", top("publisher", json!("x".repeat(200)))),
        ("name", top("epoch", json!("../../etc"))),
        ("name", component("name", json!("\u{1b}[31m"))),
        ("name", v1("name", "a\u{0}b")),
        ("time", component("checked_at", json!("yesterday"))),
        ("time", top("sent_at", json!("2026-13-45T00:00:00Z"))),
        ("time", v1("timestamp", "soon")),
        ("value", top("sequence", json!(0))),
        ("value", top("interval_seconds", json!(0))),
        ("value", top("interval_seconds", json!(1e12))),
        ("value", component("duration_seconds", json!(-1.0))),
        ("value", v1("status", "maybe")),
        (
            "too_many_components",
            spoilt(|m| {
                let one = m["v2"]["components"][0].clone();
                m["v2"]["components"] = json!(vec![one; 51]);
            }),
        ),
        (
            "duplicate_component",
            spoilt(|m| {
                let one = m["v2"]["components"][0].clone();
                m["v2"]["components"] = json!([one, one]);
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_counted_once_kept_and_in_nobodys_way() {
    const ROUNDS: usize = 8;
    let bridge = Bridge::new().await;
    let subscriber = bridge
        .subscriber()
        .env("LIMIT_MESSAGE_BYTES", "64KiB")
        .env("LIMIT_COMPONENTS_PER_MESSAGE", "50")
        .env("LIMIT_PUBLISHERS", "1")
        .start_ready()
        .await;
    let watch = Watch::start(&subscriber, nobody_down(&[]));
    let mut good = Simulated::new("good");
    bridge.send([good.beat()]).await;
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "good")], 1.0).await;
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut bodies = Vec::new();
        for (reason, body) in poison() {
            *expected.entry(reason).or_default() += 1;
            bodies.push(body);
            bodies.push(good.beat());
        }
        *expected.entry("over_limit").or_default() += 1;
        bodies.push(Simulated::new(&format!("one too many {round}")).beat());
        bridge.send(bodies).await;
    }
    let sequence = f64::from(u32::try_from(good.sequence).unwrap());
    subscriber.wait_value(SOON, "heartbeat_publisher_sequence", &[("publisher", "good")], sequence).await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &[good]).await;
    let scrape = subscriber.metrics().await.unwrap();
    let rejected = scrape.all("heartbeat_subscriber_rejected_total").into_iter();
    let rejected: BTreeMap<&str, f64> =
        rejected.map(|sample| (sample.labels["reason"].as_str(), sample.value)).collect();
    for (reason, count) in &expected {
        assert_eq!(rejected[reason], f64::from(u32::try_from(*count).unwrap()), "{reason} of {rejected:?}");
    }
    let all = expected.values().sum::<usize>();
    let ended = scrape.value("heartbeat_subscriber_messages_total", &[("outcome", "rejected")]);
    assert_eq!(ended, Some(f64::from(u32::try_from(all).unwrap())));
    let kept = bridge.redis.command(&["LRANGE", "heartbeat:rejected", "0", "-1"]).await.strings();
    assert_eq!(kept.len(), 100, "of {all}");
    let newest: Value = serde_json::from_str(&kept[0]).unwrap();
    assert_eq!(newest["reason"], "over_limit", "{newest}");
    watch.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letter_exchange_where_there_is_one() {
    let bridge = Bridge::new().await;
    bridge.vhost.declare_exchange("dead").await;
    bridge.vhost.declare_queue("dead", json!({})).await;
    bridge.vhost.bind("dead", "dead", "#").await;
    let subscriber = bridge.subscriber().env("RABBITMQ_DEAD_LETTER_EXCHANGE", "dead").start_ready().await;
    let watch = Watch::start(&subscriber, |_| Ok(()));
    let mut poison = poison();
    // What the parser says of it repeats it, and no header of AMQP is so long.
    poison.push(("shape", spoilt(|m| m["v2"]["sequence"] = json!("9".repeat(300_000)))));
    poison.push(("oversize", vec![b' '; 10 << 20]));
    bridge.send(poison.iter().map(|(_, body)| body)).await;
    bridge.drained(&subscriber, SOON).await;
    let mut found = BTreeMap::new();
    while let Some((body, properties)) = bridge.vhost.take("dead").await {
        let headers = properties.headers().clone().unwrap();
        let reason = headers.inner().get("x-heartbeat-reason").unwrap().as_long_string().unwrap().to_string();
        assert!(poison.iter().any(|(_, sent)| *sent == body), "{reason}: another body");
        *found.entry(reason).or_insert(0) += 1;
    }
    assert_eq!(found.values().sum::<usize>(), poison.len(), "{found:?}");
    assert_eq!(bridge.redis.keys("heartbeat:rejected").await, Vec::<String>::new());

    // Nowhere to go: the list takes it, and nothing is lost or held.
    bridge.vhost.delete_queue("dead").await;
    bridge.send(["{"]).await;
    wait_until("the list takes it", SOON, async || {
        let kept = bridge.redis.command(&["LLEN", "heartbeat:rejected"]).await.integer();
        if kept == 1 { Ok(()) } else { Err(format!("{kept}")) }
    })
    .await;
    bridge.drained(&subscriber, SOON).await;
    watch.end();
}

/// What comes beside the body is anybody's, too. It is never unpacked, and spoils no good message.
#[tokio::test(flavor = "multi_thread")]
async fn properties_and_headers_of_any_kind_spoil_nothing() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().env("LOG_LEVEL", "debug").start_ready().await;
    let mut good = Simulated::new("good");
    let long = |bytes: usize| AMQPValue::LongString("-".repeat(bytes).into());
    let odd = [
        ("traceparent", long(100_000)),
        ("traceparent", AMQPValue::LongString("00-\u{202e}\n\u{1b}[2J".into())),
        ("traceparent", AMQPValue::ByteArray(vec![0xff; 55].into())),
        ("traceparent", AMQPValue::FieldTable(FieldTable::default())),
        ("timestamp_in_ms", AMQPValue::LongLongInt(i64::MIN)),
        ("timestamp_in_ms", AMQPValue::Timestamp(u64::MAX)),
        ("x-delivery-count", AMQPValue::LongLongInt(i64::MAX)),
        ("x-delivery-count", AMQPValue::Double(-1e300)),
    ];
    for (name, value) in odd {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), value);
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_encoding("gzip".into())
            .with_content_type("\u{202e}text/html".into())
            .with_type("heartbeat.v9".into())
            .with_timestamp(u64::MAX)
            .with_priority(255)
            .with_delivery_mode(1);
        bridge.vhost.publish(EXCHANGE, KEY, &properties, [good.beat()]).await;
    }
    // A body that unpacks to a thousand times its size stays packed.
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let packed = BasicProperties::default().with_content_encoding("gzip".into());
    bridge.vhost.publish(EXCHANGE, KEY, &packed, [bomb]).await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &[good]).await;
    let rejected = [("reason", "not_json")];
    subscriber.wait_value(SOON, "heartbeat_subscriber_rejected_total", &rejected, 1.0).await;
    assert_eq!(subscriber.metrics().await.unwrap().sum("heartbeat_subscriber_rejected_total", &[]), 1.0);
}

/// Where the broker is set to longer frames than its default, a header may be longer than ours: it is the end of one
/// connection, and not of every one after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_longer_than_a_frame_ends_one_connection() {
    let options = Options { config: vec!["frame_max = 1048576".into()], ..Options::default() };
    let broker = RabbitMq::start_with(options).await;
    let bridge = Bridge::with(broker.new_vhost().await, redis::Options::default()).await;
    let subscriber = bridge.subscriber().start_ready().await;
    let mut good = Simulated::new("good");
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString("-".repeat(300_000).into()));
    let properties = BasicProperties::default().with_headers(headers);
    bridge.vhost.publish(EXCHANGE, KEY, &properties, [good.beat()]).await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &[good]).await;
    let lost = subscriber.log().matches("FRAME-ERROR").count();
    assert_eq!(lost, 1, "{}", subscriber.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_is_in_order() {
    let bridge = Bridge::new().await;
    let mut subscriber = bridge.subscriber().start_ready().await;
    let fleet = (0..200).map(|number| Simulated::new(&format!("p{number}"))).collect();
    let beating = Beating::start(&bridge, fleet, Duration::from_millis(100), |_| {});
    for _ in 0..4 {
        wait_until("there is load", SOON, async || {
            match subscriber.metrics().await?.value("heartbeat_subscriber_received_total", &[]) {
                Some(received) if received > 400.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(subscriber.terminate(SOON).await, Some(0), "{}", subscriber.log());
        assert!(TcpStream::connect(subscriber.http()).is_err(), "it listens after its end");
        sleep(Duration::from_millis(300)).await;
        subscriber.start_again();
        subscriber.wait_ready().await;
    }
    let fleet = beating.end().await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &fleet).await;
    let duplicates = subscriber.metrics().await.unwrap().sum("heartbeat_publisher_duplicate_total", &[]);
    assert_eq!(duplicates, 0.0, "what was stored was not acknowledged");
}
