//! What the server counts about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::OwnedSemaphorePermit;

use super::clients::OfClient;

/// Metrics of the HTTP server.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections that hold a place.
    pub(super) connections: Gauge,
    /// Connections and requests answered 429 or 503, or not at all, because of a limit.
    pub(super) rejected: Counter,
    /// Connections that could not be accepted, for lack of file descriptors for one.
    pub(super) accept_failures: Counter,
    /// Requests answered 401.
    pub(super) unauthorized: Counter,
    /// Connections that ended before TLS was agreed on.
    pub(super) handshake_failures: Counter,
    /// 1 while the web configuration in force is what its files say.
    web_config_successful: Gauge,
    /// When the files were last found to be usable, in seconds since 1970.
    web_config_success_seconds: Gauge,
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
            unauthorized: Counter::default(),
            handshake_failures: Counter::default(),
            web_config_successful: Gauge::default(),
            web_config_success_seconds: Gauge::default(),
            scrape_seconds: Histogram::new(SCRAPE_SECONDS),
        };
        registry.register("heartbeat_http_connections", "Open HTTP connections", metrics.connections.clone());
        registry.register(
            "heartbeat_http_rejected",
            "HTTP connections and requests turned away because of a limit",
            metrics.rejected.clone(),
        );
        registry.register(
            "heartbeat_http_accept_failures",
            "Failures to accept an HTTP connection",
            metrics.accept_failures.clone(),
        );
        registry.register(
            "heartbeat_http_unauthorized",
            "HTTP requests without a right name and password",
            metrics.unauthorized.clone(),
        );
        registry.register(
            "heartbeat_http_tls_handshake_failures",
            "HTTP connections that ended before TLS was agreed on",
            metrics.handshake_failures.clone(),
        );
        registry.register_with_unit(
            "heartbeat_http_scrape_duration",
            "Time to render and compress the metrics",
            Unit::Seconds,
            metrics.scrape_seconds.clone(),
        );
        metrics
    }

    /// Registers what there is to say of a web configuration, where there is one.
    pub fn register_web_config(&self, registry: &mut Registry) {
        registry.register(
            "heartbeat_web_config_last_reload_successful",
            "Whether the web configuration in force is what its files say",
            self.web_config_successful.clone(),
        );
        registry.register_with_unit(
            "heartbeat_web_config_last_reload_success_timestamp",
            "When the web configuration was last read with success",
            Unit::Seconds,
            self.web_config_success_seconds.clone(),
        );
    }

    /// The web configuration was read, and is in force.
    pub(super) fn web_config_read(&self) {
        self.web_config_successful.set(1);
        self.web_config_success_seconds.set(jiff::Timestamp::now().as_second());
    }

    /// The web configuration is not what is in force.
    pub(super) fn web_config_refused(&self) {
        self.web_config_successful.set(0);
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
    _of_client: OfClient,
    connections: Gauge,
}

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit, of_client: OfClient, metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self { _permit: permit, _of_client: of_client, connections: metrics.connections.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.dec();
    }
}
