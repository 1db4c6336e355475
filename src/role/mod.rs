//! What the program does once it is configured: one function a command, from typed configuration
//! to running tasks and back to an exit code. Only these wire components together.

mod check;
mod convert;
mod doctor;
mod drill;
mod forget;
mod keys;
mod local;
mod maintenance;
mod pages;
mod posts;
mod publisher;
mod reload;
mod standalone;
mod status;
mod subscriber;
mod tap;
mod web;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::build_info::NAME;
use crate::config::{Config, Role, RoleConfig, WebConfig};
use crate::health::service_manager::ServiceManager;
use crate::health::{Health, file};
use crate::otlp::{Identity, Otlp};
use crate::telemetry::{Chain, log};

pub use check::check;
pub use doctor::doctor;
pub use drill::drill;
pub use forget::{NotForgotten, forget};
pub use keys::{KeysError, Said, run as keys};
pub use maintenance::{NotDone, maintenance};
pub use status::{Asked, EXIT_NOT_ASKED, status};
pub use tap::{NotTold, tap};

/// Everything went as it should.
pub const EXIT_OK: u8 = 0;

/// Something could not be done, or not in time.
pub const EXIT_FAILURE: u8 = 1;

/// A command that answers by its exit code: something is unknown, and nothing is known to be down.
pub const EXIT_UNKNOWN: u8 = 1;

/// A command that answers by its exit code: something is down.
pub const EXIT_DOWN: u8 = 2;

/// What kept a role from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No runtime.
    #[error("could not start the runtime")]
    Runtime(#[source] std::io::Error),
    /// No signals.
    #[error("could not listen for signals")]
    Signals(#[source] std::io::Error),
    /// A name to listen on does not resolve.
    #[error("could not resolve the address to listen on, {address:?}")]
    Resolve {
        /// As configured.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// No listener.
    #[error(transparent)]
    Bind(crate::http::BindError),
    /// The management API's settings cannot be used.
    #[error("could not prepare the requests to the management API")]
    Management(#[source] crate::check::management::ManagementConfigError),
    /// The state file is another process's.
    #[error("could not take the state file")]
    StateFile(#[source] crate::publisher::memory::InUse),
    /// The files of TLS cannot be used, though they could when the configuration was read.
    #[error("could not prepare TLS")]
    Tls(#[source] crate::tls::TlsError),
}

impl StartError {
    /// What to do about it, where more can be said than the error does.
    fn to_do(&self) -> Option<String> {
        match self {
            Self::Bind(error) => error.to_do(),
            Self::Resolve { .. } => Some("set an address, or a name that this machine can look up".into()),
            _ => None,
        }
    }
}

/// Who a role is to whoever reads its telemetry.
pub fn identity(config: &Config) -> Identity {
    let (role, instance) = match &config.role {
        RoleConfig::Publisher(config) => (Role::Publisher, Some(config.emitter.id.to_string())),
        RoleConfig::Subscriber(config) => (Role::Subscriber, port_of(&config.web)),
        RoleConfig::Standalone(config) => (Role::Standalone, port_of(&config.web)),
    };
    let host = config.process.host_name.clone();
    let instance = match (role, instance) {
        (Role::Publisher, Some(id)) => id,
        // As Prometheus calls what it scrapes.
        (_, Some(port)) => format!("{host}:{port}"),
        (_, None) => host.clone(),
    };
    Identity { service: format!("{NAME}-{}", role.as_str()), instance, host }
}

fn port_of(web: &WebConfig) -> Option<String> {
    web.listen.first().map(|listen| listen.port.to_string())
}

/// Runs a role until it is told to stop. Returns the exit code.
pub fn run(config: Config, otlp: Otlp) -> u8 {
    // A publisher waits rather than computes: a thousand checks a second take a twentieth of one thread, which no other need
    // wake.
    let builder = match config.role {
        RoleConfig::Publisher(_) => Builder::new_current_thread(),
        RoleConfig::Subscriber(_) | RoleConfig::Standalone(_) => Builder::new_multi_thread(),
    };
    with_runtime(builder, async move {
        let stop = stop_signal()?;
        let grace = config.process.shutdown_grace;
        let service_manager = ServiceManager::new(config.process.service_manager);
        let process = Process { grace, health_file: config.process.health_file, service_manager };
        let orderly = match config.role {
            RoleConfig::Publisher(config) => publisher::run(*config, process, otlp, stop).await?,
            RoleConfig::Subscriber(config) => {
                reload::ignore_hangups()?;
                subscriber::run(*config, process, otlp, stop).await?
            }
            RoleConfig::Standalone(config) => standalone::run(*config, process, otlp, stop).await?,
        };
        if orderly {
            info!("Stopped");
            Ok(EXIT_OK)
        } else {
            error!(grace_seconds = grace.as_secs(), "Not stopped in order, or not in time");
            Ok(EXIT_FAILURE)
        }
    })
}

/// What every role needs of its process.
struct Process {
    grace: Duration,
    health_file: PathBuf,
    service_manager: ServiceManager,
}

fn with_runtime(mut builder: Builder, work: impl Future<Output = Result<u8, StartError>>) -> u8 {
    let runtime: Result<Runtime, _> = builder.enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(work);
            // A name lookup that hangs holds a thread for as long as it likes.
            runtime.shutdown_timeout(Duration::from_millis(200));
            done
        }
        Err(source) => Err(StartError::Runtime(source)),
    };
    done.unwrap_or_else(|failure| {
        error!(error = %Chain(&failure), to_do = failure.to_do(), "Not started");
        EXIT_FAILURE
    })
}

/// Runs a command that answers whoever called it. What kept it from doing so is theirs to tell.
fn answer<E>(work: impl Future<Output = Result<Result<u8, E>, StartError>>) -> Result<u8, E> {
    let mut failed = None;
    let code = with_runtime(Builder::new_current_thread(), async {
        Ok(work.await?.unwrap_or_else(|error| {
            failed = Some(error);
            EXIT_FAILURE
        }))
    });
    failed.map_or(Ok(code), Err)
}

/// A token that is cancelled by SIGTERM or SIGINT. A second signal ends the process at once.
fn stop_signal() -> Result<CancellationToken, StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if stopped.is_cancelled() {
                error!(signal = name, "Ended at once by a second signal");
                log::flush();
                std::process::exit(i32::from(EXIT_FAILURE));
            }
            info!(signal = name, "Stopping");
            stopped.cancel();
        }
    });
    Ok(stop)
}

/// Starts to tell of a role's health: `heartbeat healthcheck` by the health file, until `end`, and the service manager, of
/// `stop` too.
fn tell_health(
    health: &Health,
    role: &'static str,
    process: &Process,
    stop: &CancellationToken,
    end: &CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let writing = file::write(health.clone(), role, process.health_file.clone(), end.clone());
    let telling = process.service_manager.clone().tell(health.clone(), stop.clone(), end.clone());
    tokio::spawn(async move {
        tokio::join!(writing, telling);
    })
}
