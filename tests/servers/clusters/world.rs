//! Three nodes of RabbitMQ, a Redis on several machines, three subscribers, and publishers that never pause.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::keeper::{Keeper, Kind};
use crate::chaos::fleet::Fleet;
use crate::chaos::{Looks, Publisher, Truth, watch};
use crate::support::bridge::{QUEUE, SOON, role};
use crate::support::program::{Program, Setup};
use crate::support::proxy::Proxy;
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_cluster::RabbitMqCluster;
use crate::support::vhost::Vhost;
use crate::support::wait::wait_until;
use crate::support::watch::Watch;

/// Subscribers on the one queue.
pub const SUBSCRIBERS: usize = 3;

/// What the subscribers are told, much less than they take of their own accord, so that a verdict is soon due. A node that
/// hangs keeps what it was to deliver for as long as this.
pub const GRACE: Duration = Duration::from_secs(8);

/// The same for an hour or more beside whatever else the machine does. A quorum queue takes a heartbeat once most nodes have
/// it on disk, and answers who looks at it meanwhile: that a busy disk holds heartbeats up for eight seconds shows nowhere.
pub const LONG_GRACE: Duration = Duration::from_secs(15);

/// Simulated publishers, each beating once a second.
const SIMULATED: usize = 60;

/// Which RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// Three nodes of its own.
    Cluster,
    /// The one that all tests share: nothing is done to it.
    Shared,
}

/// Everything.
pub struct World {
    /// What is true.
    pub truth: Truth,
    /// The broker's nodes, where they are this world's own.
    pub rabbitmq: Option<RabbitMqCluster>,
    /// The vhost, as it is reached at the first node, or at the broker that all tests share.
    pub vhost: Vhost,
    /// Redis.
    pub keeper: std::sync::Arc<Keeper>,
    /// Between the first subscriber and the node with which it begins.
    pub path: Proxy,
    /// The subscribers; each begins with another node.
    pub subscribers: Vec<Mutex<Program>>,
    /// Publishers that are processes.
    pub publishers: Vec<Publisher>,
    /// Those that are simulated.
    pub fleet: Fleet,
    /// Each judges all scrapes of one subscriber.
    pub watches: Vec<Watch>,
    /// Who looks into the store.
    pub looks: Looks,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl World {
    /// Starts all, and waits until all is shown.
    pub async fn start(kind: Kind, broker: Broker, grace: Duration, seed: u64) -> Self {
        let rabbitmq = async {
            match broker {
                Broker::Cluster => Some(RabbitMqCluster::start(3).await),
                Broker::Shared => None,
            }
        };
        let (rabbitmq, keeper) = tokio::join!(rabbitmq, Keeper::start(kind));
        let vhost = match &rabbitmq {
            Some(cluster) => cluster.new_vhost().await,
            None => RabbitMq::vhost().await,
        };
        let keeper = std::sync::Arc::new(keeper);
        let ports = rabbitmq.as_ref().map_or(vec![vhost.ports.amqp], RabbitMqCluster::ports);
        let truth = Truth::new(SUBSCRIBERS, grace);
        let path = Proxy::seeded(([127, 0, 0, 1], ports[0]).into(), seed);
        let mut subscribers = Vec::new();
        for number in 0..SUBSCRIBERS {
            let mut hosts = hosts(&ports, number);
            if number == 0 {
                hosts = hosts.replacen(&ports[0].to_string(), &path.port().to_string(), 1);
            }
            let setup = led("subscriber", &vhost, &hosts).envs(keeper.environment());
            let setup = setup.env("PUBLISHER_GRACE", &format!("*={}s", grace.as_secs()));
            subscribers.push(setup.start_ready().await);
        }
        if let Some(cluster) = &rabbitmq {
            // Every node has a copy of the queue before one is killed.
            wait_until("each node is a member of the queue", SOON, async || {
                let members = cluster.members(&vhost, QUEUE).await?;
                if members == cluster.nodes.len() { Ok(()) } else { Err(format!("{members} are")) }
            })
            .await;
        }
        let started =
            |(number, id)| Publisher::start(&truth, id, led("publisher", &vhost, &hosts(&ports, number)));
        let mut publishers: Vec<Publisher> =
            ["bergen", "oslo"].into_iter().enumerate().map(started).collect();
        let uris: Vec<String> = ports.iter().map(|port| uri(&vhost, *port)).collect();
        let fleet = Fleet::start(&truth, SIMULATED, &uris, &uris, seed);
        let watches =
            subscribers.iter().enumerate().map(|(number, one)| watch(&truth, one, number)).collect();
        let tasks = publishers.iter_mut().map(|publisher| publisher.prove(&truth)).collect();
        let store = std::sync::Arc::clone(&keeper);
        let looks = Looks::start(&truth, move || {
            let store = std::sync::Arc::clone(&store);
            async move { store.records().await }
        });
        let subscribers = subscribers.into_iter().map(Mutex::new).collect();
        let world = Self {
            truth,
            rabbitmq,
            vhost,
            keeper,
            path,
            subscribers,
            publishers,
            fleet,
            watches,
            looks,
            tasks,
        };
        world.truth.recovered(world.truth.now(), SOON).await.expect("all is shown");
        world
    }

    /// One more publisher that is a process, which begins with a node of its own.
    pub fn add_publisher(&mut self, id: &str, first: usize) -> &Publisher {
        let setup = led("publisher", &self.vhost, &hosts(&self.rabbitmq().ports(), first));
        let mut publisher = Publisher::start(&self.truth, id, setup);
        self.tasks.push(publisher.prove(&self.truth));
        self.publishers.push(publisher);
        &self.publishers[self.publishers.len() - 1]
    }
}

/// `host:port` of each node, with commas between, beginning with one of them.
fn hosts(ports: &[u16], first: usize) -> String {
    let turned = ports.iter().cycle().skip(first).take(ports.len());
    turned.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn uri(vhost: &Vhost, port: u16) -> String {
    let mut there = vhost.clone();
    there.ports.amqp = port;
    there.uri()
}

/// A program that knows all nodes, and soon finds out that one is dead.
fn led(name: &str, vhost: &Vhost, hosts: &str) -> Setup {
    let setup = role(name, vhost).env("RABBITMQ_HOST", hosts).env("RABBITMQ_HEARTBEAT", "2s");
    setup.env("RABBITMQ_QUEUE_TYPE", "quorum").env("RECONNECT_MAX", "2s")
}
