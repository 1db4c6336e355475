//! The servers, the programs, the proxies between them, and those who watch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::fleet::Fleet;
use super::ledger::At;
use super::looks::Looks;
use super::oracle::{Bounds, Oracle};
use crate::support::bridge::{Bridge, SOON, records_in};
use crate::support::http;
use crate::support::program::{Program, Setup};
use crate::support::proxy::Proxy;
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis;
use crate::support::resp::Client;
use crate::support::scrape::Scrape;
use crate::support::tcp::Accepting;
use crate::support::vhost::Vhost;
use crate::support::watch::Watch;

/// What the subscribers are told; eight beats of everybody here.
const GRACE: Duration = Duration::from_secs(8);

/// ε of I2, a second, and half a second between two scrapes.
const SLACK: Duration = Duration::from_millis(1500);

/// Simulated publishers.
const SIMULATED: usize = 12;

/// What a publisher of ours waits for a confirm.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The clock, the judge and the time line of a run.
#[derive(Clone)]
pub struct Truth {
    begin: Instant,
    oracle: Arc<Mutex<Oracle>>,
    line: Arc<Mutex<Vec<(At, String)>>>,
}

impl Truth {
    /// Of nobody yet, with so many replicas that are told this grace.
    pub fn new(replicas: usize, grace: Duration) -> Self {
        let oracle = Oracle::new(Bounds { grace, slack: SLACK }, replicas);
        Self { begin: Instant::now(), oracle: Arc::new(Mutex::new(oracle)), line: Arc::default() }
    }

    /// Since the begin.
    pub fn now(&self) -> At {
        self.begin.elapsed()
    }

    /// The judge; held for short sections only.
    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what happens.
    pub fn note(&self, what: impl Into<String>) {
        self.line.lock().unwrap().push((self.now(), what.into()));
    }

    /// Waits until everybody who is alive is shown by all replicas that run with something made since then; says how
    /// long after that it took, or who is missing.
    pub async fn recovered(&self, since: At, bound: Duration) -> Result<Duration, Vec<String>> {
        loop {
            let missing = self.oracle().not_fresh_since(since);
            if missing.is_empty() {
                return Ok(self.now().saturating_sub(since));
            }
            if self.now() > since + bound {
                return Err(missing);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What happened around a time.
    pub fn around(&self, at: At, span: Duration) -> Vec<String> {
        let line = self.line.lock().unwrap();
        let near = line.iter().filter(|(when, _)| when.abs_diff(at) < span);
        near.map(|(when, what)| format!("{:8.2} {what}", when.as_secs_f64())).collect()
    }
}

/// A publisher that is a process.
pub struct Publisher {
    /// Its id.
    pub id: String,
    /// The program.
    pub program: tokio::sync::Mutex<Program>,
    /// What it checks.
    pub ports: tokio::sync::Mutex<Vec<Accepting>>,
}

/// A time without Redis.
#[derive(Clone, Copy, Debug)]
pub struct CutOff {
    /// Its begin.
    pub since: At,
    /// Its end.
    pub until: Option<At>,
}

/// Everything.
pub struct World {
    /// What is true.
    pub truth: Truth,
    /// The broker.
    pub broker: RabbitMq,
    /// Its vhost, and Redis.
    pub bridge: Bridge,
    /// Between all publishers and the broker.
    pub publish_path: Proxy,
    /// Between each subscriber and the broker.
    pub amqp_paths: [Proxy; 2],
    /// Between each subscriber and Redis.
    pub redis_paths: [Proxy; 2],
    /// The subscribers.
    pub subscribers: [tokio::sync::Mutex<Program>; 2],
    /// Publishers that are processes.
    pub publishers: Vec<Publisher>,
    /// Those that are simulated.
    pub fleet: Fleet,
    /// Each judges all scrapes of one subscriber.
    pub watches: Vec<Watch>,
    /// By subscriber, when it was cut off from Redis.
    pub cut_off: Mutex<[Vec<CutOff>; 2]>,
    /// Who looks into the store.
    pub looks: Looks,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl World {
    /// Starts all, and waits until all is shown.
    pub async fn start(seed: u64) -> Self {
        let broker = RabbitMq::start_own().await;
        // Each write on disk before its answer: what Redis has taken, a kill does not take away.
        let options = redis::Options { append_only: true, ..redis::Options::default() };
        let bridge = Bridge::with(broker.new_vhost().await, options).await;
        let truth = Truth::new(2, GRACE);
        let amqp = || Proxy::seeded(broker.amqp(), seed);
        let redis = || Proxy::seeded(([127, 0, 0, 1], bridge.redis.port).into(), seed);
        let (publish_path, amqp_paths, redis_paths) = (amqp(), [amqp(), amqp()], [redis(), redis()]);
        let subscriber = async |number: usize| {
            let setup = led(bridge.subscriber(), &amqp_paths[number]);
            let setup = setup.env("REDIS_PORT", &redis_paths[number].port().to_string());
            setup.env("PUBLISHER_GRACE", &format!("*={}s", GRACE.as_secs())).start_ready().await
        };
        let subscribers = [subscriber(0).await, subscriber(1).await];
        let mut publishers = Vec::new();
        for id in ["bergen", "oslo"] {
            let setup = led(bridge.role("publisher"), &publish_path);
            publishers.push(Publisher::start(&truth, id, setup));
        }
        let through = leading(&bridge.vhost, &publish_path);
        let (uris, direct) = ([through.uri()], [bridge.vhost.uri()]);
        let fleet = Fleet::start(&truth, SIMULATED, &uris, &direct, seed);
        let watches = (0..2).map(|number| watch(&truth, &subscribers[number], number)).collect();
        let mut tasks = Vec::new();
        for publisher in &mut publishers {
            tasks.push(publisher.prove(&truth));
        }
        let redis = ([127, 0, 0, 1], bridge.redis.port).into();
        let looks =
            Looks::start(&truth, move || async move { records_in(&mut Client::connect(redis).await?).await });
        let subscribers = subscribers.map(tokio::sync::Mutex::new);
        let cut_off = Mutex::default();
        let world = Self {
            truth,
            broker,
            bridge,
            publish_path,
            amqp_paths,
            redis_paths,
            subscribers,
            publishers,
            fleet,
            watches,
            cut_off,
            looks,
            _tasks: tasks,
        };
        world.truth.recovered(world.truth.now(), SOON).await.expect("all is shown");
        world
    }
}

/// A vhost as it is seen through a proxy.
fn leading(vhost: &Vhost, proxy: &Proxy) -> Vhost {
    let mut through = vhost.clone();
    through.ports.amqp = proxy.port();
    through
}

/// A program that reaches the broker through a proxy, and soon finds out that it does not.
fn led(setup: Setup, proxy: &Proxy) -> Setup {
    setup.env("RABBITMQ_PORT", &proxy.port().to_string()).env("RABBITMQ_HEARTBEAT", "2s")
}

impl Publisher {
    /// Starts a program that checks three ports, with what leads it to its broker.
    pub fn start(truth: &Truth, id: &str, setup: Setup) -> Self {
        let ports: Vec<Accepting> = (0..3).map(|_| Accepting::open()).collect();
        let mut oracle = truth.oracle();
        let mut hosts = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let name = format!("{id}.{number}");
            oracle.ledger.component(truth.now(), id, &name, true);
            hosts.push(serde_json::json!({"name": name, "host": "127.0.0.1", "port": port.address.port()}));
        }
        oracle.ledger.process(truth.now(), id, true);
        let config = serde_json::json!({"heartbeat": {"hosts": hosts}}).to_string();
        let timeout = format!("{}ms", PUBLISH_TIMEOUT.as_millis());
        let setup = setup.env("PUBLISHER_ID", id).env("PUBLISH_INTERVAL", "1s").publisher_config(&config);
        let setup = setup.env("PUBLISH_TIMEOUT", &timeout).listening();
        let setup = setup.env("CHECK_TIMEOUT", "500ms").env("RECONNECT_MAX", "2s");
        Self {
            id: id.to_owned(),
            program: tokio::sync::Mutex::new(setup.start()),
            ports: tokio::sync::Mutex::new(ports),
        }
    }

    /// Notes each time that it says that one more heartbeat is confirmed.
    pub fn prove(&mut self, truth: &Truth) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(prove(
            truth.clone(),
            self.id.clone(),
            self.program.get_mut().http(),
        )))
    }
}

/// Has the oracle judge each scrape of a subscriber.
pub fn watch(truth: &Truth, subscriber: &Program, number: usize) -> Watch {
    let truth = truth.clone();
    Watch::start(subscriber, move |scrape| {
        truth.oracle().judge(truth.now(), number, scrape);
        Ok(())
    })
}

async fn prove(truth: Truth, id: String, address: std::net::SocketAddr) {
    let mut before: Option<(At, f64)> = None;
    loop {
        let asked = truth.now();
        let answer = http::get(address, "/metrics").await.ok();
        let scrape = answer.and_then(|answer| Scrape::parse(&answer.text()).ok());
        let now = scrape.and_then(|scrape| scrape.value("heartbeat_emitter_published_total", &[]));
        if let (Some((then, was)), Some(now)) = (before, now)
            && now > was
        {
            // It was confirmed since then, and made at most its deadline earlier.
            truth.oracle().ledger.proven(then.saturating_sub(PUBLISH_TIMEOUT), &id);
        }
        before = now.map(|now| (asked, now));
        sleep(Duration::from_millis(300)).await;
    }
}
