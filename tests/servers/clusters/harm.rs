//! What is done to which part, and how it is lifted.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;

use super::world::World;
use crate::support::bridge::QUEUE;
use crate::support::proxy::Toxics;
use crate::support::rabbitmq_cluster::RabbitMqCluster;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A node of RabbitMQ.
    RabbitMq(usize),
    /// A Redis that holds data.
    Redis(usize),
    /// A Sentinel.
    Sentinel(usize),
    /// A subscriber.
    Subscriber(usize),
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// SIGKILL, and started again in the end.
    Kill(Part),
    /// SIGSTOP, and SIGCONT in the end.
    Freeze(Part),
    /// A node of RabbitMQ and the others do not let each other in.
    Part(usize),
    /// What the first subscriber and its node send each other vanishes.
    Swallow,
}

impl Harm {
    /// The process that it is done to, where it is one.
    pub fn part(self) -> Option<Part> {
        match self {
            Self::Kill(part) | Self::Freeze(part) => Some(part),
            Self::Part(node) => Some(Part::RabbitMq(node)),
            Self::Swallow => None,
        }
    }
}

/// In words for the table, without numbers: what leads is told from what follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl World {
    /// What is done to whom, as of now.
    pub async fn name(&self, harms: &[Harm]) -> Name {
        let mut names = join_all(harms.iter().map(|harm| self.name_of(*harm))).await;
        names.sort();
        Name(names.join(" and "))
    }

    async fn name_of(&self, harm: Harm) -> String {
        let verb = match harm {
            Harm::Kill(_) => "killed",
            Harm::Freeze(_) => "frozen",
            Harm::Part(_) => "parted",
            Harm::Swallow => return "the line of a subscriber swallows".into(),
        };
        let part = match harm.part() {
            Some(Part::RabbitMq(node)) => {
                let leads = self.rabbitmq().leader(&self.vhost, QUEUE).await == Ok(node);
                if leads { "RabbitMQ leader" } else { "RabbitMQ follower" }.to_owned()
            }
            Some(Part::Redis(server)) => format!("Redis {}", self.keeper.rank(server).await),
            Some(Part::Sentinel(_)) => "Sentinel".to_owned(),
            Some(Part::Subscriber(_)) | None => "subscriber".to_owned(),
        };
        format!("{part} {verb}")
    }

    /// Whether all should go on by itself, with what is left.
    pub async fn survives(&self, harms: &[Harm]) -> bool {
        let parts = || harms.iter().filter_map(|harm| harm.part());
        let redis: Vec<usize> = parts()
            .filter_map(|part| match part {
                Part::Redis(server) => Some(server),
                _ => None,
            })
            .collect();
        // The others notice after a minute, and until then all wait for it.
        if let Some(cluster) = &self.rabbitmq
            && let Ok(leader) = cluster.leader(&self.vhost, QUEUE).await
            && harms.contains(&Harm::Freeze(Part::RabbitMq(leader)))
        {
            return false;
        }
        let count = |wanted: fn(&Part) -> bool| parts().filter(wanted).count();
        let sentinels = count(|part| matches!(part, Part::Sentinel(_)));
        count(|part| matches!(part, Part::RabbitMq(_))) < 2 && self.keeper.survives(&redis, sentinels).await
    }

    /// Does it.
    pub async fn begin(&self, harm: Harm) {
        match harm {
            Harm::Kill(Part::RabbitMq(node)) => self.rabbitmq().nodes[node].kill(),
            Harm::Kill(Part::Redis(server)) => self.keeper.servers()[server].kill(),
            Harm::Kill(Part::Sentinel(sentinel)) => self.keeper.sentinels()[sentinel].kill(),
            Harm::Kill(Part::Subscriber(number)) => {
                self.subscribers[number].lock().await.kill();
                self.truth.oracle().dead(number, true);
            }
            Harm::Freeze(Part::RabbitMq(node)) => self.rabbitmq().nodes[node].pause(),
            Harm::Freeze(Part::Redis(server)) => self.keeper.servers()[server].pause(),
            Harm::Freeze(Part::Sentinel(sentinel)) => self.keeper.sentinels()[sentinel].pause(),
            Harm::Freeze(Part::Subscriber(number)) => {
                self.subscribers[number].lock().await.signal(Signal::STOP);
                self.truth.oracle().dead(number, true);
            }
            Harm::Part(node) => self.rabbitmq().part(node).await,
            Harm::Swallow => self.path.set_both(Toxics::swallow()),
        }
    }

    /// Lifts it, and does not wait for what starts.
    pub async fn lift(&self, harm: Harm) {
        match harm {
            Harm::Kill(Part::RabbitMq(node)) => self.rabbitmq().nodes[node].launch(),
            Harm::Kill(Part::Redis(server)) => self.keeper.servers()[server].launch(),
            Harm::Kill(Part::Sentinel(sentinel)) => self.keeper.sentinels()[sentinel].launch(),
            Harm::Kill(Part::Subscriber(number)) => {
                self.truth.oracle().ended(number);
                self.truth.oracle().dead(number, false);
                self.subscribers[number].lock().await.start_again();
            }
            Harm::Freeze(Part::RabbitMq(node)) => self.rabbitmq().nodes[node].resume(),
            Harm::Freeze(Part::Redis(server)) => self.keeper.servers()[server].resume(),
            Harm::Freeze(Part::Sentinel(sentinel)) => self.keeper.sentinels()[sentinel].resume(),
            Harm::Freeze(Part::Subscriber(number)) => {
                self.truth.oracle().dead(number, false);
                self.subscribers[number].lock().await.signal(Signal::CONT);
            }
            Harm::Part(node) => self.rabbitmq().heal(node).await,
            Harm::Swallow => self.path.clear(),
        }
    }

    /// Waits until the servers are whole again.
    pub async fn whole(&self) {
        let rabbitmq = async {
            if let Some(cluster) = &self.rabbitmq {
                cluster.whole(STANDS).await;
            }
        };
        tokio::join!(rabbitmq, self.keeper.whole(STANDS));
    }

    /// The nodes that something is done to.
    pub fn rabbitmq(&self) -> &RabbitMqCluster {
        self.rabbitmq.as_ref().expect("nothing is done to the broker that all share")
    }
}

/// Until all servers are whole again: a node of RabbitMQ starts in ten seconds where it is alone, and in more than a minute
/// on a machine with much else to do.
pub const STANDS: Duration = Duration::from_secs(240);

/// How long a harm lasts: long enough that everybody has noticed it, and stood in for what is gone.
pub const LASTS: Duration = Duration::from_secs(4);
