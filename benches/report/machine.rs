//! Where and when something was measured, without which a figure says nothing.

use std::fs;
use std::process::Command;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A machine at a time, and the source that it measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Machine {
    /// When.
    pub at: String,
    /// Which source: a commit, with a `+` where files differ from it.
    pub source: String,
    /// What the processors call themselves, and how many there are.
    pub processors: String,
    /// What others had to do meanwhile: processes that ran or waited to run, over the last minute.
    pub load: String,
    /// Versions of the neighbours.
    pub versions: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let dirty = said("git", &["status", "--porcelain", "--untracked-files=no"]);
        Self {
            at: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            source: said("git", &["rev-parse", "--short", "HEAD"]) + if dirty.is_empty() { "" } else { "+" },
            processors: format!("{cores} × {}", model.map_or("unknown", |(_, model)| model)),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            versions: versions(),
        }
    }
}

fn versions() -> String {
    let packages = ["rabbitmq-server", "redis-server", "prometheus-blackbox-exporter"];
    let versions = packages.map(|package| {
        let version = said("dpkg-query", &["--show", "--showformat=${Version}", package]);
        format!("{package} {}", if version.is_empty() { "absent" } else { &version })
    });
    versions.join(", ")
}

/// What a command says; nothing where there is no such command.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
