//! Limits that are programs: each is this program started again as `bench peer NAME …`, so that its CPU time is its own. And
//! a neighbour, which others wrote.

pub mod acking;
pub mod blackbox;
pub mod connecting;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::cpu;
use crate::support::process::{Process, folder};

/// Becomes a peer.
pub async fn run(arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["acking", uri, queue, messages, prefetch] => {
            acking::run(uri, queue, messages.parse().unwrap(), prefetch.parse().unwrap()).await;
        }
        ["connecting", targets, port, checks, together] => {
            let number = |text: &str| text.parse().unwrap();
            connecting::run(number(targets), port.parse().unwrap(), number(checks), number(together));
        }
        _ => panic!("no such peer: {arguments:?}"),
    }
}

/// A peer that runs.
pub fn start(arguments: &[&str]) -> Process {
    let program = std::env::current_exe().unwrap();
    let log = folder(arguments[0]).join("output");
    let arguments = ["peer"].iter().chain(arguments).copied();
    Process::start("peer", Path::new(&program), arguments, [], &log)
}

/// Far above what any peer takes.
pub const BOUND: Duration = Duration::from_secs(300);

/// Between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a program has ended, well; the CPU seconds that it used.
pub async fn ended(process: &mut Process, bound: Duration) -> f64 {
    let begun = Instant::now();
    while !process.has_ended() {
        assert!(begun.elapsed() < bound, "it does not end:\n{}", process.tail());
        sleep(LOOK).await;
    }
    let used = cpu::of(process.pid()).as_secs_f64();
    let status = process.exit_status().unwrap();
    assert!(status.success(), "{status}:\n{}", process.tail());
    used
}
