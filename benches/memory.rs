//! What it keeps resident: at rest, and for each component.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use crate::Plan;
use crate::drain::Stage;
use crate::grown::{self, COMPONENTS, Grown, SETTLE, SIZES};
use crate::load::fleet::{address, name};
use crate::report::{Figure, Goal, Machine, Row};
use crate::support::field::{config, host};
use crate::support::program::Setup;

const MIB: f64 = 1048576.0;

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let mut rows = idle(plan).await;
    let samples = grown::samples(plan).await;
    for (at, pair) in samples.windows(2).enumerate().skip(1) {
        let sizes = format!("from {} to {}", SIZES[at] * COMPONENTS, SIZES[at + 1] * COMPONENTS);
        let components = ((SIZES[at + 1] - SIZES[at]) * COMPONENTS) as f64;
        let slope = |value: &dyn Fn(&Grown) -> f64| -> Vec<f64> {
            pair[0]
                .iter()
                .zip(&pair[1])
                .map(|(small, large)| (value(large) - value(small)) / components)
                .collect()
        };
        let names = name_bytes(SIZES[at], SIZES[at + 1]);
        let beyond = |value: &dyn Fn(&Grown) -> f64| slope(value).iter().map(|bytes| bytes - names).collect();
        rows.push(
            Row::new(
                format!("A component beyond its names, restarted, {sizes}"),
                "bytes",
                beyond(&|one| one.restarted),
            )
            .goal(Goal::AtMost(100.0)),
        );
        rows.push(
            Row::new(
                format!("A component beyond its names, after draining, {sizes}"),
                "bytes",
                beyond(&|one| one.drained),
            )
            .goal(Goal::AtMost(100.0)),
        );
        rows.push(
            Row::new(
                format!("What scrapes add for a component, {sizes}"),
                "bytes",
                slope(&|one| one.scraped - one.restarted),
            )
            .goal(Goal::AtMost(300.0)),
        );
        rows.push(Row::new(
            format!("What a scrape takes for a component while it goes on, {sizes}"),
            "bytes",
            slope(&|one| one.peak - one.restarted),
        ));
        rows.push(Row::new(
            format!("What one without gzip leaves for a component, {sizes}"),
            "bytes",
            slope(&|one| one.scraped_plain - one.scraped),
        ));
    }
    Figure {
        name: "memory".into(),
        title: "Memory".into(),
        how: format!(
            "Proportional set size ({} s after there was nothing more to do), of the subscriber with {COMPONENTS} components a publisher. \
             The slope between two sizes, less the bytes of the component's name and target, is what a component takes; the \
             publisher's own part is in it. Scrapes are with gzip, as Prometheus makes them, where nothing else is said.",
            SETTLE.as_secs()
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows,
        curves: Vec::new(),
    }
}

async fn idle(plan: &Plan) -> Vec<Row> {
    let stage = Stage::start().await;
    let file = config(&[host("nowhere", SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))], &[]).to_string();
    let (mut subscriber, mut publisher, mut standalone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        plan.say(&format!("memory: at rest, round {}", round + 1));
        subscriber.push(at_rest(stage.bridge.subscriber()).await);
        publisher.push(at_rest(stage.bridge.publisher("idle", &file).listening()).await);
        standalone.push(at_rest(Setup::new("standalone").publisher_config(&file)).await);
    }
    let row = |what, values| Row::new(what, "MiB", values).goal(Goal::AtMost(12.0));
    vec![
        row("The subscriber at rest", subscriber),
        row("The publisher at rest", publisher),
        row("Standalone at rest", standalone),
    ]
}

async fn at_rest(setup: Setup) -> f64 {
    let program = setup.start_ready().await;
    tokio::time::sleep(SETTLE).await;
    pss(program.pid()) / MIB
}

/// Bytes that a process keeps resident, its share of what it has in common with others.
pub fn pss(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// The most that a process has resident.
pub struct Peak {
    pid: u32,
}

impl Peak {
    /// From now on.
    pub fn begin(pid: u32) -> Self {
        let path = format!("/proc/{pid}/clear_refs");
        // Resets the high-water mark (proc(5)).
        fs::write(&path, "5").unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { pid }
    }

    /// In bytes.
    pub fn bytes(&self) -> f64 {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    }
}

/// Bytes of the name and the target of a component, on average over the publishers between two sizes.
fn name_bytes(from: usize, to: usize) -> f64 {
    let component = |publisher: usize, index: usize| name(publisher, index).len() + address(index).len();
    let all: usize = (from..to).flat_map(|one| (0..COMPONENTS).map(move |index| component(one, index))).sum();
    all as f64 / ((to - from) * COMPONENTS) as f64
}
