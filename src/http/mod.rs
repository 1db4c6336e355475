//! The HTTP server: what a scraper, a probe of an orchestrator and a passer-by may ask.
//!
//! HTTP/1.1: `GET` and `HEAD`, and `POST` where something can be done. It knows no formats: what it serves comes from
//! [`Handlers`]. Nothing that a client does or omits holds a connection, a body or memory without a bound: connections are
//! counted, and one too many is told so at once; a request must be whole in time; an answer must be taken in time.
//!
//! The way of a request, each step in its own file:
//!
//! ```text
//! server ─▶ clients ─▶ tls ─▶ connection ─▶ policy (rate, auth) ─▶ routes ─┬▶ scrapes ─┬▶ body
//!                                              ▲                           ├▶ pages ───┘
//!                                              │                           └▶ posts
//!                                           reload (the web configuration's files)
//! ```
//!
//! [`ask`] is the other end, for commands that speak to the server of a publisher on this machine.

mod aside;
pub mod ask;
mod auth;
mod bearer;
mod body;
mod clients;
mod connection;
mod listen;
mod metrics;
mod pages;
mod policy;
mod posts;
mod rate;
mod reload;
mod routes;
mod scrapes;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod unbound;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::SecretSource;
use crate::tls::Expiry;
pub use metrics::Metrics;
pub use pages::{Answer, Page, PageHandler, PageQuestion};
pub use posts::{BODY_BYTES_MAX, Deed, PostHandler, Said};
pub use routes::{Handlers, ReadyHandler};
pub use scrapes::{Exposition, MetricsHandler, Question};
pub use server::{Server, bind};
pub use unbound::{BindError, ListensOn};

/// Connections open at once (design, limits).
pub const CONNECTIONS_MAX: usize = 64;

/// Of them, from one client. Half: two who take all that they can get are needed to keep a third one out.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 32;

/// Bodies of metrics in the making or on their way at once. One may hold hundreds of megabytes; further
/// scrapes wait for their turn.
pub const SCRAPES_MAX: usize = 4;

/// From the connection to its whole first request, the handshake of TLS included, and the longest wait of a scrape for its turn.
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

/// Between two looks at the files of the web configuration. A password that was taken back counts no longer.
pub const WEB_CONFIG_INTERVAL: Duration = Duration::from_secs(1);

/// Where metrics are, by convention.
pub const TELEMETRY_PATH: &str = "/metrics";

/// What the server listens on, and its bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses; port 0 is any free one. An IPv6 wildcard takes IPv4 too, unless an IPv4 address with the
    /// same port is listed.
    pub listen: Vec<SocketAddr>,
    /// A Unix socket beside them.
    pub unix: Option<PathBuf>,
    /// What every client has to show; `None`: nothing but what the web configuration asks for.
    pub token: Option<SecretSource>,
    /// As [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// As [`CONNECTIONS_PER_CLIENT_MAX`].
    pub connections_per_client_max: usize,
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
    /// The web configuration. `None`: http for everybody.
    pub web_config: Option<PathBuf>,
    /// As [`WEB_CONFIG_INTERVAL`].
    pub web_config_interval: Duration,
    /// Whether the paths of health checks are open to everybody, whatever the web configuration asks for.
    pub health_without_auth: bool,
    /// Told when the certificate of the web configuration ends.
    pub expiry: Expiry,
}

impl Config {
    /// The defaults, on these addresses.
    pub fn on(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            unix: None,
            token: None,
            connections_max: CONNECTIONS_MAX,
            connections_per_client_max: CONNECTIONS_PER_CLIENT_MAX,
            scrapes_max: SCRAPES_MAX,
            header_timeout: HEADER_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            telemetry_path: TELEMETRY_PATH.to_owned(),
            web_config: None,
            web_config_interval: WEB_CONFIG_INTERVAL,
            health_without_auth: false,
            expiry: Expiry::default(),
        }
    }
}
