//! The publisher's file, changed while it runs: by signal, by request and by a look.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::field::{BOUND, Field, Shown, config, host, listener, stop, wait_published};
use crate::support::http;
use crate::support::process::folder;
use crate::support::program::Program;
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::{Accepting, BlackHole};
use crate::support::wait::{holds_for, wait_until};

const SUCCESSFUL: &str = "heartbeat_emitter_config_last_reload_successful";

fn file(publisher: &Program) -> PathBuf {
    publisher.variable("PUBLISHER_CONFIG_PATH").into()
}

/// As a rollout does it: whole, in one step.
fn replace(publisher: &Program, text: &str) {
    let path = file(publisher);
    std::fs::write(path.with_extension("next"), text).unwrap();
    std::fs::rename(path.with_extension("next"), path).unwrap();
}

async fn post(publisher: &Program, path: &str) -> (u16, String) {
    let answer = http::request(publisher.http(), "POST", path, &[], "").await.unwrap();
    (answer.status, answer.text())
}

/// A figure of a host as the subscriber shows it.
async fn figure(field: &Field, metric: &str, name: &str) -> Option<f64> {
    field.subscriber.metrics().await.unwrap().value(metric, &[("kind", "host"), ("name", name)])
}

async fn wait_gone(field: &Field, kind: &str, name: &str) {
    let labels = [("kind", kind), ("name", name)];
    field.subscriber.wait_absent(BOUND, "heartbeat_component_checks_total", &labels).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_in_force_at_once_and_what_stays_is_not_touched() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let port = Accepting::open();
    let hosts = |names: &[&str]| names.iter().map(|name| host(name, port.address)).collect::<Vec<_>>();
    let setup = field.publisher("reloads", &config(&hosts(&["stays", "goes"]), &[]));
    // No beat comes by itself in the time that this takes, and no round either.
    let ours = setup.env("PUBLISH_INTERVAL", "10min").listening().start_ready().await;
    field.wait_shown("reloads", "host", "goes", Shown::Up).await;
    let changed = "heartbeat_component_last_change_timestamp_seconds";
    let since = figure(&field, changed, "stays").await;
    assert!(since.is_some());

    // The first with a queue, which takes a client that was not needed before.
    let queues = [listener("jobs", "worker", "worker")];
    replace(&ours, &config(&hosts(&["comes", "stays"]), &queues).to_string());
    let begun = Instant::now();
    ours.signal(Signal::HUP);
    field.wait_shown("reloads", "host", "comes", Shown::Up).await;
    field.wait_shown("reloads", "consumer", "worker", Shown::Down("no_queue")).await;
    wait_gone(&field, "host", "goes").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    assert_eq!(figure(&field, changed, "stays").await, since);
    let checks = "heartbeat_component_checks_total";
    assert_eq!(figure(&field, checks, "stays").await, Some(2.0), "its total goes on");
    assert_eq!(figure(&field, checks, "comes").await, Some(1.0));
    let own = ours.metrics().await.unwrap();
    assert_eq!(own.value("heartbeat_emitter_components", &[]), Some(4.0));

    // By request, and refused: nothing changes.
    let before = own.value("heartbeat_emitter_config_last_reload_success_timestamp_seconds", &[]);
    assert!(before > Some(1.6e9));
    replace(&ours, r#"{"heartbeat": {"hosts": [{"host": "db", "port": 0}]}}"#);
    let (status, said) = post(&ours, "/-/reload").await;
    let why = "heartbeat.hosts[0].port is 0, which is not a port from 1 to 65535; example: 5432";
    let path = file(&ours);
    let refused = |why: &str| (500, format!("Not reloaded: {}: {why}\n", path.display()));
    assert_eq!((status, said), refused(why));
    let own = ours.metrics().await.unwrap();
    assert_eq!(own.value(SUCCESSFUL, &[]), Some(0.0));
    assert_eq!(own.value("heartbeat_emitter_config_last_reload_success_timestamp_seconds", &[]), before);
    assert_eq!(own.value("heartbeat_emitter_components", &[]), Some(4.0));
    assert!(ours.log().contains("what it said before still counts"), "{}", ours.log());
    std::fs::remove_file(file(&ours)).unwrap();
    assert_eq!(post(&ours, "/-/reload").await, refused("there is no such file"));

    replace(&ours, &config(&hosts(&["stays"]), &[]).to_string());
    assert_eq!(post(&ours, "/-/reload").await, (200, "OK: what has changed is in force\n".into()));
    assert_eq!(post(&ours, "/-/reload").await, (200, "OK: nothing has changed\n".into()));
    for (kind, name) in [("host", "comes"), ("consumer", "worker"), ("queue", "jobs")] {
        wait_gone(&field, kind, name).await;
    }
    assert_eq!(figure(&field, changed, "stays").await, since);
    assert_eq!(ours.metrics().await.unwrap().value(SUCCESSFUL, &[]), Some(1.0));

    // As at the start, it is odd that jobs have nowhere to tell of themselves.
    let mut jobs = config(&hosts(&["stays"]), &[]);
    jobs["heartbeat"]["jobs"] = json!([{"name": "backup", "period": "1d", "grace": "1h"}]);
    replace(&ours, &jobs.to_string());
    let (status, said) = post(&ours, "/-/reload").await;
    let odd = "OK: what has changed is in force\nwarning: heartbeat.jobs have nowhere to tell of themselves: LOCAL_LISTEN_ADDRESS";
    assert!(status == 200 && said.starts_with(odd), "{status} {said}");

    // A slip that takes everything away is told to whoever asks, and not to the log alone.
    replace(&ours, r#"{"heartbeat": {"host": [{"host": "db", "port": 1}]}}"#);
    let (status, said) = post(&ours, "/-/reload").await;
    let emptied = "OK: what has changed is in force: nothing is checked any more\nwarning: heartbeat.host ";
    assert!(
        status == 200 && said.starts_with(emptied) && said.contains("is `hosts` meant?"),
        "{status} {said}"
    );
    let told = "level=warn target=heartbeat_bridge::publisher::reload msg=\"Configuration file read anew\"";
    ours.wait_log(BOUND, told).await;
    stop([ours]).await;
}

/// The first queue takes a client, whose CA was there at the start. The publisher has one thread for everything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_nothing_but_the_reload() {
    let vhost = RabbitMq::vhost().await;
    let port = Accepting::open();
    let folder = folder("hanging-ca");
    let [ca, pipe] = ["ca.pem", "pipe"].map(|name| folder.join(name));
    std::fs::copy(&RabbitMq::shared().await.certificates.ca, &ca).unwrap();
    let before = config(&[host("port", port.address)], &[]);
    let setup = crate::support::field::publisher(&vhost, "q", "hanging", &before);
    let setup = setup
        .env("RABBITMQ_MANAGEMENT_TLS", "true")
        .env("RABBITMQ_CA_CERT_PATH", ca.to_str().unwrap())
        .listening();
    let ours = setup.start_ready().await;
    let published = wait_published(&ours, 1.0).await;

    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    std::fs::rename(&ca, folder.join("good")).unwrap();
    std::fs::hard_link(&pipe, &ca).unwrap();
    replace(
        &ours,
        &config(&[host("port", port.address)], &[listener("gone", "worker", "worker")]).to_string(),
    );
    for _ in 0..2 {
        let begun = Instant::now();
        let (status, said) = post(&ours, "/-/reload").await;
        assert!(status == 500 && said.contains("does not answer"), "{status} {said}");
        assert!(
            begun.elapsed() < Duration::from_secs(25),
            "told as soon as it is known: {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(ours.metrics().await.unwrap().value(SUCCESSFUL, &[]), Some(0.0));
    wait_published(&ours, published + 3.0).await;

    // The disk is back, and nobody asks again.
    std::fs::rename(folder.join("good"), &ca).unwrap();
    std::fs::write(&pipe, "").unwrap();
    ours.wait_value(BOUND, SUCCESSFUL, &[], 1.0).await;
    ours.wait_value(BOUND, "heartbeat_emitter_components", &[], 3.0).await;
    stop([ours]).await;
}

/// Only who may post, and only by posting.
#[tokio::test(flavor = "multi_thread")]
async fn not_everybody_may_ask_for_it() {
    let vhost = RabbitMq::vhost().await;
    let port = Accepting::open();
    let wanted = config(&[host("port", port.address)], &[]);
    let setup = crate::support::field::publisher(&vhost, "q", "guarded", &wanted).listening();
    let hash = bcrypt::hash("sesame", 4).unwrap();
    let ours = setup
        .web_config(&format!("basic_auth_users: {{alice: \"{hash}\"}}\n"))
        .env("WEB_HEALTH_WITHOUT_AUTH", "true")
        .start_ready()
        .await;
    assert_eq!(post(&ours, "/-/reload").await, (401, "Unauthorized\n".into()));
    assert!(!ours.log().contains("read anew"), "{}", ours.log());
    // base64 of alice:sesame.
    let alice = [("authorization", "Basic YWxpY2U6c2VzYW1l")];
    let answer = http::request(ours.http(), "POST", "/-/reload", &alice, "").await.unwrap();
    assert_eq!(answer.status, 200);
    let open = crate::support::field::publisher(&vhost, "q", "open", &wanted).listening().start_ready().await;
    let answer = http::get(open.http(), "/-/reload").await.unwrap();
    assert_eq!((answer.status, answer.headers["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(answer.text(), "This endpoint requires a POST request.\n");
    let ask = async |headers: &[(&str, &str)], body: &[u8]| {
        http::request(open.http(), "POST", "/-/reload", headers, body).await.unwrap().status
    };
    assert_eq!(ask(&[("origin", "http://evil.example")], b"").await, 403);
    assert_eq!(ask(&[], &[b'x'; 17 << 10]).await, 413);
    assert_eq!(ask(&[], b"a remark").await, 200);
    assert_eq!(post(&open, "/-/quit").await.0, 405);
    stop([ours, open]).await;
}

/// A round that hangs is of the old file: it holds nothing up, and none of its results is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_under_way_neither_delays_nor_brings_back() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let (port, hole) = (Accepting::open(), BlackHole::open());
    let mut hangs = host("hangs", hole.address);
    hangs["timeout"] = json!("30s");
    // The same name: first a peer that hangs, then one that answers.
    let mut moves = host("moves", hole.address);
    moves["timeout"] = json!("30s");
    let setup = field.publisher("hanging", &config(&[hangs.clone(), host("port", port.address)], &[]));
    let ours = setup.env("PROBE_INTERVAL", "500ms").listening().start_ready().await;
    // Nothing is told before the first round has ended, which takes 30 s.
    wait_until("the first round is under way", BOUND, async || {
        let rounds = ours.metrics().await?.value("heartbeat_emitter_rounds_total", &[]);
        if rounds >= Some(1.0) { Ok(()) } else { Err(format!("{rounds:?}")) }
    })
    .await;
    let begun = Instant::now();
    replace(&ours, &config(&[host("port", port.address)], &[]).to_string());
    ours.signal(Signal::HUP);
    field.wait_shown("hanging", "host", "port", Shown::Up).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());

    replace(&ours, &config(&[moves, host("port", port.address)], &[]).to_string());
    assert_eq!(post(&ours, "/-/reload").await.0, 200);
    replace(&ours, &config(&[host("moves", port.address)], &[]).to_string());
    assert_eq!(post(&ours, "/-/reload").await.0, 200);
    field.wait_shown("hanging", "host", "moves", Shown::Up).await;
    wait_gone(&field, "host", "port").await;
    assert!(begun.elapsed() < Duration::from_secs(29), "the checks that hang are over by themselves");
    holds_for("what is gone stays gone", Duration::from_secs(3), async || {
        let shown = field.subscriber.metrics().await?;
        let names: Vec<_> = shown
            .matching("heartbeat_component_checks_total", &[])
            .map(|sample| sample.labels["name"].clone())
            .collect();
        if names == ["moves"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let told = field.reader.heartbeats("hanging");
    let failures = |(_, heartbeat): &(_, Value)| -> u64 {
        let all = heartbeat["components"].as_array().unwrap().iter();
        all.map(|one| one["failures_total"].as_u64().unwrap()).sum()
    };
    assert!(told.iter().all(|one| failures(one) == 0), "a check of the old file was told: {told:?}");
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_watched_counts_when_it_changes() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let port = Accepting::open();
    let setup = field.publisher("watches", &config(&[host("first", port.address)], &[]));
    let ours = setup.env("PUBLISHER_CONFIG_WATCH", "true").listening().start_ready().await;
    field.wait_shown("watches", "host", "first", Shown::Up).await;
    let yaml = |name: &str| {
        let port = port.address.port();
        format!("heartbeat:\n  hosts:\n    - {{host: 127.0.0.1, port: {port}, name: {name}}} # Moved.\n")
    };
    replace(&ours, &yaml("second"));
    field.wait_shown("watches", "host", "second", Shown::Up).await;
    wait_gone(&field, "host", "first").await;
    replace(&ours, "heartbeat: [");
    ours.wait_value(BOUND, SUCCESSFUL, &[], 0.0).await;
    field.wait_shown("watches", "host", "second", Shown::Up).await;
    replace(&ours, &yaml("third"));
    field.wait_shown("watches", "host", "third", Shown::Up).await;
    ours.wait_value(BOUND, SUCCESSFUL, &[], 1.0).await;
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_outlives_a_hang_up() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    field.subscriber.signal(Signal::HUP);
    field.subscriber.wait_log(BOUND, "Nothing to reload at SIGHUP").await;
    field.subscriber.wait_ready().await;
}
