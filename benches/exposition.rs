//! What it costs to tell the state as text: beside prometheus-client's own encoder over the same families, and beside a mere
//! copy of the same bytes; cold, and when some of the publishers have changed since the last scrape; as text and gzipped.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use heartbeat_bridge::exposition::text::{Coding, Format, render};
use heartbeat_bridge::heartbeat::{Message, Timestamp};
use heartbeat_bridge::state::hearing::Spans;
use heartbeat_bridge::state::view::{Policy, View};
use heartbeat_bridge::state::{Moment, Receipt, apply};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};

use crate::Plan;
use crate::load::fleet::{Fleet, now};
use crate::report::{Figure, Goal, Machine, Row};
use crate::support::scrape::Scrape;

const COMPONENTS: usize = 10;
const INTERVAL: Duration = Duration::from_secs(60);

/// Samples that the exposition is to have, about.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Samples of one publisher with its components, about.
const SAMPLES: usize = 88;

/// Publishers of a hundred that have changed since the last scrape.
const CHANGED: [usize; 3] = [1, 25, 100];

/// The level at which the program compresses: both sides do.
const GZIP_LEVEL: u32 = 1;

/// The program's own way to an exposition, without the sockets around it.
struct Ours {
    view: View,
    policy: Policy,
    heard: Spans,
    fleet: Fleet,
    now: Timestamp,
}

impl Ours {
    fn new(publishers: usize) -> Self {
        let began = now();
        let fleet = Fleet::new(publishers, COMPONENTS, began, INTERVAL);
        // Listening all the time.
        let heard = Spans::unbroken(began, began.plus(INTERVAL * 1_000));
        let mut ours = Self { view: View::default(), policy: Policy::default(), heard, fleet, now: began };
        ours.change(100);
        ours
    }

    /// So many of a hundred publishers beat once more, with a change.
    fn change(&mut self, percent: usize) {
        self.now = self.now.plus(Duration::from_secs(1));
        for number in 0..self.fleet.publishers() {
            let publishers = self.fleet.publishers();
            let place = if publishers < 100 { number * 100 / publishers } else { number % 100 };
            if place >= percent {
                continue;
            }
            let message = Message::V2(Box::new(self.fleet.beat(number, self.now, true)));
            let receipt = Receipt { live: true, ..Receipt::at(self.now) };
            let known = self.view.get(self.fleet.id(number)).cloned();
            let (record, _) = apply(known.as_deref(), &message, &receipt);
            self.view.put(Arc::new(record));
        }
    }

    /// In parts, which are sent one after the other.
    fn scrape(&self, coding: Coding) -> Vec<Vec<u8>> {
        let moment = Moment::new(self.now, self.heard.clone(), &self.policy);
        let snapshot = moment.snapshot(self.view.records().cloned(), (true, Duration::ZERO), None);
        render(Some(&snapshot), None, Format::Text, coding)
    }
}

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let mut rows = Vec::new();
    for size in SIZES {
        rows.extend(sized(plan, size));
    }
    Figure {
        name: "exposition".into(),
        title: "Exposition".into(),
        how: format!(
            "CPU time a sample, of the state in the classic format, in process: no socket is written to. prometheus-client encodes \
             the same families with the same labels and values. Both sides compress with zlib-rs at level {GZIP_LEVEL}. Cold is a first \
             scrape; the others follow a scrape after which so many of the publishers have told of a change."
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows,
        curves: Vec::new(),
    }
}

fn sized(plan: &Plan, size: usize) -> Vec<Row> {
    let publishers = size / SAMPLES;
    // A small one is over before a clock can tell.
    let repeats = (100_000 / size).max(1);
    let registry = neighbour(&Ours::new(publishers).scrape(Coding::Identity).concat());
    let (mut cold, mut encoded, mut packed, mut copied) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut warm = CHANGED.map(|_| (Vec::new(), Vec::new()));
    for round in 0..plan.rounds {
        plan.say(&format!("exposition: {size} samples, round {}", round + 1));
        let mut ours = Ours::new(publishers);
        let body = ours.scrape(Coding::Identity).concat();
        let samples =
            body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
        let a_sample = |seconds: f64| seconds / samples as f64 * 1e9;
        let fresh: Vec<Ours> = (0..repeats).map(|_| Ours::new(publishers)).collect();
        cold.push(a_sample(used(&fresh, |ours| ours.scrape(Coding::Identity))));
        let times = vec![(); repeats];
        encoded.push(a_sample(used(&times, |()| neighbour_scrape(&registry))));
        packed.push(a_sample(used(&times, |()| gzip(neighbour_scrape(&registry).as_bytes()))));
        let mut copy = body.clone();
        copied.push(a_sample(used(&times, |()| copy.copy_from_slice(black_box(&body)))));
        for (percent, (plain, gzipped)) in CHANGED.into_iter().zip(&mut warm) {
            let (mut text, mut zipped) = (0.0, 0.0);
            for _ in 0..repeats {
                ours.scrape(Coding::Identity);
                ours.change(percent);
                text += used(&[()], |()| ours.scrape(Coding::Identity));
                ours.scrape(Coding::Gzip);
                ours.change(percent);
                zipped += used(&[()], |()| ours.scrape(Coding::Gzip));
            }
            plain.push(a_sample(text / repeats as f64));
            gzipped.push(a_sample(zipped / repeats as f64));
        }
    }
    let row = |what: &str, ours: &Vec<f64>, other: &str, theirs: &Vec<f64>| {
        Row::new(format!("{size} samples, {what}"), "ns", ours.clone()).beside(other, theirs.clone())
    };
    let mut rows = vec![row("cold", &cold, "prometheus-client", &encoded).goal(Goal::RatioAtMost(1.0 / 3.0))];
    for (percent, (plain, gzipped)) in CHANGED.into_iter().zip(&warm) {
        let what = format!("{percent} % changed");
        let copy = row(&what, plain, "a copy of the bytes", &copied);
        rows.push(if percent == 25 { copy.goal(Goal::RatioAtMost(3.0)) } else { copy });
        rows.push(row(&what, plain, "prometheus-client", &encoded));
        let zipped = row(&format!("{what}, gzip"), gzipped, "prometheus-client, gzip", &packed);
        rows.push(match (size, percent) {
            (100_000, 1) => zipped.goal(Goal::RatioAtMost(0.1)),
            (100_000, 25) => zipped.goal(Goal::RatioAtMost(0.2)),
            _ => zipped,
        });
    }
    rows
}

/// CPU seconds of this process for each, on average.
fn used<T, R>(each: &[T], mut work: impl FnMut(&T) -> R) -> f64 {
    let clock = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = clock();
    for one in each {
        black_box(work(one));
    }
    (clock() - before) / each.len() as f64
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::new(GZIP_LEVEL));
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn neighbour_scrape(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// The same families with the same labels and values, as prometheus-client has them.
fn neighbour(body: &[u8]) -> Registry {
    type Labels = Vec<(String, String)>;
    let scrape = Scrape::parse(std::str::from_utf8(body).unwrap()).unwrap();
    let mut registry = Registry::default();
    for (name, kind) in &scrape.types {
        let samples = scrape.all(name).into_iter().map(|sample| {
            (
                sample.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Labels>(),
                sample.value,
            )
        });
        if kind == "counter" {
            let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
            for (labels, value) in samples {
                family.get_or_create(&labels).inc_by(value);
            }
            registry.register(name.trim_end_matches("_total"), "As ours", family);
        } else {
            let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
            for (labels, value) in samples {
                family.get_or_create(&labels).set(value);
            }
            registry.register(name, "As ours", family);
        }
    }
    let text = neighbour_scrape(&registry);
    let theirs = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(theirs, scrape.samples.len(), "as many samples of both");
    registry
}
