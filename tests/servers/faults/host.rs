//! What befalls the process: killed, frozen, starved, without files, without a disk for its log, with names that flip.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::sleep;

use crate::support::bridge::{Bridge, SOON, report};
use crate::support::field::{config, host, wait_published};
use crate::support::http;
use crate::support::tcp::{Accepting, BlackHole};
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, never};

use super::stage::{BACK, Stage, failures, nothing_leaked, within};

#[tokio::test(flavor = "multi_thread")]
async fn killed_or_frozen_it_is_back_and_raises_nobody() {
    let bridge = Bridge::new().await;
    let setup = bridge.subscriber().env("RABBITMQ_HEARTBEAT", "1s").env("PUBLISHER_GRACE", "dead=4s");
    let mut stage = Stage::with(bridge, setup).await;
    let before = stage.subscriber.metrics().await.unwrap();
    let mut dead = Simulated::new("dead");
    let (heard, _) = stage.failures("consumer", "closed").await.unwrap();
    wait_until("it is shown as up", SOON, async || {
        stage.bridge.send([dead.beat()]).await;
        match stage.subscriber.metrics().await?.value("heartbeat_publisher_up", &[("publisher", "dead")]) {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Longer than the broker waits for a sign of life: it gives back what is held here, and the deadline passes.
    stage.subscriber.signal(Signal::STOP);
    stage.bridge.depth_without_consumers().await;
    sleep(Duration::from_secs(2)).await;
    let watch = Watch::start(&stage.subscriber, never("dead", 1.0));
    stage.subscriber.signal(Signal::CONT);
    let woken = Instant::now();
    stage.failed("consumer", "closed", heard).await;
    stage.back("3 subscriber frozen", woken, Duration::from_secs(25)).await;
    nothing_leaked(&stage.subscriber, &before).await;
    watch.end();

    stage.subscriber.kill();
    stage.subscriber.start_again();
    let begun = Instant::now();
    stage.subscriber.wait_ready().await;
    within("1 subscriber killed", "ready", begun.elapsed(), Duration::from_secs(5));
    stage.back("1 subscriber killed", begun, BACK).await;
    stage.end().await;
}

/// A quarter of the time alone.
#[tokio::test(flavor = "multi_thread")]
async fn starved_it_tells_nobody_dead() {
    let stage = Stage::set(Bridge::new().await).await;
    let port = Accepting::open();
    let checks = config(&[host("port", port.address)], &[]).to_string();
    let ours = stage.bridge.publisher("starved", &checks).listening().start_ready().await;
    stage.subscriber.wait_value(SOON, "heartbeat_publisher_up", &[("publisher", "starved")], 1.0).await;
    let published = wait_published(&ours, 2.0).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        for (signal, span) in [(Signal::STOP, 75), (Signal::CONT, 25)] {
            ours.signal(signal);
            stage.subscriber.signal(signal);
            sleep(Duration::from_millis(span)).await;
        }
    }
    stage.back("39 a quarter of a processor", Instant::now(), BACK).await;
    let more = wait_published(&ours, published + 3.0).await - published;
    report(&format!("39 a quarter of a processor: {more} heartbeats in {:?}", begun.elapsed()));
    stage.end().await;
}

/// Shells and service managers begin with a limit far below the one that they allow.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_open_as_many_files_as_it_is_allowed() {
    let bridge = Bridge::new().await;
    let allowed = bridge.subscriber().through(&["prlimit", "--nofile=256:3000"]).start_ready().await;
    assert_eq!(allowed.metrics().await.unwrap().value("process_max_fds", &[]), Some(3000.0));
}

/// No file is to be had for a while: scrapes wait, and all comes back.
#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_it_waits_for_some() {
    let bridge = Bridge::new().await;
    let setup = bridge.subscriber().env("WEB_MAX_CONNECTIONS", "1000").through(&["prlimit", "--nofile=64"]);
    let stage = Stage::with(bridge, setup).await;
    let before = stage.subscriber.metrics().await.unwrap();
    // Whoever connects takes a file, until there is none.
    let address = stage.subscriber.http();
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let asked = tokio::time::timeout(Duration::from_secs(1), http::get(address, "/metrics")).await;
    assert!(!matches!(asked, Ok(Ok(_))), "it had a file all the same");
    // Its connection to Redis ends, and it can make another only with the file that this one leaves.
    stage.bridge.redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    sleep(Duration::from_secs(1)).await;
    drop(crowd);
    let ended = Instant::now();
    wait_until("it answers again", SOON, async || stage.subscriber.metrics().await).await;
    let refused =
        stage.subscriber.metrics().await.unwrap().value("heartbeat_http_accept_failures_total", &[]);
    assert!(refused > Some(0.0), "{refused:?}");
    stage.back("38 no file descriptors", ended, BACK).await;
    nothing_leaked(&stage.subscriber, &before).await;
    stage.end().await;
}

/// The disk that takes the log is full, or whoever reads the log stands still.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_takes_holds_nothing_up() {
    let bridge = Bridge::new().await;
    let setup = bridge.subscriber().env("LOG_LEVEL", "debug");
    let full = ["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"];
    let stage = Stage::with(bridge, setup.through(&full)).await;
    stage.back("37 log on a full disk", Instant::now(), BACK).await;
    let dropped = stage.subscriber.metrics().await.unwrap().value("heartbeat_log_dropped_total", &[]);
    assert!(dropped > Some(0.0), "no line was counted: {dropped:?}");
    stage.end().await;

    let bridge = Bridge::new().await;
    let setup = bridge.subscriber().env("LOG_LEVEL", "debug");
    let pipe = setup.folder().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Held open and full, so that writing blocks instead of failing; nobody reads.
    let mut held = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    // A pipe holds 64 KiB by default.
    held.write_all(&[b'.'; 64 * 1024]).unwrap();
    let stuck = format!("exec \"$0\" \"$@\" 2>{}", pipe.display());
    let stage = Stage::with(bridge, setup.through(&["sh", "-c", &stuck])).await;
    // Something to log.
    stage.bridge.redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    stage.back("37 log that nobody reads", Instant::now(), BACK).await;
    stage.end().await;
}

/// Debian's library by which a process reads its own hosts file; `scripts/install-debian-packages.sh` installs it.
const NSS_WRAPPER: &str = "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so";

/// The broker's name is nowhere, then leads to a dead address first, then elsewhere: each attempt asks anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_fails_and_flips_is_asked_anew() {
    assert!(
        Path::new(NSS_WRAPPER).exists(),
        "libnss-wrapper is not installed: scripts/install-debian-packages.sh"
    );
    let bridge = Bridge::new().await;
    let setup = bridge.subscriber();
    let hosts = setup.folder().join("hosts");
    let name = async |addresses: &[&str]| {
        // The library looks at the file's time in whole seconds.
        sleep(Duration::from_millis(1100)).await;
        let lines = addresses.iter().map(|address| format!("{address} broker.example\n"));
        std::fs::write(&hosts, lines.collect::<String>()).unwrap();
    };
    std::fs::write(&hosts, "127.0.0.1 somebody.example\n").unwrap();
    let port = bridge.vhost.ports.amqp;
    let dead = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), port));
    let _hole = BlackHole::at(dead);
    let mut subscriber = setup
        .env("LD_PRELOAD", NSS_WRAPPER)
        .env("NSS_WRAPPER_HOSTS", hosts.to_str().unwrap())
        .env("RABBITMQ_HOST", "broker.example")
        .start();
    wait_until("the name is nowhere", SOON, async || {
        let (unreachable, all) = failures(&subscriber, "consumer", "unreachable").await?;
        if unreachable > 0.0 { Ok(()) } else { Err(all) }
    })
    .await;
    name(&["127.0.0.9", "127.0.0.1"]).await;
    let mended = Instant::now();
    subscriber.wait_ready().await;
    within("13 name nowhere, then a dead address first", "ready", mended.elapsed(), BACK);
    name(&["127.0.0.9"]).await;
    wait_until("its connection is closed", SOON, async || {
        bridge.vhost.close_connections().await;
        match subscriber.metrics().await?.value("heartbeat_subscriber_connected", &[("peer", "rabbitmq")]) {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    name(&["127.0.0.1"]).await;
    let flipped = Instant::now();
    subscriber.wait_ready().await;
    // An attempt on the dead address takes ten seconds.
    within("13 name leads elsewhere", "ready", flipped.elapsed(), BACK + Duration::from_secs(10));
}
