//! One run: rounds of faults, a recovery without hands after each, and the reckoning in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::reckoning::{RECOVERY, Reckoning};
use super::resources::Resources;
use super::schedule::{Fault, Kind, Schedule};
use super::world::World;
use crate::support::bridge::{QUEUE, SOON, report};
use crate::support::watch::{Seen, Watch};

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// No round begins after it.
    pub length: Duration,
}

/// What a run must have met.
#[derive(Clone, Copy, Debug, Default)]
struct Sometimes {
    redelivered: u64,
    duplicates: f64,
    superseded: f64,
    rejected: f64,
    reconnects: [f64; 2],
}

struct Run {
    plan: Plan,
    /// How to run it again.
    again: String,
    world: World,
    base: [Resources; 2],
    recoveries: BTreeMap<(String, Kind), Vec<Duration>>,
    sometimes: Sometimes,
    faults: usize,
    rounds: usize,
}

/// Runs a plan; panics with the seed and the time line where something did not hold, or where nothing was proven.
pub async fn run(plan: Plan) {
    report(&format!("seed {}, {:?}", plan.seed, plan.length));
    let world = World::start(plan.seed).await;
    let base = pids(&world).await.map(Resources::of);
    report(&format!("at the begin: {}; {}", base[0], base[1]));
    let recoveries = BTreeMap::new();
    let again = format!("make chaos SEEDS={}", plan.seed);
    let mut run =
        Run { plan, again, world, base, recoveries, sometimes: Sometimes::default(), faults: 0, rounds: 0 };
    for faults in Schedule::new(plan.seed) {
        if run.world.truth.now() > plan.length {
            break;
        }
        run.round(&faults).await;
        run.reckoning().halt_on_violations();
    }
    run.end().await;
}

async fn pids(world: &World) -> [u32; 2] {
    [world.subscribers[0].lock().await.pid(), world.subscribers[1].lock().await.pid()]
}

impl Run {
    async fn round(&mut self, faults: &[Fault]) {
        let world = &self.world;
        let since = world.truth.now();
        self.rounds += 1;
        report(&format!("{:6.1} s, round {}", since.as_secs_f64(), self.rounds));
        let suffered = faults.iter().map(|fault| async move {
            report(&format!("         {fault}"));
            let lifted = world.suffer(fault, since).await;
            // Others may still go on, so only the last has a bound; the watch is over with theirs.
            let took = world.truth.recovered(lifted, Duration::from_secs(60)).await;
            (fault, lifted, took)
        });
        let suffered = join_all(suffered).await;
        let last = suffered.iter().map(|(_, lifted, _)| *lifted).max().unwrap_or(since);
        for (fault, lifted, took) in suffered {
            match took {
                Ok(took) => {
                    let name = format!("{:?}", fault.part).split('(').next().unwrap_or_default().to_owned();
                    self.recoveries.entry((name, fault.kind)).or_default().push(took);
                    let own = (lifted + took).saturating_sub(world.truth.oracle().haunted_until(lifted));
                    if lifted == last && own > RECOVERY {
                        self.reckoning().broken("I8", format!("recovered {took:?} after {fault}"));
                    }
                }
                Err(missing) => {
                    self.reckoning().broken("I8", format!("after {fault} never shown again: {missing:?}"))
                }
            }
        }
        self.faults += faults.len();
        self.look().await;
        self.resources().await;
    }

    fn reckoning(&self) -> Reckoning<'_> {
        let World { truth, watches, subscribers, publishers, .. } = &self.world;
        Reckoning { truth, watches, subscribers, publishers, again: &self.again }
    }

    /// Notes what must have been met sometimes. Counters begin anew with their process, so the highest counts.
    async fn look(&mut self) {
        let vhost = &self.world.bridge.vhost;
        let queue = vhost.queue(QUEUE).await.unwrap_or_default();
        let redelivered = queue["message_stats"]["redeliver"].as_u64().unwrap_or_default();
        let seen = &mut self.sometimes;
        seen.redelivered = seen.redelivered.max(redelivered);
        for subscriber in &self.world.subscribers {
            let Ok(scrape) = subscriber.lock().await.metrics().await else { continue };
            let outcome =
                |outcome| scrape.sum("heartbeat_subscriber_messages_total", &[("outcome", outcome)]);
            seen.duplicates = seen.duplicates.max(outcome("duplicate"));
            seen.superseded = seen.superseded.max(outcome("superseded"));
            seen.rejected = seen.rejected.max(outcome("rejected"));
            for (index, peer) in ["rabbitmq", "redis"].into_iter().enumerate() {
                let reconnects = scrape.sum("heartbeat_subscriber_reconnects_total", &[("peer", peer)]);
                seen.reconnects[index] = seen.reconnects[index].max(reconnects);
            }
        }
    }

    /// I5 and I12, in the quiet after a round.
    async fn resources(&self) {
        let pids = pids(&self.world).await;
        let mut line = String::from("         holds:");
        for (number, pid) in pids.into_iter().enumerate() {
            let mut now = Resources::of(pid);
            let patience = Instant::now() + SOON;
            // Connections that a fault left behind, and idle threads, take their time to go.
            while now.grown_from(self.base[number]).is_some() && Instant::now() < patience {
                sleep(Duration::from_millis(500)).await;
                now = Resources::of(pid);
            }
            write!(line, " {now};").unwrap();
            if let Some(grown) = now.grown_from(self.base[number]) {
                let at = self.world.truth.now();
                self.world.truth.oracle().violation(at, "I5/I12", format!("replica {number}: {grown}"));
            }
        }
        report(&line);
    }

    /// All is lifted: everything comes to rest, and is reckoned up.
    async fn end(mut self) {
        self.world.fleet.behave();
        self.reckoning().come_to_rest().await;
        let watched: Vec<Seen> = self.world.watches.iter().map(Watch::seen).collect();
        let fleet = self.world.fleet.end().await;
        for subscriber in &self.world.subscribers {
            self.world.bridge.drained(&*subscriber.lock().await, SOON).await;
        }
        let agreed = self.reckoning().agree().await;
        self.world.looks.end().await;
        let (records, keys) = (self.world.bridge.records().await, self.world.bridge.contract_keys().await);
        self.reckoning().judge_stored(&records, &keys, &fleet);
        self.look().await;
        self.resources().await;
        self.reckoning().halt_on_violations();
        self.reckon(agreed, &watched);
    }

    /// Says what was proven; panics if that is nothing.
    fn reckon(&self, agreed: Duration, watched: &[Seen]) {
        let oracle = self.world.truth.oracle();
        let mut fates: BTreeMap<&str, usize> = BTreeMap::new();
        for beat in oracle.ledger.claimed.values().flat_map(|p| &p.lives).flat_map(|life| &life.beats) {
            let fate = if beat.is_confirmed() { "confirmed" } else { "not confirmed" };
            *fates.entry(fate).or_default() += 1;
        }
        let slowest = watched.iter().map(|seen| seen.slowest).max().unwrap_or_default();
        let mut text = String::from(
            "recovery, from lifting a fault until all is shown fresh by both, while others may go on:\n",
        );
        for ((part, kind), took) in &self.recoveries {
            let seconds: Vec<String> = took.iter().map(|took| format!("{:.1}", took.as_secs_f64())).collect();
            writeln!(text, "  {part:12} {:18} {} s", format!("{kind:?}"), seconds.join(" ")).unwrap();
        }
        let Sometimes { redelivered, duplicates, superseded, rejected, reconnects } = self.sometimes;
        let seen = oracle.seen;
        writeln!(
            text,
            "seed {}: {} faults in {} rounds; heartbeats {fates:?}; {seen:?}; slowest scrape {slowest:?}\n\
             redelivered {redelivered}, duplicates {duplicates}, superseded {superseded}, rejected {rejected}, \
             reconnects to RabbitMQ and Redis {reconnects:?}; the replicas agreed in {agreed:?}\n\
             the oracle is content",
            self.plan.seed, self.faults, self.rounds
        )
        .unwrap();
        drop(oracle);
        report(&text);
        assert!(self.world.watches.iter().all(|watch| watch.seen().answered > 0));
        let killed = self.recoveries.keys().any(|(part, kind)| part == "Subscriber" && *kind == Kind::Kill);
        assert!(killed, "no subscriber was killed: nothing is proven");
        assert!(redelivered > 0, "nothing was redelivered: nothing is proven");
        assert!(
            duplicates > 0.0 && superseded > 0.0 && rejected > 0.0,
            "no mischief was seen: nothing is proven"
        );
        assert!(reconnects.iter().all(|peer| *peer > 0.0), "nobody reconnected: nothing is proven");
        assert!(seen.stale > 0 && seen.down > 0, "nobody was stale or down: nothing is proven");
    }
}
