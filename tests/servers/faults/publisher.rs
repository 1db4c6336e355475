//! What befalls publishers: killed, frozen, started twice, or with a clock that jumps.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::sleep;

use crate::support::bridge::{Bridge, EXCHANGE, KEY, SOON, report};
use crate::support::field::{config, host};
use crate::support::program::{Program, Setup};
use crate::support::scrape::Scrape;
use crate::support::tcp::Accepting;
use crate::support::wait::{holds_for, wait_until};
use crate::support::watch::{Watch, nobody_down};

use super::stage::{BACK, within};

/// I2's slack: the time of a look.
const SLACK: f64 = 1.0;

fn of(publisher: &str) -> [(&str, &str); 1] {
    [("publisher", publisher)]
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// Who was stopped, and when: I2 asked at every scrape.
fn not_up_after(
    publisher: &'static str,
    stopped: Timestamp,
    grace: f64,
) -> impl FnMut(&Scrape) -> Result<(), String> {
    move |scrape| {
        let silent = seconds(Timestamp::now()) - seconds(stopped);
        let up = scrape.value("heartbeat_publisher_up", &of(publisher));
        if up == Some(1.0) && silent > grace + SLACK {
            return Err(format!("{publisher} is shown as up {silent:.1} s after it was stopped"));
        }
        if up == Some(0.0) && silent < grace - 1.0 - SLACK {
            return Err(format!("{publisher} is shown as stale {silent:.1} s after it was stopped"));
        }
        Ok(())
    }
}

async fn sequence(subscriber: &Program, publisher: &str) -> f64 {
    let scrape = subscriber.metrics().await.unwrap();
    scrape.value("heartbeat_publisher_sequence", &of(publisher)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_killed_and_the_frozen_turn_stale_at_their_deadline() {
    const GRACE: f64 = 4.0;
    let bridge = Bridge::new().await;
    let reader = "reader";
    bridge.vhost.declare_queue(reader, serde_json::json!({})).await;
    bridge.vhost.bind(EXCHANGE, reader, KEY).await;
    let subscriber = bridge.subscriber().env("PUBLISHER_GRACE", "*=4s").start_ready().await;
    let mut port = Accepting::open();
    let checks = config(&[host("port", port.address)], &[]).to_string();
    let mut killed = bridge.publisher("killed", &checks).start();
    let frozen = bridge.publisher("frozen", &checks).env("RABBITMQ_HEARTBEAT", "60s").start();
    // It goes on, and tells several times what it found once.
    let _seldom = bridge.publisher("seldom", &checks).env("PROBE_INTERVAL", "1m").start();
    for id in ["killed", "frozen", "seldom"] {
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &of(id), 1.0).await;
    }
    killed.kill();
    frozen.signal(Signal::STOP);
    let stopped = Timestamp::now();
    port.close().await;
    let mut checks = ["killed", "frozen"].map(|id| not_up_after(id, stopped, GRACE));
    let watch =
        Watch::start(&subscriber, move |scrape| checks.iter_mut().try_for_each(|check| check(scrape)));
    for id in ["killed", "frozen"] {
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &of(id), 0.0).await;
    }
    let took = seconds(Timestamp::now()) - seconds(stopped);
    report(&format!("2 4 killed and frozen: stale {took:.1} s after their end, grace {GRACE} s"));
    watch.end();

    // What it wakes with is old, and is told with its age or not at all.
    frozen.signal(Signal::CONT);
    let woken = Instant::now();
    let port_is_down = [("publisher", "frozen"), ("name", "port")];
    subscriber.wait_value(SOON, "heartbeat_component_up", &port_is_down, 0.0).await;
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &of("frozen"), 1.0).await;
    within("4 frozen publisher woken", "its verdict, and what it sees now", woken.elapsed(), BACK);
    while let Some((body, _)) = bridge.vhost.take(reader).await {
        let told: Value = serde_json::from_slice(&body).unwrap();
        let component = &told["v2"]["components"][0];
        let checked_at: Timestamp = component["checked_at"].as_str().unwrap().parse().unwrap();
        let lie = component["outcome"] == "up" && seconds(checked_at) > seconds(stopped) + 0.2;
        assert!(!lie, "closed when it was stopped, and said to be up since: {component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_one_id_are_told() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().start_ready().await;
    let port = Accepting::open();
    let checks = config(&[host("port", port.address)], &[]).to_string();
    let _one = bridge.publisher("twin", &checks).start();
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &of("twin"), 1.0).await;
    let mut other = bridge.publisher("twin", &checks).start();
    let begun = Instant::now();
    subscriber.wait_value(SOON, "heartbeat_publisher_conflict", &of("twin"), 1.0).await;
    within("27 two processes with one id", "the conflict is told", begun.elapsed(), BACK);
    // The later one is shown, and they do not take turns.
    holds_for("no flapping", Duration::from_secs(3), async || {
        let scrape = subscriber.metrics().await?;
        let restarts = scrape.value("heartbeat_publisher_restarts_total", &of("twin"));
        let up = scrape.value("heartbeat_publisher_up", &of("twin"));
        if (restarts, up) == (Some(1.0), Some(1.0)) { Ok(()) } else { Err(format!("{restarts:?}, {up:?}")) }
    })
    .await;
    other.kill();
}

/// Debian's library that gives a program another wall clock; `scripts/install-debian-packages.sh` installs it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A program whose wall clock is off by what a file says, such as `+3600` or `-1y`; its monotonic clocks are right.
fn with_clock(setup: Setup, file: &Path) -> Setup {
    assert!(Path::new(FAKETIME).exists(), "libfaketime is not installed: scripts/install-debian-packages.sh");
    setup
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
}

/// I2 and I3 while clocks jump by an hour, and back by a year with a restart.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_kill_nobody_and_raise_nobody() {
    let bridge = Bridge::new().await;
    let folder = crate::support::process::folder("clocks");
    let clock = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, "+0\n").unwrap();
        path
    };
    let (ours, theirs) = (clock("subscriber"), clock("publisher"));
    let setup = bridge.subscriber().env("PUBLISHER_GRACE", "*=6s");
    let subscriber = with_clock(setup, &ours).start_ready().await;
    let port = Accepting::open();
    let checks = config(&[host("port", port.address)], &[]).to_string();
    let mut publisher = with_clock(bridge.publisher("jumps", &checks), &theirs).start();
    let mut dead = bridge.publisher("dead", &checks).start();
    for id in ["jumps", "dead"] {
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &of(id), 1.0).await;
    }
    dead.kill();
    subscriber.wait_value(SOON, "heartbeat_publisher_up", &of("dead"), 0.0).await;
    let (mut nobody, mut dead) = (nobody_down(&["dead"]), crate::support::watch::never("dead", 1.0));
    let watch = Watch::start(&subscriber, move |scrape| nobody(scrape).and_then(|()| dead(scrape)));
    let offset = async |hours: f64| {
        wait_until("the clock is told to be off", SOON, async || {
            let scrape = subscriber.metrics().await?;
            let told = scrape.value("heartbeat_publisher_clock_offset_seconds", &of("jumps"));
            let fits = told.is_some_and(|told| (told - hours * 3600.0).abs() < 5.0);
            if fits { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    };
    let set = |path: &Path, text: &str| std::fs::write(path, format!("{text}\n")).unwrap();
    for (text, hours) in [("+3600", 1.0), ("-3600", -1.0), ("+0", 0.0)] {
        set(&ours, text);
        set(&theirs, text);
        let jumped = Instant::now();
        offset(hours).await;
        within(&format!("29 clocks jump to {text} s"), "the offset is told", jumped.elapsed(), BACK);
    }
    // Asked once more after a whole grace: nobody turned by it.
    sleep(Duration::from_secs(2)).await;

    publisher.kill();
    set(&theirs, "-1y");
    publisher.start_again();
    let begun = Instant::now();
    offset(-365.0 * 24.0).await;
    let shown = sequence(&subscriber, "jumps").await;
    within("28 restarted a year in the past", "its heartbeats", begun.elapsed(), BACK);
    let scrape = subscriber.metrics().await.unwrap();
    assert_eq!(scrape.value("heartbeat_publisher_restarts_total", &of("jumps")), Some(1.0));
    assert_eq!(scrape.value("heartbeat_publisher_up", &of("jumps")), Some(1.0));
    assert!(shown >= 1.0);
    watch.end();
}
