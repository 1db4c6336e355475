//! Broken ways to RabbitMQ, and what is broken there.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Patient, checks_a_queue, definitions};
use crate::support::certificates::Certificates;
use crate::support::ports::free_port;
use crate::support::rabbitmq::{Options, RabbitMq};
use crate::support::rabbitmq_api::{Permissions, encode};
use crate::support::vhost::Vhost;

/// A vhost with exchange, queue and binding, and `oslo`, who may send.
struct Enclave {
    vhost: Vhost,
    folder: TempDir,
    user: String,
}

const SENDS: Permissions<'static> = Permissions { configure: "^$", write: "^sda$", read: "^$" };

impl Enclave {
    async fn new(tags: &str, permissions: Permissions<'_>) -> Self {
        Self::on(RabbitMq::shared().await, tags, permissions).await
    }

    async fn on(broker: &RabbitMq, tags: &str, permissions: Permissions<'_>) -> Self {
        let vhost = broker.new_vhost().await;
        let user = format!("oslo of {}", vhost.name);
        vhost.api.create_user(&vhost.name, &user, &user, tags, permissions).await;
        Self { vhost, folder: TempDir::new().unwrap(), user }
    }

    /// With all that is needed.
    async fn whole(tags: &str, permissions: Permissions<'_>) -> Self {
        let enclave = Self::new(tags, permissions).await;
        enclave.make().await;
        enclave
    }

    async fn make(&self) {
        self.vhost.declare_exchange("sda").await;
        self.vhost.declare_queue("heartbeat", json!({})).await;
        self.vhost.bind("sda", "heartbeat", "service.heartbeat").await;
    }

    /// A publisher here; it checks nothing, so that it needs no management API.
    fn publisher(&self) -> Patient {
        let path = self.folder.path().join("nothing.json");
        std::fs::write(&path, r#"{"heartbeat": {"hosts": [], "rmq_consumers": []}}"#).unwrap();
        self.patient("publisher").env("PUBLISHER_CONFIG_PATH", path.to_str().unwrap())
    }

    /// A publisher here that checks a queue.
    fn checking(&self) -> Patient {
        self.patient("publisher").env("PUBLISHER_CONFIG_PATH", &checks_a_queue(self.folder.path()))
    }

    fn patient(&self, role: &'static str) -> Patient {
        Patient::new(role)
            .called(&self.user, "oslo")
            .at(self.vhost.ports, &self.vhost.name, &self.user)
            .env("PUBLISHER_ID", "oslo")
    }
}

/// Two CAs, as where one was made anew.
fn other_ca(folder: &TempDir) -> String {
    Certificates::make(folder.path()).ca.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn all_is_well() {
    let enclave = Enclave::whole("monitoring", SENDS).await;
    enclave.checking().examine().await.is("well-publisher", 0, None);
}

#[tokio::test]
async fn the_way_to_the_broker() {
    let enclave = Enclave::whole("monitoring", SENDS).await;
    let before = definitions(&enclave.vhost).await;
    let ports = enclave.vhost.ports;
    let ca = RabbitMq::shared().await.certificates.ca.to_str().unwrap().to_owned();
    let tls = |patient: Patient, ca: &str| {
        let patient = patient.env("RABBITMQ_TLS", "true").env("RABBITMQ_CA_CERT_PATH", ca);
        patient.env("RABBITMQ_PORT", "").env("RABBITMQ_MANAGEMENT_TLS", "false")
    };

    let wrong = enclave.publisher().env("RABBITMQ_HOST", "no-such-host.invalid");
    wrong.env("RABBITMQ_MANAGEMENT_HOST", "127.0.0.1").examine().await.is("dns", 2, Some("DNS"));

    let port = free_port().to_string();
    let wrong = enclave.publisher().env("RABBITMQ_PORT", &port).called(&port, "5673");
    wrong.examine().await.is("tcp", 2, Some("TCP"));

    let well = tls(enclave.publisher(), &ca);
    well.examine().await.is("tls-well", 0, None);

    let folder = TempDir::new().unwrap();
    let other = other_ca(&folder);
    let wrong = tls(enclave.publisher(), &other).called(&other, "/etc/heartbeat/ca.pem");
    wrong.examine().await.is("tls-other-ca", 2, Some("TLS"));

    let wrong = tls(enclave.publisher(), &ca).env("RABBITMQ_TLS_SERVER_NAME", "mq.example.org");
    wrong.examine().await.is("tls-other-name", 2, Some("TLS"));

    let wrong = tls(enclave.publisher(), &ca).env("RABBITMQ_TLS_PORT", &ports.amqp.to_string());
    wrong.examine().await.is("tls-to-plain-port", 2, Some("TLS"));

    let wrong = enclave.publisher().env("RABBITMQ_PORT", &ports.amqps.to_string());
    wrong.examine().await.is("plain-to-tls-port", 2, Some("login"));

    let wrong = enclave.publisher().env("RABBITMQ_PORT", &ports.http.to_string());
    wrong.examine().await.is("another-port-of-the-broker", 2, Some("login"));

    assert_eq!(definitions(&enclave.vhost).await, before);
}

#[tokio::test]
async fn a_client_certificate_is_wanted() {
    let broker = RabbitMq::strict().await;
    let enclave = Enclave::on(broker, "monitoring", SENDS).await;
    let patient = enclave
        .publisher()
        .env("RABBITMQ_TLS", "true")
        .env("RABBITMQ_PORT", "")
        .env("RABBITMQ_MANAGEMENT_TLS", "false")
        .env("RABBITMQ_CA_CERT_PATH", broker.certificates.ca.to_str().unwrap());
    patient.examine().await.is("tls-without-client-certificate", 2, Some("TLS"));
}

#[tokio::test]
async fn the_login() {
    let enclave = Enclave::whole("monitoring", SENDS).await;
    let wrong = enclave.publisher().env("RABBITMQ_PASS", "wrong");
    wrong.examine().await.is("password", 2, Some("login"));

    let wrong = enclave.publisher().env("RABBITMQ_VHOST", "nowhere");
    wrong.examine().await.is("vhost-missing", 2, Some("virtual host"));

    let limit = format!("/api/user-limits/{}/max-connections", encode(&enclave.user));
    enclave.vhost.api.must("PUT", &limit, &json!({"value": 0})).await;
    enclave.publisher().examine().await.is("connections-limited", 2, Some("virtual host"));
    enclave.vhost.api.must("DELETE", &limit, &Value::Null).await;

    enclave.vhost.api.revoke(&enclave.vhost.name, &enclave.user).await;
    enclave.publisher().examine().await.is("vhost-denied", 2, Some("virtual host"));
}

#[tokio::test]
async fn what_is_missing_and_may_not_be_made() {
    // Only an administrator is told what it may do.
    let enclave = Enclave::new("administrator", SENDS).await;
    let before = definitions(&enclave.vhost).await;
    enclave.publisher().examine().await.is("exchange-missing", 2, Some("exchange"));
    let told = enclave.patient("subscriber").env("REDIS_HOST", "no-such-host.invalid").examine().await;
    super::hold("nothing-there", &told.text);
    assert_eq!(told.first(), Some("exchange"));

    enclave.vhost.declare_exchange("sda").await;
    enclave.publisher().examine().await.is("queue-missing", 2, Some("queue"));

    enclave.vhost.declare_queue("heartbeat", json!({})).await;
    enclave.publisher().examine().await.is("binding-missing", 2, Some("binding"));
    enclave.vhost.bind("sda", "heartbeat", "another.key").await;
    enclave.publisher().examine().await.is("binding-by-another-key", 2, Some("binding"));

    enclave.vhost.delete_queue("heartbeat").await;
    enclave.vhost.api.must("DELETE", &path(&enclave, "exchanges", "sda"), &Value::Null).await;
    assert_eq!(definitions(&enclave.vhost).await, before);
}

#[tokio::test]
async fn what_is_missing_and_is_made_at_the_start() {
    let enclave = Enclave::new("administrator", Permissions::ALL).await;
    enclave.publisher().examine().await.is("made-at-the-start", 1, Some("exchange"));
    // Everybody else cannot be told whether he may.
    let enclave = Enclave::new("", Permissions::ALL).await;
    enclave.publisher().examine().await.is("made-at-the-start-perhaps", 1, Some("exchange"));
    let enclave = Enclave::whole("management", Permissions::ALL).await;
    enclave.vhost.unbind("sda", "heartbeat", "service.heartbeat").await;
    enclave.publisher().examine().await.is("bound-at-the-start", 1, Some("binding"));
}

fn path(enclave: &Enclave, kind: &str, name: &str) -> String {
    format!("/api/{kind}/{}/{}", encode(&enclave.vhost.name), encode(name))
}

#[tokio::test]
async fn what_is_other_than_it_should_be() {
    let enclave = Enclave::new("management", Permissions::ALL).await;
    for (kind, code) in [("headers", 2), ("fanout", 1)] {
        let exchange = path(&enclave, "exchanges", "sda");
        enclave.vhost.api.must("PUT", &exchange, &json!({"type": kind, "durable": true})).await;
        enclave.vhost.declare_queue("heartbeat", json!({})).await;
        enclave.vhost.bind("sda", "heartbeat", "service.heartbeat").await;
        let told = enclave.publisher().examine().await;
        told.is(&format!("exchange-of-type-{kind}"), code, Some("exchange"));
        enclave.vhost.api.must("DELETE", &exchange, &Value::Null).await;
    }
    enclave.make().await;
    let wanted = enclave.publisher().env("RABBITMQ_QUEUE_TYPE", "quorum");
    wanted.examine().await.is("queue-with-other-arguments", 1, Some("queue"));
}

#[tokio::test]
async fn what_a_user_may_not_do() {
    let nothing = Permissions::NONE;
    let enclave = Enclave::whole("", nothing).await;
    enclave.publisher().examine().await.is("may-not-write", 2, Some("permissions"));
    let enclave = Enclave::whole("administrator", nothing).await;
    let patient = enclave.patient("subscriber").env("REDIS_HOST", "no-such-host.invalid");
    let told = patient.examine().await;
    super::hold("may-not-read", &told.text);
    assert_eq!(told.first(), Some("permissions"));
}

#[tokio::test]
async fn the_management_api() {
    let enclave = Enclave::whole("", SENDS).await;
    enclave.checking().examine().await.is("management-refused", 2, Some("login"));

    let port = free_port().to_string();
    let away = enclave.checking().env("RABBITMQ_MANAGEMENT_PORT", &port).called(&port, "15673");
    away.examine().await.is("management-away", 2, Some("TCP"));
    // Who checks no queue does without.
    let away = enclave.publisher().env("RABBITMQ_MANAGEMENT_PORT", &port).called(&port, "15673");
    away.examine().await.is("management-away-and-not-needed", 0, None);

    let plain = enclave.checking().env("RABBITMQ_MANAGEMENT_PORT", &enclave.vhost.ports.https.to_string());
    plain.examine().await.is("management-plain-to-tls-port", 2, Some("login"));

    let enclave = Enclave::whole("management", SENDS).await;
    enclave.checking().examine().await.is("management-without-monitoring", 0, None);
}

#[tokio::test]
async fn a_node_is_away_and_another_tells() {
    let enclave = Enclave::whole("management", SENDS).await;
    let away = free_port().to_string();
    let here = enclave.vhost.ports.amqp.to_string();
    let nodes = format!("127.0.0.1:{away},127.0.0.1:{here}");
    let both = enclave.publisher().env("RABBITMQ_HOST", &nodes).called(&away, "5674");
    both.examine().await.is("one-of-two-nodes", 2, Some("TCP"));
    let twice = format!("localhost:{here},127.0.0.1:{here}");
    let told = enclave.publisher().env("RABBITMQ_HOST", &twice).examine().await;
    assert_eq!((told.code, told.first()), (Some(0), None), "{}", told.text);
}

#[tokio::test]
async fn the_certificate_is_the_user() {
    let broker = RabbitMq::start_with(Options::external()).await;
    let enclave = Enclave::on(&broker, "monitoring", SENDS).await;
    enclave.make().await;
    let files = &broker.certificates;
    let patient = enclave
        .publisher()
        .env("RABBITMQ_AUTH_MECHANISM", "external")
        .env("RABBITMQ_TLS", "true")
        .env("RABBITMQ_PORT", "")
        .env("RABBITMQ_MANAGEMENT_TLS", "false")
        .env("RABBITMQ_CA_CERT_PATH", files.ca.to_str().unwrap())
        .env("RABBITMQ_CLIENT_CERT_PATH", files.client.to_str().unwrap())
        .env("RABBITMQ_CLIENT_KEY_PATH", files.client_key.to_str().unwrap());
    // Nobody has the name of the certificate yet.
    patient.examine().await.is("external-nobody", 2, Some("login"));
    let name = "heartbeat-client";
    let permissions = Permissions { configure: "^$", write: "^$", read: "^$" };
    enclave.vhost.api.create_user(&enclave.vhost.name, name, "unused", "", permissions).await;
    patient.examine().await.is("external-may-not-write", 2, Some("permissions"));
    enclave.vhost.api.create_user(&enclave.vhost.name, name, "unused", "", SENDS).await;
    patient.examine().await.is("external", 0, None);
}

#[tokio::test]
async fn statistics_are_disabled() {
    let enclave = Enclave::on(RabbitMq::strict().await, "monitoring", SENDS).await;
    enclave.make().await;
    enclave.checking().examine().await.is("statistics-disabled", 2, Some("statistics"));
}

#[tokio::test]
async fn a_clock_that_is_off() {
    let enclave = Enclave::whole("monitoring", SENDS).await;
    let fast = enclave
        .publisher()
        .env("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
        .env("FAKETIME", "+3600")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let told = fast.examine().await;
    let text = told.text.replace("3599 s", "3600 s").replace("3601 s", "3600 s");
    super::Told { text, ..told }.is("clock", 1, Some("time"));
}
