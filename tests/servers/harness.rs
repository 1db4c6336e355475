//! The harness itself: a test that stands on it must be able to trust it.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lapin::tcp::OwnedTLSConfig;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;

use crate::support::program::Setup;
use crate::support::rabbitmq::{Options, RabbitMq};
use crate::support::rabbitmq_api::Permissions;
use crate::support::redis::{self, Redis};
use crate::support::resp::Reply;
use crate::support::tcp::{Accepting, BlackHole, FakeHttp};
use crate::support::wait::wait_until;
use crate::support::{http, v1};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn vhosts_are_apart() {
    let (one, other) = (RabbitMq::vhost().await, RabbitMq::vhost().await);
    for vhost in [&one, &other] {
        vhost.declare_exchange("sda").await;
        vhost.declare_queue("inbox", json!({"x-max-length": 10})).await;
        vhost.bind("sda", "inbox", "beat").await;
    }
    one.publish("sda", "beat", &BasicProperties::default(), ["a", "b"]).await;
    assert_eq!(one.queue_depth("inbox").await, (2, 0));
    assert_eq!(other.queue_depth("inbox").await, (0, 0));
    assert_eq!(one.take("inbox").await.unwrap().0, b"a");
    one.purge_queue("inbox").await;
    one.delete_queue("inbox").await;
    one.create_user("reader", "secret", "monitoring", Permissions::NONE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_1_travels() {
    let (vhost, redis) = (RabbitMq::vhost().await, Redis::start().await);
    vhost.declare_queue("v1", json!({})).await;
    let mut subscriber = v1::Subscriber::start(&vhost, "v1", Some(&redis)).await;
    let (_connection, channel) = vhost.connect().await;
    let publisher = v1::Publisher::new();
    let message = publisher.message(&[("db", true)], &[("inbox", false)], &[("ingest", false)]);
    publisher.publish(&channel, "", "v1", &message).await;
    wait_until("the message is taken", SOON, async || match subscriber.taken() {
        1 => Ok(()),
        taken => Err(format!("{taken} taken")),
    })
    .await;
    subscriber.assert_alive().await;
    let keys: Vec<String> = subscriber.keys().into_keys().collect();
    assert_eq!(keys, ["queue:inbox:not_ok", "service:db:ok", "service:ingest:not_ok"]);
    assert_eq!(redis.keys("*").await, keys);
    assert_eq!(redis.get("service:db:ok").await, subscriber.keys().get("service:db:ok").cloned());
    // A closed connection ends the original's loop; ours must survive it, so the harness must be able to do it.
    wait_until("a connection is closed by the broker", SOON, async || {
        match vhost.close_connections().await {
            0 => Err("none is shown yet".to_owned()),
            closed => Ok(closed),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_broker_answers_tls() {
    let broker = RabbitMq::shared().await;
    let vhost = broker.new_vhost().await;
    let uri = vhost
        .uri()
        .replace("amqp://", "amqps://")
        .replace(&format!("127.0.0.1:{}", broker.ports.amqp), &format!("localhost:{}", broker.ports.amqps));
    let connect = async |ca: Option<String>| {
        let tls = OwnedTLSConfig { identity: None, cert_chain: ca };
        let runtime = lapin::runtime::default_runtime().unwrap();
        Connection::connect_with_config(&uri, ConnectionProperties::default(), tls, runtime).await
    };
    let ca = std::fs::read_to_string(&broker.certificates.ca).unwrap();
    assert!(connect(Some(ca)).await.unwrap().status().connected());
    assert!(connect(None).await.is_err(), "a CA that nobody knows was trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_ones_own_stops_starts_and_dies() {
    let options = Options {
        config: vec!["management_agent.disable_metrics_collector = true".into()],
        require_client_certificate: true,
        ..Options::default()
    };
    let broker = RabbitMq::start_with(options).await;
    let vhost = broker.new_vhost().await;
    vhost.declare_queue("kept", json!({})).await;
    let durable = BasicProperties::default().with_delivery_mode(2);
    vhost.publish("", "kept", &durable, ["one"]).await;
    let overview = broker.api().must("GET", "/api/overview", &json!(null)).await;
    assert_eq!(overview["disable_stats"], true, "the line of configuration is in force");

    let api = broker.api();
    broker.pause();
    let look = tokio::time::timeout(Duration::from_millis(500), api.call("GET", "/api/overview", ""));
    assert!(look.await.is_err(), "a paused broker answered");
    broker.resume();
    broker.api().must("GET", "/api/overview", &json!(null)).await;

    broker.stop().await;
    assert_eq!(TcpStream::connect(broker.amqp()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    broker.start_again().await;
    assert_eq!(vhost.queue_depth("kept").await, (1, 0), "durable data outlives a stop");

    let pid = broker.pid().unwrap();
    broker.kill();
    assert!(!alive(pid), "the broker lives on after a kill");
    broker.launch();
    let pid = broker.pid().unwrap();
    drop(broker);
    assert!(!alive(pid), "the broker lives on after its drop");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stops_starts_and_pauses() {
    let options = redis::Options {
        password: Some("secret".into()),
        user: Some(("heartbeat".into(), "other".into())),
        tls: true,
        append_only: true,
        ..redis::Options::default()
    };
    let redis = Redis::start_with(options).await;
    redis.command(&["SET", "service:a b:ok", "now"]).await;
    assert_eq!(redis.command(&["INCRBY", "n", "3"]).await, Reply::Integer(3));
    assert!(TcpStream::connect(("127.0.0.1", redis.tls_port)).is_ok());

    let mut client = redis.client().await.unwrap();
    redis.pause();
    let look = tokio::time::timeout(Duration::from_millis(300), client.command(&["PING"]));
    assert!(look.await.is_err(), "a paused Redis answered");
    redis.resume();

    redis.kill();
    redis.start_again().await;
    assert_eq!(redis.keys("service:*").await, ["service:a b:ok"], "append-only data outlives a kill");
    redis.stop().await;
    redis.start_again().await;
    redis.flush().await;
    assert_eq!(redis.get("n").await, None);
    let pid = redis.pid().unwrap();
    drop(redis);
    assert!(!alive(pid), "Redis lives on after its drop");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_peers_do_as_they_say() {
    let mut port = Accepting::open();
    assert!(TcpStream::connect(port.address).is_ok());
    port.close().await;
    assert_eq!(TcpStream::connect(port.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    port.reopen();
    assert!(TcpStream::connect(port.address).is_ok());

    let hole = BlackHole::open();
    let begun = Instant::now();
    let error = TcpStream::connect_timeout(&hole.address, Duration::from_secs(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(begun.elapsed() >= Duration::from_secs(3), "it answered in between");

    let fake = FakeHttp::answering("401 Unauthorized", "text/html", "<p>no</p>");
    let answer = http::get(fake.address, "/api/overview").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (401, "<p>no</p>"));
    let hung = FakeHttp::hung();
    let look = tokio::time::timeout(Duration::from_millis(300), http::get(hung.address, "/"));
    assert!(look.await.is_err(), "it answered");
}

/// A process that is gone, or that nobody has waited for yet, is not alive.
fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    status.is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_runs_in_an_environment_of_its_own() {
    let mut program = Setup::new("publisher").arg("--help").env("RABBITMQ_HOST", "nowhere").start();
    assert_eq!(program.exit_code(SOON).await, Some(0), "{}", program.log());
}
