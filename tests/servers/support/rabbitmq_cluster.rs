//! Several real RabbitMQ nodes that are one cluster.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::rabbitmq::{Options, RabbitMq};
use super::rabbitmq_api::Api;
use super::vhost::Vhost;
use super::wait::wait_until;

/// Nodes that start side by side on two cores, and then find each other.
const STANDS: Duration = Duration::from_secs(240);

/// What nodes know each other by. One who has another is a stranger to them.
const COOKIE: &str = "heartbeat";

/// A cluster; its nodes are killed when it is dropped.
pub struct RabbitMqCluster {
    /// The nodes, in the order in which clients are told of them.
    pub nodes: Vec<RabbitMq>,
}

impl RabbitMqCluster {
    /// Starts so many, and waits until they are one. Those in a minority stop serving, as is right for a cluster of three.
    pub async fn start(number: usize) -> Self {
        let config = vec![
            "cluster_formation.peer_discovery_backend = classic_config".to_owned(),
            "cluster_partition_handling = pause_minority".to_owned(),
        ];
        let options = Options { config, ..Options::default() };
        let nodes: Vec<RabbitMq> = (0..number).map(|_| RabbitMq::prepare(&options)).collect();
        let mut names = String::new();
        for (index, node) in nodes.iter().enumerate() {
            writeln!(names, "cluster_formation.classic_config.nodes.{} = {}", index + 1, node.node())
                .unwrap();
        }
        for node in &nodes {
            let mut file = File::options().append(true).open(node.folder().join("rabbitmq.conf")).unwrap();
            file.write_all(names.as_bytes()).unwrap();
            let cookie = node.folder().join(".erlang.cookie");
            std::fs::write(&cookie, COOKIE).unwrap();
            std::fs::set_permissions(&cookie, Permissions::from_mode(0o400)).unwrap();
        }
        join_all(nodes.iter().map(RabbitMq::start_again)).await;
        let cluster = Self { nodes };
        cluster.whole(STANDS).await;
        cluster
    }

    /// Waits until every node says that all run and none is parted from another.
    pub async fn whole(&self, bound: Duration) {
        wait_until("the nodes of RabbitMQ are one cluster", bound, async || {
            for node in &self.nodes {
                let seen = node.api().call("GET", "/api/nodes", "").await?;
                let seen = seen.as_array().cloned().unwrap_or_default();
                let joined = |node: &Value| node["running"] == true && node["partitions"] == json!([]);
                if seen.len() != self.nodes.len() || !seen.iter().all(joined) {
                    let states =
                        seen.iter().map(|node| (&node["name"], &node["running"], &node["partitions"]));
                    return Err(format!("{}: {:?}", node.node(), states.collect::<Vec<_>>()));
                }
            }
            Ok(())
        })
        .await;
    }

    /// A fresh vhost with a user, known to all nodes; as it is reached at the first one.
    pub async fn new_vhost(&self) -> Vhost {
        self.nodes[0].new_vhost().await
    }

    /// Where each of them speaks AMQP.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.ports.amqp).collect()
    }

    /// The management API of a node that runs.
    pub fn api(&self) -> Api {
        let running = self.nodes.iter().find(|node| node.pid().is_some());
        running.expect("a node runs").api()
    }

    /// How many nodes have a copy of a quorum queue, and are there.
    pub async fn members(&self, vhost: &Vhost, queue: &str) -> Result<usize, String> {
        let seen = vhost.queue_by(&self.api(), queue).await?;
        seen["online"].as_array().map(Vec::len).ok_or_else(|| format!("{seen}"))
    }

    /// The node that leads a quorum queue.
    pub async fn leader(&self, vhost: &Vhost, queue: &str) -> Result<usize, String> {
        let seen = vhost.queue_by(&self.api(), queue).await?;
        let leads = |node: &RabbitMq| seen["leader"] == node.node();
        self.nodes.iter().position(leads).ok_or_else(|| format!("led by {}", seen["leader"]))
    }

    /// Parts one node from all others: they do not let each other in any more.
    pub async fn part(&self, node: usize) {
        self.cookies(node, "a stranger", true).await;
    }

    /// Lets the parted node find the others again.
    pub async fn heal(&self, node: usize) {
        self.cookies(node, COOKIE, false).await;
    }

    async fn cookies(&self, node: usize, cookie: &str, cut: bool) {
        let mut code = String::new();
        for other in self.nodes.iter().filter(|other| other.node() != self.nodes[node].node()) {
            write!(code, "erlang:set_cookie('{}', '{cookie}'), ", other.node()).unwrap();
        }
        if cut {
            for other in self.nodes.iter().filter(|other| other.node() != self.nodes[node].node()) {
                write!(code, "erlang:disconnect_node('{}'), ", other.node()).unwrap();
            }
        }
        self.nodes[node].control(&["eval", &format!("{code} ok.")]).await;
    }
}
