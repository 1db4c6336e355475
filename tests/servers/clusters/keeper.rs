//! Redis on several machines, in either form: what may be killed of it, and what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::bridge::{contract_keys_in, records_in};
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;
use crate::support::redis_sentinels::RedisSentinels;
use crate::support::resp::Client;

/// How Redis is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A primary, two replicas, three Sentinels.
    Sentinels,
    /// Three masters with a replica each.
    Cluster,
}

/// Redis, running.
pub enum Keeper {
    /// See [`Kind::Sentinels`].
    Sentinels(RedisSentinels),
    /// See [`Kind::Cluster`].
    Cluster(RedisCluster),
}

impl Keeper {
    /// Starts one.
    pub async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Sentinels => Self::Sentinels(RedisSentinels::start().await),
            Kind::Cluster => Self::Cluster(RedisCluster::start().await),
        }
    }

    /// The servers that hold data.
    pub fn servers(&self) -> &[Redis] {
        match self {
            Self::Sentinels(group) => &group.servers,
            Self::Cluster(cluster) => &cluster.nodes,
        }
    }

    /// The Sentinels, where there are some.
    pub fn sentinels(&self) -> &[Redis] {
        match self {
            Self::Sentinels(group) => &group.sentinels,
            Self::Cluster(_) => &[],
        }
    }

    /// The settings that lead a program here.
    pub fn environment(&self) -> Vec<(String, String)> {
        match self {
            Self::Sentinels(group) => group.environment(),
            Self::Cluster(cluster) => cluster.environment(),
        }
    }

    /// Waits until all are there and in step.
    pub async fn whole(&self, bound: Duration) {
        match self {
            Self::Sentinels(group) => group.whole(bound).await,
            Self::Cluster(cluster) => cluster.whole(bound).await,
        }
    }

    /// What a server is now, in words.
    pub async fn rank(&self, server: usize) -> &'static str {
        match self {
            Self::Sentinels(group) if group.primary().await == Ok(server) => "primary",
            Self::Cluster(cluster)
                if cluster.masters().await.is_ok_and(|masters| masters.contains(&server)) =>
            {
                "master"
            }
            _ => "replica",
        }
    }

    /// Those from which everything can be read and written, of which some may be dead.
    pub async fn written_to(&self) -> Result<Vec<usize>, String> {
        match self {
            Self::Sentinels(group) => Ok(vec![group.primary().await?]),
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }

    /// Whether Redis should go on by itself while these are dead, of the servers and of the Sentinels.
    pub async fn survives(&self, servers: &[usize], sentinels: usize) -> bool {
        let Ok(written_to) = self.written_to().await else { return false };
        let hit: Vec<usize> = servers.iter().copied().filter(|server| written_to.contains(server)).collect();
        match self {
            Self::Sentinels(_) => hit.is_empty() || (sentinels < 2 && servers.len() < self.servers().len()),
            // The other masters decide, and somebody must be left to be chosen.
            Self::Cluster(cluster) => {
                let mut replicas = servers.iter().filter(|server| !hit.contains(server));
                let follows = async |replica: usize| cluster.master_of(replica).await;
                match (hit.as_slice(), replicas.next()) {
                    ([], _) | ([_], None) => true,
                    ([master], Some(replica)) => follows(*replica).await != Some(*master),
                    _ => false,
                }
            }
        }
    }

    async fn clients(&self) -> Result<Vec<Client>, String> {
        match self {
            Self::Sentinels(group) => Ok(vec![group.client().await?]),
            Self::Cluster(cluster) => cluster.clients().await,
        }
    }

    /// Every record that it holds, by publisher.
    pub async fn records(&self) -> Result<BTreeMap<String, Value>, String> {
        let mut records = BTreeMap::new();
        for mut client in self.clients().await? {
            records.extend(records_in(&mut client).await?);
        }
        Ok(records)
    }

    /// The contract's keys and their values.
    pub async fn contract_keys(&self) -> Result<BTreeMap<String, String>, String> {
        let mut keys = BTreeMap::new();
        for mut client in self.clients().await? {
            keys.extend(contract_keys_in(&mut client).await?);
        }
        Ok(keys)
    }
}
