//! The HTTP server: what a scraper, a probe of an orchestrator and a passer-by may ask.
//!
//! HTTP/1.1, `GET` and `HEAD` alone. It knows no formats: what it serves comes from [`Handlers`]. Nothing that
//! a client does or omits holds a connection, a body or memory without a bound: connections are counted, and
//! one too many is told so at once; a request must be whole in time; an answer must be taken in time.

mod body;
mod connection;
mod metrics;
mod routes;
mod server;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use metrics::Metrics;
pub use routes::{Handlers, MetricsHandler, ReadyHandler, StatusHandler};
pub use server::{BindError, Server, bind};

/// Connections open at once (design, limits).
pub const CONNECTIONS_MAX: usize = 64;

/// Bodies of metrics in the making or on their way at once. One may hold hundreds of megabytes; further
/// scrapes wait for their turn.
pub const SCRAPES_MAX: usize = 4;

/// From the connection to its whole first request, and the longest wait of a scrape for its turn.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// For a client that takes nothing of an answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// For a whole answer, to a client that takes it by drops: the longest scrape timeout in use, and as much
/// again.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);

/// Between two requests of one connection: more than the usual scrape intervals of 15 to 60 s.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// For answers that are on their way when the server is stopped.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where metrics are, by convention.
pub const TELEMETRY_PATH: &str = "/metrics";

/// What the server listens on, and its bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses; port 0 is any free one. An IPv6 wildcard takes IPv4 too, unless an IPv4 address with the
    /// same port is listed.
    pub listen: Vec<SocketAddr>,
    /// As [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// As [`SCRAPES_MAX`].
    pub scrapes_max: usize,
    /// As [`HEADER_TIMEOUT`].
    pub header_timeout: Duration,
    /// As [`WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// As [`RESPONSE_TIMEOUT`].
    pub response_timeout: Duration,
    /// As [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// As [`CLOSE_TIMEOUT`].
    pub close_timeout: Duration,
    /// Path of the metrics.
    pub telemetry_path: String,
}

impl Config {
    /// The defaults, on these addresses.
    pub fn on(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            connections_max: CONNECTIONS_MAX,
            scrapes_max: SCRAPES_MAX,
            header_timeout: HEADER_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            telemetry_path: TELEMETRY_PATH.to_owned(),
        }
    }
}
