//! What ten scrapers do to the time that a heartbeat takes from its publisher into the store.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use heartbeat_bridge::exposition::text::Coding;
use heartbeat_bridge::store::RecordKey;

use crate::Plan;
use crate::drain::Stage;
use crate::grown::scraped;
use crate::load::backlog::greet;
use crate::load::fleet::{Fleet, now};
use crate::load::open_loop::{self, Pace, Sent};
use crate::report::{Figure, Goal, Machine, Row, quantile};
use crate::support::bridge::{EXCHANGE, KEY};
use crate::support::program::Program;
use crate::support::redis::Redis;
use crate::support::resp::Reply;

const PUBLISHERS: usize = 10_000;
const COMPONENTS: usize = 10;
const PACE: Pace = Pace { rate: 1_000, span: Duration::from_secs(15), one_changed_in: 10 };
/// Each scrapes once in the span.
const SCRAPERS: u32 = 10;
/// Who scrapes: nobody, and ten as Prometheus does and as a browser without gzip.
const SCRAPING: [Option<Coding>; 3] = [None, Some(Coding::Gzip), Some(Coding::Identity)];
/// A publisher's beat, as it follows from the pace.
const INTERVAL: Duration = Duration::from_secs(10);
/// How nice a scraper is.
const READER_NICE: i32 = 19;
/// Far above what anything here takes.
const BOUND: Duration = Duration::from_secs(60);

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let stage = Stage::start().await;
    let mut fleet = Fleet::new(PUBLISHERS, COMPONENTS, now(), INTERVAL);
    let subscriber = stage.subscriber().start_ready().await;
    let (_connection, channel) = stage.bridge.vhost.connect().await;
    greet(&channel, EXCHANGE, KEY, &mut fleet).await;
    stored_since(&stage.bridge.redis, "-", PUBLISHERS).await;
    let mut first = 0;
    let mut values = SCRAPING.map(|_| Vec::new());
    for round in 0..plan.rounds {
        for (coding, values) in SCRAPING.into_iter().zip(&mut values) {
            plan.say(&format!("scrapes: round {}, {}", round + 1, coding.map_or("none", said)));
            let since = now_id(&stage.bridge.redis).await;
            let began = Instant::now();
            let send = open_loop::run(&channel, (EXCHANGE, KEY), &mut fleet, first, PACE);
            let (sent, ()) = tokio::join!(send, scraping(&subscriber, coding, began));
            first += sent.len();
            let delays = delays(&fleet, &sent, &stored_since(&stage.bridge.redis, &since, sent.len()).await);
            values.push([0.5, 0.99, 0.999].map(|share| quantile(&delays, share)));
        }
    }
    let [alone, gzipped, plain] = values;
    let row = |what: &str, at: usize, coding: Coding| {
        let of = |values: &[[f64; 3]]| values.iter().map(|value| value[at]).collect::<Vec<f64>>();
        let scraped = if coding == Coding::Gzip { &gzipped } else { &plain };
        let what = format!("From its publisher into the store, {what}, ten scrapers {}", said(coding));
        Row::new(what, "ms", of(scraped)).beside("no scraper", of(&alone))
    };
    Figure {
        name: "scrapes".into(),
        title: "Scrapes".into(),
        how: format!(
            "{} heartbeats a second of {PUBLISHERS} publishers with {COMPONENTS} components, one in {} with a change, each from the moment \
             for which it was meant to its entry in the change log of Redis; while ten scrapers read all of `/metrics` once in {} s \
             each, with gzip and without, in turn, and while none does. Scrapers (with the lowest priority), generator and servers share the machine.",
            PACE.rate,
            PACE.one_changed_in,
            PACE.span.as_secs()
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows: vec![
            row("half of them", 0, Coding::Gzip),
            row("99 of 100", 1, Coding::Gzip).goal(Goal::RatioAtMost(1.1)),
            row("999 of 1,000", 2, Coding::Gzip),
            row("half of them", 0, Coding::Identity),
            row("99 of 100", 1, Coding::Identity),
            row("999 of 1,000", 2, Coding::Identity),
        ],
        curves: Vec::new(),
    }
}

/// So many scrapers, one after the other, evenly over the span. Each is a thread that gives way to all others: Prometheus
/// reads on another machine, and here the sender must not wait for a reader.
async fn scraping(subscriber: &Program, coding: Option<Coding>, began: Instant) {
    let Some(coding) = coding else { return };
    for scraper in 0..SCRAPERS {
        tokio::time::sleep_until((began + PACE.span * scraper / SCRAPERS).into()).await;
        let http = subscriber.http();
        let (done, length) = tokio::sync::oneshot::channel();
        let scraping = move || {
            rustix::process::setpriority_process(None, READER_NICE).unwrap();
            let _ = done.send(scraped(http, coding));
        };
        std::thread::spawn(scraping);
        assert!(length.await.unwrap() > PUBLISHERS * COMPONENTS, "a scrape without components");
    }
}

/// How a scraper reads.
fn said(coding: Coding) -> &'static str {
    match coding {
        Coding::Gzip => "with gzip, as Prometheus reads",
        Coding::Identity => "without gzip",
    }
}

/// Milliseconds from when each was meant to when it was stored. A publisher's come in their order.
fn delays(fleet: &Fleet, sent: &[Sent], stored: &[(String, f64)]) -> Vec<f64> {
    let mut by_key: HashMap<&str, VecDeque<f64>> = HashMap::new();
    for (key, at) in stored {
        by_key.entry(key).or_default().push_back(*at);
    }
    let delay = |sent: &Sent| {
        let key = RecordKey::of(fleet.id(sent.publisher).as_str()).to_string();
        let at =
            by_key.get_mut(key.as_str()).and_then(VecDeque::pop_front).expect("each is stored by itself");
        at - sent.meant_ms
    };
    sent.iter().map(delay).collect()
}

/// Waits until so many changes are in the logs since an id; the key of each, and when it came, in milliseconds of the same
/// clock. Redis tells it to the millisecond: the middle of it is taken.
async fn stored_since(redis: &Redis, since: &str, count: usize) -> Vec<(String, f64)> {
    let mut client = redis.client().await.unwrap();
    let begun = Instant::now();
    loop {
        let mut stored = Vec::new();
        for bucket in 0..64 {
            let log = format!("heartbeat:{{b{bucket:02}}}:log");
            let Reply::Array(entries) = client.command(&["XRANGE", &log, since, "+"]).await.unwrap() else {
                panic!("{log} is no log");
            };
            stored.extend(entries.into_iter().map(entry));
        }
        if stored.len() >= count {
            stored.sort_by(|a, b| a.1.total_cmp(&b.1));
            return stored;
        }
        assert!(begun.elapsed() < BOUND, "{} of {count} are stored", stored.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn entry(entry: Reply) -> (String, f64) {
    let Reply::Array(mut parts) = entry else { panic!("no entry: {entry:?}") };
    let fields = parts.pop().unwrap().strings();
    let id = parts.pop().unwrap().string().unwrap();
    let key = fields.chunks(2).find(|pair| pair[0] == "k").unwrap()[1].clone();
    (key, id.split_once('-').unwrap().0.parse::<f64>().unwrap() + 0.5)
}

/// An id from which on everything is new: the round before has been read to its end, and the first entry of a millisecond
/// has this very id.
async fn now_id(redis: &Redis) -> String {
    let Reply::Array(time) = redis.command(&["TIME"]).await else { panic!("no time") };
    let time: Vec<u64> = Reply::Array(time).strings().iter().map(|part| part.parse().unwrap()).collect();
    format!("{}-0", time[0] * 1000 + time[1] / 1000)
}
