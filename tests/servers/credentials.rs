//! Who a program is to its servers, and how it is known: passwords that rotate, certificates that do, and those that are
//! refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::service_manager::Manager;
use crate::support::bridge::{Bridge, SOON};
use crate::support::certificates::Certificates;
use crate::support::field::{BOUND, config, listener, publisher, stop, wait_published};
use crate::support::process::folder;
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::{self, RabbitMq};
use crate::support::rabbitmq_api::{Permissions, encode};
use crate::support::redis;
use crate::support::tcp::FakeHttp;
use crate::support::vhost::Vhost;
use crate::support::wait::wait_until;

/// For how long a refused program is watched.
const WATCHED: Duration = Duration::from_secs(5);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn secret_file(name: &str, secret: &str) -> PathBuf {
    let path = folder("secret").join(name);
    fs::write(&path, secret).unwrap();
    path
}

fn count(program: &Program, words: &str) -> usize {
    program.log().matches(words).count()
}

/// Watches a program that is refused: it tries again, and no more than once a second.
async fn tries_slowly(program: &Program, words: &str) {
    program.wait_log(BOUND, words).await;
    let (before, began) = (count(program, words), Instant::now());
    wait_until("it tries again", BOUND, async || match count(program, words) - before {
        tried if tried > 0 && began.elapsed() > WATCHED => Ok(()),
        tried => Err(format!("{tried} attempts in {:?}", began.elapsed())),
    })
    .await;
    let tried = count(program, words) - before;
    let most = began.elapsed().as_secs() as usize + 1;
    assert!(tried <= most, "{tried} attempts in {:?}", began.elapsed());
}

async fn set_password(vhost: &Vhost, password: &str) {
    let body = json!({"password": password, "tags": "administrator"});
    vhost.api.must("PUT", &format!("/api/users/{}", encode(&vhost.name)), &body).await;
}

/// With the broker's password in a file.
fn by_file(setup: Setup, path: &Path) -> Setup {
    setup.env("RABBITMQ_PASS", "").env("RABBITMQ_PASS_FILE", text(path))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_rotates_at_the_broker_needs_no_restart() {
    let vhost = RabbitMq::vhost().await;
    let path = secret_file("rabbitmq", &vhost.name);
    let wanted = config(&[], &[listener("gone", "worker", "missing")]);
    let setup = by_file(publisher(&vhost, "beats", "rotating", &wanted), &path).listening();
    let ours = setup.start();
    wait_published(&ours, 2.0).await;
    ours.wait_log(BOUND, "reason=no_queue").await;
    let asked = count(&ours, "reason=no_queue");

    set_password(&vhost, "canary-new").await;
    wait_until("its connection is closed", SOON, async || match vhost.close_connections().await {
        0 => Err("none is shown yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    tries_slowly(&ours, "did not open the connection: check user, password and vhost").await;
    ours.wait_log(BOUND, "reason=management_denied").await;

    // The file is gone for a moment, as in a rotation that is not atomic.
    fs::remove_file(&path).unwrap();
    ours.wait_log(BOUND, "File cannot be used; what it held before still counts").await;
    fs::write(&path, "canary-new\n").unwrap();
    let seen = wait_published(&ours, 1.0).await;
    wait_published(&ours, seen + 2.0).await;
    wait_until("it asks the management API again", SOON, async || {
        if count(&ours, "reason=no_queue") > asked { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert!(!ours.log().contains("canary"), "{}", ours.log());
    stop([ours]).await;
}

/// A pipe gives nothing until somebody writes to it, as a disk that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_on_a_disk_that_hangs_stops_nothing() {
    let vhost = RabbitMq::vhost().await;
    let path = secret_file("hanging", &vhost.name);
    // Of a queue that is there: of one that is gone, AMQP tells without the management API.
    vhost.declare_queue("work", json!({})).await;
    let wanted = config(&[], &[listener("work", "worker", "comes")]);
    let setup = by_file(publisher(&vhost, "beats", "hanging", &wanted), &path).listening();
    let (manager, setup) = Manager::of(setup);
    let ours = setup.start();
    ours.wait_log(BOUND, "reason=no_consumer").await;
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    ours.wait_log(BOUND, "what it held before still counts").await;
    // The connection is made anew and consumers are looked up, with the password that was read last.
    let published = wait_published(&ours, 1.0).await;
    wait_until("its connection is closed", SOON, async || match vhost.close_connections().await {
        0 => Err("none is shown yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    wait_published(&ours, published + 3.0).await;
    let _worker = vhost.consume("work", "worker").await;
    ours.wait_log(BOUND, "outcome=up").await;
    manager.wait_alive().await;
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_rotates_at_redis_needs_no_restart() {
    let user = ("rotating".to_owned(), "canary-old".to_owned());
    let options = redis::Options { user: Some(user), ..redis::Options::default() };
    let bridge = Bridge::with(RabbitMq::vhost().await, options).await;
    let path = secret_file("redis", "canary-old");
    let setup = bridge.subscriber().env("REDIS_USERNAME", "rotating").env("REDIS_PASSWORD_FILE", text(&path));
    let mut running = setup.start_ready().await;

    bridge.redis.command(&["ACL", "SETUSER", "rotating", "resetpass", ">canary-new"]).await;
    bridge.redis.command(&["CLIENT", "KILL", "USER", "rotating"]).await;
    tries_slowly(&running, "check host, port, password, ACL user and TLS").await;
    assert!(running.log().contains("WRONGPASS"), "{}", running.log());
    fs::write(&path, "canary-new").unwrap();
    running.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "redis")], 1.0).await;

    // And one whose right to a command is taken away: told which, and not asked in a loop.
    bridge.redis.command(&["ACL", "SETUSER", "rotating", "-time"]).await;
    tries_slowly(&running, "does not allow asking for the time").await;
    assert!(running.log().contains("NOPERM"), "{}", running.log());
    bridge.redis.command(&["ACL", "SETUSER", "rotating", "+time"]).await;
    running.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", "redis")], 1.0).await;
    assert!(!running.log().contains("canary"), "{}", running.log());
    running.terminate(SOON).await;
}

/// Leads a program to a broker's TLS port, with a client's certificate.
fn certified(setup: Setup, broker: &RabbitMq) -> Setup {
    let Certificates { ca, client, client_key, .. } = &broker.certificates;
    setup
        .env("RABBITMQ_HOST", "localhost")
        .env("RABBITMQ_TLS", "true")
        .env("RABBITMQ_TLS_PORT", &broker.ports.amqps.to_string())
        .env("RABBITMQ_MANAGEMENT_TLS", "false")
        .env("RABBITMQ_CA_CERT_PATH", text(ca))
        .env("RABBITMQ_CLIENT_CERT_PATH", text(client))
        .env("RABBITMQ_CLIENT_KEY_PATH", text(client_key))
}

#[tokio::test(flavor = "multi_thread")]
async fn external_takes_the_user_from_the_certificate() {
    let broker = RabbitMq::start_with(rabbitmq::Options::external()).await;
    let vhost = broker.new_vhost().await;
    let setup = || {
        let setup = certified(publisher(&vhost, "beats", "external", &config(&[], &[])), &broker);
        // Who logs in by password is refused: this one is wrong.
        setup.env("RABBITMQ_AUTH_MECHANISM", "external").env("RABBITMQ_PASS", "canary-unused").listening()
    };
    // Nobody has the name of the certificate yet.
    let ours = setup().start();
    tries_slowly(&ours, "that it has a user of the client certificate's name").await;

    vhost.create_user("heartbeat-client", "canary-other", "", Permissions::ALL).await;
    wait_published(&ours, 2.0).await;
    wait_until("the broker shows the connection", SOON, async || {
        let all = vhost.api.call("GET", "/api/connections", "").await?;
        let ours = all.as_array().unwrap().iter().find(|one| one["user"] == "heartbeat-client");
        match ours.map(|one| &one["auth_mechanism"]) {
            Some(Value::String(mechanism)) if mechanism == "EXTERNAL" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stop([ours]).await;
    let plain = setup().env("RABBITMQ_AUTH_MECHANISM", "plain").start();
    plain.wait_log(BOUND, "did not open the connection: check user, password and vhost").await;
    stop([plain]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_is_refused_by_a_broker_that_does_not_offer_it() {
    let broker = RabbitMq::shared().await;
    let vhost = broker.new_vhost().await;
    let setup = certified(publisher(&vhost, "beats", "external", &config(&[], &[])), broker);
    let ours = setup.env("RABBITMQ_AUTH_MECHANISM", "external").start();
    tries_slowly(&ours, "check that the broker offers EXTERNAL (plugin rabbitmq_auth_mechanism_ssl").await;
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_than_the_certificate_has_is_refused() {
    let broker = RabbitMq::shared().await;
    let vhost = broker.new_vhost().await;
    let wanted = config(&[], &[listener("gone", "worker", "missing")]);
    let ours = certified(publisher(&vhost, "beats", "misled", &wanted), broker)
        .env("RABBITMQ_MANAGEMENT_TLS", "true")
        .env("RABBITMQ_MANAGEMENT_PORT", &broker.ports.https.to_string())
        .env("RABBITMQ_TLS_SERVER_NAME", "broker.example.org")
        .start();
    ours.wait_log(BOUND, "and not for broker.example.org").await;
    ours.wait_log(BOUND, "reason=tls").await;
    stop([ours]).await;

    let bridge = Bridge::with(vhost, redis::Options { tls: true, ..redis::Options::default() }).await;
    let setup = |name: &str| {
        let ca = &bridge.redis.certificates.as_ref().unwrap().ca;
        bridge
            .subscriber()
            .env("REDIS_PORT", &bridge.redis.tls_port.to_string())
            .env("REDIS_TLS", "true")
            .env("REDIS_CA_CERT_PATH", text(ca))
            .env("REDIS_TLS_SERVER_NAME", name)
    };
    let mut misled = setup("redis.example.org").start();
    misled.wait_log(BOUND, "and not for redis.example.org").await;
    misled.terminate(SOON).await;
    let mut led = setup("localhost").start_ready().await;
    led.terminate(SOON).await;
}

/// A Redis that asks for a certificate lets nobody in without, nor with one of another CA.
#[tokio::test(flavor = "multi_thread")]
async fn redis_asks_for_a_certificate() {
    let config = vec!["tls-auth-clients yes".into()];
    let options = redis::Options { tls: true, config, ..redis::Options::default() };
    let bridge = Bridge::with(RabbitMq::vhost().await, options).await;
    let own = bridge.redis.certificates.as_ref().unwrap();
    let other = Certificates::make(&folder("other-ca"));
    let bare = || {
        let setup = bridge.subscriber().env("REDIS_HOST", "localhost").env("REDIS_TLS", "true");
        setup.env("REDIS_PORT", &bridge.redis.tls_port.to_string()).env("REDIS_CA_CERT_PATH", text(&own.ca))
    };
    let with = |of: &Certificates| {
        bare()
            .env("REDIS_CLIENT_CERT_PATH", text(&of.client))
            .env("REDIS_CLIENT_KEY_PATH", text(&of.client_key))
    };
    for setup in [bare(), with(&other)] {
        let mut refused = setup.start();
        refused.wait_log(SOON, "No connection to Redis; trying again").await;
        let connected = refused.metrics().await.unwrap();
        assert_eq!(connected.value("heartbeat_subscriber_connected", &[("peer", "redis")]), Some(0.0));
        refused.terminate(SOON).await;
    }
    with(own).start_ready().await.terminate(SOON).await;
}

/// Redis gets a certificate of another CA; the file of the program follows, and it does not restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_rotates_needs_no_restart() {
    let options = redis::Options { tls: true, ..redis::Options::default() };
    let bridge = Bridge::with(RabbitMq::vhost().await, options).await;
    let old = bridge.redis.certificates.as_ref().unwrap().clone();
    let ca = folder("rotated").join("ca.pem");
    fs::copy(&old.ca, &ca).unwrap();
    let setup = bridge.subscriber().env("REDIS_HOST", "localhost").env("REDIS_TLS", "true");
    let setup =
        setup.env("REDIS_PORT", &bridge.redis.tls_port.to_string()).env("REDIS_CA_CERT_PATH", text(&ca));
    let mut running = setup.start_ready().await;
    let redis_peer = [("peer", "redis")];
    let metric = "heartbeat_tls_certificate_not_after_timestamp_seconds";
    assert!(running.metrics().await.unwrap().value(metric, &redis_peer).is_some());

    let new = Certificates::make(&folder("new-ca"));
    let files = [&new.ca, &new.server, &new.server_key].map(|path| text(path).to_owned());
    let [new_ca, server, key] = &files;
    let set = ["CONFIG", "SET", "tls-ca-cert-file", new_ca, "tls-cert-file", server, "tls-key-file", key];
    bridge.redis.command(&set).await;
    bridge.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    running.wait_log(SOON, "is vouched for by no CA in").await;
    // Half written: what it held goes on to count, and that is said once.
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let broken = "File cannot be used; what it held before still counts";
    running.wait_log(SOON, broken).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(count(&running, broken), 1, "{}", running.log());
    fs::copy(&new.ca, &ca).unwrap();
    running.wait_value(SOON, "heartbeat_subscriber_connected", &redis_peer, 1.0).await;
    running.terminate(SOON).await;
}

/// The CA is another's at first: whoever connects reads the file anew, over AMQP and to the management API.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_put_right_needs_no_restart() {
    let broker = RabbitMq::shared().await;
    let vhost = broker.new_vhost().await;
    vhost.declare_queue("work", json!({})).await;
    let _worker = vhost.consume("work", "worker").await;
    let ca = folder("wrong-ca").join("ca.pem");
    fs::copy(Certificates::make(&folder("other-ca")).ca, &ca).unwrap();
    let wanted = config(&[], &[listener("work", "worker", "there")]);
    let setup = certified(publisher(&vhost, "beats", "misled", &wanted), broker)
        .env("RABBITMQ_MANAGEMENT_TLS", "true")
        .env("RABBITMQ_MANAGEMENT_PORT", &broker.ports.https.to_string())
        .env("RABBITMQ_CA_CERT_PATH", text(&ca));
    let ours = setup.listening().start();
    ours.wait_log(BOUND, "is vouched for by no CA in").await;
    ours.wait_log(BOUND, "reason=tls").await;
    fs::copy(&broker.certificates.ca, &ca).unwrap();
    wait_published(&ours, 2.0).await;
    ours.wait_log(BOUND, "outcome=up").await;
    stop([ours]).await;
}

/// A port that accepts and never answers the hello.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_handshake_ends_at_its_deadline() {
    let (broker, silent) = (RabbitMq::shared().await, FakeHttp::hung());
    let bridge = Bridge::new().await;
    let port = silent.address.port().to_string();
    let wanted = config(&[], &[listener("gone", "worker", "missing")]);
    let ours = certified(publisher(&bridge.vhost, "beats", "waiting", &wanted), broker)
        .env("RABBITMQ_TLS_PORT", &port)
        .env("RABBITMQ_MANAGEMENT_TLS", "true")
        .env("RABBITMQ_MANAGEMENT_PORT", &port)
        .env("CHECK_TIMEOUT", "1s")
        .start();
    let mut subscriber = bridge
        .subscriber()
        .env("REDIS_TLS", "true")
        .env("REDIS_PORT", &port)
        .env("REDIS_TIMEOUT", "1s")
        .env("REDIS_CA_CERT_PATH", text(&broker.certificates.ca))
        .start();
    let began = Instant::now();
    ours.wait_log(BOUND, "reason=management_timeout").await;
    subscriber.wait_log(BOUND, "Redis").await;
    ours.wait_log(BOUND, "no answer to the TLS handshake with localhost").await;
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    stop([ours]).await;
    subscriber.terminate(SOON).await;
}
