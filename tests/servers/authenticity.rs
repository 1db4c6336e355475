//! Nobody speaks in another's name: each policy with each forgery, on real servers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use lapin::options::BasicPublishOptions;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::support::bridge::{Bridge, EXCHANGE, KEY, SOON};
use crate::support::program::{Program, Setup};
use crate::support::signed::{Key, Signed};
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

const TARGETS: &str = r#"{"heartbeat": {"hosts": [], "rmq_consumers": []}}"#;

/// Two publishers with their keys, and the file that trusts them.
struct Keys {
    _folder: TempDir,
    file: PathBuf,
    oslo: Key,
    bergen: Key,
}

impl Keys {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (oslo, bergen) = (Key::new(), Key::new());
        let file = folder.path().join("trusted.keys");
        std::fs::write(&file, oslo.line("oslo") + &bergen.line("bergen")).unwrap();
        Self { _folder: folder, file, oslo, bergen }
    }

    fn subscriber(&self, bridge: &Bridge, policy: &str) -> Setup {
        let file = self.file.to_str().unwrap();
        let setup = bridge.subscriber().env("TRUSTED_KEYS_FILE", file).env("SIGNATURE_POLICY", policy);
        setup.env("PUBLISHER_GRACE", "*=3s")
    }

    /// Every forgery of a heartbeat of oslo, with the reason that it is found by.
    fn forgeries(&self) -> Vec<(&'static str, Signed)> {
        let body = || Simulated::new("oslo").beat();
        let genuine = self.oslo.sign(body());
        let other = self.oslo.sign(body());
        let stranger = Key::new();
        let mut altered = genuine.clone();
        // A digit of the version, so that the message can still be read.
        let at = altered.body.windows(5).position(|window| window == b"9.9.9").unwrap();
        altered.body[at] = b'8';
        let unsigned = Signed::not(body());
        let version_1 = {
            let mut message: Value = serde_json::from_slice(&body()).unwrap();
            message.as_object_mut().unwrap().remove("v2");
            message["service"] = "oslo".into();
            self.oslo.sign(message.to_string().into_bytes())
        };
        vec![
            ("unsigned", unsigned),
            ("unsigned", version_1),
            ("signature", altered),
            ("signature", Signed { body: other.body.clone(), ..genuine.clone() }),
            ("signature", Signed { signature: other.signature, ..genuine.clone() }),
            ("signature", Signed { signature: None, ..genuine.clone() }),
            ("signature", Signed { key_id: None, ..genuine.clone() }),
            ("signature", Signed { key_id: Some(self.oslo.id()), ..stranger.sign(body()) }),
            ("signature", Signed { key_id: Some(self.bergen.id()), ..genuine }),
            ("key", stranger.sign(body())),
            ("signer", self.bergen.sign(body())),
            // A drill is of its publisher, and of nobody else.
            ("unsigned", Signed::not(Simulated::new("drill:oslo").beat())),
            ("signer", self.bergen.sign(Simulated::new("drill:oslo").beat())),
        ]
    }
}

async fn by_reason(program: &Program, name: &str) -> BTreeMap<String, usize> {
    let scrape = program.metrics().await.unwrap();
    let samples = scrape.all(name).into_iter().filter(|sample| sample.value > 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    samples.map(|sample| (sample.labels["reason"].clone(), sample.value as usize)).collect()
}

fn expected(forgeries: &[(&'static str, Signed)]) -> BTreeMap<String, usize> {
    let mut expected = BTreeMap::new();
    for (reason, _) in forgeries {
        *expected.entry((*reason).to_owned()).or_default() += 1;
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn each_forgery_is_refused_by_its_reason_and_leaves_no_trace() {
    // Where bergen may do without, messages are read before they are refused; else not.
    for policy in ["refuse", "refuse,bergen=accept", "oslo=refuse"] {
        let bridge = Bridge::new().await;
        let keys = Keys::new();
        let subscriber = keys.subscriber(&bridge, policy).start_ready().await;
        let forgeries = keys.forgeries();
        for (_, forged) in &forgeries {
            forged.send(&bridge).await;
        }
        bridge.drained(&subscriber, SOON).await;
        assert_eq!(
            by_reason(&subscriber, "heartbeat_subscriber_rejected_total").await,
            expected(&forgeries),
            "{policy}"
        );
        assert_eq!(bridge.records().await, BTreeMap::new(), "{policy}");
        assert_eq!(bridge.contract_keys().await, BTreeMap::new(), "{policy}");
        let kept = bridge.redis.command(&["LRANGE", "heartbeat:rejected", "0", "-1"]).await.strings();
        assert_eq!(kept.len(), forgeries.len());
        assert!(subscriber.log().contains("Heartbeat refused: it is not proven"), "{}", subscriber.log());

        // What is genuine is taken after all that; and who may do without a signature does.
        let mut oslo = Simulated::new("oslo");
        keys.oslo.sign(oslo.beat()).send(&bridge).await;
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "oslo")], 1.0).await;
        Signed::not(Simulated::new("bergen").beat()).send(&bridge).await;
        bridge.drained(&subscriber, SOON).await;
        let known: Vec<String> = bridge.records().await.into_keys().collect();
        let wanted: &[&str] = if policy == "refuse" { &["oslo"] } else { &["bergen", "oslo"] };
        assert_eq!(known, wanted, "{policy}");
        keys.oslo.sign(Simulated::new("drill:oslo").beat()).send(&bridge).await;
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "drill:oslo")], 1.0).await;
        assert_eq!(by_reason(&subscriber, "heartbeat_subscriber_unproven_total").await, BTreeMap::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_refused_is_taken_and_told_where_it_is_warned_of() {
    for policy in ["warn", "accept"] {
        let bridge = Bridge::new().await;
        let keys = Keys::new();
        let subscriber = keys.subscriber(&bridge, policy).start_ready().await;
        let forgeries = keys.forgeries();
        for (_, forged) in &forgeries {
            forged.send(&bridge).await;
        }
        bridge.drained(&subscriber, SOON).await;
        assert_eq!(by_reason(&subscriber, "heartbeat_subscriber_rejected_total").await, BTreeMap::new());
        let told = if policy == "warn" { expected(&forgeries) } else { BTreeMap::new() };
        assert_eq!(by_reason(&subscriber, "heartbeat_subscriber_unproven_total").await, told, "{policy}");
        let scrape = subscriber.metrics().await.unwrap();
        assert_eq!(scrape.value("heartbeat_publisher_up", &[("publisher", "oslo")]), Some(1.0), "{policy}");
        assert_eq!(subscriber.log().contains("Heartbeat let through that is not proven"), policy == "warn");
        let odd = "nobody's signature is asked for";
        assert_eq!(subscriber.log().contains(odd), policy == "accept", "{}", subscriber.log());
    }
}

/// Sends a message again and again until something is seen of it, since what does not come live is no replay.
async fn again_until(bridge: &Bridge, signed: &Signed, what: &str, seen: impl AsyncFn() -> bool) {
    wait_until(what, SOON, async || {
        signed.send(bridge).await;
        sleep(Duration::from_millis(300)).await;
        if seen().await { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_captured_does_not_raise_the_dead() {
    let bridge = Bridge::new().await;
    let keys = Keys::new();
    let subscriber = keys.subscriber(&bridge, "refuse").start_ready().await;
    let mut oslo = Simulated::new("oslo");
    let mut captured = Vec::new();
    for _ in 0..11 {
        oslo = oslo.restarted();
        captured.push(keys.oslo.sign(oslo.beat()));
        captured.last().unwrap().send(&bridge).await;
        bridge.drained(&subscriber, SOON).await;
    }
    let up = [("publisher", "oslo")];
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &up, 1.0).await;
    // Dead from here on.
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &up, 0.0).await;
    let last_seen = "heartbeat_publisher_last_seen_timestamp_seconds";
    let seen = subscriber.metrics().await.unwrap().value(last_seen, &up);
    let value = async |name: &str, labels: &[(&str, &str)]| {
        subscriber.metrics().await.unwrap().value(name, labels).unwrap_or_default()
    };
    again_until(&bridge, &captured[0], "the oldest is refused as replayed", async || {
        value("heartbeat_subscriber_rejected_total", &[("reason", "replayed")]).await > 0.0
    })
    .await;
    for message in &captured {
        message.send(&bridge).await;
    }
    again_until(&bridge, captured.last().unwrap(), "the latest is a duplicate", async || {
        value("heartbeat_publisher_duplicate_total", &up).await > 1.0
    })
    .await;
    bridge.drained(&subscriber, SOON).await;
    let scrape = subscriber.metrics().await.unwrap();
    assert_eq!(scrape.value(last_seen, &up), seen);
    assert_eq!(scrape.value("heartbeat_publisher_up", &up), Some(0.0));

    // It comes back with its clock an hour in the past: refused, and said what to do about it.
    let mut early = oslo.restarted();
    early.clock_error = SignedDuration::from_hours(-1);
    let refused = value("heartbeat_subscriber_rejected_total", &[("reason", "replayed")]).await;
    again_until(&bridge, &keys.oslo.sign(early.beat()), "it is refused", async || {
        value("heartbeat_subscriber_rejected_total", &[("reason", "replayed")]).await > refused
    })
    .await;
    subscriber.wait_log(SOON, "forget --clock-set-back").await;
    let forgotten = subscriber.command(&["forget", "oslo", "--clock-set-back"]).output().unwrap();
    assert!(forgotten.status.success(), "{}", String::from_utf8_lossy(&forgotten.stderr));
    wait_until("it is heard again", SOON, async || {
        keys.oslo.sign(early.beat()).send(&bridge).await;
        sleep(Duration::from_millis(200)).await;
        match subscriber.metrics().await?.value("heartbeat_publisher_up", &up) {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_must_be_the_publishers_own() {
    let bridge = Bridge::new().await;
    let user = bridge.vhost.name.clone();
    let subscriber = bridge
        .subscriber()
        .env("USER_ID_POLICY", "refuse,bergen=warn")
        .env("USER_ID_MAP", &format!("oslo={user}"))
        .start_ready()
        .await;
    let beat = |id: &str, user: Option<&str>| Signed {
        user_id: user.map(str::to_owned),
        ..Signed::not(Simulated::new(id).beat())
    };
    beat("oslo", None).send(&bridge).await;
    // Sent by this user, as the broker vouches, in the name of one that has another.
    beat("tromso", Some(&user)).send(&bridge).await;
    beat("bergen", None).send(&bridge).await;
    bridge.drained(&subscriber, SOON).await;
    let rejected = by_reason(&subscriber, "heartbeat_subscriber_rejected_total").await;
    assert_eq!(rejected, BTreeMap::from([("user_id".to_owned(), 2)]));
    let warned = by_reason(&subscriber, "heartbeat_subscriber_unproven_total").await;
    assert_eq!(warned, BTreeMap::from([("user_id".to_owned(), 1)]));
    let known: Vec<String> = bridge.records().await.into_keys().collect();
    assert_eq!(known, ["bergen"]);

    // The broker takes no other name than that of the connection's user.
    let (_connection, channel) = bridge.vhost.connect().await;
    let lie = beat("tromso", Some("tromso"));
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(EXCHANGE.into(), KEY.into(), options, &lie.body, lie.properties());
    let refused = match sent.await {
        Ok(confirm) => confirm.await.map(drop).expect_err("refused"),
        Err(error) => error,
    };
    assert!(refused.to_string().contains("PRECONDITION"), "{refused}");

    let publisher = bridge.publisher("oslo", TARGETS).env("RABBITMQ_SEND_USER_ID", "true").start();
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "oslo")], 1.0).await;
    let rejected = by_reason(&subscriber, "heartbeat_subscriber_rejected_total").await;
    assert_eq!(rejected, BTreeMap::from([("user_id".to_owned(), 2)]), "{}", publisher.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_no_heartbeat_is_refused() {
    let bridge = Bridge::new().await;
    let folder = TempDir::new().unwrap();
    let (key, trusted) = (folder.path().join("signing.pem"), folder.path().join("trusted.keys"));
    let publisher = bridge
        .publisher("oslo", TARGETS)
        .env("PUBLISH_INTERVAL", "200ms")
        .env("SIGNING_KEY_FILE", key.to_str().unwrap())
        .listening();
    let keys = |publisher: &Program, command: &str| {
        let made = publisher.command(&["keys", command]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap()
    };
    // Without its key it does not start.
    let mut early = publisher.clone().start();
    assert_eq!(early.exit_code(SOON).await, Some(64));
    let first = keys(&early, "generate");
    std::fs::write(&trusted, &first).unwrap();
    let subscriber = bridge
        .subscriber()
        .env("TRUSTED_KEYS_FILE", trusted.to_str().unwrap())
        .env("SIGNATURE_POLICY", "refuse")
        .start_ready()
        .await;
    let publisher = publisher.start_ready().await;
    let up = [("publisher", "oslo")];
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &up, 1.0).await;

    let second = keys(&publisher, "rotate");
    std::fs::write(&trusted, first.clone() + &second).unwrap();
    subscriber.wait_value(SOON, "heartbeat_subscriber_trusted_keys", &[], 2.0).await;
    std::fs::rename(folder.path().join("signing.pem.next"), &key).unwrap();
    publisher.wait_log(SOON, "File read anew").await;
    bridge.drained(&subscriber, SOON).await;
    std::fs::write(&trusted, &second).unwrap();
    subscriber.wait_value(SOON, "heartbeat_subscriber_trusted_keys", &[], 1.0).await;
    let still_heard = async |why: &str| {
        let sequence =
            async || subscriber.metrics().await.unwrap().value("heartbeat_publisher_sequence", &up);
        let before = sequence().await;
        wait_until(why, SOON, async || match sequence().await {
            now if now > before.map(|before| before + 3.0) => Ok(()),
            now => Err(format!("{now:?}")),
        })
        .await;
        assert_eq!(by_reason(&subscriber, "heartbeat_subscriber_rejected_total").await, BTreeMap::new());
    };
    still_heard("the new key is trusted alone").await;

    // A broken file opens no door and closes none.
    std::fs::write(&trusted, "oslo ed25519 oops\n").unwrap();
    let read = "heartbeat_subscriber_trusted_keys_last_reload_successful";
    subscriber.wait_value(SOON, read, &[], 0.0).await;
    subscriber.wait_log(SOON, "line 1: it is no public key").await;
    Signed::not(Simulated::new("oslo").beat()).send(&bridge).await;
    subscriber.wait_value(SOON, "heartbeat_subscriber_rejected_total", &[("reason", "unsigned")], 1.0).await;
    std::fs::write(&key, "no key").unwrap();
    let key_read = "heartbeat_emitter_signing_key_last_reload_successful";
    publisher.wait_value(SOON, key_read, &[], 0.0).await;
    let sequence = subscriber.metrics().await.unwrap().value("heartbeat_publisher_sequence", &up).unwrap();
    wait_until("the key before it still signs", SOON, async || {
        match subscriber.metrics().await?.value("heartbeat_publisher_sequence", &up) {
            Some(now) if now > sequence + 3.0 => Ok(()),
            now => Err(format!("{now:?}")),
        }
    })
    .await;
    // Without its key, it is not trusted any more.
    std::fs::write(&trusted, "# nobody\n").unwrap();
    subscriber.wait_value(SOON, "heartbeat_subscriber_trusted_keys", &[], 0.0).await;
    wait_until("the key is refused", SOON, async || {
        let rejected = by_reason(&subscriber, "heartbeat_subscriber_rejected_total").await;
        if rejected.contains_key("key") { Ok(()) } else { Err(format!("{rejected:?}")) }
    })
    .await;
}
