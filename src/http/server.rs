//! Listens, accepts, and stops.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients::Clients;
use super::listen::Listener;
use super::metrics::Place;
use super::policy::Policy;
use super::reload::{InForce, Reload};
use super::routes::Routes;
use super::stream::Stream;
use super::unbound::{BindError, ListensOn};
use super::{Config, Handlers, Metrics, connection};

/// Connections that are being told that there is no place for them; more are closed without a word.
const REFUSALS_MAX: usize = 64;

/// Between two attempts to accept when the system has nothing to give, file descriptors for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that listens and does not yet answer.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    shared: Shared,
    reload: Option<Reload>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) routes: Routes,
    pub(super) metrics: Metrics,
    /// One permit for every connection that may be open.
    pub(super) places: Arc<Semaphore>,
    clients: Clients,
    refusals: Arc<Semaphore>,
    /// What is asked of clients.
    pub(super) in_force: InForce,
    /// Finish what was begun, then close.
    pub(super) stop: CancellationToken,
    /// Close now.
    pub(super) kill: CancellationToken,
}

/// Listens on every address of the configuration. To be called within a tokio runtime.
///
/// # Errors
/// Where one of the addresses is not to be had, or none is given, or the web configuration cannot be used.
pub fn bind(config: Config, handlers: Handlers, metrics: Metrics) -> Result<Server, BindError> {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    let refused = |at: ListensOn| move |source| BindError::Listen { at, source };
    for &address in &config.listen {
        let (listener, local) =
            Listener::tcp(address, &config.listen).map_err(refused(ListensOn::Tcp(address)))?;
        addresses.push(local);
        listeners.push(listener);
    }
    if let Some(path) = &config.unix {
        listeners.push(Listener::unix(path).map_err(refused(ListensOn::Unix(path.clone())))?);
    }
    if listeners.is_empty() {
        return Err(BindError::NoAddress);
    }
    let (reload, in_force) = match config.web_config.clone() {
        None => (None, watch::channel(Arc::new(Policy::asking_for(config.token.clone()))).0),
        Some(path) => {
            let (reload, in_force) =
                Reload::start(path, &config, metrics.clone()).map_err(BindError::WebConfig)?;
            (Some(reload), in_force)
        }
    };
    let shared = Shared {
        routes: Routes::new(&config, handlers, metrics.clone()),
        metrics,
        places: Arc::new(Semaphore::new(config.connections_max)),
        clients: Clients::new(config.connections_per_client_max),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        in_force,
        stop: CancellationToken::new(),
        kill: CancellationToken::new(),
        config,
    };
    Ok(Server { listeners, addresses, shared, reload })
}

impl Server {
    /// What it listens on, with the ports that the system chose, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers until `stop`; then takes no more connections, and ends when those that are open have their
    /// answers, or at the latest after the configured time to close. Dropping the future ends everything.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { listeners, mut shared, reload, .. } = self;
        shared.stop = stop;
        let shared = Arc::new(shared);
        let _killed_when_dropped = shared.kill.clone().drop_guard();
        let tasks = TaskTracker::new();
        if let Some(reload) = reload {
            tasks.spawn(reload.watch(shared.config.web_config_interval, shared.stop.clone()));
        }
        for listener in listeners {
            tasks.spawn(accept(Arc::clone(&shared), listener, tasks.clone()));
        }
        shared.stop.cancelled().await;
        tasks.close();
        if timeout(shared.config.close_timeout, tasks.wait()).await.is_err() {
            tracing::warn!("HTTP connections cut: they did not end in time");
            shared.kill.cancel();
            tasks.wait().await;
        }
    }
}

/// Accepts connections until the server stops. No failure ends it: whatever is missing may come back.
async fn accept(shared: Arc<Shared>, listener: Listener, tasks: TaskTracker) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = shared.kill.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                failing = false;
                admit(&shared, stream, client, &tasks);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                shared.metrics.accept_failures.inc();
                // The first of a row says it all.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "HTTP connections cannot be accepted");
                }
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = shared.kill.cancelled() => return,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Whether only the connection that was to be accepted is gone.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves a connection if there is a place for it, and for its client.
fn admit(shared: &Arc<Shared>, stream: Stream, client: IpAddr, tasks: &TaskTracker) {
    let words = match Arc::clone(&shared.places).try_acquire_owned() {
        Err(_) => connection::FULL,
        Ok(permit) => match shared.clients.enter(client) {
            None => connection::CLIENT_FULL,
            Some(of_client) => {
                let place = Place::new(permit, of_client, &shared.metrics);
                tasks.spawn(connection::serve(Arc::clone(shared), stream, place));
                return;
            }
        },
    };
    shared.metrics.rejected.inc();
    if let Ok(permit) = Arc::clone(&shared.refusals).try_acquire_owned() {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            connection::refuse(&shared, stream, words).await;
            drop(permit);
        });
    }
}
