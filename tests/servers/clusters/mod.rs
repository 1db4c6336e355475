//! Past one machine: three nodes of RabbitMQ with a quorum queue, Redis with replicas and Sentinels or as a cluster, three
//! subscribers, publishers that never pause; parts are killed, frozen and parted, and the oracle of `chaos` judges.
//!
//! Reading order: `quorum` (the queue), `keeper` (Redis in either form), `world` (all of it), `harm` (what is done), `run`
//! (how it goes on, and comes back). Apart from these `slow`: a Redis Cluster that is there, and late.
//!
//! The long form is `make clusters`: every process, and processes of every two kinds and ranks at once, on either form of
//! Redis. `make clusters SEEDS=7` takes another order.
#![allow(unreachable_pub, reason = "as in the rest of the harness")]

mod harm;
mod keeper;
mod quorum;
mod run;
mod slow;
mod world;

use harm::{Harm, Part};
use keeper::Kind;
use run::Run;
use world::{Broker, GRACE, LONG_GRACE, SUBSCRIBERS, World};

use crate::support::bridge::figure;
use crate::support::v2::Chance;

/// Every process there is.
fn parts(world: &World) -> Vec<Part> {
    let some = |number: usize, part: fn(usize) -> Part| (0..number).map(part);
    let (servers, sentinels) = (world.keeper.servers().len(), world.keeper.sentinels().len());
    some(world.rabbitmq().nodes.len(), Part::RabbitMq)
        .chain(some(servers, Part::Redis))
        .chain(some(sentinels, Part::Sentinel))
        .chain(some(SUBSCRIBERS, Part::Subscriber))
        .collect()
}

/// Pairs alike that are killed: another replica, say, tells nothing more.
const ALIKE: usize = 2;

/// Each alone and each pair, in an order that a seed gives; as many as are asked for.
fn long(world: &World, seed: u64) -> Vec<Vec<Harm>> {
    let parts = parts(world);
    let mut rounds: Vec<Vec<Harm>> = parts.iter().map(|part| vec![Harm::Kill(*part)]).collect();
    rounds.extend(parts.iter().map(|part| vec![Harm::Freeze(*part)]));
    rounds.extend((0..world.rabbitmq().nodes.len()).map(|node| vec![Harm::Part(node)]));
    rounds.push(vec![Harm::Swallow]);
    for (index, one) in parts.iter().enumerate() {
        rounds.extend(parts[index + 1..].iter().map(|other| vec![Harm::Kill(*one), Harm::Kill(*other)]));
    }
    let mut chance = Chance::new(seed);
    for last in (1..rounds.len()).rev() {
        rounds.swap(last, usize::try_from(chance.below(last as u64 + 1)).unwrap());
    }
    rounds.truncate(usize::try_from(figure("HEARTBEAT_CLUSTERS_ROUNDS", u64::MAX)).unwrap_or(usize::MAX));
    rounds
}

fn seed() -> u64 {
    figure("HEARTBEAT_CLUSTERS_SEED", 1)
}

fn is_long() -> bool {
    figure("HEARTBEAT_CLUSTERS_LONG", 0) != 0
}

async fn every(kind: Kind) {
    let world = World::start(kind, Broker::Cluster, LONG_GRACE, seed()).await;
    let rounds = long(&world, seed());
    let mut run = Run::of(world, seed());
    // Whatever leads at once, which the numbers of an order may never hit.
    for ahead in 0..2 {
        let node = (run.leader().await + ahead) % 3;
        run.round(&[Harm::Kill(Part::RabbitMq(node)), Harm::Kill(Part::Redis(run.written_to().await))]).await;
    }
    for round in rounds {
        if round.len() < 2 || run.times(&round).await < ALIKE {
            run.round(&round).await;
        }
    }
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_any_two_may_die() {
    if is_long() {
        return every(Kind::Sentinels).await;
    }
    let mut run = Run::of(World::start(Kind::Sentinels, Broker::Cluster, GRACE, seed()).await, seed());
    let leader = run.leader().await;
    run.round(&[Harm::Kill(Part::RabbitMq(leader)), Harm::Kill(Part::Redis(0))]).await;
    let follower = (run.leader().await + 1) % 3;
    run.round(&[Harm::Kill(Part::Subscriber(0)), Harm::Freeze(Part::RabbitMq(follower))]).await;
    let follower = (run.leader().await + 1) % 3;
    run.starts_beside(follower).await;
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_redis_cluster_any_two_may_die() {
    if is_long() {
        return every(Kind::Cluster).await;
    }
    let mut run = Run::of(World::start(Kind::Cluster, Broker::Shared, LONG_GRACE, seed()).await, seed());
    run.round(&[Harm::Kill(Part::Redis(0)), Harm::Kill(Part::Subscriber(1))]).await;
    run.round(&[Harm::Swallow, Harm::Kill(Part::Redis(4))]).await;
    run.round(&[Harm::Kill(Part::Redis(1)), Harm::Kill(Part::Redis(2))]).await;
    run.end().await;
}
