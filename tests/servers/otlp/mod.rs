//! What leaves by OTLP tells the same as what is scraped: metrics, traces and logs at a receiver on the official
//! services.

pub(crate) mod logs;
mod metrics;
mod traces;

use std::time::Duration;

use crate::support::bridge::{Bridge, SOON};
use crate::support::otlp::{Collector, Options, Transport};
use crate::support::program::Setup;
use crate::support::v2::Simulated;
use crate::support::wait::holds_for;

/// A program that exports everything to a collector, often.
pub(crate) fn exporting(setup: Setup, collector: &Collector, transport: Transport) -> Setup {
    let (protocol, endpoint) = match transport {
        Transport::Grpc => ("grpc", collector.grpc_endpoint()),
        Transport::Http => ("http/protobuf", collector.http_endpoint()),
    };
    let setup = setup
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "200");
    match &collector.certificates {
        Some(certificates) => setup
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.ca.to_str().unwrap())
            .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificates.client.to_str().unwrap())
            .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", certificates.client_key.to_str().unwrap()),
        None => setup,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_leaves() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let setup = exporting(bridge.subscriber(), &collector, Transport::Grpc).env("OTEL_SDK_DISABLED", "true");
    let subscriber = setup.start_ready().await;
    let mut publisher = Simulated::new("oslo");
    bridge.send([publisher.beat()]).await;
    bridge.drained(&subscriber, SOON).await;
    holds_for("nobody connects", Duration::from_secs(2), async || match collector.requests() {
        0 => Ok(()),
        requests => Err(format!("{requests} requests")),
    })
    .await;
    assert!(subscriber.metrics().await.unwrap().all("heartbeat_otlp_exports_total").is_empty());
}
