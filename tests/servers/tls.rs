//! TLS to the broker and to its management API, with one CA for both, and with a client's certificate.

use serde_json::Value;

use crate::support::certificates::Certificates;
use crate::support::field::{BOUND, Field, Shown, config, listener, publisher, stop};
use crate::support::process::folder;
use crate::support::rabbitmq::RabbitMq;

fn tls(broker: &RabbitMq, client: bool) -> Vec<(String, String)> {
    let Certificates { ca, client: certificate, client_key, .. } = &broker.certificates;
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut variables = vec![
        ("RABBITMQ_HOST", "localhost".to_owned()),
        ("RABBITMQ_TLS", "True".to_owned()),
        ("RABBITMQ_TLS_PORT", broker.ports.amqps.to_string()),
        // Where nothing is: who speaks without TLS finds nobody.
        ("RABBITMQ_PORT", "1".to_owned()),
        ("RABBITMQ_MANAGEMENT_PORT", broker.ports.https.to_string()),
        ("RABBITMQ_CA_CERT_PATH", path(ca)),
    ];
    if client {
        variables.push(("RABBITMQ_CLIENT_CERT_PATH", path(certificate)));
        variables.push(("RABBITMQ_CLIENT_KEY_PATH", path(client_key)));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn wanted() -> Value {
    config(&[], &[listener("jobs", "worker", "worker"), listener("gone", "worker", "missing")])
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ca_serves_the_broker_and_its_api() {
    let broker = RabbitMq::shared().await;
    let mut field = Field::start_with(broker.new_vhost().await, tls(broker, false)).await;
    let _worker = field.vhost.consume("jobs", "worker").await;
    field.vhost.wait_consumer("jobs", "worker").await;
    let ours = field.publisher("secure", &wanted()).envs(tls(broker, false)).start();
    field.wait_shown("secure", "consumer", "worker", Shown::Up).await;
    field.wait_shown("secure", "queue", "gone", Shown::Down("no_queue")).await;
    stop([ours]).await;
    field.assert_as_version_1().await;
}

/// The same broker keeps no statistics: then nobody can tell who consumes.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_lets_in_and_missing_statistics_are_unknown() {
    let broker = RabbitMq::strict().await;
    let mut field = Field::start_with(broker.new_vhost().await, tls(broker, true)).await;
    let _worker = field.vhost.consume("jobs", "worker").await;
    let ours = field.publisher("certified", &wanted()).envs(tls(broker, true)).start();
    field.wait_shown("certified", "consumer", "worker", Shown::Unknown("stats_disabled")).await;
    field.wait_shown("certified", "queue", "jobs", Shown::Unknown("stats_disabled")).await;
    field.wait_shown("certified", "queue", "gone", Shown::Down("no_queue")).await;
    stop([ours]).await;
    field.assert_as_version_1().await;
    for (_, heartbeat) in field.reader.heartbeats("certified") {
        let components = heartbeat["components"].as_array().unwrap();
        let worker = components.iter().find(|one| one["name"] == "worker").unwrap();
        assert_eq!(worker["outcome"], "unknown", "{heartbeat}");
    }

    let bare = publisher(&field.vhost, "beats", "bare", &wanted()).envs(tls(broker, false)).start();
    bare.wait_log(BOUND, "check the CA file, the client certificate and the host name").await;
    bare.wait_log(BOUND, "CertificateRequired").await;
    stop([bare]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_another_ca_is_refused() {
    let broker = RabbitMq::shared().await;
    let vhost = broker.new_vhost().await;
    let other = Certificates::make(&folder("other-ca"));
    let ours = publisher(&vhost, "beats", "wary", &wanted())
        .envs(tls(broker, false))
        .env("RABBITMQ_CA_CERT_PATH", other.ca.to_str().unwrap())
        .start();
    ours.wait_log(BOUND, "check the CA file, the client certificate and the host name").await;
    ours.wait_log(BOUND, "is vouched for by no CA in").await;
    stop([ours]).await;
}
