//! What a TCP check costs, beside a bare epoll loop that connects and beside the blackbox exporter, on the same targets; and
//! how long a round takes when very many targets swallow everything.

use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::Plan;
use crate::cpu::Meter;
use crate::drain::Stage;
use crate::peers::{self, blackbox::Blackbox, connecting::target};
use crate::report::{Figure, Goal, Machine, Row};
use crate::support::field::{config, host};
use crate::support::ports::{free_port, listen};
use crate::support::program::Program;
use crate::support::tcp::BlackHole;

const TARGETS: usize = 1_000;
/// Ours, by default.
const TOGETHER: usize = 256;
/// By the bare loop: a second's work.
const BARE_CHECKS: usize = 100_000;
/// By ours and by the blackbox exporter: each target once a second, so many seconds long.
const SECONDS: usize = 10;

const HOLES: usize = 10_000;
const TIMEOUT_SECONDS: f64 = 5.0;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Far above what anything here takes.
const BOUND: Duration = Duration::from_secs(120);

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let stage = Stage::start().await;
    let port = free_port();
    let listeners: Vec<JoinHandle<()>> = (0..TARGETS).map(|number| accepting(number, port)).collect();
    let blackbox = Blackbox::start().await;
    let (mut ours, mut bare, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        plan.say(&format!("checks: round {}", round + 1));
        ours.push(by_the_publisher(&stage, port).await * 1e6);
        bare.push(by_the_bare_loop(port).await * 1e6);
        let meter = Meter::start([blackbox.pid()]);
        blackbox.probe(TARGETS, port, SECONDS).await;
        theirs.push(meter.read()[0] / (TARGETS * SECONDS) as f64 * 1e6);
    }
    listeners.iter().for_each(JoinHandle::abort);
    drop(blackbox);
    let (mut seconds, mut files) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        plan.say(&format!("checks: black holes, round {}", round + 1));
        let (took, most) = swallowed(&stage).await;
        seconds.push(took);
        files.push(most);
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as f64;
    Figure {
        name: "checks".into(),
        title: "Checks".into(),
        how: format!(
            "{TARGETS} targets that accept, each checked once a second for {SECONDS} s by the publisher, and by the blackbox exporter, \
             whose module tcp_connect is asked over a connection a target; and checked by one thread that connects by epoll and \
             does nothing else, as fast as it can. All are on loopback, where the kernel does the target's half of a connection \
             in the time of whoever connects. Then {HOLES} targets swallow every SYN: the time from the start of the program until its first round has \
             ended, with `CHECK_CONCURRENCY={HOLES}` and `CHECK_TIMEOUT={TIMEOUT_SECONDS}s`."
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows: vec![
            Row::new("CPU a check", "µs", ours.clone())
                .beside("blackbox exporter", theirs)
                .goal(Goal::RatioAtMost(0.1)),
            Row::new("CPU a check", "µs", ours).beside("epoll alone", bare),
            Row::new(format!("A round of {HOLES} that swallow"), "s", seconds)
                .goal(Goal::AtMost(TIMEOUT_SECONDS + 2.0)),
            Row::new("Files open meanwhile, at most", "", files).goal(Goal::AtMost(limit)),
        ],
        curves: Vec::new(),
    }
}

/// A target that takes every connection and ends it at once.
fn accepting(number: usize, port: u16) -> JoinHandle<()> {
    let listener = listen(target(number, port));
    tokio::spawn(async move {
        loop {
            let _ = listener.accept().await;
        }
    })
}

/// CPU seconds of the publisher for a check.
async fn by_the_publisher(stage: &Stage, port: u16) -> f64 {
    let hosts: Vec<Value> = (0..TARGETS).map(|n| host(&format!("target-{n}"), target(n, port))).collect();
    let setup = stage.bridge.publisher("checks", &config(&hosts, &[]).to_string());
    let setup = setup.env("PUBLISH_INTERVAL", "60s").env("PROBE_INTERVAL", "1s").listening();
    let publisher = setup.start_ready().await;
    // The first rounds fill what later ones use.
    let before = rounds(&publisher, 2.0).await;
    let meter = Meter::start([publisher.pid()]);
    // A look is a scrape, which costs as much as several checks, so that few are taken.
    tokio::time::sleep(Duration::from_secs(SECONDS as u64)).await;
    let after = rounds(&publisher, before + SECONDS as f64).await;
    let [used] = meter.read();
    let scrape = publisher.metrics().await.unwrap();
    assert_eq!(scrape.value("heartbeat_emitter_components", &[]), Some(TARGETS as f64));
    stage.bridge.vhost.purge_queue(crate::support::bridge::QUEUE).await;
    used / ((after - before) * TARGETS as f64)
}

async fn by_the_bare_loop(port: u16) -> f64 {
    let words = [TARGETS, usize::from(port), BARE_CHECKS, TOGETHER].map(|number| number.to_string());
    let mut peer = peers::start(&["connecting", &words[0], &words[1], &words[2], &words[3]]);
    peers::ended(&mut peer, BOUND).await / BARE_CHECKS as f64
}

/// Waits for so many rounds; how many there are then.
async fn rounds(publisher: &Program, least: f64) -> f64 {
    let begun = Instant::now();
    loop {
        let seen = publisher.metrics().await.ok();
        let seen = seen.and_then(|scrape| scrape.value("heartbeat_emitter_rounds_total", &[]));
        if let Some(seen) = seen.filter(|seen| *seen >= least) {
            return seen;
        }
        assert!(begun.elapsed() < BOUND, "{seen:?} rounds\n{}", publisher.log());
        tokio::time::sleep(LOOK).await;
    }
}

/// Seconds of a round in which every target swallows, and the files that are open meanwhile at most.
async fn swallowed(stage: &Stage) -> (f64, f64) {
    let hole = BlackHole::open();
    let hosts: Vec<Value> = (0..HOLES).map(|n| host(&format!("hole-{n}"), hole.address)).collect();
    let setup = stage.bridge.publisher("holes", &config(&hosts, &[]).to_string());
    let setup = setup.env("PUBLISH_INTERVAL", "600s").env("CHECK_CONCURRENCY", &HOLES.to_string());
    let setup = setup.env("CHECK_TIMEOUT", &format!("{TIMEOUT_SECONDS}s")).listening();
    let begun = Instant::now();
    let publisher = setup.start();
    let mut most = 0.0f64;
    while begun.elapsed().as_secs_f64() < TIMEOUT_SECONDS {
        if let Ok(scrape) = publisher.metrics().await {
            most = most.max(scrape.value("process_open_fds", &[]).unwrap());
        }
        tokio::time::sleep(LOOK * 10).await;
    }
    rounds(&publisher, 1.0).await;
    let took = begun.elapsed().as_secs_f64();
    assert!(most > HOLES as f64, "{most} files: not all were asked at once\n{}", publisher.log());
    stage.bridge.vhost.purge_queue(crate::support::bridge::QUEUE).await;
    (took, most)
}
