//! The list `jobs`: what runs now and then, and tells of it by itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::reader::Reader;

/// Longest time between two runs, or of one: a year.
const TIME_MAX: Duration = Duration::from_secs(8766 * 3600);

const EXAMPLE: &str = r#"{"name": "backup", "period": "1day", "grace": "1h"}"#;
const KEYS: &[&str] = &["name", "period", "grace", "max_runtime"];

/// A job by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTarget {
    /// Its name.
    pub name: Arc<str>,
    /// When it has to be heard of.
    pub terms: JobTerms,
}

/// When a job has to be heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTerms {
    /// Time between two runs.
    pub period: Duration,
    /// How much later than that is not late yet.
    pub grace: Duration,
    /// Longest time from its start to its end; the grace, where the file sets none.
    pub max_runtime: Duration,
}

/// The list `jobs`.
pub(super) fn jobs(reader: &mut Reader, heartbeat: &Map<String, Value>) -> Vec<JobTarget> {
    let mut jobs: Vec<JobTarget> = Vec::new();
    for (index, entry) in reader.list(heartbeat, "jobs", "heartbeat", "[]").iter().enumerate() {
        let path = format!("heartbeat.jobs[{index}]");
        let Some(job) = read_job(reader, entry, &path) else { continue };
        if jobs.iter().any(|known| known.name == job.name) {
            reader.repeated(&path, &job.name, "job", "only the first counts");
        } else {
            jobs.push(job);
        }
    }
    jobs
}

fn read_job(reader: &mut Reader, entry: &Value, path: &str) -> Option<JobTarget> {
    let entry = reader.object(entry, path, EXAMPLE)?;
    reader.refuse_unknown_keys(entry, path, KEYS);
    let name = reader.name(entry, "name", path, r#""backup""#);
    let period = reader.required_duration(entry, "period", path, TIME_MAX, r#""1day""#);
    let grace = reader.required_duration(entry, "grace", path, TIME_MAX, r#""1h""#);
    let max_runtime = reader.duration(entry, "max_runtime", path, TIME_MAX, r#""3h""#);
    let (name, period, grace) = (name?, period?, grace?);
    let terms = JobTerms { period, grace, max_runtime: max_runtime.unwrap_or(grace) };
    Some(JobTarget { name, terms })
}
