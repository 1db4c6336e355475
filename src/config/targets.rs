//! The publisher's configuration file: what is checked. The original's format, read unchanged, with a few
//! optional keys of ours (`timeout`, `failure_threshold`, `success_threshold`) on each host and queue; or the same in YAML.
//!
//! Every problem is reported in one go. What the original would have ignored is a warning: a file that
//! served it goes on to serve.

mod astray;
mod contract;
mod dns;
mod entry;
mod file;
mod files;
mod form;
mod grpc;
mod http;
mod jobs;
mod limits;
mod maintenance;
mod meant;
mod probes;
mod reader;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::check::pattern::TagPattern;
use crate::check::probe::ProbeSpec;
pub use file::{Unusable, load};
pub use form::Form;
pub use jobs::{JobTarget, JobTerms};
pub use maintenance::{PlannedWindow, begun};
use reader::Reader;

/// Longest time that a check may be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

const TIMEOUT_EXAMPLE: &str = r#"2.5 (seconds) or "500ms""#;

/// Everything that a publisher checks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// TCP endpoints, each name once.
    pub hosts: Vec<HostTarget>,
    /// Queues, each name once.
    pub queues: Vec<QueueTarget>,
    /// What is checked otherwise, each name once of a kind.
    pub probes: Vec<ProbeTarget>,
    /// When nobody is to be called for what is down.
    pub maintenance: Vec<PlannedWindow>,
    /// Jobs, each name once.
    pub jobs: Vec<JobTarget>,
}

impl Targets {
    /// Whether nothing of it is checked or waited for.
    pub fn check_nothing(&self) -> bool {
        self.hosts.is_empty() && self.queues.is_empty() && self.probes.is_empty() && self.jobs.is_empty()
    }
}

/// A host by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTarget {
    /// Its name; that of `host`, where the file gives none.
    pub name: Arc<str>,
    /// Host and port, at least one pair. Entries of one name are one target.
    pub endpoints: Vec<(Arc<str>, u16)>,
    /// Deadline of a check, where the file sets one.
    pub timeout: Option<Duration>,
    /// Failed checks in a row after which it is down; 1 unless set.
    pub failure_threshold: u32,
    /// Good checks in a row after which it is up; 1 unless set.
    pub success_threshold: u32,
}

/// A queue and who is expected to consume it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueTarget {
    /// Its name on the broker.
    pub queue: Arc<str>,
    /// Expected listeners, each name once; none, where only the queue is to exist.
    pub listeners: Vec<ListenerTarget>,
    /// Deadline of a check, where the file sets one.
    pub timeout: Option<Duration>,
    /// Failed checks in a row after which it is down; 1 unless set.
    pub failure_threshold: u32,
    /// Good checks in a row after which it is up; 1 unless set.
    pub success_threshold: u32,
}

/// What is checked in a way that the original does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeTarget {
    /// Its name.
    pub name: Arc<str>,
    /// What is asked.
    pub spec: ProbeSpec,
    /// Deadline of a check, where the file sets one.
    pub timeout: Option<Duration>,
    /// Failed checks in a row after which it is down; 1 unless set.
    pub failure_threshold: u32,
    /// Good checks in a row after which it is up; 1 unless set.
    pub success_threshold: u32,
}

/// A listener of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTarget {
    /// Its name.
    pub name: Arc<str>,
    /// Patterns of its consumers' tags, at least one; several where the file gives the name several times.
    pub patterns: Vec<TagPattern>,
}

/// Something in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `heartbeat.hosts[3].port`, counted from 0.
    pub path: String,
    /// What stands there, shortened; `None` where nothing does.
    pub value: Option<String>,
    /// What is wrong with it.
    pub why: String,
    /// What could stand there; empty where nothing could.
    pub example: &'static str,
}

impl Problem {
    /// What is wrong, as a sentence without its end.
    pub fn sentence(&self) -> String {
        let Self { path, value, why, .. } = self;
        match value {
            Some(value) => format!("{path} is {value}, {why}"),
            None => format!("{path} {why}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        if self.example.is_empty() { Ok(()) } else { write!(f, "; example: {}", self.example) }
    }
}

/// Something in the file that has no effect, or not the effect that it seems to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where: `heartbeat.hosts[3].prot`, counted from 0.
    pub path: String,
    /// What is odd about it.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.why)
    }
}

const HEARTBEAT_EXAMPLE: &str =
    r#"{"heartbeat": {"hosts": [{"host": "db", "port": 5432}], "rmq_consumers": []}}"#;

/// The same for who writes YAML.
const HEARTBEAT_EXAMPLE_IN_YAML: &str = "heartbeat: {hosts: [{host: db, port: 5432}], rmq_consumers: []}";

const HEARTBEAT_KEYS: &[&str] =
    &["hosts", "rmq_consumers", "http", "tls", "dns", "grpc", "jobs", "maintenance"];

/// The keys that an entry of each list beside the contract's may have.
pub fn probe_keys() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    probes::LISTS.iter().map(|list| (list.kind, [&[entry::COMMON_KEYS], list.keys].concat().concat()))
}

/// Reads the file's text, and none of the files that it names.
///
/// # Errors
/// All problems at once, in the order of the file's lists.
pub fn parse(text: &str, form: Form) -> Result<(Targets, Vec<Warning>), Vec<Problem>> {
    let (targets, reader) = read(text, form);
    if reader.problems.is_empty() { Ok((targets, reader.warnings)) } else { Err(reader.problems) }
}

/// What the file's text says, and what was found on the way. With a problem, the targets are not all.
fn read(text: &str, form: Form) -> (Targets, Reader) {
    let mut reader = Reader::default();
    let targets = match form.read(text) {
        // YAML with nothing but comments says as little.
        Ok(Value::Null) => {
            reader.amiss("the file".into(), "is empty", HEARTBEAT_EXAMPLE);
            Targets::default()
        }
        Ok(root) => read_root(&mut reader, &root),
        Err(why) => {
            let why = if text.trim().is_empty() { "is empty".into() } else { why };
            reader.amiss("the file".into(), why, HEARTBEAT_EXAMPLE);
            Targets::default()
        }
    };
    if form == Form::Yaml {
        for problem in reader.problems.iter_mut().filter(|problem| problem.example == HEARTBEAT_EXAMPLE) {
            problem.example = HEARTBEAT_EXAMPLE_IN_YAML;
        }
    }
    (targets, reader)
}

fn read_root(reader: &mut Reader, root: &Value) -> Targets {
    let Some(root) = reader.object(root, "the file", HEARTBEAT_EXAMPLE) else { return Targets::default() };
    astray::at_the_top(reader, root);
    let heartbeat = match root.get("heartbeat") {
        Some(heartbeat) if !heartbeat.is_null() => heartbeat,
        heartbeat => {
            let what = if heartbeat.is_some() { "empty" } else { "missing" };
            reader.warn("heartbeat".into(), format!("is {what}: nothing is checked"));
            return Targets::default();
        }
    };
    let Some(heartbeat) = reader.object(heartbeat, "heartbeat", HEARTBEAT_EXAMPLE) else {
        return Targets::default();
    };
    astray::within(reader, heartbeat);
    let (hosts, queues) = (contract::hosts(reader, heartbeat), contract::queues(reader, heartbeat));
    let windows = maintenance::windows(reader, heartbeat);
    let (jobs, probes) = (jobs::jobs(reader, heartbeat), probes::probes(reader, heartbeat));
    let mut targets = Targets { hosts, queues, probes, jobs, maintenance: Vec::new() };
    // An entry with a problem may be the one that is named.
    if reader.problems.is_empty() {
        let known: Vec<&str> = targets.component_names().collect();
        maintenance::warn_of_strangers(reader, &windows, &known);
    }
    targets.maintenance = windows.into_iter().map(|(_, window)| window).collect();
    targets
}

#[cfg(test)]
mod tests;
