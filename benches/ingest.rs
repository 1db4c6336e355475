//! What it costs to take a heartbeat in: draining a backlog, beside a loop that only acknowledges, and beside what RabbitMQ
//! itself uses for the same messages.

use crate::Plan;
use crate::drain::{Backlog, Drained, Stage};
use crate::report::{Figure, Goal, Machine, Row};

const MESSAGES: usize = 60_000;
const COMPONENTS: usize = 10;

/// Of both, whoever comes first.
const MICROSECONDS: f64 = 1e6 / MESSAGES as f64;

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let stage = Stage::start().await;
    let mut rows = Vec::new();
    for publishers in [1_000, 10_000] {
        let backlog = Backlog { messages: MESSAGES, publishers, components: COMPONENTS };
        let (mut bare, mut with_keys, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            plan.say(&format!("ingest: {publishers} publishers, round {}", round + 1));
            let nothing = Backlog { messages: 0, ..backlog };
            let idle = stage.by_the_bare_loop(nothing).await.program;
            bare.push(stage.by_the_bare_loop(backlog).await.beyond(idle));
            let idle = stage.by_the_subscriber(nothing, true).await.program;
            with_keys.push(stage.by_the_subscriber(backlog, true).await.beyond(idle));
            without.push(stage.by_the_subscriber(backlog, false).await.beyond(idle));
        }
        for (keys, ours) in [("without contract keys", &without), ("with contract keys", &with_keys)] {
            rows.extend(compared(&format!("{publishers} publishers, {keys}"), ours, &bare));
        }
    }
    Figure {
        name: "ingest".into(),
        title: "Ingest".into(),
        how: format!(
            "A backlog of {MESSAGES} messages with {COMPONENTS} components each is drained, from the start of the program to its \
             end, into an empty Redis; in turn by lapin alone, which acknowledges up to 512 at a time and does nothing else, \
             and by the subscriber. RabbitMQ keeps no statistics. CPU time is user and kernel mode of the whole process, less what \
             it takes to start and end with an empty queue."
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows,
        curves: Vec::new(),
    }
}

fn compared(what: &str, ours: &[Drained], bare: &[Drained]) -> Vec<Row> {
    let each = |of: &[Drained], value: &dyn Fn(&Drained) -> f64| of.iter().map(value).collect::<Vec<f64>>();
    let program = |drained: &Drained| drained.program * MICROSECONDS;
    let rate = |drained: &Drained| MESSAGES as f64 / drained.wall;
    let cpu = format!("CPU a message, {what}");
    let row = |unit, value: &dyn Fn(&Drained) -> f64, what: &str| Row::new(what, unit, each(ours, value));
    vec![
        row("µs", &program, &cpu).beside("lapin alone", each(bare, &program)).goal(Goal::RatioAtMost(2.0)),
        row("µs", &program, &cpu)
            .beside(
                "RabbitMQ, taking and delivering",
                each(ours, &|drained| (drained.publishing + drained.delivering) * MICROSECONDS),
            )
            .goal(Goal::RatioAtMost(0.15)),
        row("µs", &program, &cpu)
            .beside("RabbitMQ, delivering", each(ours, &|drained| drained.delivering * MICROSECONDS)),
        row("messages/s", &rate, &format!("Drained, {what}"))
            .beside("lapin alone", each(bare, &rate))
            .goal(Goal::AtLeast(20_000.0)),
        row(
            "",
            &|drained| drained.commands_sent() / MESSAGES as f64,
            &format!("Redis commands a message, {what}"),
        )
        .goal(Goal::AtMost(1.0)),
        row("µs", &|drained| drained.redis * MICROSECONDS, &format!("CPU of Redis a message, {what}")),
    ]
}
