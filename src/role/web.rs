//! The exposition of a role.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{StartError, pages};
use crate::config::{ListenAddress, WebConfig};
use crate::exposition::text::Coding;
use crate::exposition::{self, Registry};
use crate::http;
use crate::state::shard::Shard;
use crate::subscriber::replica::Replica;
use crate::tls::Expiry;

/// What a role shows.
pub(super) struct Shown {
    /// The state; `None` for a publisher, which shows only itself.
    pub(super) replica: Option<Arc<Replica>>,
    /// Whether it is ready.
    pub(super) ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// What it does when asked; `None`: nothing.
    pub(super) posts: Option<http::PostHandler>,
}

/// A server that has its addresses and does not serve yet.
pub(super) struct Bound {
    server: http::Server,
    registry: Arc<Registry>,
}

/// Takes the addresses, so that a port that is not free ends the start.
pub(super) async fn bind(
    config: &WebConfig,
    shown: Shown,
    metrics: http::Metrics,
    mut registry: Registry,
    expiry: &Expiry,
) -> Result<Bound, StartError> {
    if config.config_file.is_some() {
        metrics.register_web_config(&mut registry);
    }
    let Shown { replica, ready, posts } = shown;
    let pages = pages::handler(replica.clone(), Arc::clone(&ready), &config.telemetry_path);
    let registry = Arc::new(registry);
    let shown = Arc::clone(&registry);
    let render = move |question: &http::Question| {
        let format = exposition::text::negotiate(question.accept.as_deref());
        let shard = shard_of(question.query.as_deref().unwrap_or_default())?;
        let snapshot = replica.as_ref().map(|replica| replica.snapshot(shard));
        let coding = if question.gzip { Coding::Gzip } else { Coding::Identity };
        // What is not of a publisher is told once.
        let own = shard.is_none_or(Shard::is_first).then_some(&*shown);
        let parts = exposition::text::render(snapshot.as_ref(), own, format, coding);
        let parts = parts.into_iter().map(Bytes::from).collect();
        Ok(http::Exposition { content_type: format.content_type(), gzip: question.gzip, parts })
    };
    let handlers = http::Handlers { metrics: Some(Arc::new(render)), ready, pages, posts };
    let http_config = http::Config {
        telemetry_path: config.telemetry_path.clone(),
        connections_max: config.connections_max,
        connections_per_client_max: config.connections_per_client_max,
        web_config: config.config_file.clone(),
        health_without_auth: config.health_without_auth,
        expiry: expiry.clone(),
        ..http::Config::on(addresses(&config.listen).await?)
    };
    let server = http::bind(http_config, handlers, metrics).map_err(StartError::Bind)?;
    for address in server.addresses() {
        info!(%address, "Listening");
    }
    Ok(Bound { server, registry })
}

impl Bound {
    /// The program's own metrics, as they are shown.
    pub(super) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Serves until `stop`.
    pub(super) fn serve(self, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(self.server.serve(stop))
    }
}

/// The shard that a query names as `shard=2/8`; what else stands there is not for us.
fn shard_of(query: &str) -> Result<Option<Shard>, String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("shard="));
    let Some(value) = value else { return Ok(None) };
    let value = percent_decode_str(value).decode_utf8_lossy();
    Shard::parse(&value).map(Some).map_err(|error| error.to_string())
}

/// What addresses are, by name or not.
pub(super) async fn addresses(listen: &[ListenAddress]) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = Vec::new();
    for address in listen {
        match &address.host {
            // Takes IPv4 as well.
            None => addresses.push(SocketAddr::from(([0u16; 8], address.port))),
            Some(host) => {
                let resolved = tokio::net::lookup_host((host.as_str(), address.port))
                    .await
                    .map_err(|source| StartError::Resolve { address: address.to_string(), source })?;
                addresses.extend(resolved);
            }
        }
    }
    Ok(addresses)
}
