//! Looks at /metrics all the time: what must hold at every scrape is asked at every scrape.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::bridge::conserved;
use super::http;
use super::program::Program;
use super::scrape::Scrape;

/// Between two scrapes.
const PERIOD: Duration = Duration::from_millis(200);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Scrapes that were answered.
    pub answered: u64,
    /// Scrapes that were not.
    pub unanswered: u64,
    /// The longest wait for an answer.
    pub slowest: Duration,
    /// What did not hold, the first few times.
    pub broken: Vec<String>,
}

/// A task that scrapes.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches a program; `check` is asked about every scrape, beside I6.
    pub fn start(
        program: &Program,
        check: impl FnMut(&Scrape) -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self::only(program, "", check)
    }

    /// The same, for a large exposition: only lines that hold `part` are read.
    pub fn only(
        program: &Program,
        part: &'static str,
        mut check: impl FnMut(&Scrape) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (shared, address) = (Arc::clone(&seen), program.http());
        let task = tokio::spawn(async move {
            loop {
                let next = tokio::time::Instant::now() + PERIOD;
                look(address, part, &shared, &mut check).await;
                tokio::time::sleep_until(next).await;
            }
        });
        Self { seen, task }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Ends it; panics if anything did not hold.
    pub fn end(self) -> Seen {
        self.task.abort();
        let seen = self.seen();
        assert!(seen.broken.is_empty(), "at a scrape: {:#?}", seen.broken);
        assert!(seen.answered > 0, "not one scrape was answered");
        seen
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(
    address: SocketAddr,
    part: &str,
    shared: &Mutex<Seen>,
    check: &mut impl FnMut(&Scrape) -> Result<(), String>,
) {
    let begun = Instant::now();
    let answer = http::get(address, "/metrics").await.ok().filter(|answer| answer.status == 200);
    let took = begun.elapsed();
    let Some(answer) = answer else {
        shared.lock().unwrap().unanswered += 1;
        return;
    };
    let text = answer.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(part)).collect();
    let judged =
        Scrape::parse(&lines.join("\n")).and_then(|scrape| conserved(&scrape).and_then(|()| check(&scrape)));
    let mut seen = shared.lock().unwrap();
    seen.answered += 1;
    seen.slowest = seen.slowest.max(took);
    if let Err(why) = judged
        && seen.broken.len() < 5
    {
        seen.broken.push(why);
    }
}

/// A check that no publisher is shown as down, beside `may_be_down`.
pub fn nobody_down(may_be_down: &'static [&'static str]) -> impl FnMut(&Scrape) -> Result<(), String> {
    move |scrape| {
        let down = scrape.matching("heartbeat_publisher_up", &[]).find(|sample| {
            sample.value == 0.0 && !may_be_down.contains(&sample.labels["publisher"].as_str())
        });
        down.map_or(Ok(()), |sample| Err(format!("{} is shown as down", sample.labels["publisher"])))
    }
}

/// A check that one publisher never has a value of publisher_up.
pub fn never(publisher: &'static str, value: f64) -> impl FnMut(&Scrape) -> Result<(), String> {
    move |scrape| match scrape.value("heartbeat_publisher_up", &[("publisher", publisher)]) {
        Some(up) if up == value => Err(format!("heartbeat_publisher_up of {publisher} is {up}")),
        _ => Ok(()),
    }
}
