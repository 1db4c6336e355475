//! The subscriber: consumes heartbeats, keeps the latest state in the store, and shows it.
//!
//! [`Subscriber::start`] wires its tasks: the consumer (or the in-process link), the ingest, the
//! follower and the store's connection, each owned here and stopped in order.

mod authenticity;
mod company;
mod dead_letter;
mod doubts;
mod flaps;
mod follow;
mod ingest;
mod intake;
mod load;
pub mod metrics;
mod neighbours;
mod pending;
pub mod replica;
mod sharing;
#[cfg(test)]
mod simulation;
mod tell;
mod trace;
mod verdicts;
mod verify;
mod versions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::amqp;
use crate::amqp::consume::{ConsumerState, ConsumerTask, Event, Window};
use crate::amqp::publish::Publisher;
use crate::backoff::Backoff;
use crate::clock::StoreClock;
use crate::health::Pulse;
use crate::heartbeat::Timestamp;
use crate::signing::TrustedKeys;
use crate::state::Policy;
use crate::state::hearing::Spans;
use crate::state::revision::Revisions;
use crate::store::{MemoryStore, Position, Presence, RedisConfig, RedisStore, Store, StoreLink};
use crate::telemetry::Chain;
use crate::watched::{Held, Watcher};

use dead_letter::DeadLetters;
use doubts::Doubts;
use follow::{Failing, Follower};
use ingest::{COMMANDS_MAX, Ingest, MIND};
use intake::Intake;
use metrics::{Metrics, PEERS};
use replica::Replica;
use sharing::Sharing;
use tell::Teller;
use verdicts::Verdicts;
use verify::Verifier;

pub use intake::Config as IngestConfig;
pub use tell::Outlets;
pub use trace::Place;

/// Everything that a subscriber needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker, unless the in-process link is used.
    pub amqp: amqp::Config,
    /// Deliveries taken before the first is acknowledged.
    pub prefetch: u16,
    /// Exchange for refused messages; `None` keeps the latest in the store.
    pub dead_letter_exchange: Option<String>,
    /// The store; `None` keeps everything in this process.
    pub redis: Option<RedisConfig>,
    /// What messages may be, and how they are stored.
    pub ingest: IngestConfig,
    /// What is expected of publishers, and how many are held.
    pub policy: Policy,
    /// Publishers silent for longer are forgotten.
    pub retention: Duration,
    /// The file of trusted keys, and what it held at the start.
    pub trusted: Option<(PathBuf, Arc<TrustedKeys>)>,
}

/// Where messages come from.
pub enum Source {
    /// RabbitMQ.
    Amqp,
    /// A publisher in this process.
    InProcess(mpsc::Receiver<Event>, watch::Receiver<ConsumerState>),
}

/// A running subscriber.
pub struct Subscriber {
    replica: Arc<Replica>,
    consumer: watch::Receiver<ConsumerState>,
    link: watch::Receiver<StoreLink>,
    pulse: Pulse,
    stop: CancellationToken,
    give_up: CancellationToken,
    acked: CancellationToken,
    stop_store: CancellationToken,
    ended: CancellationToken,
    consuming: Vec<JoinHandle<()>>,
    storing: Vec<JoinHandle<()>>,
}

impl Subscriber {
    /// Starts all tasks. `clock` is set by the store once that answers. Returns at once: what is not there yet is waited for by them.
    /// What happens is told to `outlets`.
    pub fn start(
        config: Config,
        source: Source,
        clock: Arc<StoreClock>,
        outlets: Outlets,
        registry: &mut Registry,
    ) -> Self {
        let replica = Arc::new(Replica::new(config.policy.clone(), Arc::clone(&clock)));
        // All in one process, there is nobody to be connected to.
        let peers: &[&'static str] = if config.redis.is_some() { &PEERS } else { &[] };
        let metrics = Metrics::register(registry, peers);
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let (acked, stop_store) = (CancellationToken::new(), CancellationToken::new());
        let mut storing = Vec::new();
        let store = match &config.redis {
            None => Store::Memory(MemoryStore::default()),
            Some(redis) => {
                let (store, task) = RedisStore::new(redis.clone(), Arc::clone(&clock));
                storing.push(tokio::spawn(task.run(stop_store.clone())));
                Store::Redis(store)
            }
        };
        let link = store.link();
        let replica_id = format!("{:016x}", rand::random::<u64>());
        let window = Arc::new(Window::default());
        let (consumer_state_out, consumer) = watch::channel(ConsumerState::default());
        let pulse = Pulse::new(MIND);
        let parts = Parts {
            store,
            replica: Arc::clone(&replica),
            metrics,
            teller: Arc::new(Teller::new(outlets)),
            window,
            clock,
            replica_id,
            pulse: pulse.clone(),
            stop: stop.clone(),
            give_up: give_up.clone(),
            acked: acked.clone(),
        };
        // Cancelled however the task ends, by a panic too.
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let main = tokio::spawn(async move {
            let _guard = guard;
            parts.run(config, source, consumer_state_out).await;
        });
        Self {
            replica,
            consumer,
            link,
            pulse,
            stop,
            give_up,
            acked,
            stop_store,
            ended,
            consuming: vec![main],
            storing,
        }
    }

    /// The state, for expositions.
    pub fn replica(&self) -> Arc<Replica> {
        Arc::clone(&self.replica)
    }

    /// Whether everything that it needs is there.
    pub fn readiness(&self) -> Readiness {
        Readiness {
            replica: Arc::clone(&self.replica),
            consumer: self.consumer.clone(),
            link: self.link.clone(),
        }
    }

    /// The pulse of the loop that takes messages in, and before that of the load of the state, which waits for the store.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Cancelled when it takes no messages in any more: told to stop, or by a fault of its own.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Stops in order, within `grace`: consume no more, store and acknowledge what is held, then
    /// close the connections. Says whether that was done in time.
    pub async fn stop(self, grace: Duration) -> bool {
        self.stop.cancel();
        let mut orderly = true;
        for task in self.consuming {
            let abort = task.abort_handle();
            if !matches!(timeout(grace, task).await, Ok(Ok(()))) {
                orderly = false;
                self.give_up.cancel();
                self.acked.cancel();
                sleep(Duration::from_millis(100)).await;
                abort.abort();
            }
        }
        self.stop_store.cancel();
        for task in self.storing {
            let _ = timeout(Duration::from_secs(2), task).await;
        }
        orderly
    }
}

/// Tells whether a subscriber is ready, and if not, why.
#[derive(Clone, Debug)]
pub struct Readiness {
    replica: Arc<Replica>,
    consumer: watch::Receiver<ConsumerState>,
    link: watch::Receiver<StoreLink>,
}

impl Readiness {
    /// Ready, or the first reason why not, for people.
    ///
    /// # Errors
    /// The reason.
    pub fn check(&self) -> Result<(), String> {
        if !self.replica.standing().loaded {
            return Err("the state is not loaded from Redis yet".into());
        }
        if !self.link.borrow().connected {
            return Err("not connected to Redis".into());
        }
        let consumer = self.consumer.borrow().clone();
        if !consumer.connected {
            return Err("not connected to RabbitMQ".into());
        }
        if !consumer.listening {
            return Err("the backlog of the queue is not taken in yet".into());
        }
        let (synced, lag) = self.replica.in_step(self.replica.clock().now());
        if !synced {
            return Err(format!("the view is {} s behind Redis", lag.as_secs()));
        }
        Ok(())
    }
}

/// What the main task takes with it.
struct Parts {
    store: Store,
    replica: Arc<Replica>,
    metrics: Metrics,
    teller: Arc<Teller>,
    window: Arc<Window>,
    clock: Arc<StoreClock>,
    replica_id: String,
    pulse: Pulse,
    stop: CancellationToken,
    give_up: CancellationToken,
    acked: CancellationToken,
}

impl Parts {
    /// Loads the state, then consumes. Before it is loaded nothing is consumed: messages wait in
    /// the queue, which loses nothing, and a record that is not known cannot be compared.
    async fn run(self, config: Config, source: Source, consumer_out: watch::Sender<ConsumerState>) {
        let Some(position) = self.pulse.through(self.load()).await else { return };
        let broker = config.amqp.nodes.identity();
        let full_name = |queue: &String| format!("{}/{queue}", config.amqp.vhost);
        let queues: Vec<String> = config.amqp.queues.iter().map(full_name).collect();
        let (events, consumer, consumer_task) = match source {
            Source::InProcess(events, state) => (events, state, None),
            Source::Amqp => {
                let name = format!("heartbeat-subscriber-{}", self.replica_id);
                let (task, events, state) = ConsumerTask::new(
                    config.amqp.clone(),
                    config.prefetch,
                    name,
                    Arc::clone(&self.clock),
                    Arc::clone(&self.window),
                );
                let (stop, acked) = (self.stop.clone(), self.acked.clone());
                (events, state, Some(tokio::spawn(task.run(stop, acked))))
            }
        };
        let (events, _looking) = self.verified(&config, events);
        let relay = tokio::spawn(relay(consumer.clone(), consumer_out));
        let (commands_out, commands) = mpsc::channel(COMMANDS_MAX);
        let stop_following = CancellationToken::new();
        let ear = follow::hear(Arc::clone(&self.replica), consumer.clone(), stop_following.clone());
        let ear = tokio::spawn(ear);
        let follower = Follower {
            store: self.store.clone(),
            replica: Arc::clone(&self.replica),
            metrics: self.metrics.clone(),
            commands: commands_out,
            consumer,
            link: self.store.link(),
            position,
            own: Presence {
                replica: self.replica_id.clone(),
                at: Timestamp::EPOCH,
                heard: Spans::default(),
                broker,
                queues,
                consumers: 0,
                consuming: false,
                confirmed: None,
                active: 0,
                left: false,
            },
            retention: config.retention,
            unsure_since: None,
            strangers: 0,
            company: Vec::new(),
            window: Arc::clone(&self.window),
            single_active: config.amqp.spread.is_some(),
            sharing: Sharing::default(),
            failing: Failing::default(),
            neighbours: 0,
            verdicts: Verdicts::default(),
            doubts: Doubts::default(),
            teller: Arc::clone(&self.teller),
        };
        let follower = tokio::spawn(follower.run(stop_following.clone()));
        let (dead_letters, dead_letter_task) = self.dead_letters(&config);
        let revisions = Revisions::seeded(rand::random());
        let intake =
            Intake::new(config.ingest, self.replica, self.metrics, self.teller, dead_letters, revisions);
        let ingest = Ingest::new(intake, self.store, self.window, events, commands, self.pulse);
        ingest.run(self.stop, self.give_up, self.acked).await;
        if let Some(task) = consumer_task {
            let _ = task.await;
        }
        stop_following.cancel();
        let _ = follower.await;
        let _ = ear.await;
        if let Some(task) = dead_letter_task {
            let _ = task.await;
        }
        relay.abort();
    }

    /// Loads everything, for as long as it takes. `None` when told to stop.
    async fn load(&self) -> Option<Position> {
        let mut link = self.store.link();
        let mut backoff = Backoff::new(Duration::from_secs(4));
        loop {
            let connected = async {
                let _ = link.wait_for(|link| link.connected).await;
            };
            tokio::select! {
                () = connected => {}
                () = self.stop.cancelled() => return None,
            }
            match self.store.load().await {
                Ok((records, position)) => {
                    info!(publishers = records.len(), "State loaded");
                    for record in records {
                        self.replica.put(record);
                    }
                    let now = self.clock.now();
                    let mut standing = self.replica.standing();
                    standing.loaded = true;
                    standing.followed_at = Some(now);
                    return Some(position);
                }
                Err(error) => warn!(error = %Chain(&error), "State not loaded; trying again"),
            }
            tokio::select! {
                () = sleep(backoff.next_wait()) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// Has signatures looked at on the way, where they are asked for, by tasks that end with their handles.
    fn verified(
        &self,
        config: &Config,
        events: mpsc::Receiver<Event>,
    ) -> (mpsc::Receiver<Event>, Vec<AbortOnDropHandle<()>>) {
        if !config.ingest.rules.ask_for_signatures() {
            return (events, Vec::new());
        }
        let mut tasks = Vec::new();
        let keys = match &config.trusted {
            Some((path, keys)) => {
                let (watcher, held) = Watcher::new(path.clone(), TrustedKeys::FORMAT, Arc::clone(keys));
                tasks.push(AbortOnDropHandle::new(tokio::spawn(watcher.run(self.stop.clone()))));
                held
            }
            None => watch::channel(Held { value: Arc::default(), current: true }).1,
        };
        let (out, verified) = verify::channel();
        let message_bytes = config.ingest.limits.message_bytes;
        let verifier = Verifier { events, out, keys, message_bytes, metrics: self.metrics.clone() };
        let verifying = tokio::spawn(verifier.run(Arc::clone(&self.clock)));
        tasks.push(AbortOnDropHandle::new(verifying));
        (verified, tasks)
    }

    fn dead_letters(&self, config: &Config) -> (DeadLetters, Option<JoinHandle<()>>) {
        let Some(exchange) = &config.dead_letter_exchange else { return (DeadLetters::new(None), None) };
        let amqp = amqp::Config {
            exchange: exchange.clone(),
            queues: Vec::new(),
            spread: None,
            name: format!("{} (refused messages)", config.amqp.name),
            send_user_id: false,
            ..config.amqp.clone()
        };
        let (publisher, task) = Publisher::new(amqp, Duration::from_secs(5));
        let task = tokio::spawn(task.run(self.acked.clone()));
        (DeadLetters::new(Some(publisher)), Some(task))
    }
}

/// Passes the consumer's state on to those who were there before it.
async fn relay(mut from: watch::Receiver<ConsumerState>, to: watch::Sender<ConsumerState>) {
    loop {
        let state = from.borrow_and_update().clone();
        to.send_replace(state);
        if from.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretSource;

    fn config() -> Config {
        Config {
            amqp: amqp::Config {
                nodes: amqp::Nodes::new([amqp::Node { host: "127.0.0.1".into(), port: 1 }]),
                user: "user".into(),
                mechanism: amqp::Mechanism::Plain,
                password: SecretSource::default(),
                vhost: "/".into(),
                exchange: "exchange".into(),
                queues: vec!["queue".into()],
                spread: None,
                queue_type: None,
                routing_key: "key".into(),
                tls: None,
                heartbeat: Duration::from_secs(10),
                reconnect_max: Duration::from_secs(1),
                send_user_id: false,
                name: "test".into(),
            },
            prefetch: 10,
            dead_letter_exchange: None,
            redis: None,
            ingest: intake::tests::config(),
            policy: Policy::default(),
            retention: Duration::from_secs(60),
            trusted: None,
        }
    }

    /// Whoever minds the process must learn of it: nothing would be taken in any more.
    #[tokio::test]
    async fn an_end_of_its_own_is_told() {
        let (events, received) = mpsc::channel(1);
        let (state, consumer) = watch::channel(ConsumerState::default());
        let source = Source::InProcess(received, consumer);
        let subscriber =
            Subscriber::start(config(), source, Arc::default(), Outlets::none(), &mut Registry::default());
        let ended = subscriber.ended();
        assert!(!ended.is_cancelled());
        drop(events);
        timeout(Duration::from_secs(60), ended.cancelled()).await.expect("it ended");
        drop(state);
        assert!(subscriber.stop(Duration::from_secs(10)).await);
    }
}
