//! A real Redis Cluster: masters that share the slots, each with a replica or alone.

use std::time::Duration;

use futures_util::future::join_all;

use super::ports::free_port;
use super::proxy::Proxy;
use super::redis::{Options, Redis};
use super::resp::{Client, Reply};
use super::wait::wait_until;

/// Nodes gossip once a second.
const STANDS: Duration = Duration::from_secs(60);

/// Silence after which the others take a node for dead, in milliseconds.
const NODE_TIMEOUT: &str = "1500";

/// Slots of a cluster.
const SLOTS: usize = 16384;

/// The nodes. The masters at the beginning come first, and then their replicas in the same order.
pub struct RedisCluster {
    /// The nodes.
    pub nodes: Vec<Redis>,
    replicated: bool,
}

impl RedisCluster {
    /// Three masters and a replica of each, which write to disk; any one of them may die.
    pub async fn start() -> Self {
        Self::of(3, true).await
    }

    /// Two masters alone: as much as it takes for keys to lie apart.
    pub async fn apart() -> Self {
        Self::of(2, false).await
    }

    async fn of(masters: usize, replicated: bool) -> Self {
        let node = async || {
            let bus = free_port();
            let config = vec![
                "cluster-enabled yes".to_owned(),
                "repl-diskless-sync-delay 0".to_owned(),
                format!("cluster-port {bus}"),
                format!("cluster-node-timeout {NODE_TIMEOUT}"),
            ];
            let options = Options { append_only: replicated, config, ..Options::default() };
            (bus, Redis::start_with(options).await)
        };
        let count = if replicated { 2 * masters } else { masters };
        let started = join_all((0..count).map(|_| node())).await;
        let (buses, nodes): (Vec<u16>, Vec<Redis>) = started.into_iter().unzip();
        let bound = |master: usize| SLOTS * master / masters;
        for (number, master) in nodes.iter().take(masters).enumerate() {
            let (from, to) = (bound(number).to_string(), (bound(number + 1) - 1).to_string());
            master.command(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await;
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            let (port, bus) = (node.port.to_string(), bus.to_string());
            nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        let cluster = Self { nodes, replicated };
        let known = format!("cluster_known_nodes:{count}");
        cluster.all_say(&[&known, &format!("cluster_size:{masters}")], STANDS).await;
        for (replica, master) in cluster.nodes.iter().skip(masters).zip(&cluster.nodes) {
            let master = master.command(&["CLUSTER", "MYID"]).await.string().unwrap();
            replica.command(&["CLUSTER", "REPLICATE", &master]).await;
        }
        cluster.whole(STANDS).await;
        cluster
    }

    /// Puts a proxy before each node, and has the nodes lead everybody there.
    pub async fn behind_proxies(&self) -> Vec<Proxy> {
        let proxy = |node: &Redis| Proxy::start(([127, 0, 0, 1], node.port).into());
        let proxies: Vec<Proxy> = self.nodes.iter().map(proxy).collect();
        for (node, proxy) in self.nodes.iter().zip(&proxies) {
            node.command(&["CONFIG", "SET", "cluster-announce-port", &proxy.port().to_string()]).await;
        }
        wait_until("all nodes lead to the proxies", STANDS, async || {
            for node in &self.nodes {
                let told = node.client().await?.command(&["CLUSTER", "NODES"]).await?;
                let told = told.string().unwrap_or_default();
                if !proxies.iter().all(|proxy| told.contains(&format!("{}@", proxy.address))) {
                    return Err(told);
                }
            }
            Ok(())
        })
        .await;
        proxies
    }

    /// Waits until every slot is served, and each master has its replica in step.
    pub async fn whole(&self, bound: Duration) {
        self.all_say(&["cluster_state:ok", "cluster_slots_ok:16384"], bound).await;
        if !self.replicated {
            return;
        }
        wait_until("each master has its replica", bound, async || {
            for master in self.masters().await? {
                let info = self.nodes[master].client().await?.command(&["INFO", "replication"]).await?;
                let info = info.string().unwrap_or_default();
                if !info.contains("state=online") {
                    return Err(format!("node {master}: {info}"));
                }
            }
            Ok(())
        })
        .await;
    }

    async fn all_say(&self, lines: &[&str], bound: Duration) {
        wait_until(&format!("all nodes say {lines:?}"), bound, async || {
            for node in &self.nodes {
                let info =
                    node.client().await?.command(&["CLUSTER", "INFO"]).await?.string().unwrap_or_default();
                if !lines.iter().all(|line| info.contains(line)) {
                    return Err(info);
                }
            }
            Ok(())
        })
        .await;
    }

    /// Which nodes that run take themselves for masters.
    pub async fn masters(&self) -> Result<Vec<usize>, String> {
        let mut masters = Vec::new();
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.pid().is_some()) {
            let role = node.client().await?.command(&["ROLE"]).await?;
            let Reply::Array(role) = role else { return Err(format!("{role:?}")) };
            if role.first().cloned().and_then(Reply::string).as_deref() == Some("master") {
                masters.push(index);
            }
        }
        Ok(masters)
    }

    /// The master that a node follows, if it does.
    pub async fn master_of(&self, node: usize) -> Option<usize> {
        let Reply::Array(role) = self.nodes[node].command(&["ROLE"]).await else { return None };
        let Some(Reply::Integer(port)) = role.get(2) else { return None };
        self.nodes.iter().position(|node| i64::from(node.port) == *port)
    }

    /// A connection to each master.
    pub async fn clients(&self) -> Result<Vec<Client>, String> {
        let masters = self.masters().await?;
        join_all(masters.into_iter().map(|master| self.nodes[master].client())).await.into_iter().collect()
    }

    /// The settings that lead a program here.
    pub fn environment(&self) -> Vec<(String, String)> {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        [("REDIS_MODE", "cluster".to_owned()), ("REDIS_NODES", nodes.join(","))]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }
}
