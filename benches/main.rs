//! How fast Heartbeat is and what it costs, each figure beside a limit or a neighbour that is measured in turn with it, in
//! the same minutes, since machines are noisy. `make bench` runs all of it:
//!
//! ```text
//! make bench                                      # every figure, nine rounds: about an hour
//! make bench FIGURES="ingest checks" ROUNDS=3     # some of them, roughly
//! ```
//!
//! Each file beside this one is a figure; [`report`] keeps and tells what they find, [`load`] imagines publishers, [`peers`]
//! are the limits that are programs. Servers and the program are started as in the tests.
// A figure that cannot be measured ends the run.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::cast_precision_loss, unreachable_pub)]

mod checks;
mod cpu;
mod drain;
mod exposition;
mod grown;
mod growth;
mod ingest;
mod latency;
mod load;
mod memory;
mod peers;
mod redis_writes;
mod report;
mod scrapes;
mod start;
#[path = "../tests/servers/support/mod.rs"]
// Some of what it offers is for tests.
mod support;

use report::Figure;

/// The program's own, for what is measured in process and for the limits that this program becomes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is asked of this run.
pub struct Plan {
    /// Of each figure.
    pub rounds: usize,
}

impl Plan {
    /// Tells whoever waits how far it is.
    pub fn say(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// In the order in which they are told.
const FIGURES: [&str; 9] =
    ["ingest", "redis_writes", "checks", "start", "latency", "scrapes", "exposition", "memory", "growth"];

/// So many that an interval can be told.
const ROUNDS: usize = 9;

async fn measure(name: &str, plan: &Plan) -> Figure {
    match name {
        "ingest" => ingest::measure(plan).await,
        "redis_writes" => redis_writes::measure(plan).await,
        "checks" => checks::measure(plan).await,
        "start" => start::measure(plan).await,
        "latency" => latency::measure(plan).await,
        "scrapes" => scrapes::measure(plan).await,
        "exposition" => exposition::measure(plan).await,
        "memory" => memory::measure(plan).await,
        "growth" => growth::measure(plan).await,
        _ => panic!("no such figure: {name}; there are: {}", FIGURES.join(" ")),
    }
}

#[tokio::main]
async fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "peer") {
        return peers::run(&arguments[1..]).await;
    }
    // Cargo says that this is a benchmark, and what more it says is meant for the standard harness.
    arguments.retain(|argument| argument != "--bench");
    let mut rounds = ROUNDS;
    if let Some(at) = arguments.iter().position(|argument| argument == "--rounds") {
        rounds = arguments[at + 1].parse().unwrap();
        arguments.drain(at..at + 2);
    }
    let names = if arguments.is_empty() { FIGURES.map(str::to_owned).to_vec() } else { arguments };
    let plan = Plan { rounds };
    for name in names {
        let figure = measure(&name, &plan).await;
        plan.say(&report::told(&figure));
        report::keep(figure, &FIGURES);
    }
}
