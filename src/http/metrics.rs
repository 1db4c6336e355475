//! What the server counts about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::OwnedSemaphorePermit;

/// Metrics of the HTTP server.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections that hold a place.
    pub(super) connections: Gauge,
    /// Connections and scrapes answered 503, or not at all, because of a limit.
    pub(super) rejected: Counter,
    /// Connections that could not be accepted, for lack of file descriptors for one.
    pub(super) accept_failures: Counter,
    /// Seconds from a scrape's turn to its finished, compressed body.
    pub(super) scrape_seconds: Histogram,
}

/// From the few milliseconds of a small state to the 10 s at which Prometheus gives up by default.
const SCRAPE_SECONDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0];

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Gauge::default(),
            rejected: Counter::default(),
            accept_failures: Counter::default(),
            scrape_seconds: Histogram::new(SCRAPE_SECONDS),
        };
        registry.register("heartbeat_http_connections", "Open HTTP connections", metrics.connections.clone());
        registry.register(
            "heartbeat_http_rejected",
            "HTTP connections and scrapes turned away because of a limit",
            metrics.rejected.clone(),
        );
        registry.register(
            "heartbeat_http_accept_failures",
            "Failures to accept an HTTP connection",
            metrics.accept_failures.clone(),
        );
        registry.register_with_unit(
            "heartbeat_http_scrape_duration",
            "Time to render and compress the metrics",
            Unit::Seconds,
            metrics.scrape_seconds.clone(),
        );
        metrics
    }

    /// Metrics that nothing shows.
    #[cfg(test)]
    pub(super) fn unseen() -> Self {
        Self::register(&mut Registry::default())
    }
}

/// A connection's place among those that may be open, given back however the connection ends.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    connections: Gauge,
}

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit, metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self { _permit: permit, connections: metrics.connections.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.dec();
    }
}
