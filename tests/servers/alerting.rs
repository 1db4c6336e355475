//! From a cause to a notification: the shipped rules and the shipped Alertmanager's configuration on the real programs.
//! HEARTBEAT_TEST_SHIPPED=1 runs them with the waits that they ship with, and prints how long each notification took.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use lapin::Connection;
use rustix::process::Signal;

use crate::support::alertmanager::{Alertmanager, Notification, Webhook};
use crate::support::bridge::{Bridge, report};
use crate::support::field::{config, host, listener};
use crate::support::http;
use crate::support::program::{Program, Setup};
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis;
use crate::support::shipped::Pace;
use crate::support::tcp::Accepting;
use crate::support::vhost::Vhost;
use crate::support::wait::{holds_for, wait_until};

/// A queue of the field, whose consumer is checked.
const FILES: &str = "files";

/// Everything from a host in the enclave to the one who is woken.
struct Stage {
    pace: Pace,
    bridge: Bridge,
    db: Accepting,
    consumer: Option<Connection>,
    publisher: Program,
    subscribers: [Program; 2],
    prometheus: Prometheus,
    webhook: Webhook,
    /// Started last, and ended with the rest.
    alertmanager: Option<Alertmanager>,
}

impl Stage {
    /// Starts all of it, and waits until Prometheus has seen it well and the watchdog's notification has come.
    async fn set(vhost: Vhost) -> Self {
        let pace = Pace::from_environment();
        let bridge = Bridge::with(vhost, redis::Options::default()).await;
        let db = Accepting::open();
        let consumer = Some(bridge.vhost.consume(FILES, "ingest-1").await);
        bridge.vhost.wait_consumer(FILES, "ingest-1").await;
        let start = async || {
            let subscriber = bridge.subscriber().env("EXPECTED_PUBLISHERS", "oslo");
            // By itself a grace is 30 s at least, which the shipped pace keeps.
            let short = |setup: Setup| setup.env("PUBLISHER_GRACE", "oslo=5s,drill:oslo=8s");
            let subscriber = if pace == Pace::Short { short(subscriber) } else { subscriber };
            subscriber.start_ready().await
        };
        let subscribers = [start().await, start().await];
        let checked = config(&[host("db", db.address)], &[listener(FILES, "^ingest", "ingest")]).to_string();
        let publisher = bridge.publisher("oslo", &checked).start();
        let webhook = Webhook::listen().await;
        let address = Alertmanager::address();
        let prometheus = pace.start_prometheus(&subscribers, address, "").await;
        let mut stage = Self {
            pace,
            bridge,
            db,
            consumer,
            publisher,
            subscribers,
            prometheus,
            webhook,
            alertmanager: None,
        };
        // Before its first scrapes Prometheus knows of nobody, and with short waits that is told.
        stage.wait_well().await;
        stage.alertmanager = Some(pace.start_alertmanager(address, &stage.webhook).await);
        wait_until("the watchdog's notification", pace.bound(), async || match stage.webhook.watchdogs() {
            0 => Err(format!("{:?}", stage.webhook.told())),
            _ => Ok(()),
        })
        .await;
        stage
    }

    /// Waits until Prometheus has all components up by both subscribers, and nothing but the watchdog fires.
    async fn wait_well(&self) {
        wait_until("Prometheus finds all well", self.pace.bound(), async || {
            let up = self.prometheus.query("count(heartbeat_component_up == 1)").await?;
            let listening = self.prometheus.query("count(heartbeat_subscriber_listening == 1)").await?;
            let firing = self.prometheus.firing().await?;
            let of = |series: &[crate::support::prometheus::Series]| series.first().map(|one| one.value);
            // A host, a consumer and its queue, by each subscriber.
            if (of(&up), of(&listening)) == (Some(6.0), Some(2.0)) && firing == ["HeartbeatWatchdog"] {
                return Ok(());
            }
            Err(format!("{up:?}, {listening:?}, {firing:?}"))
        })
        .await;
    }

    /// Ends the consumer of the queue.
    async fn dismiss_consumer(&mut self) {
        let consumer = self.consumer.take().expect("it consumes");
        consumer.close(200, "done".into()).await.unwrap();
    }

    /// How many notifications have come so far.
    fn seen(&self) -> usize {
        self.webhook.notifications().len()
    }

    /// Waits for the notification of an alert after the first `seen`, and reports its time since `cause` beside what the
    /// waits alone make of it.
    async fn told(
        &self,
        seen: usize,
        name: &str,
        status: &str,
        cause: Instant,
        floor: Duration,
    ) -> Notification {
        let notification = self.webhook.wait(self.pace.bound(), seen, name, status).await;
        let took = notification.at.duration_since(cause);
        assert!(
            took >= floor,
            "{name} {status} was told after {took:?}, before the waits of {floor:?} were over"
        );
        // A group that is known already is looked at again and again, a new one after its wait.
        let more = if status == "firing" { Duration::ZERO } else { self.pace.group_interval() };
        report(&format!(
            "{name} {status}: {:.1} s after its cause, at least {} s by the waits, at most {} s more by the rhythm of \
             scrapes, evaluations and groups",
            took.as_secs_f64(),
            floor.as_secs(),
            (2 * self.pace.interval() + more).as_secs(),
        ));
        notification
    }

    /// What was told after the first `seen` notifications of anything but these alerts.
    fn told_besides(&self, seen: usize, names: &[&str]) -> Vec<String> {
        let later = self.webhook.notifications().into_iter().skip(seen);
        let alerts = later.flat_map(|notification| notification.alerts);
        alerts.map(|alert| alert.name().to_owned()).filter(|name| !names.contains(&name.as_str())).collect()
    }

    /// Asserts that for some rounds of Alertmanager nothing is told besides these alerts.
    async fn nothing_else(&self, seen: usize, names: &[&str]) {
        holds_for("nothing else is told", self.pace.group_interval() * 2, async || {
            match self.told_besides(seen, names)[..] {
                [] => Ok(()),
                ref others => Err(format!("{others:?}")),
            }
        })
        .await;
    }

    /// Notifications after the first `seen` that tell that an alert fires, or is resolved.
    fn count(&self, seen: usize, name: &str, status: &str) -> usize {
        self.webhook.notifications().iter().skip(seen).filter(|one| one.tells(name, status)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told_once_and_so_is_its_end() {
    let mut stage = Stage::set(RabbitMq::vhost().await).await;
    let pace = stage.pace;
    assert_eq!(stage.webhook.told(), [], "all is well");
    let firing_floor = pace.minute() + pace.group_wait();

    // A host's port is closed, and opened again.
    let (seen, cause) = (stage.seen(), Instant::now());
    stage.db.close().await;
    let floor = firing_floor;
    let notification = stage.told(seen, "HeartbeatComponentDown", "firing", cause, floor).await;
    assert_eq!(notification.path, "/page");
    let [alert] = &notification.alerts[..] else { panic!("{notification:?}") };
    let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        labels,
        [
            ("alertname", "HeartbeatComponentDown"),
            ("job", "heartbeat"),
            ("kind", "host"),
            ("name", "db"),
            ("publisher", "oslo"),
            ("severity", "critical"),
        ]
    );
    let description = "Publisher oslo (job heartbeat) found the host db down (refused).";
    assert_eq!(alert.annotations["description"], description);
    let cause = Instant::now();
    stage.db.reopen();
    stage.told(seen, "HeartbeatComponentDown", "resolved", cause, Duration::ZERO).await;
    assert_eq!(stage.told_besides(seen, &["HeartbeatComponentDown"]), [""; 0]);

    // A queue loses its consumer, which is told once for the queue, and gets it back.
    let (seen, cause) = (stage.seen(), Instant::now());
    stage.dismiss_consumer().await;
    let floor = firing_floor;
    let notification = stage.told(seen, "HeartbeatQueueWithoutConsumer", "firing", cause, floor).await;
    let description = &notification.alerts[0].annotations["description"];
    assert!(description.contains("expected on it: ingest (no_consumer)."), "{description}");
    let cause = Instant::now();
    stage.consumer = Some(stage.bridge.vhost.consume(FILES, "ingest-2").await);
    stage.told(seen, "HeartbeatQueueWithoutConsumer", "resolved", cause, Duration::ZERO).await;
    assert_eq!(stage.told_besides(seen, &["HeartbeatQueueWithoutConsumer"]), [""; 0]);

    // The publisher is killed: told once, and nothing of its components.
    let (seen, cause) = (stage.seen(), Instant::now());
    stage.publisher.kill();
    // From its last heartbeat on, which may have been sent an interval before the end.
    let grace = Duration::from_secs(if pace == Pace::Short { 4 } else { 29 });
    let floor = grace + firing_floor;
    let notification = stage.told(seen, "HeartbeatPublisherStale", "firing", cause, floor).await;
    assert_eq!(notification.path, "/page");
    assert_eq!(notification.alerts[0].labels["publisher"], "oslo");
    stage.nothing_else(seen, &["HeartbeatPublisherStale"]).await;
    assert_eq!(stage.count(seen, "HeartbeatPublisherStale", "firing"), 1, "{:?}", stage.webhook.told());
    let cause = Instant::now();
    stage.publisher.start_again();
    stage.told(seen, "HeartbeatPublisherStale", "resolved", cause, Duration::ZERO).await;
    stage.nothing_else(seen, &["HeartbeatPublisherStale"]).await;
    stage.wait_well().await;
}

/// Unknown is not up: the end of a component's alert is told when it is found up, and not when its publisher, a
/// subscriber or both are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_not_called_mended_because_nobody_looks() {
    let mut stage = Stage::set(RabbitMq::vhost().await).await;
    let seen = stage.seen();
    stage.db.close().await;
    stage.webhook.wait(stage.pace.bound(), seen, "HeartbeatComponentDown", "firing").await;
    stage.publisher.kill();
    stage.webhook.wait(stage.pace.bound(), seen, "HeartbeatPublisherStale", "firing").await;
    let both = ["HeartbeatComponentDown", "HeartbeatPublisherStale"];
    for subscriber in &mut stage.subscribers {
        subscriber.kill();
        subscriber.start_again();
        subscriber.wait_ready().await;
    }
    stage.nothing_else(seen, &both).await;
    for name in both {
        let told = (stage.count(seen, name, "firing"), stage.count(seen, name, "resolved"));
        assert_eq!(told, (1, 0), "{name}: {:?}", stage.webhook.told());
    }
    stage.db.reopen();
    stage.publisher.start_again();
    for name in both {
        stage.webhook.wait(stage.pace.bound(), seen, name, "resolved").await;
        assert_eq!(stage.count(seen, name, "firing"), 1, "{name}: {:?}", stage.webhook.told());
    }
    stage.wait_well().await;
}

/// A drill goes the whole way of an alert, is told as one, and leaves nothing behind but its notifications.
#[tokio::test(flavor = "multi_thread")]
async fn a_drill_arrives_and_leaves_no_trace() {
    let stage = Stage::set(RabbitMq::vhost().await).await;
    let seen = stage.seen();
    let stages = match stage.pace {
        Pace::Short => ["--down-for=15", "--silent-for=25"],
        Pace::Shipped => ["--down-for=3m", "--silent-for=4m"],
    };
    let mut drill = stage.publisher.command(&["drill", stages[0], stages[1]]);
    let drill = drill.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let names = ["HeartbeatComponentDown", "HeartbeatPublisherStale"];
    for name in names {
        let notification = stage.webhook.wait(stage.pace.bound(), seen, name, "firing").await;
        assert_eq!(notification.path, "/page", "as if it were no drill");
        let [alert] = &notification.alerts[..] else { panic!("{notification:?}") };
        assert_eq!((&*alert.labels["publisher"], &*alert.labels["drill"]), ("drill:oslo", "true"));
        let description = &alert.annotations["description"];
        assert!(description.starts_with("This is a drill, and nothing is wrong."), "{description}");
    }
    let ended = tokio::task::spawn_blocking(|| drill.wait_with_output().unwrap()).await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
    for name in names {
        stage.webhook.wait(stage.pace.bound(), seen, name, "resolved").await;
    }
    for subscriber in &stage.subscribers {
        wait_until("nothing is shown of it", stage.pace.bound(), async || {
            let metrics = http::get(subscriber.http(), "/metrics").await?.text();
            let api = http::get(subscriber.http(), "/api/v1/publishers").await?.text();
            match [metrics, api].into_iter().find(|text| text.contains("drill:")) {
                Some(text) => Err(text),
                None => Ok(()),
            }
        })
        .await;
    }
    // The original's keys know nothing of it either.
    for pattern in ["service:*", "queue:*"] {
        let keys = stage.bridge.redis.keys(pattern).await;
        assert!(keys.iter().all(|key| !key.contains("drill") && !key.contains("alert")), "{keys:?}");
    }
    stage.nothing_else(seen, &names).await;
    stage.wait_well().await;
}

/// Work on a host: nobody is called for what is down in its window, and somebody is when the window is over.
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_calls_nobody_until_it_ends() {
    let mut stage = Stage::set(RabbitMq::vhost().await).await;
    let seen = stage.seen();
    let lasts =
        stage.pace.minute() + stage.pace.group_wait() + stage.pace.interval() * 2 + Duration::from_secs(10);
    let db = [("publisher", "oslo"), ("name", "db")];
    let end = "heartbeat_component_maintenance_end_timestamp_seconds";
    let begun = SystemTime::now();
    let begins = jiff::Timestamp::try_from(begun).unwrap();
    let path = stage.publisher.variable("PUBLISHER_CONFIG_PATH").to_owned();
    let mut file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file["heartbeat"]["maintenance"] = serde_json::json!([
        {"begins": begins.to_string(), "lasts": lasts.as_secs_f64(), "comment": "new disks", "components": ["db"]}
    ]);
    std::fs::write(&path, file.to_string()).unwrap();
    stage.publisher.signal(Signal::HUP);
    for subscriber in &stage.subscribers {
        wait_until("the window is shown", stage.pace.bound(), async || {
            subscriber.metrics().await?.value(end, &db).map(|_| ()).ok_or_else(|| "it is not".to_owned())
        })
        .await;
    }
    stage.db.close().await;
    stage.webhook.wait(stage.pace.bound(), seen, "HeartbeatComponentDown", "firing").await;
    let told_after = begun.elapsed().unwrap();
    assert!(told_after >= lasts, "told after {told_after:?}, in a window of {lasts:?}");
    let scrape = stage.subscribers[0].metrics().await.unwrap();
    assert_eq!(scrape.value(end, &db), None, "it is over");
    stage.nothing_else(seen, &["HeartbeatComponentDown"]).await;
}

/// While no subscriber is there to listen, that is told, and neither a publisher nor a component is blamed, though both are
/// gone. What was told before ends when it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_listens_nobody_is_blamed() {
    let mut stage = Stage::set(RabbitMq::vhost().await).await;
    let seen = stage.seen();
    stage.dismiss_consumer().await;
    stage.webhook.wait(stage.pace.bound(), seen, "HeartbeatQueueWithoutConsumer", "firing").await;
    for subscriber in &mut stage.subscribers {
        subscriber.kill();
    }
    stage.db.close().await;
    stage.publisher.kill();
    let told = stage.webhook.wait(stage.pace.bound(), seen, "HeartbeatAllSubscribersDown", "firing").await;
    assert_eq!(told.path, "/page");
    let known = ["HeartbeatAllSubscribersDown", "HeartbeatQueueWithoutConsumer"];
    stage.nothing_else(seen, &known).await;
    assert_eq!(
        stage.count(seen, "HeartbeatQueueWithoutConsumer", "resolved"),
        0,
        "{:?}",
        stage.webhook.told()
    );
    stage.db.reopen();
    stage.consumer = Some(stage.bridge.vhost.consume(FILES, "ingest-2").await);
    stage.publisher.start_again();
    for subscriber in &mut stage.subscribers {
        subscriber.start_again();
    }
    for name in known {
        stage.webhook.wait(stage.pace.bound(), seen, name, "resolved").await;
        assert_eq!(stage.count(seen, name, "firing"), 1, "{name}: {:?}", stage.webhook.told());
    }
    stage.wait_well().await;
    // Of the subscribers something may be told, since they come back one after the other.
    let told = stage.told_besides(seen, &known);
    let blamed: Vec<&String> = told.iter().filter(|name| !name.contains("Subscriber")).collect();
    assert!(blamed.is_empty(), "{blamed:?}");
}

/// With the waits that ship: a broker that restarts, a Redis that is away for a minute, both subscribers one after the
/// other. With short ones: what takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_wakes_nobody() {
    let shipped = Pace::from_environment() == Pace::Shipped;
    let own = if shipped { Some(RabbitMq::start_own().await) } else { None };
    let vhost = match &own {
        Some(broker) => broker.new_vhost().await,
        None => RabbitMq::vhost().await,
    };
    let mut stage = Stage::set(vhost).await;
    let began = Instant::now();
    for subscriber in &mut stage.subscribers {
        subscriber.terminate(Duration::from_secs(20)).await;
        subscriber.start_again();
        subscriber.wait_ready().await;
    }
    wait_until("a connection is closed by the broker", stage.pace.bound(), async || {
        match stage.bridge.vhost.close_connections().await {
            0 => Err("none is shown yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    // The field's consumer does not come back by itself.
    stage.consumer = Some(stage.bridge.vhost.consume(FILES, "ingest-2").await);
    if let Some(broker) = &own {
        stage.wait_well().await;
        stage.bridge.redis.stop().await;
        holds_for("nothing is told while Redis is away", Duration::from_secs(60), async || {
            match stage.webhook.told()[..] {
                [] => Ok(()),
                ref told => Err(format!("{told:?}")),
            }
        })
        .await;
        stage.bridge.redis.start_again().await;
        stage.wait_well().await;
        broker.stop().await;
        broker.start_again().await;
        stage.consumer = Some(stage.bridge.vhost.consume(FILES, "ingest-3").await);
    }
    stage.wait_well().await;
    stage.nothing_else(0, &[]).await;
    // Not from before, when Prometheus had scraped nothing yet.
    let span = began.elapsed().as_secs();
    let fired = format!(
        "count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\", alertname!=\"HeartbeatWatchdog\"}}[{span}s]))"
    );
    let fired = stage.prometheus.query(&fired).await.unwrap();
    assert!(fired.is_empty(), "{fired:?}");
    assert_eq!(stage.webhook.told(), []);
}
