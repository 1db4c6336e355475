//! One subscriber at several sizes, each ten times the one before: what is asked of its memory and of its growth is asked of
//! the same runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heartbeat_bridge::exposition::text::Coding;
use tokio::sync::OnceCell;

use crate::Plan;
use crate::cpu::Meter;
use crate::drain::{Backlog, Stage};
use crate::memory::{Peak, pss};
use crate::start::answered;

/// Of each publisher.
pub const COMPONENTS: usize = 10;

/// How many publishers.
pub const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// So many messages at least are drained, so that there is something to be counted.
const MESSAGES_MIN: usize = 50_000;

/// Heartbeats of each publisher at least: the first finds nothing that is known.
const BEATS_MIN: usize = 2;

/// Far above what a scrape takes.
const BOUND: Duration = Duration::from_secs(60);

/// After it has nothing more to do: an allocator gives back what it does not need only by and by.
pub const SETTLE: Duration = Duration::from_secs(3);

/// What one run found.
#[derive(Clone, Copy)]
pub struct Grown {
    /// CPU seconds of the subscriber for a heartbeat that it takes in.
    pub ingest: f64,
    /// Bytes resident after it drained, when it came to rest.
    pub drained: f64,
    /// Bytes resident after a restart, when it came to rest.
    pub restarted: f64,
    /// Bytes resident at most while it was scraped, with gzip, as Prometheus does.
    pub peak: f64,
    /// Bytes resident after these scrapes.
    pub scraped: f64,
    /// Bytes resident after one without gzip.
    pub scraped_plain: f64,
    /// Seconds from its start until everything is loaded.
    pub start: f64,
    /// CPU seconds of a scrape.
    pub scrape: f64,
    /// Bytes of a scrape.
    pub body: f64,
}

/// A value a round for each size, measured once in a run of the suite.
pub async fn samples(plan: &Plan) -> &'static [Vec<Grown>] {
    static SAMPLES: OnceCell<Vec<Vec<Grown>>> = OnceCell::const_new();
    let measured = async || {
        let stage = Stage::start().await;
        let mut samples = vec![Vec::new(); SIZES.len()];
        for round in 0..plan.rounds {
            for (publishers, samples) in SIZES.into_iter().zip(&mut samples) {
                plan.say(&format!("growth: {publishers} publishers, round {}", round + 1));
                samples.push(grown(&stage, publishers).await);
            }
        }
        samples
    };
    SAMPLES.get_or_init(measured).await
}

async fn grown(stage: &Stage, publishers: usize) -> Grown {
    let messages = (publishers * BEATS_MIN).max(MESSAGES_MIN);
    let backlog = Backlog { messages, publishers, components: COMPONENTS };
    let mut drained = 0.0;
    let drain = stage.by_the_subscriber_then(backlog, false, async |process| {
        tokio::time::sleep(SETTLE).await;
        drained = pss(process.pid());
    });
    let ingest = drain.await.program / messages as f64;

    let begun = Instant::now();
    let subscriber = stage.subscriber().start();
    answered(&subscriber, begun, "/-/ready").await;
    let start = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let restarted = pss(subscriber.pid());
    // A small scrape costs less than a tick of the clock.
    let scrapes = (100_000 / (publishers * COMPONENTS)).max(1);
    let (meter, peak) = (Meter::start([subscriber.pid()]), Peak::begin(subscriber.pid()));
    let scrape_once = async |coding| {
        let http = subscriber.http();
        tokio::task::spawn_blocking(move || scraped(http, coding)).await.unwrap()
    };
    let mut body = 0;
    for _ in 0..scrapes {
        body = scrape_once(Coding::Gzip).await;
    }
    let ([scrape], peak) = (meter.read(), peak.bytes());
    tokio::time::sleep(SETTLE).await;
    let scraped = pss(subscriber.pid());
    scrape_once(Coding::Identity).await;
    tokio::time::sleep(SETTLE).await;
    Grown {
        ingest,
        drained,
        restarted,
        peak,
        scraped,
        scraped_plain: pss(subscriber.pid()),
        start,
        scrape: scrape / scrapes as f64,
        body: body as f64,
    }
}

/// Reads a scrape to its end and keeps nothing of it; how long it was. It blocks its thread.
pub fn scraped(http: SocketAddr, coding: Coding) -> usize {
    let accepted = match coding {
        Coding::Gzip => "gzip",
        Coding::Identity => "identity",
    };
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let headers = format!("Host: localhost\r\nAccept-Encoding: {accepted}\r\nConnection: close");
    stream.write_all(format!("GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes()).unwrap();
    let mut chunk = vec![0; 1 << 18];
    let mut length = stream.read(&mut chunk).unwrap();
    assert!(chunk.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&chunk[..length]));
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => return length,
            read => length += read,
        }
    }
}
