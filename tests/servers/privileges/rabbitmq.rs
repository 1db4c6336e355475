//! Users and permissions of RabbitMQ.

use std::path::PathBuf;
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Error, ErrorKind, ExchangeKind};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{commands, password, run};
use crate::support::bridge::SOON;
use crate::support::field::{config, listener, wait_published};
use crate::support::process::folder;
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::{Permissions, encode};
use crate::support::redis::Redis;
use crate::support::vhost::Vhost;
use crate::support::wait::wait_until;

/// The sections of the page.
pub(super) const HEADINGS: &[&str] = &[
    "Users",
    "To create what is missing",
    "The subscriber",
    "The subscriber, with a dead-letter exchange",
    "The publisher",
    "The publisher, if it checks consumers",
];

/// Exchange, queue and key of the page.
const EXCHANGE: &str = "sda";
const QUEUE: &str = "heartbeat";
const KEY: &str = "service.heartbeat";
/// The page's exchange for what is refused.
const DEAD: &str = "heartbeat.dead";

/// The page's users in a vhost of the shared broker, where users have no vhost: so they get names of their own.
struct Granted {
    broker: &'static RabbitMq,
    vhost: Vhost,
    folder: PathBuf,
    publisher: String,
    subscriber: String,
}

impl Granted {
    async fn new() -> Self {
        let broker = RabbitMq::shared().await;
        let vhost = broker.new_vhost().await;
        let number = vhost.name.rsplit('/').next().unwrap();
        let [publisher, subscriber] = ["oslo", "subscriber"].map(|name| format!("{name}-{number}"));
        let granted = Self { broker, folder: folder("users"), publisher, subscriber, vhost };
        for user in [&granted.publisher, &granted.subscriber] {
            password(&granted.folder, user, &granted.password(user));
        }
        granted.apply("Users").await;
        granted
    }

    fn password(&self, user: &str) -> String {
        format!("canary-of-{user}")
    }

    /// The commands of a section, for this vhost and these users.
    fn commands(&self, heading: &str) -> String {
        let text = commands(heading).replace("-p / ", &format!("-p {} ", self.vhost.name));
        text.replace("oslo", &self.publisher).replace("subscriber", &self.subscriber)
    }

    /// Runs a section, and has nobody go on with what was allowed before: the broker remembers that for a while.
    async fn apply(&self, heading: &str) {
        run(self.broker.shell(), &self.folder, &self.commands(heading)).await;
        self.close().await;
    }

    /// Closes both users' connections, and nobody else's.
    async fn close(&self) {
        let all = self.vhost.api.must("GET", "/api/connections", &Value::Null).await;
        let users = [self.publisher.as_str(), self.subscriber.as_str()].map(Some);
        let theirs = all.as_array().unwrap().iter().filter(|one| users.contains(&one["user"].as_str()));
        for name in theirs.filter_map(|connection| connection["name"].as_str()) {
            // One that closed by itself meanwhile is as closed.
            let _ = self.vhost.api.call("DELETE", &format!("/api/connections/{}", encode(name)), "").await;
        }
    }

    /// The three patterns that a section gives: configure, write, read.
    fn patterns(&self, heading: &str) -> [String; 3] {
        let commands = self.commands(heading);
        let line = commands.lines().find(|line| line.contains("set_permissions")).unwrap();
        let patterns: Vec<&str> = line.split('\'').skip(1).step_by(2).collect();
        <[&str; 3]>::try_from(patterns).unwrap().map(str::to_owned)
    }

    /// Gives a user a section's permissions with one of the patterns replaced.
    async fn instead(&self, user: &str, heading: &str, which: usize, pattern: &str) {
        let mut patterns = self.patterns(heading);
        assert_ne!(patterns[which], pattern, "{heading}: nothing is taken away");
        patterns[which] = pattern.to_owned();
        let [configure, write, read] = &patterns;
        self.vhost.api.permit(&self.vhost.name, user, Permissions { configure, write, read }).await;
        self.close().await;
    }

    async fn tag(&self, tag: &str) {
        let body = json!({"password": self.password(&self.publisher), "tags": tag});
        self.vhost.api.must("PUT", &format!("/api/users/{}", encode(&self.publisher)), &body).await;
    }

    fn setup(&self, role: &str, user: &str) -> Setup {
        let setup = Setup::new(role).envs(self.vhost.environment());
        let setup = setup.env("RABBITMQ_USER", user).env("RABBITMQ_PASS", &self.password(user));
        let setup = setup.env("RABBITMQ_EXCHANGE", EXCHANGE).env("RABBITMQ_QUEUE", QUEUE);
        setup.env("RABBITMQ_ROUTING_KEY", KEY)
    }

    fn subscriber(&self, redis: &Redis) -> Setup {
        let setup = self.setup("subscriber", &self.subscriber).envs(redis.environment());
        setup.env("USER_ID_POLICY", "refuse")
    }

    /// One that looks for a consumer of another queue, as another user than whoever consumes.
    fn publisher(&self) -> Setup {
        let setup = self.setup("publisher", &self.publisher).env("PUBLISHER_ID", &self.publisher);
        let wanted = config(&[], &[listener("inbox", "^ingest", "ingest")]).to_string();
        let setup = setup.env("RABBITMQ_SEND_USER_ID", "true").env("PUBLISH_INTERVAL", "1s");
        setup.publisher_config(&wanted).listening()
    }

    /// Waits until our heartbeats are heard and the consumer that runs is shown as up.
    async fn is_heard(&self, subscriber: &Program) {
        let labels = [("publisher", self.publisher.as_str())];
        subscriber.wait_value(SOON, "heartbeat_publisher_up", &labels, 1.0).await;
        let labels = [("publisher", self.publisher.as_str()), ("kind", "consumer"), ("name", "ingest")];
        subscriber.wait_value(SOON, "heartbeat_component_up", &labels, 1.0).await;
    }

    /// Waits until heartbeats have come that were not there before.
    async fn goes_on(&self, publisher: &Program, subscriber: &Program) {
        let labels = [("publisher", self.publisher.as_str())];
        let heard = async || {
            let scrape = subscriber.metrics().await?;
            scrape.value("heartbeat_publisher_heartbeats_total", &labels).ok_or_else(|| "none".to_owned())
        };
        let before = wait_until("heartbeats are counted", SOON, heard).await;
        let published = wait_published(publisher, 1.0).await;
        wait_published(publisher, published + 2.0).await;
        wait_until("later heartbeats are heard", SOON, async || {
            let seen = heard().await?;
            if seen >= before + 2.0 { Ok(()) } else { Err(format!("{before}, then {seen}")) }
        })
        .await;
    }

    async fn connect(&self, user: &str) -> Connection {
        let [name, pass, vhost] = [user, &self.password(user), &self.vhost.name].map(encode);
        let uri = format!("amqp://{name}:{pass}@127.0.0.1:{}/{vhost}", self.vhost.ports.amqp);
        Connection::connect(&uri, ConnectionProperties::default()).await.unwrap()
    }
}

async fn channel(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    channel
}

/// Asserts that the broker said no, and by which code.
fn refused<T: std::fmt::Debug>(what: &str, code: u16, done: Result<T, Error>) {
    match done {
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(said) => assert_eq!(said.get_id(), code, "{what}: {error}"),
            _ => panic!("{what}: {error}"),
        },
        Ok(done) => panic!("{what} is allowed: {done:?}"),
    }
}

async fn publish(
    connection: &Connection,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
) -> Result<(), Error> {
    let options = BasicPublishOptions::default();
    let channel = channel(connection).await;
    let sent = channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties).await?;
    let confirmed = sent.await?;
    assert!(confirmed.is_ack(), "{confirmed:?}");
    Ok(())
}

async fn count(program: &Program, name: &str, reason: &str) -> f64 {
    program.metrics().await.unwrap().value(name, &[("reason", reason)]).unwrap_or_default()
}

/// Waits until one more failure is counted. Connections are closed meanwhile, since those that are open go on with
/// what was allowed before, and the broker shows new ones late.
async fn fails(granted: &Granted, program: &Program, name: &str, reason: &str) {
    let before = count(program, name, reason).await;
    wait_until(&format!("{name} counts {reason}"), SOON, async || {
        granted.close().await;
        sleep(Duration::from_secs(1)).await;
        match count(program, name, reason).await {
            seen if seen > before => Ok(()),
            seen => Err(format!("{before}, then {seen}: {}", program.log())),
        }
    })
    .await;
}

const CONSUMER_FAILURES: &str = "heartbeat_subscriber_consumer_failures_total";
const PUBLISH_FAILURES: &str = "heartbeat_emitter_publish_failures_total";

/// From an empty vhost: the subscriber creates what is missing, then each side has what it needs and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cycle_passes_and_each_right_is_needed() {
    let granted = Granted::new().await;
    let (vhost, redis) = (&granted.vhost, Redis::start().await);
    let (publisher, subscriber) = (granted.publisher.as_str(), granted.subscriber.as_str());
    for heading in ["To create what is missing", "The publisher", "The publisher, if it checks consumers"] {
        granted.apply(heading).await;
    }
    let _consumer = vhost.consume("inbox", "ingest-1").await;
    let mut creating = granted.subscriber(&redis).start_ready().await;
    let ours = granted.publisher().start();
    granted.is_heard(&creating).await;
    assert!(creating.log().contains("Queue created"), "{}", creating.log());
    vhost.delete_queue(QUEUE).await;
    granted.goes_on(&ours, &creating).await;
    assert_eq!(creating.terminate(SOON).await, Some(0));
    creation_needs_each_right(&granted, &redis).await;

    granted.apply("The subscriber").await;
    let mut narrow = granted.subscriber(&redis).start_ready().await;
    granted.is_heard(&narrow).await;
    granted.apply("The publisher, if it checks consumers").await;
    granted.goes_on(&ours, &narrow).await;
    assert!(
        redis.keys("service:ingest:ok").await.len() == 1 && redis.keys("queue:inbox:ok").await.len() == 1
    );

    // The subscriber's one right.
    let heading = "The subscriber";
    granted.instead(subscriber, heading, 2, "^$").await;
    fails(&granted, &narrow, CONSUMER_FAILURES, "denied").await;
    granted.apply(heading).await;
    granted.goes_on(&ours, &narrow).await;
    narrow.terminate(SOON).await;

    // The publisher's: to write to the exchange, under the key, and to ask the management API.
    granted.instead(publisher, "The publisher", 1, "^$").await;
    fails(&granted, &ours, PUBLISH_FAILURES, "unconfirmed").await;
    ours.wait_log(SOON, "access to exchange 'sda'").await;
    granted.apply("The publisher").await;
    let published = wait_published(&ours, 1.0).await;
    wait_published(&ours, published + 1.0).await;
    let path = format!("/api/topic-permissions/{}/{}", encode(&vhost.name), encode(publisher));
    let other_key = json!({"exchange": EXCHANGE, "write": "^other$", "read": "^$"});
    vhost.api.must("PUT", &path, &other_key).await;
    fails(&granted, &ours, PUBLISH_FAILURES, "unconfirmed").await;
    ours.wait_log(SOON, "access to topic 'service.heartbeat'").await;
    granted.apply("The publisher").await;
    granted.tag("").await;
    ours.wait_log(SOON, "reason=management_denied").await;
    granted.apply("The publisher, if it checks consumers").await;
    ours.wait_log(SOON, "was_reason=management_denied outcome=up").await;
}

/// Without one of the rights to create, that is not created of which it is the right.
async fn creation_needs_each_right(granted: &Granted, redis: &Redis) {
    let heading = "To create what is missing";
    let user = granted.subscriber.as_str();
    let vhost = encode(&granted.vhost.name);
    for (which, pattern, said) in [
        (0, "^heartbeat$", "creating exchange"),
        (0, "^sda$", "creating queue"),
        (1, "^$", "Not allowed to bind the queue; taken to be bound"),
        (2, "^heartbeat$", "Not allowed to bind the queue; taken to be bound"),
        (2, "^sda$", "consuming queue"),
    ] {
        for path in [format!("/api/exchanges/{vhost}/{EXCHANGE}"), format!("/api/queues/{vhost}/{QUEUE}")] {
            // What an earlier round was not allowed to create is not there.
            let _ = granted.vhost.api.call("DELETE", &path, "").await;
        }
        granted.instead(user, heading, which, pattern).await;
        let mut program = granted.subscriber(redis).start();
        program.wait_log(SOON, said).await;
        let log = program.log();
        assert!(log.contains("ACCESS_REFUSED") || log.contains("Not allowed"), "{pattern}: {log}");
        program.kill();
    }
    granted.apply(heading).await;
    let mut program = granted.subscriber(redis).start_ready().await;
    program.wait_log(SOON, "Consuming").await;
    program.kill();
}

/// What is refused goes to the exchange if the user may write to it, and to the list in Redis if it may not.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_need_one_more() {
    let granted = Granted::new().await;
    let (vhost, redis) = (&granted.vhost, Redis::start().await);
    for (exchange, queue) in [(EXCHANGE, QUEUE), (DEAD, "dead")] {
        vhost.declare_exchange(exchange).await;
        vhost.declare_queue(queue, json!({})).await;
        vhost.bind(exchange, queue, KEY).await;
    }
    granted.apply("The subscriber").await;
    let setup = granted.subscriber(&redis).env("RABBITMQ_DEAD_LETTER_EXCHANGE", DEAD);
    let subscriber = setup.start_ready().await;
    let plain = BasicProperties::default();
    let send = || vhost.publish(EXCHANGE, KEY, &plain, ["{"]);
    send().await;
    wait_until("it is in the list", SOON, async || {
        let listed = redis.command(&["LLEN", "heartbeat:rejected"]).await.integer();
        if listed == 1 { Ok(()) } else { Err(format!("{listed}")) }
    })
    .await;
    assert_eq!(vhost.queue_depth("dead").await.0, 0);
    subscriber.wait_log(SOON, "access to exchange 'heartbeat.dead'").await;
    granted.apply("The subscriber, with a dead-letter exchange").await;
    wait_until("one comes to the exchange", SOON, async || {
        // What comes before the exchange is reached again goes to the list too.
        send().await;
        sleep(Duration::from_millis(500)).await;
        if vhost.queue_depth("dead").await.0 > 0 { Ok(()) } else { Err(subscriber.log()) }
    })
    .await;
}

/// What neither may do, tried as each of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_given_is_refused() {
    let granted = Granted::new().await;
    let vhost = &granted.vhost;
    vhost.declare_exchange(EXCHANGE).await;
    vhost.declare_queue(QUEUE, json!({})).await;
    vhost.bind(EXCHANGE, QUEUE, KEY).await;
    for heading in ["The publisher", "The publisher, if it checks consumers", "The subscriber"] {
        granted.apply(heading).await;
    }
    let plain = BasicProperties::default;
    let oslo = granted.connect(&granted.publisher).await;
    let subscriber = granted.connect(&granted.subscriber).await;

    // The publisher: its own way is open, also by its name, and none beside it.
    let named = |user: &str| plain().with_user_id(user.into());
    publish(&oslo, EXCHANGE, KEY, named(&granted.publisher)).await.unwrap();
    let consume = |channel: Channel| async move {
        let options = BasicConsumeOptions::default();
        channel.basic_consume(QUEUE.into(), "x".into(), options, FieldTable::default()).await
    };
    refused("reading", 403, consume(channel(&oslo).await).await.map(drop));
    let get = channel(&oslo).await.basic_get(QUEUE.into(), BasicGetOptions::default()).await;
    refused("getting", 403, get.map(drop));
    refused("another key", 403, publish(&oslo, EXCHANGE, "service.other", plain()).await);
    refused("straight to the queue", 403, publish(&oslo, "", QUEUE, plain()).await);
    refused("another's name", 406, publish(&oslo, EXCHANGE, KEY, named(&granted.subscriber)).await);

    // The subscriber: it reads, and writes nothing anywhere.
    consume(channel(&subscriber).await).await.unwrap();
    refused("publishing", 403, publish(&subscriber, EXCHANGE, KEY, plain()).await);
    refused("publishing to the queue", 403, publish(&subscriber, "", QUEUE, plain()).await);

    for connection in [&oslo, &subscriber] {
        let table = FieldTable::default;
        let new = channel(connection).await;
        let declared = new.queue_declare("new".into(), QueueDeclareOptions::default(), table()).await;
        refused("declaring a queue", 403, declared.map(drop));
        let (new, options) = (channel(connection).await, ExchangeDeclareOptions::default());
        let declared = new.exchange_declare("new".into(), ExchangeKind::Topic, options, table()).await;
        refused("declaring an exchange", 403, declared);
        let new = channel(connection).await;
        refused("deleting", 403, new.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await);
        let new = channel(connection).await;
        refused(
            "deleting",
            403,
            new.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default()).await,
        );
        let (new, options) = (channel(connection).await, QueueBindOptions::default());
        let bound = new.queue_bind(QUEUE.into(), EXCHANGE.into(), "#".into(), options, table()).await;
        refused("binding", 403, bound);
    }
    // Who reads a queue may also empty it: that is one right to the broker.
    channel(&subscriber).await.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await.unwrap();

    // The management API: the subscriber has no part in it, and the publisher's user changes nothing there.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], vhost.ports.http));
    let vhost_path = encode(&vhost.name);
    for (user, method, path, body, status) in [
        (&granted.subscriber, "GET", "/api/overview".to_owned(), Value::Null, 401),
        (&granted.publisher, "GET", format!("/api/consumers/{vhost_path}"), Value::Null, 200),
        (&granted.publisher, "GET", "/api/users".to_owned(), Value::Null, 401),
        (&granted.publisher, "GET", "/api/nodes".to_owned(), Value::Null, 401),
        (&granted.publisher, "PUT", "/api/users/new".to_owned(), json!({"password": "x", "tags": ""}), 401),
        (&granted.publisher, "PUT", format!("/api/queues/{vhost_path}/new"), json!({}), 401),
        (&granted.publisher, "DELETE", format!("/api/queues/{vhost_path}/{QUEUE}"), Value::Null, 401),
    ] {
        let said = as_user(address, user, &granted.password(user), method, &path, &body).await;
        assert_eq!(said, status, "{user}: {method} {path}");
    }
}

async fn as_user(
    address: std::net::SocketAddr,
    user: &str,
    password: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> u16 {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let headers = [("authorization", format!("Basic {basic}"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    crate::support::http::request(address, method, path, &headers, &body).await.unwrap().status
}
