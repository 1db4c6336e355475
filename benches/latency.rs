//! From a change at a target to the scrape that shows it.

use std::time::{Duration, Instant};

use crate::Plan;
use crate::drain::Stage;
use crate::report::{Curve, Figure, Line, Machine, Row, quantile};
use crate::support::field::{config, host};
use crate::support::program::Program;
use crate::support::tcp::Accepting;

/// Between two checks.
const PROBE: Duration = Duration::from_millis(200);

/// Changes in a round.
const CHANGES: usize = 20;

/// After a change: longer than a publisher keeps the next one back.
const REST: Duration = Duration::from_millis(1_100);

/// Between two scrapes: well below what is measured.
const LOOK: Duration = Duration::from_millis(2);

/// Far above what anything here takes.
const BOUND: Duration = Duration::from_secs(30);

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let stage = Stage::start().await;
    let mut target = Accepting::open();
    let file = config(&[host("target", target.address)], &[]).to_string();
    let publisher = stage.bridge.publisher("latency", &file).env("PUBLISH_INTERVAL", "60s");
    let publisher = publisher.env("PROBE_INTERVAL", &format!("{}ms", PROBE.as_millis()));
    // The subscriber first: what has waited for it proves nobody alive.
    let subscriber = stage.subscriber().start_ready().await;
    let _publisher = publisher.listening().start_ready().await;
    shown(&subscriber, 1.0).await;
    let mut all = Vec::new();
    let mut quantiles: [Vec<f64>; 3] = Default::default();
    for round in 0..plan.rounds {
        plan.say(&format!("latency: round {}", round + 1));
        let mut delays = Vec::new();
        for change in 0..CHANGES {
            // Anywhere between two checks.
            tokio::time::sleep(REST + rand::random_range(Duration::ZERO..PROBE)).await;
            let up = change % 2 == 1;
            let begun = Instant::now();
            if up {
                target.reopen()
            } else {
                target.close().await
            };
            shown(&subscriber, f64::from(u8::from(up))).await;
            delays.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        for (values, share) in quantiles.iter_mut().zip([0.5, 0.9, 1.0]) {
            values.push(quantile(&delays, share));
        }
        all.extend(delays);
    }
    let [half, most, longest] = quantiles;
    let points = (1..=100).map(|percent| (f64::from(percent), quantile(&all, f64::from(percent) / 100.0)));
    Figure {
        name: "latency".into(),
        title: "Latency".into(),
        how: format!(
            "A target stops to accept, or accepts again, at a random moment between two checks, {CHANGES} times a round; until a \
             scrape shows it, which is asked for every {} ms. Checks are made every {} ms: waiting for the next one takes half \
             of that in the middle.",
            LOOK.as_millis(),
            PROBE.as_millis()
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows: vec![
            Row::new("From the change to the scrape, half of them", "ms", half),
            Row::new("From the change to the scrape, 9 of 10", "ms", most),
            Row::new("From the change to the scrape, the longest", "ms", longest),
        ],
        curves: vec![Curve {
            title: "From the change to the scrape".to_owned(),
            across: "percent of the changes".to_owned(),
            up: "ms".to_owned(),
            lines: vec![Line { name: "at most".to_owned(), points: points.collect() }],
        }],
    }
}

async fn shown(subscriber: &Program, up: f64) {
    let begun = Instant::now();
    loop {
        let seen = subscriber.metrics().await.unwrap().value("heartbeat_component_up", &[("name", "target")]);
        if seen == Some(up) {
            return;
        }
        assert!(begun.elapsed() < BOUND, "{seen:?} instead of {up}");
        tokio::time::sleep(LOOK).await;
    }
}
