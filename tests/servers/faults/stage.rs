//! A subscriber under load, watched at every scrape: where a fault is to be played.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::bridge::{Bridge, SOON, report};
use crate::support::program::{Program, Setup};
use crate::support::scrape::Scrape;
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;
use crate::support::watch::{Watch, nobody_down};

/// Between two heartbeats of each publisher.
pub(super) const BEAT: Duration = Duration::from_millis(250);

/// From the end of a fault to fresh heartbeats: ten seconds and one interval.
pub(super) const BACK: Duration = Duration::from_millis(10_250);

/// How many beat.
const PUBLISHERS: usize = 5;

/// The subscriber, its publishers, and who watches it.
pub(super) struct Stage {
    pub(super) bridge: Bridge,
    pub(super) subscriber: Program,
    /// Messages go with what holds them: a queue that is deleted.
    pub(super) may_lose: bool,
    beating: Beating,
    watch: Watch,
}

impl Stage {
    /// One with the defaults, once all are shown as up.
    pub(super) async fn set(bridge: Bridge) -> Self {
        let setup = bridge.subscriber();
        Self::with(bridge, setup).await
    }

    /// One with a subscriber of one's choice.
    pub(super) async fn with(bridge: Bridge, setup: Setup) -> Self {
        let subscriber = setup.start_ready().await;
        let fleet = (0..PUBLISHERS).map(|number| Simulated::new(&format!("p{number}"))).collect();
        let beating = Beating::start(&bridge, fleet, BEAT, |_| {});
        all_up(&subscriber).await;
        // Whoever is to die in a test is called so.
        let (mut nobody, mut never_back) = (nobody_down(&["dead"]), never_back());
        let watch = Watch::start(&subscriber, move |scrape| nobody(scrape).and_then(|()| never_back(scrape)));
        Self { bridge, subscriber, may_lose: false, beating, watch }
    }

    /// Waits until failures of a peer (`consumer`, `store`) are counted by a reason, beyond `before`.
    pub(super) async fn failed(&self, peer: &str, reason: &str, before: f64) -> f64 {
        wait_until(&format!("a failure of the {peer} is counted as {reason}"), SOON, async || {
            let (now, all) = self.failures(peer, reason).await?;
            if now > before { Ok(now) } else { Err(all) }
        })
        .await
    }

    /// Failures of a peer by a reason, and all of them as text.
    pub(super) async fn failures(&self, peer: &str, reason: &str) -> Result<(f64, String), String> {
        failures(&self.subscriber, peer, reason).await
    }

    /// Waits until a heartbeat sent after now is shown of every publisher. Says how long it was since `ended`, and
    /// holds it against the budget.
    pub(super) async fn back(&self, fault: &str, ended: Instant, budget: Duration) {
        back(&self.subscriber, fault, ended, budget).await;
        let lost = self.subscriber.metrics().await.unwrap().sum("heartbeat_publisher_lost_total", &[]);
        assert!(lost == 0.0 || self.may_lose, "{fault}: {lost} heartbeats count as lost");
    }

    /// Ends it: everything sent is stored and shown once, and at no scrape was anything wrong.
    pub(super) async fn end(self) {
        let fleet = self.beating.end().await;
        self.bridge.drained(&self.subscriber, SOON).await;
        self.bridge.assert_newest(&self.subscriber, &fleet).await;
        self.watch.end();
    }

    /// Likewise, where no delivery came twice: an own write whose answer was lost is known again.
    pub(super) async fn end_without_duplicates(self) {
        let scrape = self.subscriber.metrics().await.unwrap();
        assert_eq!(
            scrape.sum("heartbeat_publisher_duplicate_total", &[]),
            0.0,
            "own writes taken for others'"
        );
        self.end().await;
    }

    /// Likewise, by what is shown alone: where Redis is not one server.
    pub(super) async fn end_shown(self) {
        let fleet = self.beating.end().await;
        self.bridge.drained(&self.subscriber, SOON).await;
        let scrape = self.subscriber.metrics().await.unwrap();
        let sent = fleet.iter().map(|publisher| (publisher.id.clone(), publisher.sequence as f64));
        assert_eq!(sequences(&scrape), sent.collect());
        for name in ["heartbeat_publisher_lost_total", "heartbeat_publisher_duplicate_total"] {
            assert_eq!(scrape.sum(name, &[]), 0.0, "{name}");
        }
        self.watch.end();
    }

    /// Ends the watch and the publishers, and leaves the rest to the test.
    pub(super) async fn leave(self) -> (Bridge, Program, Vec<Simulated>) {
        let fleet = self.beating.end().await;
        self.bridge.drained(&self.subscriber, SOON).await;
        self.watch.end();
        (self.bridge, self.subscriber, fleet)
    }

    /// Ends it where messages went with the queue that held them.
    pub(super) async fn end_with_losses(self) {
        self.beating.end().await;
        self.bridge.drained(&self.subscriber, SOON).await;
        self.watch.end();
    }
}

/// Waits until every publisher that beats is shown as up.
pub(super) async fn all_up(subscriber: &Program) {
    wait_until("all are up", SOON, async || {
        match subscriber.metrics().await?.sum("heartbeat_publisher_up", &[]) {
            up if up >= PUBLISHERS as f64 => Ok(()),
            up => Err(format!("{up} are")),
        }
    })
    .await;
}

/// The numbers shown, by publisher.
pub(super) fn sequences(scrape: &Scrape) -> BTreeMap<String, f64> {
    let all = scrape.all("heartbeat_publisher_sequence").into_iter();
    let all = all.filter(|sample| sample.labels["publisher"].starts_with('p'));
    all.map(|sample| (sample.labels["publisher"].clone(), sample.value)).collect()
}

/// See [`Stage::back`].
pub(super) async fn back(subscriber: &Program, fault: &str, ended: Instant, budget: Duration) {
    let before =
        wait_until("it answers", SOON, async || subscriber.metrics().await.map(|scrape| sequences(&scrape)))
            .await;
    wait_until("fresh heartbeats are shown", SOON, async || {
        let now = sequences(&subscriber.metrics().await?);
        // Two more: the first may have been on its way.
        let behind =
            before.iter().find(|(id, sequence)| now.get(*id).is_none_or(|now| *now < **sequence + 2.0));
        behind.map_or(Ok(()), |(id, _)| Err(format!("{id} is at {:?}", now.get(id))))
    })
    .await;
    within(fault, "fresh heartbeats", ended.elapsed(), budget);
}

/// Says how long a recovery took, and holds it against its budget.
pub(super) fn within(fault: &str, what: &str, took: Duration, budget: Duration) {
    report(&format!(
        "{fault}: {what} after {:.1} s, budget {:.1} s",
        took.as_secs_f64(),
        budget.as_secs_f64()
    ));
    assert!(took <= budget, "{fault}: {what} after {took:?}, budget {budget:?}");
}

/// See [`Stage::failures`].
pub(super) async fn failures(
    subscriber: &Program,
    peer: &str,
    reason: &str,
) -> Result<(f64, String), String> {
    let name = format!("heartbeat_subscriber_{peer}_failures_total");
    let scrape = subscriber.metrics().await?;
    let counted = scrape.all(&name).into_iter().filter(|sample| sample.value > 0.0);
    let all: Vec<String> =
        counted.map(|sample| format!("{} {}", sample.labels["reason"], sample.value)).collect();
    let of_it = scrape.value(&name, &[("reason", reason)]);
    Ok((of_it.unwrap_or_else(|| panic!("{name} knows no {reason}")), format!("{name}: {all:?}")))
}

/// I4 at every scrape: no publisher's number goes back within one life.
pub(super) fn never_back() -> impl FnMut(&Scrape) -> Result<(), String> {
    let mut shown: BTreeMap<String, f64> = BTreeMap::new();
    move |scrape| {
        for (id, now) in sequences(scrape) {
            let before = shown.insert(id.clone(), now).unwrap_or_default();
            if now < before {
                return Err(format!("{id} went from {before} back to {now}"));
            }
        }
        Ok(())
    }
}

/// I12: open files and threads are as before, with some room for what comes and goes.
pub(super) async fn nothing_leaked(program: &Program, before: &Scrape) {
    wait_until("files and threads are as many as before", SOON, async || {
        let now = program.metrics().await?;
        for (name, room) in [("process_open_fds", 4.0), ("process_threads", 8.0)] {
            let (was, is) = (before.value(name, &[]).unwrap(), now.value(name, &[]).unwrap());
            if is > was + room {
                return Err(format!("{name}: {was} before, {is} now"));
            }
        }
        Ok(())
    })
    .await;
}

/// Memory in use, in MiB.
pub(super) fn resident_mib(program: &Program) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
}
