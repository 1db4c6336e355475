//! From the start of the program to its first answer: with nothing to load, and with 100,000 components in Redis, beside the
//! time in which the same records can be read at all.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Plan;
use crate::drain::{Backlog, Stage};
use crate::report::{Figure, Goal, Machine, Row};
use crate::support::field::{config, host};
use crate::support::http;
use crate::support::program::{Program, Setup};

const BACKLOG: Backlog = Backlog { messages: 10_000, publishers: 10_000, components: 10 };

/// Between two attempts: well below what is measured.
const LOOK: Duration = Duration::from_micros(500);
/// Far above what anything here takes.
const BOUND: Duration = Duration::from_secs(60);

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let stage = Stage::start().await;
    let nowhere = host("nowhere", SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let file = config(&[nowhere], &[]).to_string();
    let (mut subscriber, mut publisher, mut standalone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        subscriber.push(empty(stage.bridge.subscriber()).await);
        publisher.push(empty(stage.bridge.publisher("start", &file).listening()).await);
        standalone.push(empty(Setup::new("standalone").publisher_config(&file)).await);
    }
    // What the publishers sent is not to be taken for part of what follows.
    stage.bridge.vhost.purge_queue(crate::support::bridge::QUEUE).await;
    stage.by_the_subscriber(BACKLOG, false).await;
    let (mut raw, mut ready, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        plan.say(&format!("start: round {}", round + 1));
        raw.push(bulk_read(stage.bridge.redis.port).await * 1e3);
        let (loaded, answered) = full(stage.subscriber()).await;
        ready.push(loaded * 1e3);
        shown.push(answered * 1e3);
    }
    let goal = Goal::AtMost(50.0);
    let full = format!("{} components in Redis", BACKLOG.publishers * BACKLOG.components);
    Figure {
        name: "start".into(),
        title: "Start".into(),
        how: "Time on the wall from before the program is executed until `/metrics` answers 200, asked again every half \
              millisecond; with records in Redis, until `/-/ready` says that all are loaded, and until a scrape of all of them \
              has been read, beside the time in which one connection reads the same records and does nothing with them."
            .into(),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows: vec![
            Row::new("First answer of an empty subscriber", "ms", subscriber).goal(goal),
            Row::new("First answer of a publisher", "ms", publisher).goal(goal),
            Row::new("First answer of standalone", "ms", standalone).goal(goal),
            Row::new(format!("Ready, {full}"), "ms", ready).beside("reading alone", raw.clone()),
            Row::new(format!("Scraped once, {full}"), "ms", shown).beside("reading alone", raw),
        ],
        curves: Vec::new(),
    }
}

/// Milliseconds to the first answer.
async fn empty(setup: Setup) -> f64 {
    let begun = Instant::now();
    let program = setup.start();
    answered(&program, begun, "/metrics").await;
    begun.elapsed().as_secs_f64() * 1e3
}

/// Seconds until everything is loaded, and until it was scraped.
pub async fn full(setup: Setup) -> (f64, f64) {
    let begun = Instant::now();
    let program = setup.start();
    answered(&program, begun, "/-/ready").await;
    let loaded = begun.elapsed().as_secs_f64();
    let scrape = program.metrics().await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    let publishers = scrape.value("heartbeat_subscriber_publishers", &[]);
    assert_eq!(publishers, Some(BACKLOG.publishers as f64), "publishers that are shown");
    (loaded, took)
}

/// Waits for a 200.
pub async fn answered(program: &Program, begun: Instant, path: &str) {
    loop {
        let answer = http::get(program.http(), path).await;
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            return;
        }
        assert!(begun.elapsed() < BOUND, "{path}: {answer:?}\n{}", program.log());
        tokio::time::sleep(LOOK).await;
    }
}

/// Seconds in which all records come over one connection, asked for at once.
pub async fn bulk_read(port: u16) -> f64 {
    const END: &[u8] = b"+PONG\r\n";
    let begun = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let mut asked = String::new();
    for bucket in 0..64 {
        asked.push_str(&format!("HVALS heartbeat:{{b{bucket:02}}}:records\r\n"));
    }
    asked.push_str("PING\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut chunk = vec![0; 1 << 18];
    let mut last = Vec::new();
    while !last.ends_with(END) {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "Redis hung up");
        last.extend_from_slice(&chunk[read.saturating_sub(END.len())..read]);
        last.drain(..last.len().saturating_sub(END.len()));
    }
    begun.elapsed().as_secs_f64()
}
