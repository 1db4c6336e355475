//! All jobs of a publisher: who tells of them, and what is made of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::job::{Job, Millis, Told};
use super::memory::{Keeping, Memory, Recalled};
use crate::check::Verdict;
use crate::config::targets::JobTarget;
use crate::heartbeat::ComponentKey;

pub use super::job::Word;

/// The wire's word for what a job is.
pub(super) const KIND: &str = "job";

/// What is kept of jobs is under this name in the memory.
const SUBJECT: &str = "jobs";

/// Words that wait for the publisher to come round.
const WORDS_MAX: usize = 256;

/// Names that one who names none of them is told.
const NAMES_TOLD: usize = 50;

/// Where jobs tell of themselves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobLine(mpsc::Sender<Heard>);

/// Where the publisher hears of it.
pub type JobLineEnd = mpsc::Receiver<Heard>;

/// What somebody tells of a job.
#[derive(Debug)]
pub struct Heard {
    name: String,
    word: Word,
    remark: String,
    reply: oneshot::Sender<Result<Keeping, String>>,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// There is no such job: which there are, in words.
    Unknown(String),
    /// The publisher cannot take it now.
    Busy,
}

impl JobLine {
    /// Both ends of one.
    pub fn new() -> (Self, JobLineEnd) {
        let (sender, receiver) = mpsc::channel(WORDS_MAX);
        (Self(sender), receiver)
    }

    /// Tells what a job says, with a remark for the log. Says whether a restart is known to remember it.
    ///
    /// # Errors
    /// Why nobody heard it.
    pub async fn tell(&self, name: &str, word: Word, remark: &str) -> Result<bool, Unheard> {
        let (reply, answer) = oneshot::channel();
        let heard = Heard { name: name.to_owned(), word, remark: remark.to_owned(), reply };
        self.0.try_send(heard).map_err(|_| Unheard::Busy)?;
        match answer.await {
            Ok(Ok(keeping)) => Ok(keeping.is_stored().await),
            Ok(Err(known)) => Err(Unheard::Unknown(known)),
            Err(_) => Err(Unheard::Busy),
        }
    }
}

/// The jobs, by name.
#[derive(Debug)]
pub(super) struct Jobs {
    all: BTreeMap<Arc<str>, Job>,
    memory: Memory,
}

/// How a job is.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// Which.
    pub(super) key: ComponentKey,
    pub(super) verdict: Verdict,
    /// When that was.
    pub(super) at: Millis,
    /// How long its latest run took, where that is known.
    pub(super) took: Option<Duration>,
    /// Runs that ended.
    pub(super) runs: u64,
    /// Those of them that failed.
    pub(super) failures: u64,
}

impl Jobs {
    /// Those of a file, of which nothing is known yet.
    pub(super) fn new(wanted: &[JobTarget], memory: Memory, now: Millis) -> Self {
        let job = |JobTarget { name, terms }: &JobTarget| (Arc::clone(name), Job::new(*terms, now));
        Self { all: wanted.iter().map(job).collect(), memory }
    }

    /// Takes another file in: what both name keeps what it told.
    pub(super) fn adopt(&mut self, wanted: &[JobTarget], now: Millis) {
        let mut before = std::mem::take(&mut self.all);
        let had_some = !before.is_empty();
        let job = |JobTarget { name, terms }: &JobTarget| {
            let job = before.remove(name).map_or_else(|| Job::new(*terms, now), |job| job.under(*terms));
            (Arc::clone(name), job)
        };
        self.all = wanted.iter().map(job).collect();
        if had_some || !self.all.is_empty() {
            drop(self.keep());
        }
    }

    /// Takes in what a process before was told, once that is known.
    pub(super) fn take_over(&mut self, recalled: &Recalled, now: Millis) {
        for (name, job) in &mut self.all {
            if let Some(told) = recall(recalled, name, now) {
                job.take_over(told);
            }
        }
        if !self.all.is_empty() {
            drop(self.keep());
        }
    }

    /// Takes in what somebody told, and answers.
    pub(super) fn hear(&mut self, heard: Heard, now: Millis) {
        let Heard { name, word, remark, reply } = heard;
        let answer = match self.all.get_mut(&*name) {
            Some(job) => {
                job.hear(word, now);
                let word = word.as_str();
                if remark.is_empty() {
                    debug!(name, word, "Job heard");
                } else {
                    info!(name, word, remark, "Job heard");
                }
                Ok(self.keep())
            }
            None => {
                warn!(name, word = word.as_str(), "Nobody knows this job");
                Err(self.names())
            }
        };
        // Whoever asked may have left.
        let _ = reply.send(answer);
    }

    /// How each is.
    pub(super) fn judge(&self, now: Millis) -> impl Iterator<Item = Judged> {
        self.all.iter().map(move |(name, job)| {
            let (runs, failures) = job.totals();
            let took = job.told().took_ms.map(Duration::from_millis);
            let key = ComponentKey::other(KIND, name);
            Judged { key, verdict: job.verdict(now), at: now, took, runs, failures }
        })
    }

    /// When one of them turns if none says anything.
    pub(super) fn turn_at(&self, now: Millis) -> Option<Millis> {
        self.all.values().filter_map(|job| job.turns_at(now)).min()
    }

    fn names(&self) -> String {
        if self.all.is_empty() {
            return "the publisher's file names no jobs".into();
        }
        let mut names: Vec<&str> = self.all.keys().take(NAMES_TOLD).map(|name| &**name).collect();
        if self.all.len() > NAMES_TOLD {
            names.push("…");
        }
        format!("the publisher's file has {}", names.join(", "))
    }

    fn keep(&self) -> Keeping {
        let entry = |(name, job): (&Arc<str>, &Job)| {
            (name.to_string(), serde_json::to_value(job.told()).unwrap_or_default())
        };
        self.memory.keep(SUBJECT, || Value::Object(self.all.iter().map(entry).collect()))
    }
}

/// What a process before was told of a job, unless some of it is of the future.
fn recall(recalled: &Recalled, name: &str, now: Millis) -> Option<Told> {
    let entry = recalled.subject(SUBJECT)?.get(name)?;
    let told = Told::deserialize(entry).ok();
    let told = told.and_then(|told| told.moved(|then| recalled.moment(then, now)));
    if told.is_none() {
        warn!(name, "What the state file says of this job cannot be believed; waiting for it anew");
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::memory::tests::InFile;
    use super::*;
    use crate::config::targets::JobTerms;
    use crate::heartbeat::{Outcome, Reason};

    const SECOND: Duration = Duration::from_secs(1);

    fn target(name: &str, period: u32) -> JobTarget {
        let terms = JobTerms { period: SECOND * period, grace: SECOND * 10, max_runtime: SECOND * 10 };
        JobTarget { name: name.into(), terms }
    }

    /// As a process begins: with what the one before was told in the file.
    fn begun_with(file: &InFile, wanted: &[JobTarget], now: Millis) -> Jobs {
        let mut jobs = Jobs::new(wanted, file.memory.clone(), now);
        file.memory.hand_over(|recalled| jobs.take_over(recalled, now));
        jobs
    }

    async fn tell(jobs: &mut Jobs, name: &str, word: Word, now: Millis) -> Result<bool, String> {
        let (reply, answer) = oneshot::channel();
        jobs.hear(Heard { name: name.into(), word, remark: String::new(), reply }, now);
        match answer.await.unwrap() {
            Ok(keeping) => Ok(keeping.is_stored().await),
            Err(known) => Err(known),
        }
    }

    fn verdicts(jobs: &Jobs, now: Millis) -> Vec<(String, Outcome, Option<Reason>)> {
        let judged = jobs.judge(now);
        judged.map(|one| (one.key.name.to_string(), one.verdict.outcome, one.verdict.reason)).collect()
    }

    #[tokio::test]
    async fn a_restart_forgets_nothing_and_believes_nothing_of_the_future() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let now = crate::clock::boot_ms();
        let wanted = [target("backup", 100), target("never", 100)];
        let first = InFile::open(&path).await;
        let mut jobs = begun_with(&first, &wanted, now - 50_000);
        assert_eq!(tell(&mut jobs, "backup", Word::Start, now - 40_000).await, Ok(true));
        assert_eq!(tell(&mut jobs, "backup", Word::Fail, now - 35_000).await, Ok(true));
        let known = "the publisher's file has backup, never".to_owned();
        assert_eq!(tell(&mut jobs, "backups", Word::Ping, now).await, Err(known));
        let before = verdicts(&jobs, now);
        assert_eq!(before[0], ("backup".into(), Outcome::Down, Some(Reason::Failed)));
        assert_eq!(before[1], ("never".into(), Outcome::Unknown, Some(Reason::Waiting)));

        first.close().await;
        let second = InFile::open(&path).await;
        let again = begun_with(&second, &wanted, now);
        assert_eq!(verdicts(&again, now), before);
        assert_eq!(again.turn_at(now), Some(now + 60_000), "it is waited for since the first start");
        assert_eq!(again.judge(now).next().unwrap().took, Some(SECOND * 5));

        // As a clock that was ahead leaves it.
        second.close().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file: Value = serde_json::from_str(&text).unwrap();
        file["jobs"]["backup"]["heard"] = json!(now + 3_600_000);
        file["jobs"]["never"] = json!("odd");
        std::fs::write(&path, file.to_string()).unwrap();
        let odd = begun_with(&InFile::open(&path).await, &wanted, now);
        assert!(verdicts(&odd, now).iter().all(|(_, outcome, _)| *outcome == Outcome::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_disk_tells_late_is_taken_over_before_it_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state.json"), folder.path().join("away"));
        let now = crate::clock::boot_ms();
        let wanted = ["begun", "ended", "silent"].map(|name| target(name, 100));
        let first = InFile::open(&path).await;
        let mut jobs = begun_with(&first, &wanted, now - 50_000);
        for name in ["begun", "ended", "silent"] {
            assert_eq!(tell(&mut jobs, name, Word::Fail, now - 40_000).await, Ok(true));
        }
        first.close().await;
        // Until it is there again, it cannot be read: a link to itself.
        std::fs::rename(&path, &away).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();

        let second = InFile::open(&path).await;
        let mut jobs = begun_with(&second, &wanted, now - 9_000);
        assert_eq!(tell(&mut jobs, "begun", Word::Start, now - 8_000).await, Ok(false));
        assert_eq!(tell(&mut jobs, "ended", Word::Success, now - 8_000).await, Ok(false));
        let before = std::fs::read(&away).unwrap();
        std::fs::rename(&away, &path).unwrap();
        let minutes = SECOND * 600;
        tokio::time::timeout(minutes, second.memory.found()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(std::fs::read(&path).unwrap(), before);
        second.memory.hand_over(|recalled| jobs.take_over(recalled, now));
        let failed = (Outcome::Down, Some(Reason::Failed));
        let found: Vec<_> =
            verdicts(&jobs, now).into_iter().map(|(_, outcome, why)| (outcome, why)).collect();
        assert_eq!(found, [failed, (Outcome::Up, None), failed]);
        assert_eq!(jobs.judge(now).map(|job| job.runs).collect::<Vec<_>>(), [0, 1, 0]);

        let stored = async {
            while tell(&mut jobs, "ended", Word::Success, now).await != Ok(true) {
                tokio::time::sleep(SECOND).await;
            }
        };
        tokio::time::timeout(minutes, stored).await.unwrap();
        second.close().await;
        let third = begun_with(&InFile::open(&path).await, &wanted, now);
        assert_eq!(verdicts(&third, now), verdicts(&jobs, now));
    }

    /// Whoever has the answer can lose the power.
    #[tokio::test]
    async fn what_is_answered_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let (line, mut end) = JobLine::new();
        let file = InFile::open(&path).await;
        let mut jobs = begun_with(&file, &[target("backup", 100)], 0);
        let hearing = async { jobs.hear(end.recv().await.unwrap(), 5_000) };
        let (told, ()) = tokio::join!(line.tell("backup", Word::Ping, ""), hearing);
        assert_eq!(told, Ok(true));
        let text = std::fs::read_to_string(path).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(file["jobs"]["backup"]["heard"], 5_000);
        drop(end);
        assert_eq!(line.tell("backup", Word::Ping, "").await, Err(Unheard::Busy));
    }

    #[tokio::test]
    async fn another_file_keeps_what_stays_under_its_new_terms() {
        let mut jobs = Jobs::new(&[target("stays", 100), target("goes", 100)], Memory::of_this_process(), 0);
        tell(&mut jobs, "stays", Word::Success, 1_000).await.unwrap();
        assert_eq!(jobs.turn_at(1_000), Some(110_000));
        jobs.adopt(&[target("comes", 500), target("stays", 200)], 50_000);
        let names: Vec<_> =
            verdicts(&jobs, 50_000).into_iter().map(|(name, outcome, _)| (name, outcome)).collect();
        assert_eq!(names, [("comes".into(), Outcome::Unknown), ("stays".into(), Outcome::Up)]);
        assert_eq!(jobs.turn_at(50_000), Some(211_000));
    }
}
