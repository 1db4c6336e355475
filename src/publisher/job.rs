//! A job, by what it said of itself and when.
//!
//! Pure. Times are of the clock that nobody steps ([`crate::clock::boot`]), in milliseconds; what was before the machine
//! started is negative.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Verdict;
use crate::config::targets::JobTerms;
use crate::heartbeat::Reason;

/// Milliseconds since the machine started.
pub(super) type Millis = i64;

/// What a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A run begins.
    Start,
    /// It ended well.
    Success,
    /// It ended badly.
    Fail,
    /// All is well, from one who tells of neither start nor end.
    Ping,
}

impl Word {
    /// Its name in paths and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Fail => "fail",
            Self::Ping => "ping",
        }
    }

    /// Reads it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Start, Self::Success, Self::Fail, Self::Ping].into_iter().find(|word| word.as_str() == text)
    }
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    terms: JobTerms,
    told: Told,
    runs: u64,
    failures: u64,
}

/// What it said, which outlives this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Told {
    /// Since when it is waited for.
    pub(super) since: Millis,
    /// When it was last heard of, at the start of a run or at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) heard: Option<Millis>,
    /// When the run began that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) running: Option<Millis>,
    /// Whether its latest run failed.
    #[serde(default)]
    pub(super) failed: bool,
    /// How many milliseconds its latest run took, where it told of its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) took_ms: Option<u64>,
}

impl Told {
    /// The same with each moment as another clock counts it; `None` where it does not know one.
    pub(super) fn moved(self, moment: impl Fn(Millis) -> Option<Millis>) -> Option<Self> {
        // `None`: it cannot be; `Some(None)`: it was not.
        let perhaps = |then: Option<Millis>| then.map_or(Some(None), |then| moment(then).map(Some));
        Some(Self {
            since: moment(self.since)?,
            heard: perhaps(self.heard)?,
            running: perhaps(self.running)?,
            ..self
        })
    }
}

impl Job {
    /// One that was never heard of.
    pub(super) fn new(terms: JobTerms, now: Millis) -> Self {
        let told = Told { since: now, heard: None, running: None, failed: false, took_ms: None };
        Self { terms, told, runs: 0, failures: 0 }
    }

    /// The same under other terms.
    pub(super) fn under(self, terms: JobTerms) -> Self {
        Self { terms, ..self }
    }

    /// Takes in what it said to a process before, once that is known: before all that this one heard.
    pub(super) fn take_over(&mut self, before: Told) {
        // Once a run has ended, how it was before does not matter.
        if self.told.heard.is_some() {
            return;
        }
        let since = std::mem::replace(&mut self.told, before);
        if let Some(began) = since.running {
            self.hear(Word::Start, began);
            self.told.failed |= since.failed;
        }
    }

    /// Takes in what it says.
    pub(super) fn hear(&mut self, word: Word, now: Millis) {
        if word == Word::Start {
            // A run that never ended, killed perhaps, did not end well.
            if self.told.running.replace(now).is_some() {
                self.ended(Word::Fail);
            }
            return;
        }
        self.told.heard = Some(now);
        if let Some(began) = self.told.running.take() {
            self.told.took_ms = Some(now.saturating_sub(began).unsigned_abs());
        }
        self.ended(word);
    }

    fn ended(&mut self, word: Word) {
        self.told.failed = word == Word::Fail;
        self.runs += 1;
        self.failures += u64::from(self.told.failed);
    }

    /// How it is.
    pub(super) fn verdict(&self, now: Millis) -> Verdict {
        if self.told.running.is_some() && self.ends_at() <= now {
            return Verdict::down(Reason::Overrunning);
        }
        // That it runs says nothing yet: until a run has ended well, it is as it was when it began.
        let judged_at = self.told.running.unwrap_or(now);
        match self.told {
            _ if self.due_at() <= judged_at => Verdict::down(Reason::Late),
            Told { failed: true, .. } => Verdict::down(Reason::Failed),
            Told { heard: None, .. } => Verdict::unknown(Reason::Waiting),
            Told { .. } => Verdict::UP,
        }
    }

    /// When its verdict becomes another one if it says nothing; `None`: it has become that.
    pub(super) fn turns_at(&self, now: Millis) -> Option<Millis> {
        Some(self.ends_at()).filter(|end| *end > now)
    }

    /// Until when it may be silent. While it runs, that is all that is asked of it.
    fn ends_at(&self) -> Millis {
        self.told.running.map_or(self.due_at(), |began| after(began, self.terms.max_runtime))
    }

    /// When it is late, unless a run begins before.
    fn due_at(&self) -> Millis {
        let last = self.told.heard.unwrap_or(self.told.since);
        after(last, self.terms.period.saturating_add(self.terms.grace))
    }

    /// What is to be remembered of it.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Runs that ended, and how many of them badly, as this process heard it.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.runs, self.failures)
    }
}

fn after(moment: Millis, time: Duration) -> Millis {
    moment.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::heartbeat::Outcome;

    const SECOND: Millis = 1000;
    const TERMS: JobTerms = JobTerms {
        period: Duration::from_secs(100),
        grace: Duration::from_secs(10),
        max_runtime: Duration::from_secs(30),
    };
    const LATE: Verdict = Verdict::down(Reason::Late);
    const FAILED: Verdict = Verdict::down(Reason::Failed);
    const OVERRUNNING: Verdict = Verdict::down(Reason::Overrunning);
    const WAITING: Verdict = Verdict::unknown(Reason::Waiting);

    /// Words at seconds, and what is found at seconds.
    fn check(words: &[(i64, Word)], expected: &[(i64, Verdict)]) {
        let mut job = Job::new(TERMS, 0);
        let mut words = words.iter().peekable();
        for (second, verdict) in expected {
            while let Some((at, word)) = words.next_if(|(at, _)| at <= second) {
                job.hear(*word, at * SECOND);
            }
            assert_eq!(job.verdict(second * SECOND), *verdict, "at {second} s: {job:?}");
        }
    }

    #[test]
    fn it_is_waited_for_and_then_late() {
        check(&[], &[(0, WAITING), (109, WAITING), (110, LATE), (1000, LATE)]);
        check(&[(120, Word::Ping)], &[(119, LATE), (120, Verdict::UP), (229, Verdict::UP), (230, LATE)]);
    }

    #[test]
    fn a_run_that_is_under_way_is_not_late_and_may_not_last() {
        let words = [(5, Word::Success), (110, Word::Start)];
        check(&words, &[(109, Verdict::UP), (116, Verdict::UP), (139, Verdict::UP), (140, OVERRUNNING)]);
        // However long it is over its time, it runs.
        check(&words, &[(1000, OVERRUNNING)]);
        check(&[(0, Word::Start), (50, Word::Success)], &[(30, OVERRUNNING), (50, Verdict::UP)]);
        check(&[(0, Word::Start), (50, Word::Start)], &[(49, OVERRUNNING), (50, FAILED), (80, OVERRUNNING)]);
    }

    #[test]
    fn a_failure_stays_until_a_run_ends_well() {
        let words = [(0, Word::Fail), (50, Word::Start), (60, Word::Success)];
        check(&words, &[(0, FAILED), (49, FAILED), (59, FAILED), (60, Verdict::UP)]);
        check(&[(0, Word::Fail)], &[(109, FAILED), (110, LATE)]);
        check(&[(0, Word::Fail), (9, Word::Ping)], &[(8, FAILED), (9, Verdict::UP)]);
    }

    #[test]
    fn runs_are_counted_and_measured_from_start_to_end() {
        let mut job = Job::new(TERMS, 0);
        job.hear(Word::Start, 1_000);
        assert_eq!((job.totals(), job.told().took_ms), ((0, 0), None));
        job.hear(Word::Success, 3_500);
        assert_eq!((job.totals(), job.told().took_ms), ((1, 0), Some(2_500)));
        // It did not tell of its start: what is known of the run before stands.
        job.hear(Word::Fail, 9_000);
        assert_eq!((job.totals(), job.told().took_ms), ((2, 1), Some(2_500)));
    }

    fn words() -> impl Strategy<Value = Vec<(Millis, Word)>> {
        let word = prop_oneof![Just(Word::Start), Just(Word::Success), Just(Word::Fail), Just(Word::Ping)];
        prop::collection::vec((0..200_000_i64, word), 0..20)
    }

    proptest! {
        /// Between two words the verdict turns when it says, once, and never to the better.
        #[test]
        fn time_alone_turns_it_when_it_says_and_for_the_worse(words in words(), steps in prop::collection::vec(0..50_000_i64, 1..20)) {
            let mut job = Job::new(TERMS, 0);
            let mut now = 0;
            for (pause, word) in words {
                now += pause;
                job.hear(word, now);
            }
            for step in steps {
                let (before, turns_at) = (job.verdict(now), job.turns_at(now));
                now += step;
                let after = job.verdict(now);
                match turns_at {
                    Some(at) if at <= now => {
                        prop_assert_eq!(job.verdict(at - 1), before);
                        prop_assert!(after != before && after.outcome == Outcome::Down);
                        prop_assert_eq!(job.turns_at(now), None);
                    }
                    _ => prop_assert_eq!(after, before),
                }
            }
        }

        /// The latest words decide, as one would read them from a list.
        #[test]
        fn it_is_as_its_words_say(words in words(), later in 0..200_000_i64) {
            let mut job = Job::new(TERMS, 0);
            let (mut now, mut heard) = (0, Vec::new());
            for (pause, word) in words {
                now += pause;
                job.hear(word, now);
                heard.push((now, word));
            }
            now += later;
            let ended = heard.iter().rev().find(|(_, word)| *word != Word::Start);
            let runs = heard.last().filter(|(_, word)| *word == Word::Start).map(|(at, _)| *at);
            let cut_off = |pair: &[(Millis, Word)]| pair[0].1 == Word::Start && pair[1].1 == Word::Start;
            let is_cut_off = heard.len() > 1 && cut_off(&heard[heard.len() - 2..]);
            let expected = match ended {
                _ if runs.is_some_and(|began| now - began >= 30_000) => OVERRUNNING,
                _ if runs.unwrap_or(now) - ended.map_or(0, |(at, _)| *at) >= 110_000 => LATE,
                _ if is_cut_off => FAILED,
                Some((_, Word::Fail)) => FAILED,
                Some(_) => Verdict::UP,
                None => WAITING,
            };
            prop_assert_eq!(job.verdict(now), expected);
            let ends = heard.iter().filter(|(_, word)| *word != Word::Start).count();
            let bad = heard.iter().filter(|(_, word)| *word == Word::Fail).count();
            let cut_off = heard.windows(2).filter(|pair| cut_off(pair)).count();
            prop_assert_eq!(job.totals(), ((ends + cut_off) as u64, (bad + cut_off) as u64));
        }

        /// All times of the boot clock moved by the same, as a reboot moves them: nothing else matters.
        #[test]
        fn only_differences_of_times_count(words in words(), shift in -1_000_000_000..0_i64, later in 0..200_000_i64) {
            let (mut one, mut other) = (Job::new(TERMS, 0), Job::new(TERMS, shift));
            let mut now = 0;
            for (pause, word) in words {
                now += pause;
                one.hear(word, now);
                other.hear(word, now + shift);
            }
            now += later;
            prop_assert_eq!(one.verdict(now), other.verdict(now + shift));
            prop_assert_eq!(one.turns_at(now).map(|at| at + shift), other.turns_at(now + shift));
        }
    }
}
