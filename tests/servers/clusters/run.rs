//! Round after round: something is done to a part or to two, all goes on without them where it should, they come back,
//! and the oracle is content.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::harm::{Harm, LASTS, Name, Part, STANDS};
use super::world::{SUBSCRIBERS, World};
use crate::support::bridge::{QUEUE, SOON, counters, report};
use crate::support::wait::wait_until;

/// With the parts that are left, all is well again within this: a dead server has to be noticed, and another chosen.
const GOES_ON: Duration = Duration::from_secs(20);

/// I8: when all servers serve again, all must be well within ten seconds and one beat.
const RECOVERY: Duration = Duration::from_secs(11);

/// I9: in quiet all replicas show the same within this.
const AGREEMENT: Duration = Duration::from_secs(2);

/// How it went each time.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// From the harm until all is fresh without the part; `None` where that cannot be.
    without: Option<Duration>,
    /// From lifting it until all is fresh.
    lifted: Duration,
}

/// One run.
pub struct Run {
    world: World,
    took: BTreeMap<Name, Vec<Took>>,
}

impl Run {
    /// Of a world.
    pub fn of(world: World) -> Self {
        Self { world, took: BTreeMap::new() }
    }

    /// The node that leads the queue now.
    pub async fn leader(&self) -> usize {
        self.world.rabbitmq().leader(&self.world.vhost, QUEUE).await.unwrap()
    }

    /// Does all of these at one moment, and lifts them at another.
    pub async fn round(&mut self, harms: &[Harm]) {
        let world = &self.world;
        let (name, survives) = (world.name(harms).await, world.survives(harms).await);
        let held = harms.iter().any(|harm| matches!(harm.part(), Some(Part::RabbitMq(_))));
        let store = harms.iter().any(|harm| matches!(harm.part(), Some(Part::Redis(_) | Part::Sentinel(_))));
        let since = world.truth.now();
        world.truth.note(format!("begins: {name} {harms:?}"));
        if held {
            world.truth.oracle().ledger.hold(since);
        }
        if store {
            world.truth.oracle().store_may_go_back(true);
        }
        for harm in harms {
            world.begin(*harm).await;
        }
        let begun = Instant::now();
        let without = if survives { GOES_ON } else { LASTS };
        let without = world.truth.recovered(since, without).await;
        tokio::time::sleep_until(begun + LASTS).await;
        let lifted = world.truth.now();
        world.truth.note(format!("lifted: {name}"));
        for harm in harms {
            world.lift(*harm).await;
        }
        let serving = async {
            world.whole().await;
            let whole = world.truth.now();
            if held {
                world.truth.oracle().ledger.release(whole);
            }
            // Whoever comes late is told by name, a little later.
            (whole, world.truth.recovered(lifted, whole - lifted + RECOVERY).await)
        };
        let (took, (whole, late)) = tokio::join!(world.truth.recovered(lifted, STANDS), serving);
        let took = late.and(took);
        // What went with the old primary is there again with the next heartbeat at the latest.
        sleep(Duration::from_secs(2)).await;
        world.truth.oracle().store_may_go_back(false);
        if let (true, Err(missing)) = (survives, &without) {
            self.broken("I8", format!("{name}: not without it: {missing:?}"));
        }
        match took {
            Ok(lifted) => {
                self.took.entry(name.clone()).or_default().push(Took { without: without.ok(), lifted })
            }
            Err(missing) => self.broken("I8", format!("{name}: never shown again: {missing:?}")),
        }
        let servers = format!("servers whole after {:.1} s", (whole - lifted).as_secs_f64());
        report(&format!(
            "{:6.1} s {name}: {:?}; {servers}",
            since.as_secs_f64(),
            self.took.get(&name).and_then(|all| all.last())
        ));
        self.halt_on_violations();
    }

    fn broken(&self, invariant: &'static str, what: String) {
        let now = self.world.truth.now();
        self.world.truth.oracle().violation(now, invariant, what);
    }

    fn halt_on_violations(&self) {
        let broken = self.world.watches.iter().flat_map(|watch| watch.seen().broken);
        broken.for_each(|what| self.broken("I6", what));
        let violations = self.world.truth.oracle().violations.clone();
        let Some(first) = violations.first() else { return };
        let mut text = String::from("the oracle has caught a lie or a loss\n");
        for violation in &violations {
            let (at, what) = (violation.at.as_secs_f64(), &violation.what);
            writeln!(text, "{at:8.2} {} {what}", violation.invariant).unwrap();
        }
        for line in self.world.truth.around(first.at, Duration::from_secs(60)) {
            writeln!(text, "{line}").unwrap();
        }
        panic!("{text}");
    }

    /// All comes to rest, and is reckoned up.
    pub async fn end(mut self) {
        self.world.fleet.behave();
        let quiet = self.world.truth.now();
        if let Err(missing) = self.world.truth.recovered(quiet, RECOVERY).await {
            self.broken("I8", format!("in quiet: {missing:?}"));
        }
        for publisher in &self.world.publishers {
            publisher.program.lock().await.terminate(SOON).await;
            self.world.truth.oracle().ledger.process(self.world.truth.now(), &publisher.id, false);
        }
        let fleet = self.world.fleet.end().await;
        self.drained().await;
        let agreed = self.agree().await;
        self.world.end_looks().await;
        let now = self.world.truth.now();
        let records = self.world.keeper.records().await.unwrap();
        self.world.truth.oracle().judge_end(now, &records);
        let keys = self.world.keeper.contract_keys().await.unwrap();
        for (key, at) in fleet.iter().flat_map(|publisher| publisher.contract_keys()) {
            if keys.get(&key) != Some(&at) {
                self.broken("I1", format!("{key} is {:?} and should be {at}", keys.get(&key)));
            }
        }
        self.halt_on_violations();
        report(&self.table(agreed));
    }

    /// Waits until the queue is empty and nobody has anything in flight.
    async fn drained(&self) {
        wait_until("everything is taken and stored", SOON, async || {
            let (ready, _) = self.world.vhost.queue_depth(QUEUE).await;
            let mut in_flight = 0.0;
            for subscriber in &self.world.subscribers {
                let scrape = subscriber.lock().await.metrics().await?;
                in_flight += scrape.sum("heartbeat_subscriber_in_flight", &[]);
            }
            if (ready, in_flight) == (0, 0.0) { Ok(()) } else { Err(format!("{ready}, {in_flight}")) }
        })
        .await;
    }

    /// I9: how long it took until all showed the same.
    async fn agree(&self) -> Duration {
        let quiet = Instant::now();
        wait_until("all show the same", SOON, async || {
            let first = counters(&*self.world.subscribers[0].lock().await).await?;
            for other in &self.world.subscribers[1..] {
                let other = counters(&*other.lock().await).await?;
                let differ: Vec<_> =
                    first.iter().filter(|(key, value)| other.get(*key) != Some(value)).collect();
                if !differ.is_empty() || first.len() != other.len() {
                    return Err(format!("{differ:?}"));
                }
            }
            Ok(())
        })
        .await;
        let took = quiet.elapsed();
        if took > AGREEMENT {
            self.broken("I9", format!("the replicas agreed after {took:?}"));
        }
        took
    }

    /// What was found, and that it is something.
    fn table(&self, agreed: Duration) -> String {
        let oracle = self.world.truth.oracle();
        let beats = oracle
            .ledger
            .claimed
            .values()
            .flat_map(|publisher| &publisher.lives)
            .flat_map(|life| &life.beats);
        let (all, confirmed) = beats
            .fold((0, 0), |(all, confirmed), beat| (all + 1, confirmed + u32::from(beat.is_confirmed())));
        let mut text = String::from(
            "| done to | times | fresh again without it, s | fresh again once it is back, s |\n|---|---|---|---|\n",
        );
        let span = |all: Vec<Duration>| {
            let seconds = |took: Option<&Duration>| took.map_or(0.0, Duration::as_secs_f64);
            match all.len() {
                0 => "not before".to_owned(),
                1 => format!("{:.1}", seconds(all.first())),
                _ => format!("{:.1} to {:.1}", seconds(all.iter().min()), seconds(all.iter().max())),
            }
        };
        for (name, took) in &self.took {
            let without = span(took.iter().filter_map(|took| took.without).collect());
            let lifted = span(took.iter().map(|took| took.lifted).collect());
            writeln!(text, "| {name} | {} | {without} | {lifted} |", took.len()).unwrap();
        }
        let seen = oracle.seen;
        assert!(seen.scrapes > 0 && seen.up > 0 && confirmed > 0, "nothing was seen: {seen:?}");
        writeln!(
            text,
            "{all} heartbeats of {} publishers, {confirmed} confirmed; {SUBSCRIBERS} subscribers, which agreed in \
             {agreed:?}; {seen:?}; the oracle is content",
            oracle.ledger.claimed.len()
        )
        .unwrap();
        text
    }
}
