//! A backlog that is taken off a queue: by the subscriber into Redis, or by the bare loop into nothing. Other figures are
//! made of what this costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cpu::Meter;
use crate::load::backlog::fill;
use crate::peers;
use crate::support::bridge::{Bridge, EXCHANGE, KEY, QUEUE};
use crate::support::process::Process;
use crate::support::program::Setup;
use crate::support::rabbitmq::{Options, RabbitMq};
use crate::support::redis;

/// The subscriber's default, which the bare loop has too.
const PREFETCH: &str = "8192";

/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(10);

/// Commands that only the scripts use, on what their callers name; all others are sent.
const WITHIN_SCRIPTS: [&str; 7] = ["hget", "hset", "hexists", "xadd", "mget", "mset", "hdel"];

/// What waits in the queue.
#[derive(Clone, Copy)]
pub struct Backlog {
    /// How many.
    pub messages: usize,
    /// Of how many publishers, in turn.
    pub publishers: usize,
    /// Components of each.
    pub components: usize,
}

/// A broker without statistics, a Redis, and the queue between them.
pub struct Stage {
    broker: RabbitMq,
    /// Where the queue is.
    pub bridge: Bridge,
}

/// What it took to drain, in seconds of CPU where nothing else is said.
pub struct Drained {
    /// Whoever took them.
    pub program: f64,
    /// RabbitMQ, while it delivered.
    pub delivering: f64,
    /// RabbitMQ, while it was filled before.
    pub publishing: f64,
    /// Redis.
    pub redis: f64,
    /// Seconds by the clock on the wall, from the start of the program to its end.
    pub wall: f64,
    /// Commands of Redis, by name.
    pub commands: BTreeMap<String, f64>,
}

impl Drained {
    /// The same without what the program uses to start and to end.
    pub fn beyond(self, idle: f64) -> Self {
        Self { program: self.program - idle, ..self }
    }

    /// Commands that came over the wire.
    pub fn commands_sent(&self) -> f64 {
        let sent = self.commands.iter().filter(|(name, _)| !WITHIN_SCRIPTS.contains(&name.as_str()));
        sent.map(|(_, calls)| calls).sum()
    }

    /// Records that were written: each leaves a word in the change log.
    pub fn updates(&self) -> f64 {
        self.commands["xadd"]
    }
}

impl Stage {
    /// Starts both servers.
    pub async fn start() -> Self {
        let config = vec!["management_agent.disable_metrics_collector = true".to_owned()];
        let broker = RabbitMq::start_with(Options { config, ..Options::default() }).await;
        let bridge = Bridge::with(broker.new_vhost().await, redis::Options::default()).await;
        Self { broker, bridge }
    }

    fn broker_pid(&self) -> u32 {
        self.broker.pid().unwrap()
    }

    fn redis_pid(&self) -> u32 {
        self.bridge.redis.pid().unwrap()
    }

    /// Fills the queue; what RabbitMQ used for it.
    async fn fill(&self, backlog: Backlog) -> f64 {
        let Backlog { messages, publishers, components } = backlog;
        let (connection, channel) = self.bridge.vhost.connect().await;
        let meter = Meter::start([self.broker_pid()]);
        fill(&channel, EXCHANGE, KEY, messages, publishers, components).await;
        let [publishing] = meter.read();
        connection.close(200, "done".into()).await.unwrap();
        publishing
    }

    /// The bare loop drains.
    pub async fn by_the_bare_loop(&self, backlog: Backlog) -> Drained {
        let publishing = self.fill(backlog).await;
        let uri = self.bridge.vhost.uri();
        let messages = backlog.messages.to_string();
        self.measured(
            publishing,
            || peers::start(&["acking", &uri, QUEUE, &messages, PREFETCH]),
            async |_| {},
        )
        .await
    }

    /// A subscriber that takes as much as there is.
    pub fn subscriber(&self) -> Setup {
        self.bridge.subscriber().env("LIMIT_PUBLISHERS", "2000000").env("LIMIT_COMPONENTS", "20000000")
    }

    /// The subscriber drains. It is told to stop as soon as it has taken the backlog in: it stores and acknowledges all of it
    /// first. Nobody is asked for anything meanwhile, since that costs, too.
    pub async fn by_the_subscriber(&self, backlog: Backlog, contract_keys: bool) -> Drained {
        self.by_the_subscriber_then(backlog, contract_keys, async |_| {}).await
    }

    /// The same, with a look at it before it is told to stop.
    pub async fn by_the_subscriber_then(
        &self,
        backlog: Backlog,
        contract_keys: bool,
        look: impl AsyncFnOnce(&Process),
    ) -> Drained {
        let publishing = self.fill(backlog).await;
        self.bridge.redis.command(&["FLUSHALL"]).await;
        self.bridge.redis.command(&["CONFIG", "RESETSTAT"]).await;
        let setup = self.subscriber().env("REDIS_CONTRACT_KEYS", &contract_keys.to_string());
        let drained = self.measured(
            publishing,
            || setup.start().into_process(),
            async |process| {
                let begun = Instant::now();
                while !process.output().contains("backlog taken in") {
                    assert!(begun.elapsed() < peers::BOUND, "no backlog is taken in:\n{}", process.tail());
                    tokio::time::sleep(LOOK).await;
                }
                look(process).await;
                process.signal(rustix::process::Signal::TERM);
            },
        );
        let drained = drained.await;
        self.assert_stored(backlog.messages).await;
        drained
    }

    /// Runs a program to its end, which `meanwhile` may bring about.
    async fn measured(
        &self,
        publishing: f64,
        start: impl FnOnce() -> Process,
        meanwhile: impl AsyncFnOnce(&Process),
    ) -> Drained {
        let meter = Meter::start([self.broker_pid(), self.redis_pid()]);
        let begun = Instant::now();
        let mut process = start();
        meanwhile(&process).await;
        let program = peers::ended(&mut process, peers::BOUND).await;
        let wall = begun.elapsed().as_secs_f64();
        let [delivering, redis] = meter.read();
        assert_eq!(self.bridge.depth().await.0, 0, "messages are left in the queue");
        Drained { program, delivering, publishing, redis, wall, commands: self.commands().await }
    }

    /// Commands since the last reset.
    async fn commands(&self) -> BTreeMap<String, f64> {
        let info = self.bridge.redis.command(&["INFO", "commandstats"]).await.string().unwrap();
        let commands = info.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        });
        commands.collect()
    }

    /// Every heartbeat is counted in the records, so that none was merely thrown away.
    async fn assert_stored(&self, messages: usize) {
        let records = self.bridge.records().await;
        let counted: u64 = records.values().map(|record| record["heartbeats"].as_u64().unwrap()).sum();
        assert_eq!(counted, messages as u64, "heartbeats that are stored");
    }
}
