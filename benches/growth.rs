//! Ten times the publishers, ten times the cost and not more.

use crate::Plan;
use crate::grown::{self, COMPONENTS, Grown, SIZES};
use crate::report::{Curve, Figure, Goal, Line, Machine, Row};

/// What is told of each size: a name, a unit, and the cost of all publishers in it.
type Cost = (&'static str, &'static str, fn(&Grown, usize) -> f64);

const COSTS: [Cost; 5] = [
    ("One heartbeat of everybody", "CPU ms", |one, publishers| one.ingest * 1e3 * publishers as f64),
    ("Memory", "MiB", |one, _| one.drained / 1048576.0),
    ("A scrape", "CPU ms", |one, _| one.scrape * 1e3),
    ("Bytes of a scrape", "MiB", |one, _| one.body / 1048576.0),
    ("Start until everything is loaded", "ms", |one, _| one.start * 1e3),
];

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let samples = grown::samples(plan).await;
    let mut rows = Vec::new();
    let mut curves = Vec::new();
    for (name, unit, cost) in COSTS {
        let costs: Vec<Vec<f64>> = SIZES
            .iter()
            .zip(samples)
            .map(|(size, sample)| sample.iter().map(|one| cost(one, *size)).collect())
            .collect();
        for (at, costs) in costs.windows(2).enumerate() {
            let components = |at: usize| SIZES[at] * COMPONENTS;
            let what = format!("{name}, {} components", components(at + 1));
            let row = Row::new(what, unit, costs[1].clone());
            rows.push(row.beside(components(at).to_string(), costs[0].clone()).goal(Goal::RatioAtMost(10.0)));
        }
        let points = |costs: &[Vec<f64>]| -> Vec<(f64, f64)> {
            let medians = costs.iter().map(|costs| crate::report::median(costs));
            SIZES.iter().map(|size| (size * COMPONENTS) as f64).zip(medians).collect()
        };
        let line = points(&costs);
        let (across, up) = line[0];
        let tenfold = line.iter().map(|point| (point.0, up * point.0 / across)).collect();
        curves.push(Curve {
            title: name.to_owned(),
            across: "components".to_owned(),
            up: unit.to_owned(),
            lines: vec![
                Line { name: "measured".to_owned(), points: line },
                Line { name: "ten for ten".to_owned(), points: tenfold },
            ],
        });
    }
    Figure {
        name: "growth".into(),
        title: "Growth".into(),
        how: format!(
            "The subscriber with {COMPONENTS} components a publisher, at sizes each ten times the one before; the ratio is to the size \
             before. Scrapes are with gzip, as Prometheus makes them."
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows,
        curves,
    }
}
