//! Round after round: something is done to a part or to two, all goes on without them where it should, they come back,
//! and the oracle is content.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::harm::{Harm, LASTS, Name, Part, STANDS};
use super::world::{SUBSCRIBERS, World};
use crate::chaos::{RECOVERY, Reckoning};
use crate::support::bridge::{QUEUE, SOON, drained, report};
use crate::support::program::Program;
use crate::support::wait::wait_until;

/// With the parts that are left, all is well again within this: a dead server has to be noticed, and another chosen.
const GOES_ON: Duration = Duration::from_secs(20);

/// The same where a node of RabbitMQ hangs. What the queue gives its consumers there stays with it until the others suspect
/// it: by RabbitMQ's adaptive detector after four to fourteen seconds here, later the less evenly signs of life come before,
/// as they do on a machine that is busy; and by `net_ticktime` after a minute.
const NOTICES: Duration = Duration::from_secs(75);

/// Well within what the others take a node that hangs for one that is there: `net_ticktime` of a minute, less a quarter.
const UNNOTICED: Duration = Duration::from_secs(40);

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
    /// How to run it again.
    again: String,
    took: BTreeMap<Name, Vec<Took>>,
}

impl Run {
    /// Of a world that came of a seed.
    pub fn of(world: World, seed: u64) -> Self {
        Self { world, again: format!("make clusters SEEDS={seed}"), took: BTreeMap::new() }
    }

    /// The node that leads the queue now.
    pub async fn leader(&self) -> usize {
        self.world.rabbitmq().leader(&self.world.vhost, QUEUE).await.unwrap()
    }

    /// A Redis that is written to now.
    pub async fn written_to(&self) -> usize {
        self.world.keeper.written_to().await.unwrap()[0]
    }

    /// How often the same was done to the like before.
    pub async fn times(&self, harms: &[Harm]) -> usize {
        self.took.get(&self.world.name(harms).await).map_or(0, Vec::len)
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
        // To part nodes takes a while by itself.
        let (begun, harmed) = (Instant::now(), world.truth.now());
        let hangs = harms.iter().any(|harm| matches!(harm, Harm::Freeze(Part::RabbitMq(_))));
        let without = match survives {
            true if hangs => NOTICES,
            true => GOES_ON,
            false => LASTS,
        };
        let without = world.truth.recovered(harmed, without).await;
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
            self.reckoning().broken("I8", format!("{name}: not without it: {missing:?}"));
        }
        match took {
            Ok(lifted) => {
                self.took.entry(name.clone()).or_default().push(Took { without: without.ok(), lifted })
            }
            Err(missing) => self.reckoning().broken("I8", format!("{name}: never shown again: {missing:?}")),
        }
        let servers = format!("servers whole after {:.1} s", (whole - lifted).as_secs_f64());
        report(&format!(
            "{:6.1} s {name}: {:?}; {servers}",
            since.as_secs_f64(),
            self.took.get(&name).and_then(|all| all.last())
        ));
        self.reckoning().halt_on_violations();
    }

    /// A publisher that starts while a node hangs takes what is bound for bound, on which no node agrees meanwhile.
    pub async fn starts_beside(&mut self, hangs: usize) {
        let harm = Harm::Freeze(Part::RabbitMq(hangs));
        self.world.truth.note("begins: a publisher starts while a node of RabbitMQ hangs");
        self.world.truth.oracle().ledger.hold(self.world.truth.now());
        self.world.begin(harm).await;
        let publisher = self.world.add_publisher("tromso", hangs + 1);
        wait_until("a publisher is connected while a node hangs", UNNOTICED, async || {
            let log = publisher.program.lock().await.log();
            if log.contains("Connected to RabbitMQ") { Ok(()) } else { Err(log) }
        })
        .await;
        self.world.lift(harm).await;
        self.world.truth.note("lifted");
        self.world.whole().await;
        self.world.truth.oracle().ledger.release(self.world.truth.now());
    }

    fn reckoning(&self) -> Reckoning<'_> {
        let World { truth, watches, subscribers, publishers, .. } = &self.world;
        Reckoning { truth, watches, subscribers, publishers, again: &self.again }
    }

    /// All comes to rest, and is reckoned up.
    pub async fn end(mut self) {
        self.world.fleet.behave();
        self.reckoning().come_to_rest().await;
        let fleet = self.world.fleet.end().await;
        self.drained().await;
        let agreed = self.reckoning().agree().await;
        self.world.looks.end().await;
        let records = self.world.keeper.records().await.unwrap();
        let keys = self.world.keeper.contract_keys().await.unwrap();
        self.reckoning().judge_stored(&records, &keys, &fleet);
        self.reckoning().halt_on_violations();
        report(&self.table(agreed));
    }

    async fn drained(&self) {
        let subscribers = join_all(self.world.subscribers.iter().map(Mutex::lock)).await;
        let subscribers: Vec<&Program> = subscribers.iter().map(|one| &**one).collect();
        drained(&self.world.vhost, &[QUEUE], &subscribers, SOON).await;
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
