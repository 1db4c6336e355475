//! One function per part of the configuration: settings in, a plain struct out, checks in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::hints::is_random_host_name;
use super::local::local;
use super::model::{
    AmqpConfig, BatchConfig, EmitterConfig, Limits, LogConfig, ManagementConfig, ProcessConfig, RedisConfig,
    Role, ViewConfig, WebConfig,
};
use super::otel;
use super::parse::{self, Why};
use super::problem::{Problem, Warning};
use super::reader::{Reader, why_no_tls};
use super::service_manager;
use super::setting::Setting;
use super::settings as s;
use super::targets::{self, Targets, Unusable};
use super::web;
use crate::amqp::{Mechanism, Node};
use crate::heartbeat::PublisherId;
use crate::store::Topology;
use crate::tls::{ClientFiles, Expiry, Peer, PeerTls, TlsConfig, TlsError, TlsFile, TlsFiles};

/// The id where the host's name is none; also what the original calls itself in its messages.
const FALLBACK_ID: &str = "publisher";

/// RabbitMQ's port without TLS, which the original's users set explicitly beside `RABBITMQ_TLS`.
const AMQP_PORT: u16 = 5672;
/// RabbitMQ's port with TLS.
const AMQPS_PORT: u16 = 5671;
/// The management API's port without TLS.
const MANAGEMENT_PORT: u16 = 15_672;

pub(super) fn process(r: &mut Reader<'_>, role: Role) -> ProcessConfig {
    ProcessConfig {
        log: log(r),
        shutdown_grace: r.time(&s::SHUTDOWN_GRACE),
        health_file: health_file(r, role),
        service_manager: service_manager::read(r),
        host_name: r.source.host_name(),
        otlp: otel::read(r, role),
    }
}

pub(super) fn log(r: &mut Reader<'_>) -> LogConfig {
    LogConfig {
        level: r.read(&s::LOG_LEVEL, parse::log_level),
        format: r.read(&s::LOG_FORMAT, parse::log_format),
    }
}

pub(super) fn health_file(r: &mut Reader<'_>, role: Role) -> PathBuf {
    let in_temp_dir = r.source.temp_dir().join(format!("heartbeat-{}.health", role.as_str()));
    r.path(&s::HEALTH_FILE).unwrap_or(in_temp_dir)
}

/// The settings of one peer's TLS.
pub(super) struct TlsSettings {
    /// What asks for TLS.
    pub(super) switch: &'static Setting,
    pub(super) ca: &'static Setting,
    pub(super) cert: &'static Setting,
    pub(super) key: &'static Setting,
}

const RABBITMQ_TLS: TlsSettings = TlsSettings {
    switch: &s::RABBITMQ_TLS,
    ca: &s::RABBITMQ_CA_CERT_PATH,
    cert: &s::RABBITMQ_CLIENT_CERT_PATH,
    key: &s::RABBITMQ_CLIENT_KEY_PATH,
};

const REDIS_TLS: TlsSettings = TlsSettings {
    switch: &s::REDIS_TLS,
    ca: &s::REDIS_CA_CERT_PATH,
    cert: &s::REDIS_CLIENT_CERT_PATH,
    key: &s::REDIS_CLIENT_KEY_PATH,
};

/// The files of a peer's TLS, where it is on.
fn tls_files(r: &mut Reader<'_>, settings: &TlsSettings, used: bool) -> TlsFiles {
    if used {
        return tried_files(r, settings);
    }
    for setting in [settings.ca, settings.cert, settings.key] {
        if r.path(setting).is_some() {
            warn_unused(r, setting, &format!("{} is not on", settings.switch.variable));
        }
    }
    TlsFiles::default()
}

/// The name that a peer's certificate must be for, where that is not the host's.
fn server_name(
    r: &mut Reader<'_>,
    setting: &'static Setting,
    switch: &'static Setting,
    used: bool,
) -> Option<ServerName<'static>> {
    let name = r.given(setting, |text| {
        ServerName::try_from(text.to_owned()).map_err(|_| "it is no host name or address".into())
    });
    if name.is_some() && !used {
        warn_unused(r, setting, &format!("{} is not on", switch.variable));
    }
    name
}

/// Warns of a setting that is right, and has no effect.
pub(super) fn warn_unused(r: &mut Reader<'_>, setting: &Setting, reason: &str) {
    r.warn(setting, format!("it is set and not used, since {reason}"));
}

/// The files of a peer's TLS. They are tried at once, so that a wrong one is found now and not
/// when the peer is first needed.
pub(super) fn tried_files(r: &mut Reader<'_>, settings: &TlsSettings) -> TlsFiles {
    let (ca, cert, key) = (r.path(settings.ca), r.path(settings.cert), r.path(settings.key));
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some(ClientFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            r.problem(settings.key, None, format!("it is not set, and {} is", settings.cert.variable));
            None
        }
        (None, Some(_)) => {
            r.problem(settings.cert, None, format!("it is not set, and {} is", settings.key.variable));
            None
        }
    };
    let files = TlsFiles { ca, client };
    let config = TlsConfig { files: files.clone(), server_name: None };
    // Which peer and whose expiry is all one: it is thrown away.
    if let Err(error) = PeerTls::new(config, Peer::Otlp, Expiry::default()) {
        blame(r, settings, &error);
    }
    files
}

fn blame(r: &mut Reader<'_>, settings: &TlsSettings, error: &TlsError) {
    let setting = match error.file() {
        Some(TlsFile::Ca) => settings.ca,
        Some(TlsFile::ClientCert) => settings.cert,
        Some(TlsFile::ClientKey) => settings.key,
        None => settings.switch,
    };
    let (path, why) = why_no_tls(error);
    r.problem(setting, path.map(|path| path.display().to_string()), why);
}

pub(super) fn amqp(r: &mut Reader<'_>) -> (AmqpConfig, ManagementConfig) {
    let tls = r.switch(&s::RABBITMQ_TLS);
    let management_tls = r.given(&s::RABBITMQ_MANAGEMENT_TLS, parse::boolean).unwrap_or(tls);
    let files = tls_files(r, &RABBITMQ_TLS, tls || management_tls);
    let name = server_name(r, &s::RABBITMQ_TLS_SERVER_NAME, &s::RABBITMQ_TLS, tls || management_tls);
    let management_name =
        server_name(r, &s::RABBITMQ_MANAGEMENT_TLS_SERVER_NAME, &s::RABBITMQ_MANAGEMENT_TLS, management_tls);
    let port = amqp_port(r, tls);
    let mechanism = mechanism(r, tls, files.client.is_some());
    let exchange: String = r.required(&s::RABBITMQ_EXCHANGE);
    let dead_letter_exchange: Option<String> = r.given(&s::RABBITMQ_DEAD_LETTER_EXCHANGE, parse::amqp_name);
    if dead_letter_exchange.as_ref().is_some_and(|refused| *refused == exchange) {
        let why = "it is RABBITMQ_EXCHANGE: refused messages would come back as heartbeats without end";
        r.problem(&s::RABBITMQ_DEAD_LETTER_EXCHANGE, dead_letter_exchange.clone(), why);
    }
    let (queues, spread) = queues(r, &exchange);
    let amqp = AmqpConfig {
        nodes: r.read(&s::RABBITMQ_HOST, |text| parse::broker_nodes(text, port)),
        mechanism,
        user: r.read(&s::RABBITMQ_USER, parse::amqp_name),
        password: r.secret(&s::RABBITMQ_PASS).unwrap_or_default(),
        vhost: r.read(&s::RABBITMQ_VHOST, parse::amqp_name),
        exchange,
        queues,
        spread,
        queue_type: r.given(&s::RABBITMQ_QUEUE_TYPE, parse::queue_type),
        routing_key: r.required(&s::RABBITMQ_ROUTING_KEY),
        tls: tls.then(|| TlsConfig { files: files.clone(), server_name: name.clone() }),
        heartbeat: whole_seconds(r, &s::RABBITMQ_HEARTBEAT),
        prefetch: r.number(&s::RABBITMQ_PREFETCH),
        reconnect_max: r.time(&s::RECONNECT_MAX),
        send_user_id: r.switch(&s::RABBITMQ_SEND_USER_ID),
        dead_letter_exchange,
    };
    let management = ManagementConfig {
        hosts: r.given(&s::RABBITMQ_MANAGEMENT_HOST, parse::hosts).unwrap_or_else(|| hosts_of(&amqp.nodes)),
        port: r.number(&s::RABBITMQ_MANAGEMENT_PORT),
        user: amqp.user.clone(),
        password: amqp.password.clone(),
        vhost: amqp.vhost.clone(),
        tls: management_tls.then(|| TlsConfig { files, server_name: management_name.or(name) }),
    };
    (amqp, management)
}

/// The hosts of some nodes, each once.
fn hosts_of(nodes: &[Node]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for node in nodes {
        if !hosts.contains(&node.host) {
            hosts.push(node.host.clone());
        }
    }
    hosts
}

/// The queues, and the exchange that shares heartbeats out to them where they are given as several.
fn queues(r: &mut Reader<'_>, exchange: &str) -> (Vec<String>, Option<String>) {
    let queue = r.required(&s::RABBITMQ_QUEUE);
    let spread: String = r.read(&s::RABBITMQ_SPREAD_EXCHANGE, parse::amqp_name);
    let Some(queues) = r.given(&s::RABBITMQ_QUEUES, parse::queues) else {
        if r.is_given(&s::RABBITMQ_SPREAD_EXCHANGE) {
            warn_unused(r, &s::RABBITMQ_SPREAD_EXCHANGE, "RABBITMQ_QUEUES is not set");
        }
        return (vec![queue], None);
    };
    if r.is_given(&s::RABBITMQ_QUEUE) {
        warn_unused(r, &s::RABBITMQ_QUEUE, "RABBITMQ_QUEUES names the queues");
    }
    if spread == exchange {
        let why = "it is RABBITMQ_EXCHANGE, from which it is to take the heartbeats";
        r.problem(&s::RABBITMQ_SPREAD_EXCHANGE, Some(spread.clone()), why);
    }
    (queues, Some(spread))
}

/// How to log in. By certificate, there must be one to show.
fn mechanism(r: &mut Reader<'_>, tls: bool, certified: bool) -> Mechanism {
    let mechanism =
        r.read(&s::RABBITMQ_AUTH_MECHANISM, |text| match text.trim().to_ascii_lowercase().as_str() {
            "plain" => Ok(Mechanism::Plain),
            "external" => Ok(Mechanism::External),
            _ => Err("it is neither plain nor external".into()),
        });
    let missing = match mechanism {
        Mechanism::External if !tls => "RABBITMQ_TLS is not on",
        // A certificate without its key has its own problem.
        Mechanism::External if !certified && !r.is_given(&s::RABBITMQ_CLIENT_CERT_PATH) => {
            "RABBITMQ_CLIENT_CERT_PATH is not set"
        }
        _ => return mechanism,
    };
    let why = format!("it is external, where the client certificate says who this is, and {missing}");
    r.problem(&s::RABBITMQ_AUTH_MECHANISM, Some("external".to_owned()), why);
    mechanism
}

/// With TLS, the TLS port. The original connects to `RABBITMQ_PORT` in either case, so where that
/// alone was set to something unusual, its deployments expect it to count.
fn amqp_port(r: &mut Reader<'_>, tls: bool) -> u16 {
    let (plain, secured): (u16, u16) = (r.number(&s::RABBITMQ_PORT), r.number(&s::RABBITMQ_TLS_PORT));
    if !tls {
        if plain == AMQPS_PORT {
            r.warn(&s::RABBITMQ_PORT, "it is 5671, where RabbitMQ speaks TLS, and RABBITMQ_TLS is not on");
        }
        return plain;
    }
    if plain == AMQP_PORT || plain == secured {
        return secured;
    }
    if r.is_given(&s::RABBITMQ_TLS_PORT) {
        r.warn(&s::RABBITMQ_PORT, format!("it is not used: with TLS, RABBITMQ_TLS_PORT counts, {secured}"));
        return secured;
    }
    r.warn(&s::RABBITMQ_PORT, format!("{plain} is used for TLS; RABBITMQ_TLS_PORT is the setting for that"));
    plain
}

/// AMQP tells its heartbeat in whole seconds.
fn whole_seconds(r: &mut Reader<'_>, setting: &'static Setting) -> Duration {
    let time = r.time(setting);
    if time.subsec_nanos() != 0 {
        r.problem(setting, Some(humantime::format_duration(time).to_string()), "it is not in whole seconds");
    }
    time
}

/// How Redis is run, as the setting names it.
#[derive(Clone, Copy, Default, PartialEq)]
enum RedisMode {
    #[default]
    Single,
    Sentinel,
    Cluster,
}

fn redis_mode(text: &str) -> Result<RedisMode, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "single" => Ok(RedisMode::Single),
        "sentinel" => Ok(RedisMode::Sentinel),
        "cluster" => Ok(RedisMode::Cluster),
        _ => Err("it is none of single, sentinel, cluster".into()),
    }
}

pub(super) fn redis(r: &mut Reader<'_>, reconnect_max: Duration) -> RedisConfig {
    let tls = r.switch(&s::REDIS_TLS);
    let files = tls_files(r, &REDIS_TLS, tls);
    let name = server_name(r, &s::REDIS_TLS_SERVER_NAME, &s::REDIS_TLS, tls);
    let username = r.given(&s::REDIS_USERNAME, |text| Ok(text.to_owned()));
    let password = r.secret(&s::REDIS_PASSWORD);
    if username.is_some() && password.is_none() && !r.is_given(&s::REDIS_PASSWORD) {
        let why = "it is set and REDIS_PASSWORD is not, so that Redis would take this for its default user, which may \
                   do everything; set REDIS_PASSWORD or REDIS_PASSWORD_FILE";
        r.problem(&s::REDIS_USERNAME, username.clone(), why);
    }
    RedisConfig {
        topology: redis_topology(r),
        username,
        password,
        tls: tls.then_some(TlsConfig { files, server_name: name }),
        timeout: r.time(&s::REDIS_TIMEOUT),
        reconnect_max,
        contract_keys: r.switch(&s::REDIS_CONTRACT_KEYS),
    }
}

fn redis_topology(r: &mut Reader<'_>) -> Topology {
    let given = r.given(&s::REDIS_MODE, redis_mode);
    // Of a mode that cannot be read, nobody knows what it has no use for.
    let is_known = given.is_some() || !r.is_given(&s::REDIS_MODE);
    let mode = given.unwrap_or_default();
    let (host, port) = (r.read(&s::REDIS_HOST, parse::host), r.number(&s::REDIS_PORT));
    let database: u8 = r.number(&s::REDIS_DB);
    let service = r.read(&s::REDIS_SENTINEL_SERVICE, |text| Ok(text.to_owned()));
    let nodes = r.given(&s::REDIS_NODES, parse::nodes).filter(|nodes| !nodes.is_empty());
    if is_known && mode != RedisMode::Sentinel && r.is_given(&s::REDIS_SENTINEL_SERVICE) {
        warn_unused(r, &s::REDIS_SENTINEL_SERVICE, "REDIS_MODE is not sentinel");
    }
    if mode != RedisMode::Single && nodes.is_some() {
        for single in [&s::REDIS_HOST, &s::REDIS_PORT] {
            if r.is_given(single) {
                warn_unused(r, single, "REDIS_NODES names the nodes");
            }
        }
    }
    let named = r.is_given(&s::REDIS_NODES) || r.is_given(&s::REDIS_HOST);
    if mode == RedisMode::Sentinel && !named {
        let why =
            "it is not set, and REDIS_MODE is sentinel: it names the Sentinels, which are not where Redis is";
        r.problem(&s::REDIS_NODES, None, why);
    }
    match mode {
        RedisMode::Single => {
            if is_known && nodes.is_some() {
                warn_unused(r, &s::REDIS_NODES, "REDIS_MODE is single");
            }
            Topology::Single { node: (host, port), database }
        }
        RedisMode::Sentinel => {
            Topology::Sentinel { nodes: nodes.unwrap_or_else(|| vec![(host, port)]), service, database }
        }
        RedisMode::Cluster => {
            if database != 0 {
                r.problem(&s::REDIS_DB, Some(database.to_string()), "a Redis Cluster has database 0 alone");
            }
            Topology::Cluster { nodes: nodes.unwrap_or_else(|| vec![(host, port)]) }
        }
    }
}

pub(super) fn web(r: &mut Reader<'_>, address: &'static Setting) -> Option<WebConfig> {
    let listen = r.read(address, parse::listen_addresses);
    let web = WebConfig {
        listen,
        telemetry_path: r.read(&s::WEB_TELEMETRY_PATH, parse::url_path),
        connections_max: r.number(&s::WEB_MAX_CONNECTIONS),
        connections_per_client_max: r.number(&s::WEB_MAX_CONNECTIONS_PER_CLIENT),
        config_file: r.path(&s::WEB_CONFIG_FILE),
        health_without_auth: r.switch(&s::WEB_HEALTH_WITHOUT_AUTH),
    };
    if let Some(path) = &web.config_file {
        // Whoever protects a server wants to hear of a mistake even where nothing listens yet.
        if let Err(problems) = web::load(path) {
            r.problems.extend(problems.iter().cloned());
        }
    } else if web.health_without_auth {
        warn_unused(r, &s::WEB_HEALTH_WITHOUT_AUTH, "WEB_CONFIG_FILE is not set");
    }
    (!web.listen.is_empty()).then_some(web)
}

pub(super) fn emitter(r: &mut Reader<'_>, role: Role, management: ManagementConfig) -> EmitterConfig {
    let publish_interval = r.time(&s::PUBLISH_INTERVAL);
    let probe_interval = r.time_given(&s::PROBE_INTERVAL).unwrap_or(publish_interval);
    let check_timeout = r.time(&s::CHECK_TIMEOUT);
    if probe_interval > publish_interval {
        r.warn(&s::PROBE_INTERVAL, "it is longer than PUBLISH_INTERVAL, so heartbeats repeat old results");
    }
    if check_timeout > probe_interval {
        r.warn(
            &s::CHECK_TIMEOUT,
            "it is longer than PROBE_INTERVAL, so a check that hangs holds up the next round",
        );
    }
    if management.tls.is_some() && management.port == MANAGEMENT_PORT {
        r.warn(
            &s::RABBITMQ_MANAGEMENT_PORT,
            "it is 15672, where RabbitMQ speaks http; with TLS it is usually 15671",
        );
    }
    let (targets_file, targets) = targets(r, role);
    let local = local(r);
    let state_file = r.path(&s::PUBLISHER_STATE_FILE);
    if state_file.as_ref() == Some(&targets_file) {
        let shown = targets_file.display().to_string();
        r.problem(
            &s::PUBLISHER_STATE_FILE,
            Some(shown),
            "it is PUBLISHER_CONFIG_PATH, and would be overwritten",
        );
    }
    EmitterConfig {
        id: publisher_id(r),
        targets,
        targets_file,
        targets_watched: r.switch(&s::PUBLISHER_CONFIG_WATCH),
        local,
        state_file,
        publish_interval,
        probe_interval,
        check_timeout,
        check_concurrency: r.number(&s::CHECK_CONCURRENCY),
        management,
    }
}

pub(super) fn publisher_id(r: &mut Reader<'_>) -> PublisherId {
    if let Some(id) = r.given(&s::PUBLISHER_ID, parse::own_publisher_id) {
        return id;
    }
    let host_name = r.source.host_name();
    match PublisherId::new(&host_name) {
        Ok(id) if !is_random_host_name(&host_name) => id,
        _ => {
            if !r.is_given(&s::PUBLISHER_ID) {
                let text = format!(
                    "it is not set, and the host's name {host_name:?} will be another after the next start; \
                     {FALLBACK_ID:?} is used, which no other publisher may be called"
                );
                r.warn(&s::PUBLISHER_ID, text);
            }
            PublisherId::new(FALLBACK_ID).expect("the fallback id is a valid name")
        }
    }
}

/// Whether there is a publisher's file, for who can do without: the way to the servers is looked at before what is to be checked
/// is written down.
pub(super) fn has_file(r: &mut Reader<'_>, role: Role) -> bool {
    let (_, path) = targets_file(r);
    let is_missing =
        std::fs::metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if is_missing && role == Role::Publisher {
        let why = format!("{} is not there; going on as for one that checks no consumers", path.display());
        r.warn(&s::PUBLISHER_CONFIG_PATH, why);
    }
    !is_missing
}

/// Whether somebody chose the publisher's file, and where it is.
fn targets_file(r: &mut Reader<'_>) -> (bool, PathBuf) {
    let chosen = r.path(&s::PUBLISHER_CONFIG_PATH);
    (chosen.is_some(), chosen.unwrap_or_else(|| PathBuf::from(s::PUBLISHER_CONFIG_PATH.default)))
}

/// The publisher's file, and what it says.
fn targets(r: &mut Reader<'_>, role: Role) -> (PathBuf, Option<Targets>) {
    let (is_chosen, path) = targets_file(r);
    if role == Role::Standalone && !is_chosen && !path.exists() {
        // What README shows is not odd: the role says by itself that it checks its own port.
        return (path, None);
    }
    let targets = read_targets(r, &path);
    (path, targets)
}

/// Reads the publisher's file. Its warnings and problems join the others.
fn read_targets(r: &mut Reader<'_>, path: &Path) -> Option<Targets> {
    let setting = &s::PUBLISHER_CONFIG_PATH;
    let shown = path.display().to_string();
    match targets::load(path) {
        Ok((targets, warnings)) => {
            warn_of_file(r, &shown, &warnings);
            Some(targets)
        }
        Err(Unusable::Unreadable(why)) => {
            r.problem(setting, Some(shown), why);
            None
        }
        Err(Unusable::Problems(problems, warnings)) => {
            warn_of_file(r, &shown, &warnings);
            r.problems.extend(problems.iter().map(|problem| Problem {
                name: shown.clone(),
                value: None,
                why: problem.sentence(),
                example: problem.example.to_owned(),
            }));
            None
        }
    }
}

fn warn_of_file(r: &mut Reader<'_>, file: &str, warnings: &[targets::Warning]) {
    r.warnings.extend(warnings.iter().map(|warning| Warning::new(file, warning.to_string())));
}

pub(super) fn view(r: &mut Reader<'_>) -> ViewConfig {
    ViewConfig {
        expected: r.read(&s::EXPECTED_PUBLISHERS, parse::publisher_ids),
        legacy_ids: r.read(&s::LEGACY_PUBLISHER_IDS, parse::legacy_ids),
        grace: r.read(&s::PUBLISHER_GRACE, parse::grace_rules),
        retention: r.time(&s::RETENTION),
        limits: Limits {
            message_bytes: r.number(&s::LIMIT_MESSAGE_BYTES),
            components_per_message: r.number(&s::LIMIT_COMPONENTS_PER_MESSAGE),
            publishers: r.number(&s::LIMIT_PUBLISHERS),
            components: r.number(&s::LIMIT_COMPONENTS),
        },
        broker_timestamp_trusted: r.switch(&s::BROKER_TIMESTAMP_TRUSTED),
    }
}

pub(super) fn batch(r: &mut Reader<'_>) -> BatchConfig {
    BatchConfig { publishers_max: r.number(&s::BATCH_MAX_PUBLISHERS) }
}
