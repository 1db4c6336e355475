//! `heartbeat tap`: heartbeats are seen as they pass, nobody misses one for it, and nothing of it stays.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bridge::{Bridge, EXCHANGE, KEY, QUEUE, SOON, role};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::{Permissions, encode};
use crate::support::v1;
use crate::support::v2::Simulated;
use crate::support::vhost::Vhost;
use crate::support::wait::wait_until;

/// What the page on commands gives the user of a tap.
const TAPS: Permissions<'static> =
    Permissions { configure: r"^amq\.gen-", write: r"^amq\.gen-", read: r"^(sda|amq\.gen-.*)$" };

/// Queues of a vhost that the broker named.
async fn taps(vhost: &Vhost) -> Vec<Value> {
    let path = format!("/api/queues/{}?columns=name,arguments,messages", encode(&vhost.name));
    let queues = vhost.api.must("GET", &path, &Value::Null).await;
    let named = |queue: &&Value| queue["name"].as_str().unwrap().starts_with("amq.gen-");
    queues.as_array().unwrap().iter().filter(named).cloned().collect()
}

async fn wait_for_tap(vhost: &Vhost, tap: &Program) {
    wait_until("the tap listens", SOON, async || {
        let bound = vhost.api.call("GET", &format!("/api/bindings/{}", encode(&vhost.name)), "").await?;
        let is_tap = |binding: &Value| {
            binding["source"] == EXCHANGE && binding["destination"].as_str().unwrap().starts_with("amq.gen-")
        };
        if bound.as_array().unwrap().iter().any(is_tap) { Ok(()) } else { Err(tap.log()) }
    })
    .await;
}

fn tap(bridge: &Bridge) -> Setup {
    role("tap", &bridge.vhost)
}

/// Times, epochs, ports and vhosts are others at each run.
fn normal(bridge: &Bridge, log: &str) -> String {
    let mut lines = String::new();
    let port = bridge.vhost.ports.amqp.to_string();
    let log = log.replace(&bridge.vhost.name, "/").replace(&port, "5672");
    for line in log.lines() {
        let line = match line.split_once("Z  ") {
            Some((at, rest)) if at.len() == 19 => format!("2026-11-29T12:00:00Z  {rest}"),
            _ => line.to_owned(),
        };
        let line = match line.split_once(" of ") {
            Some((before, after)) if before.ends_with(|c: char| c.is_ascii_digit()) => {
                let end = after.find(' ').unwrap_or(after.len());
                format!("{before} of 3f2a9c1d{}", &after[end..])
            }
            _ => line,
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_told_as_they_pass_and_stay_in_their_queue() {
    let bridge = Bridge::new().await;
    let mut tap = tap(&bridge).arg("--count=5").start();
    wait_for_tap(&bridge.vhost, &tap).await;

    let mut oslo = Simulated::new("oslo");
    bridge.send([oslo.beat(), oslo.beat()]).await;
    let mut troubled: Value = serde_json::from_slice(&Simulated::new("bergen").beat()).unwrap();
    for (index, (state, reason)) in [("down", "refused"), ("unknown", "dns")].into_iter().enumerate() {
        troubled["v2"]["components"][index]["outcome"] = json!(state);
        troubled["v2"]["components"][index]["reason"] = json!(reason);
    }
    let original =
        v1::Publisher::new().message(&[("db", true), ("odd\u{202e}", false)], &[("inbox", true)], &[]);
    bridge.send([troubled.to_string().into_bytes(), original, b"{\"v2\": \x1b[31m}".to_vec()]).await;

    assert_eq!(tap.exit_code(SOON).await, Some(0), "{}", tap.log());
    hold("lines", &normal(&bridge, &tap.log()));
    // None was taken, and nothing is left of the tap.
    assert_eq!(bridge.vhost.queue_depth(QUEUE).await, (5, 0));
    wait_until("its queue is gone", SOON, async || {
        let taps = taps(&bridge.vhost).await;
        if taps.is_empty() { Ok(()) } else { Err(format!("{taps:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_listening_is_said() {
    let bridge = Bridge::new().await;
    let mut tap = tap(&bridge).env("RABBITMQ_EXCHANGE", "nowhere").start();
    assert_eq!(tap.exit_code(SOON).await, Some(1), "{}", tap.log());
    let log = tap.log();
    for told in ["no exchange 'nowhere'", "; `heartbeat doctor subscriber` says what to do"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert!(!log.contains("Waiting"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_several_queues_all_are_seen() {
    const QUEUES: &str = "one,two,three";
    let bridge = Bridge::without_queue(RabbitMq::spreading().await.new_vhost().await).await;
    let _subscriber = bridge.subscriber().env("RABBITMQ_QUEUES", QUEUES).start_ready().await;
    let mut tap = tap(&bridge).env("RABBITMQ_QUEUES", QUEUES).arg("--count=30").start();
    wait_for_tap(&bridge.vhost, &tap).await;
    let mut fleet: Vec<Simulated> =
        (0..30).map(|number| Simulated::small(&format!("p-{number:02}"))).collect();
    let sender = bridge.sender();
    sender.send_named(fleet.iter_mut().map(|publisher| (publisher.id.clone(), publisher.beat()))).await;
    assert_eq!(tap.exit_code(SOON).await, Some(0), "{}", tap.log());
    let log = tap.log();
    let missing: Vec<&str> = fleet.iter().map(|one| &*one.id).filter(|id| !log.contains(*id)).collect();
    assert!(missing.is_empty(), "{missing:?} in {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_messages_are_told_as_json() {
    let bridge = Bridge::new().await;
    let mut tap = tap(&bridge).arg("--count=2").arg("--json").start();
    wait_for_tap(&bridge.vhost, &tap).await;
    let sent = Simulated::new("oslo").beat();
    bridge.send([sent.clone(), b"no JSON\n".to_vec()]).await;
    assert_eq!(tap.exit_code(SOON).await, Some(0), "{}", tap.log());
    let log = tap.log();
    let (waiting, log) = log.split_once('\n').unwrap();
    assert!(waiting.starts_with("Waiting for heartbeats at "), "{waiting}");
    let told: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told[0]["message"], serde_json::from_slice::<Value>(&sent).unwrap());
    assert_eq!((&told[0]["routing_key"], &told[0]["refused"]), (&json!(KEY), &Value::Null));
    assert_eq!((&told[1]["refused"], &told[1]["text"]), (&json!("not_json"), &json!("no JSON\n")));
    assert_eq!(told.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stuck_harms_nobody() {
    const SENT: usize = 2_500;
    let bridge = Bridge::new().await;
    let tap = tap(&bridge).start();
    wait_for_tap(&bridge.vhost, &tap).await;
    tap.signal(Signal::STOP);
    let mut oslo = Simulated::small("oslo");
    bridge.send((0..SENT).map(|_| oslo.beat())).await;
    // The queue of the tap holds no more than it may, and that of the subscribers all of it.
    let most = wait_until("the broker has counted them", SOON, async || {
        let messages = taps(&bridge.vhost).await.first().and_then(|queue| queue["messages"].as_u64());
        messages.filter(|messages| *messages >= 1_000).ok_or_else(|| format!("{messages:?}"))
    })
    .await;
    assert!(most <= 1_000 + 64, "{most}");
    assert_eq!(bridge.vhost.queue_depth(QUEUE).await.0, u32::try_from(SENT).unwrap());
    // Gone without a goodbye, it takes its queue with it.
    drop(tap);
    wait_until("its queue is gone", SOON, async || {
        let taps = taps(&bridge.vhost).await;
        if taps.is_empty() { Ok(()) } else { Err(format!("{taps:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_what_the_page_says_and_no_more() {
    let vhost = RabbitMq::vhost().await;
    vhost.declare_exchange("sda").await;
    vhost.declare_queue("inbox", json!({})).await;
    vhost.bind("sda", "inbox", "beat").await;
    let as_user = |user: &str| {
        role("tap", &vhost).env("RABBITMQ_USER", user).env("RABBITMQ_PASS", user).arg("--count=1")
    };
    let user = format!("tap of {}", vhost.name);
    vhost.create_user(&user, &user, "", TAPS).await;
    let mut tap = as_user(&user).start();
    wait_for_tap(&vhost, &tap).await;
    crate::support::bridge::Sender::to(&vhost).await.send([Simulated::small("oslo").beat()]).await;
    assert_eq!(tap.exit_code(SOON).await, Some(0), "{}", tap.log());

    for (name, lacking) in [
        ("configure", Permissions { configure: "^$", ..TAPS }),
        ("write", Permissions { write: "^$", ..TAPS }),
        ("read-exchange", Permissions { read: r"^amq\.gen-", ..TAPS }),
        ("read-queue", Permissions { read: "^sda$", ..TAPS }),
    ] {
        vhost.api.permit(&vhost.name, &user, lacking).await;
        let mut tap = as_user(&user).start();
        assert_eq!(tap.exit_code(SOON).await, Some(1), "{name}: {}", tap.log());
        let said = tap.log();
        assert!(said.contains("failed: ACCESS_REFUSED - ") && !said.contains("doctor"), "{name}: {said}");
        let Permissions { configure, write, read } = TAPS;
        let to_do = format!("set_permissions -p {} TAP_USER '{configure}' '{write}' '{read}'", vhost.name);
        assert!(said.contains(&to_do) && said.contains("add_user TAP_USER"), "{name}: not {to_do}: {said}");
        assert!(
            !said.contains(&format!("{user}' '")) && !said.contains("topic_permissions"),
            "{name}: {said}"
        );
    }
    // Whom other permissions keep from the key is told of those.
    vhost.api.permit(&vhost.name, &user, TAPS).await;
    let topics = format!("/api/topic-permissions/{}/{}", encode(&vhost.name), encode(&user));
    vhost.api.must("PUT", &topics, &json!({"exchange": EXCHANGE, "write": "^$", "read": "^other$"})).await;
    let mut tap = as_user(&user).start();
    assert_eq!(tap.exit_code(SOON).await, Some(1), "{}", tap.log());
    let (said, set) =
        (tap.log(), format!("set_topic_permissions -p {} TAP_USER {EXCHANGE} '^$'", vhost.name));
    let to_do = format!("{set} '^{KEY}$'");
    assert!(said.contains(&to_do), "not {to_do}: {said}");
    // An exchange that is not there is not made.
    let mut nowhere = role("tap", &vhost).env("RABBITMQ_EXCHANGE", "nowhere").start();
    assert_eq!(nowhere.exit_code(SOON).await, Some(1));
    assert!(nowhere.log().contains("NOT_FOUND - no exchange 'nowhere'"), "{}", nowhere.log());
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    let Permissions { configure, write, read } = TAPS;
    let command = format!("rabbitmqctl set_permissions -p / tap '{configure}' '{write}' '{read}'");
    assert!(page.contains(&command), "docs/commands.md has not: {command}");
}

#[track_caller]
fn hold(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tap").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} differs; set UPDATE_GOLDEN=1 to take this text:\n{text}");
}
