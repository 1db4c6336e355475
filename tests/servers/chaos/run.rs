//! One run: rounds of faults, a recovery without hands after each, and the reckoning in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::resources::Resources;
use super::schedule::{Fault, Kind, Schedule};
use super::world::World;
use crate::support::bridge::{QUEUE, SOON, counters, report};
use crate::support::rabbitmq_api::encode;
use crate::support::wait::wait_until;
use crate::support::watch::{Seen, Watch};

/// I8: when the last fault is lifted, all must be well within ten seconds and one beat.
const RECOVERY: Duration = Duration::from_secs(11);

/// I9: in quiet all replicas show the same within this.
const AGREEMENT: Duration = Duration::from_secs(2);

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
    let mut run =
        Run { plan, world, base, recoveries, sometimes: Sometimes::default(), faults: 0, rounds: 0 };
    for faults in Schedule::new(plan.seed) {
        if run.world.truth.now() > plan.length {
            break;
        }
        run.round(&faults).await;
        run.halt_on_violations();
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
            let took = world.recovered(lifted, Duration::from_secs(60)).await;
            (fault, lifted, took)
        });
        let suffered = join_all(suffered).await;
        let last = suffered.iter().map(|(_, lifted, _)| *lifted).max().unwrap_or(since);
        for (fault, lifted, took) in suffered {
            match took {
                Ok(took) => {
                    let name = format!("{:?}", fault.part).split('(').next().unwrap_or_default().to_owned();
                    self.recoveries.entry((name, fault.kind)).or_default().push(took);
                    if lifted == last && took > RECOVERY {
                        self.not_recovered(format!("recovered {took:?} after {fault}"));
                    }
                }
                Err(missing) => self.not_recovered(format!("after {fault} never shown again: {missing:?}")),
            }
        }
        self.faults += faults.len();
        self.look().await;
        self.resources().await;
    }

    fn not_recovered(&self, what: String) {
        let now = self.world.truth.now();
        self.world.truth.oracle().violation(now, "I8", what);
    }

    /// Notes what must have been met sometimes. Counters begin anew with their process, so the highest counts.
    async fn look(&mut self) {
        let vhost = &self.world.bridge.vhost;
        let path = format!("/api/queues/{}/{QUEUE}", encode(&vhost.name));
        let queue = vhost.api.call("GET", &path, "").await.unwrap_or_default();
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

    /// Panics where something did not hold.
    fn halt_on_violations(&self) {
        let broken = self.world.watches.iter().flat_map(|watch| watch.seen().broken);
        let now = self.world.truth.now();
        broken.for_each(|what| self.world.truth.oracle().violation(now, "I6", what));
        let violations = self.world.truth.oracle().violations.clone();
        let Some(first) = violations.first() else { return };
        let mut text = format!("seed {}: the oracle has caught a lie or a loss\n", self.plan.seed);
        for violation in &violations {
            let (at, what) = (violation.at.as_secs_f64(), &violation.what);
            writeln!(text, "{at:8.2} {} {what}", violation.invariant).unwrap();
        }
        writeln!(text, "what happened around the first:").unwrap();
        for line in self.world.truth.around(first.at, Duration::from_secs(40)) {
            writeln!(text, "{line}").unwrap();
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        writeln!(text, "load: {load}again: make chaos SEEDS={}", self.plan.seed).unwrap();
        panic!("{text}");
    }

    /// All is lifted: everything comes to rest, and is reckoned up.
    async fn end(mut self) {
        self.world.fleet.behave();
        let quiet = self.world.truth.now();
        if let Err(missing) = self.world.recovered(quiet, RECOVERY).await {
            self.not_recovered(format!("in quiet: {missing:?}"));
        }
        for publisher in &self.world.publishers {
            publisher.program.lock().await.terminate(SOON).await;
            self.world.truth.oracle().ledger.process(self.world.truth.now(), &publisher.id, false);
        }
        let watched: Vec<Seen> = self.world.watches.iter().map(Watch::seen).collect();
        let fleet = self.world.fleet.end().await;
        for subscriber in &self.world.subscribers {
            self.world.bridge.drained(&*subscriber.lock().await, SOON).await;
        }
        let agreed = self.agree().await;
        self.world.end_looks().await;
        let records = self.world.bridge.records().await;
        let now = self.world.truth.now();
        self.world.truth.oracle().judge_end(now, &records);
        let keys = self.world.bridge.contract_keys().await;
        for publisher in &fleet {
            for (key, at) in publisher.contract_keys() {
                if keys.get(&key) != Some(&at) {
                    let what = format!("{key} is {:?} and should be {at}", keys.get(&key));
                    self.world.truth.oracle().violation(now, "I1", what);
                }
            }
        }
        self.look().await;
        self.resources().await;
        self.halt_on_violations();
        self.reckon(agreed, &watched);
    }

    /// I9: how long it took until both showed the same.
    async fn agree(&self) -> Duration {
        let quiet = Instant::now();
        wait_until("both show the same", SOON, async || {
            let [one, other] = &self.world.subscribers;
            let one = counters(&*one.lock().await).await?;
            let other = counters(&*other.lock().await).await?;
            let differ: Vec<_> = one.iter().filter(|(key, value)| other.get(*key) != Some(value)).collect();
            if differ.is_empty() && one.len() == other.len() { Ok(()) } else { Err(format!("{differ:?}")) }
        })
        .await;
        let took = quiet.elapsed();
        if took > AGREEMENT {
            let now = self.world.truth.now();
            self.world.truth.oracle().violation(now, "I9", format!("the replicas agreed after {took:?}"));
        }
        took
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
