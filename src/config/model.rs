//! What the program runs on once its settings are read: plain, valid values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::amqp::{Mechanism, Node, QueueType};
use crate::secret::SecretSource;
pub use crate::telemetry::log::LogFormat;

use super::targets::Targets;
use super::{Warning, settings};
use crate::health::service_manager;
use crate::heartbeat::PublisherId;
use crate::otlp;
use crate::signing::{Rules, SigningKey, TrustedKeys};
use crate::store::Topology;
use crate::tls::TlsConfig;

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Checks components and sends heartbeats.
    Publisher,
    /// Takes heartbeats, stores and shows them.
    Subscriber,
    /// Both in one process, without a server.
    Standalone,
}

impl Role {
    /// The role's subcommand, and its part of file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
            Self::Standalone => "standalone",
        }
    }
}

/// The whole configuration of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What every role needs.
    pub process: ProcessConfig,
    /// What its role needs.
    pub role: RoleConfig,
}

impl Config {
    /// Whether it is a publisher's, and names nothing to check.
    pub fn checks_nothing(&self) -> bool {
        let targets = match &self.role {
            RoleConfig::Publisher(config) => &config.emitter.targets,
            // Without a file it checks its own port.
            RoleConfig::Standalone(config) => &config.emitter.targets,
            RoleConfig::Subscriber(_) => return false,
        };
        targets.as_ref().is_some_and(Targets::check_nothing)
    }

    /// That jobs have nowhere to tell of themselves, which matters to whoever waits for them: a role that runs.
    pub fn hears_no_job(&self) -> Option<Warning> {
        let emitter = match &self.role {
            RoleConfig::Publisher(config) => &config.emitter,
            RoleConfig::Standalone(config) => &config.emitter,
            RoleConfig::Subscriber(_) => return None,
        };
        let is_deaf = emitter.targets.as_ref().is_some_and(|targets| emitter.is_deaf_to(targets));
        is_deaf.then(|| {
            let why = "it is not set, so no job can tell of itself, and all will be late";
            Warning::new(settings::LOCAL_LISTEN_ADDRESS.title(), why)
        })
    }
}

/// A role with what it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum RoleConfig {
    /// See [`Role::Publisher`].
    Publisher(Box<PublisherConfig>),
    /// See [`Role::Subscriber`].
    Subscriber(Box<SubscriberConfig>),
    /// See [`Role::Standalone`].
    Standalone(Box<StandaloneConfig>),
}

/// What every role needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessConfig {
    /// How to log.
    pub log: LogConfig,
    /// Longest time from the signal to stop until the process ends by itself.
    pub shutdown_grace: Duration,
    /// The file in which the role notes its health, for `heartbeat healthcheck`.
    pub health_file: PathBuf,
    /// The service manager that started it, if one did.
    pub service_manager: Option<service_manager::Config>,
    /// The machine's name.
    pub host_name: String,
    /// What leaves by OTLP.
    pub otlp: otlp::Config,
}

/// How to log: on stderr, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Events below it are left out.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// Severity of an event, as Prometheus' own programs name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, down to single messages.
    Debug,
    /// The life of the process and changes of components.
    #[default]
    Info,
    /// What the program recovered from.
    Warn,
    /// Data lost, or an operator needed.
    Error,
}

impl LogLevel {
    /// Its word, as it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct PublisherConfig {
    /// What it checks, and how often it tells.
    pub emitter: EmitterConfig,
    /// Where it sends heartbeats.
    pub amqp: AmqpConfig,
    /// Longest wait for the broker's confirmation of one heartbeat.
    pub publish_timeout: Duration,
    /// The file of the key that signs heartbeats, and what it held. `None`: they are not signed.
    pub signing_key: Option<SigningKeyFile>,
    /// Its own exposition. `None`: it listens nowhere, as an enclave wants it.
    pub web: Option<WebConfig>,
}

/// A file with a private key, and the key that it held at the start.
#[derive(Clone, Debug)]
pub struct SigningKeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held.
    pub key: Arc<SigningKey>,
}

impl PartialEq for SigningKeyFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.key.id()) == (&other.path, other.key.id())
    }
}

/// The checking half: of a publisher, and of standalone.
#[derive(Clone, Debug, PartialEq)]
pub struct EmitterConfig {
    /// Who it says it is.
    pub id: PublisherId,
    /// What to check. `None`, in standalone only: the default file is not there.
    pub targets: Option<Targets>,
    /// The file that says what to check.
    pub targets_file: PathBuf,
    /// Whether it is read anew when it changes, with nobody asking for it.
    pub targets_watched: bool,
    /// Where those who run beside it tell it something. `None`: nowhere.
    pub local: Option<LocalConfig>,
    /// The file in which it remembers what it was told. `None`: a restart forgets it.
    pub state_file: Option<PathBuf>,
    /// Time between two heartbeats; announced in each.
    pub publish_interval: Duration,
    /// Time between two rounds of checks.
    pub probe_interval: Duration,
    /// Longest time of one check, unless the check has its own.
    pub check_timeout: Duration,
    /// Most checks that run at one time.
    pub check_concurrency: usize,
    /// Where consumers and queues are looked up.
    pub management: ManagementConfig,
}

impl EmitterConfig {
    /// Whether they name jobs, which have nowhere to tell of themselves.
    pub fn is_deaf_to(&self, targets: &Targets) -> bool {
        !targets.jobs.is_empty() && self.local.is_none()
    }
}

/// The RabbitMQ management API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementConfig {
    /// Host names or addresses, those of the nodes of a cluster; never empty.
    pub hosts: Vec<String>,
    /// Port of its HTTP listener.
    pub port: u16,
    /// User; needs the `monitoring` tag to see others' consumers.
    pub user: String,
    /// The user's password.
    pub password: SecretSource,
    /// The vhost of the queues, not yet percent-encoded.
    pub vhost: String,
    /// `Some`: https.
    pub tls: Option<TlsConfig>,
}

/// The broker: connection, topology and flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpConfig {
    /// Where it is, or where the nodes of the cluster are; never empty.
    pub nodes: Vec<Node>,
    /// How the broker is told who this is.
    pub mechanism: Mechanism,
    /// User.
    pub user: String,
    /// The user's password.
    pub password: SecretSource,
    /// Virtual host.
    pub vhost: String,
    /// Topic exchange of the heartbeats.
    pub exchange: String,
    /// Queues of the heartbeats, one at least.
    pub queues: Vec<String>,
    /// Consistent-hash exchange in front of them, where they were given as several.
    pub spread: Option<String>,
    /// What a queue is to be where it is made here.
    pub queue_type: Option<QueueType>,
    /// Key from the exchange to the queue.
    pub routing_key: String,
    /// `Some`: AMQPS.
    pub tls: Option<TlsConfig>,
    /// AMQP heartbeat to ask for, in whole seconds; silence of twice that ends the connection.
    pub heartbeat: Duration,
    /// Deliveries that may be unacked at one time.
    pub prefetch: u16,
    /// Longest pause between two attempts to connect.
    pub reconnect_max: Duration,
    /// Whether each message names `user`.
    pub send_user_id: bool,
    /// Exchange for what cannot be understood. `None`: a bounded list in Redis.
    pub dead_letter_exchange: Option<String>,
}

/// A subscriber.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriberConfig {
    /// What it makes of heartbeats.
    pub view: ViewConfig,
    /// Where heartbeats come from.
    pub amqp: AmqpConfig,
    /// Where the latest state is kept.
    pub store: RedisConfig,
    /// How much it stores at one time.
    pub batch: BatchConfig,
    /// What it asks of heartbeats to prove whose they are.
    pub proofs: ProofsConfig,
    /// Where it shows the state.
    pub web: WebConfig,
}

/// What a subscriber asks of heartbeats to prove whose they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProofsConfig {
    /// What is asked.
    pub rules: Rules,
    /// The file of trusted keys, and what it held. `None`: none is trusted.
    pub trusted: Option<(PathBuf, Arc<TrustedKeys>)>,
}

/// The judging half: of a subscriber, and of standalone.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewConfig {
    /// Publishers that are shown before they are first seen.
    pub expected: Vec<PublisherId>,
    /// Ids for messages of the original program.
    pub legacy_ids: Vec<LegacyId>,
    /// Grace periods that are set rather than derived from the interval.
    pub grace: GraceRules,
    /// A publisher that was silent for so long is forgotten.
    pub retention: Duration,
    /// What is refused.
    pub limits: Limits,
    /// Whether a message's timestamp is the broker's own (RabbitMQ 3.12 and later, with overwrite).
    pub broker_timestamp_trusted: bool,
}

/// An id for messages of the original program, which carry none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyId {
    /// Which messages.
    pub matches: LegacyMatch,
    /// The id that they get.
    pub id: PublisherId,
}

/// What tells messages of the original program apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegacyMatch {
    /// The routing key with which it was published.
    RoutingKey(String),
    /// The queue from which it was taken.
    Queue(String),
}

/// Grace periods that are set rather than derived from the interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraceRules {
    /// For publishers that are not named.
    pub everybody: Option<Duration>,
    /// For publishers by id.
    pub by_publisher: BTreeMap<PublisherId, Duration>,
}

impl GraceRules {
    /// The period set for a publisher, if any is.
    pub fn of(&self, id: &PublisherId) -> Option<Duration> {
        self.by_publisher.get(id).copied().or(self.everybody)
    }
}

/// What is refused or dropped, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, in bytes.
    pub message_bytes: usize,
    /// Most components in one message.
    pub components_per_message: usize,
    /// Most publishers in the view.
    pub publishers: usize,
    /// Most components in the view.
    pub components: usize,
}

/// How much is stored in one round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Most publishers stored in one round trip.
    pub publishers_max: usize,
}

/// Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Which servers, and how they belong together.
    pub topology: Topology,
    /// ACL user. `None`: the default user.
    pub username: Option<String>,
    /// Password. `None`: none is asked for.
    pub password: Option<SecretSource>,
    /// `Some`: TLS.
    pub tls: Option<TlsConfig>,
    /// Longest time of one command.
    pub timeout: Duration,
    /// Longest pause between two attempts to connect.
    pub reconnect_max: Duration,
    /// Whether the contract's `service:*` and `queue:*` keys are written.
    pub contract_keys: bool,
}

/// An HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Where it listens; never empty.
    pub listen: Vec<ListenAddress>,
    /// Path of the exposition.
    pub telemetry_path: String,
    /// Most connections that are open at one time.
    pub connections_max: usize,
    /// Most of them from one client.
    pub connections_per_client_max: usize,
    /// The web configuration. `None`: http for everybody.
    pub config_file: Option<PathBuf>,
    /// Whether the paths of health checks are open to everybody.
    pub health_without_auth: bool,
}

/// The publisher's local API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// Where it listens.
    pub listen: LocalAddress,
    /// What whoever asks has to show. `None`, on a Unix socket only: nothing.
    pub token: Option<SecretSource>,
}

/// Where the local API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A port.
    Tcp(ListenAddress),
}

impl fmt::Display for LocalAddress {
    /// As it is configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// An address to listen on. `Display` writes it as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Host name or address, without brackets. `None`: every address of the machine, both families.
    pub host: Option<String>,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{}:{}", host.unwrap_or_default(), self.port),
        }
    }
}

/// Both halves in one process, with an in-process link and an in-memory store.
#[derive(Clone, Debug, PartialEq)]
pub struct StandaloneConfig {
    /// The checking half.
    pub emitter: EmitterConfig,
    /// The judging half.
    pub view: ViewConfig,
    /// How much is taken at one time.
    pub batch: BatchConfig,
    /// Where the state is shown.
    pub web: WebConfig,
    /// The broker whose queues are checked; no heartbeat goes there.
    pub amqp: AmqpConfig,
}

/// What `heartbeat keys` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    /// Whose key it is.
    pub publisher: PublisherId,
    /// Where it is, or will be.
    pub key_file: PathBuf,
}

/// What `heartbeat drill` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillConfig {
    /// How to log.
    pub log: LogConfig,
    /// Whose drill it is.
    pub publisher: PublisherId,
    /// Where it sends heartbeats.
    pub amqp: AmqpConfig,
    /// Longest wait for the broker's confirmation of one heartbeat.
    pub publish_timeout: Duration,
    /// The file of the key that signs heartbeats. `None`: they are not signed.
    pub signing_key: Option<SigningKeyFile>,
}

/// What `heartbeat forget` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetConfig {
    /// How to log.
    pub log: LogConfig,
    /// Where the publisher is forgotten.
    pub store: RedisConfig,
}

/// What `heartbeat tap` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// How to log.
    pub log: LogConfig,
    /// Where heartbeats pass.
    pub amqp: AmqpConfig,
    /// Longest message that a subscriber takes.
    pub message_bytes: usize,
    /// Most components in a message that a subscriber takes.
    pub components_per_message: usize,
}

/// What `heartbeat status` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusConfig {
    /// Where the subscriber is.
    pub url: http::Uri,
    /// User and password, where it asks for them.
    pub login: Option<(String, SecretSource)>,
    /// Whom to trust, where it is asked by https.
    pub tls: Option<TlsConfig>,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// What `heartbeat doctor` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorConfig {
    /// How to log.
    pub log: LogConfig,
    /// The role that it looks after.
    pub role: Role,
    /// Its broker.
    pub amqp: AmqpConfig,
    /// The broker's management API, which may tell more than AMQP does.
    pub management: ManagementConfig,
    /// Whether the role checks queues.
    pub checks_queues: bool,
    /// Its store, where it has one.
    pub redis: Option<RedisConfig>,
}
