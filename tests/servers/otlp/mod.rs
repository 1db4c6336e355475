//! What leaves by OTLP tells the same as what is scraped: metrics, traces and logs at a receiver on the official
//! services.

pub(crate) mod logs;
mod metrics;
mod traces;

use std::time::Duration;

use crate::support::bridge::{Bridge, SOON};
use crate::support::certificates::Certificates;
use crate::support::otlp::{Collector, Options, Transport};
use crate::support::process::folder;
use crate::support::program::Setup;
use crate::support::v2::Simulated;
use crate::support::wait::{holds_for, wait_until};

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

/// A receiver whom no trusted CA vouches for gets nothing, and one that asks for a certificate takes nothing without.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_and_takes_nothing() {
    let bridge = Bridge::new().await;
    let options = Options { tls: true, require_client_certificate: true, ..Options::default() };
    let collector = Collector::start(options);
    let other = Certificates::make(&folder("other-ca"));
    let [ca, client, client_key] =
        [&other.ca, &other.client, &other.client_key].map(|path| path.to_str().unwrap());
    for transport in [Transport::Grpc, Transport::Http] {
        let setup = || exporting(bridge.subscriber(), &collector, transport);
        let wary = setup().env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca);
        let bare =
            setup().env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "").env("OTEL_EXPORTER_OTLP_CLIENT_KEY", "");
        let strange = setup()
            .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", client)
            .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", client_key);
        for setup in [wary, bare, strange] {
            let mut subscriber = setup.start_ready().await;
            wait_until("exports fail", SOON, async || {
                let failed = subscriber
                    .metrics()
                    .await?
                    .value("heartbeat_otlp_export_failures_total", &[("signal", "metrics")]);
                if failed > Some(1.0) { Ok(()) } else { Err(format!("{failed:?}")) }
            })
            .await;
            subscriber.terminate(SOON).await;
        }
        assert_eq!(collector.received().len(), 0, "{transport:?}");
        // The same, rightly.
        let mut subscriber = setup().start_ready().await;
        wait_until("an export arrives", SOON, async || match collector.received().len() {
            0 => Err(subscriber.log()),
            _ => Ok(()),
        })
        .await;
        subscriber.terminate(SOON).await;
        collector.clear();
    }
}
