//! The contract with what already runs: the field's configuration, the captured messages, the keys in Redis.

use serde_json::Value;

use crate::support::field::{BOUND, EXCHANGE, Field, KEY, Shown, stop};
use crate::support::program::Setup;
use crate::support::rabbitmq::RabbitMq;
use crate::support::v1;
use crate::support::wait::wait_until;

const FEGA: &str = include_str!("../fixtures/publisher-config-fega.json");
const MIXED: &[u8] = include_bytes!("../fixtures/v1-mixed.json");
const MANAGEMENT_DOWN: &[u8] = include_bytes!("../fixtures/v1-management-down.json");
const EMPTY: &[u8] = include_bytes!("../fixtures/v1-empty.json");

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_configuration_runs_unchanged() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let _inbox = field.vhost.consume("inbox", "ctag-mq-interceptor-1").await;
    let _ingest = field.vhost.consume("ingest", "sda-ingest").await;
    let _error = field.vhost.consume("error", "somebody-else").await;
    field.vhost.wait_consumer("ingest", "sda-ingest").await;
    let config: Value = serde_json::from_str(FEGA).unwrap();
    let publisher = field.publisher("fega", &config).publisher_config(FEGA).start();
    for (kind, name) in [("queue", "inbox"), ("queue", "ingest"), ("consumer", "sda-ingest")] {
        field.wait_shown("fega", kind, name, Shown::Up).await;
    }
    field.wait_shown("fega", "queue", "error", Shown::Down("listener")).await;
    for queue in ["archived", "verified", "completed", "accessionIDs", "mappings", "files"] {
        field.wait_shown("fega", "queue", queue, Shown::Down("no_queue")).await;
    }
    let scrape = field.subscriber.metrics().await.unwrap();
    let of_it = |kind| scrape.matching("heartbeat_component_unknown", &[("kind", kind)]).count();
    assert_eq!((of_it("host"), of_it("queue"), of_it("consumer")), (2, 9, 9));
    let up = |queue| {
        let labels = [("kind", "consumer"), ("name", "mq-interceptor"), ("queue", queue)];
        scrape.value("heartbeat_component_up", &labels)
    };
    let seen = ["inbox", "verified", "completed", "error"].map(up);
    assert_eq!(seen, [Some(1.0), Some(0.0), Some(0.0), Some(0.0)], "one name under four queues");
    stop([publisher]).await;
    let mut field = field;
    field.assert_as_version_1().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_messages_are_taken() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let (_connection, channel) = field.vhost.connect().await;
    let original = v1::Publisher::new();
    original.publish(&channel, EXCHANGE, KEY, MIXED).await;
    field.wait_shown("publisher", "host", "sda-doa", Shown::Up).await;
    for (kind, name) in [("host", "sda-db"), ("queue", "mappings"), ("consumer", "sda-mapper")] {
        field.wait_shown("publisher", kind, name, Shown::Down("reported")).await;
    }
    // Four entries are one component, and all of them are ok.
    for (kind, name) in [("queue", "inbox"), ("consumer", "mq-interceptor"), ("consumer", "sda-ingest")] {
        field.wait_shown("publisher", kind, name, Shown::Up).await;
    }
    field.assert_as_version_1().await;
    original.publish(&channel, EXCHANGE, KEY, MANAGEMENT_DOWN).await;
    for (kind, name) in [("queue", "inbox"), ("consumer", "mq-interceptor"), ("host", "sda-db")] {
        field.wait_shown("publisher", kind, name, Shown::Down("reported")).await;
    }
    original.publish(&channel, EXCHANGE, KEY, EMPTY).await;
    field.assert_as_version_1().await;
    // Nothing was said of them, so nothing has changed.
    field.wait_shown("publisher", "host", "sda-doa", Shown::Up).await;
    let scrape = field.subscriber.metrics().await.unwrap();
    let components = scrape.matching("heartbeat_component_unknown", &[("publisher", "publisher")]);
    assert_eq!(components.count(), 2 + 9 + 6);
    assert_eq!(scrape.sum("heartbeat_subscriber_rejected_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_configuration_passes_the_check() {
    let setup = Setup::new("publisher").arg("--config.check").publisher_config(FEGA);
    let mut program = setup.start();
    assert_eq!(program.exit_code(BOUND).await, Some(0), "{}", program.log());
    wait_until(
        "it says so",
        BOUND,
        async || if program.log().is_empty() { Err(String::new()) } else { Ok(()) },
    )
    .await;
}
