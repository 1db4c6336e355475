//! Strings to typed values: flags, variables and files, read once at the start.
//!
//! [`settings`] is the table of everything that can be set; [`load`] reads it for one role and
//! answers with a [`Config`], or with every problem at once. A flag goes before its variable, and
//! that before the default. Nothing else in the program reads the environment, and nothing in
//! here is read again later, save the files of [`crate::tls::TlsFiles`] and the web configuration ([`web`]).

mod hints;
mod likeness;
mod local;
mod model;
mod otel;
pub mod parse;
mod problem;
mod proofs;
mod reader;
mod sections;
mod service_manager;
mod setting;
pub mod settings;
mod source;
mod status;
pub mod targets;
pub mod web;
mod yaml;

use std::path::PathBuf;

pub use crate::secret::Secret;
pub use model::*;
pub use problem::{Problem, Problems, Warning};
pub use reader::Flags;
pub use setting::{Heading, Kind, Scopes, Setting, variable_of};
pub use source::{MapSource, ProcessEnvironment, Source};

use reader::Reader;

impl Role {
    /// The column of the table that belongs to the role.
    pub fn scope(self) -> Scopes {
        match self {
            Self::Publisher => Scopes::PUBLISHER,
            Self::Subscriber => Scopes::SUBSCRIBER,
            Self::Standalone => Scopes::STANDALONE,
        }
    }
}

/// The role where no command names one: what the original program would do.
pub fn mode(flags: &Flags, source: &dyn Source) -> (Role, Option<Warning>) {
    let setting = &settings::HEARTBEAT_MODE;
    let flag = flags.get(setting.flag).filter(|value| !value.is_empty()).cloned();
    let text = flag.or_else(|| source.get(setting.variable)).unwrap_or_default();
    if text.is_empty() || text.eq_ignore_ascii_case("publisher") {
        return (Role::Publisher, None);
    }
    let known = text.eq_ignore_ascii_case("subscriber");
    let warning = (!known).then(|| {
        let text =
            format!("{} is neither publisher nor subscriber; taken for subscriber", problem::shown(&text));
        Warning::new(setting.title(), text)
    });
    (Role::Subscriber, warning)
}

/// Whether text on a terminal may be in colours, by what <https://no-color.org> asks.
pub fn allows_colours(source: &dyn Source) -> bool {
    let is_set = |name| source.get(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && source.get("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Reads the configuration of a role, and the files that it names.
///
/// # Errors
/// Every problem that there is.
pub fn load(role: Role, flags: &Flags, source: &dyn Source) -> Result<(Config, Vec<Warning>), Problems> {
    let mut reader = Reader::new(role.scope(), flags, source);
    let r = &mut reader;
    let process = sections::process(r, role);
    let (amqp, management) = sections::amqp(r);
    let role_config = match role {
        Role::Publisher => RoleConfig::Publisher(Box::new(publisher(r, amqp, management))),
        Role::Subscriber => RoleConfig::Subscriber(Box::new(SubscriberConfig {
            view: sections::view(r),
            store: sections::redis(r, amqp.reconnect_max),
            amqp,
            batch: sections::batch(r),
            proofs: proofs::proofs(r),
            web: listening(r),
        })),
        Role::Standalone => RoleConfig::Standalone(Box::new(StandaloneConfig {
            emitter: sections::emitter(r, role, management),
            view: sections::view(r),
            batch: sections::batch(r),
            web: listening(r),
            amqp,
        })),
    };
    let otlp = &process.otlp;
    warn_of_what_is_not_read(r, role, otlp.traces.is_some() || otlp.metrics.is_some() || otlp.logs.is_some());
    reader.finish(Config { process, role: role_config })
}

fn publisher(r: &mut Reader<'_>, amqp: AmqpConfig, management: ManagementConfig) -> PublisherConfig {
    let emitter = sections::emitter(r, Role::Publisher, management);
    let publish_timeout = r.time(&settings::PUBLISH_TIMEOUT);
    // The grace of a publisher is three of its intervals; a pause that long alone makes it stale.
    if amqp.reconnect_max > emitter.publish_interval.saturating_mul(3) {
        r.warn(
            &settings::RECONNECT_MAX,
            "it is longer than three times PUBLISH_INTERVAL: an outage of the broker will show as stale for long",
        );
    }
    PublisherConfig {
        emitter,
        amqp,
        publish_timeout,
        signing_key: proofs::signing_key(r),
        web: sections::web(r, &settings::EMITTER_LISTEN_ADDRESS),
    }
}

/// The exposition of a role that always has one.
fn listening(r: &mut Reader<'_>) -> WebConfig {
    let setting = &settings::WEB_LISTEN_ADDRESS;
    sections::web(r, setting).unwrap_or_else(|| {
        // Commas and nothing else; an empty value is the default.
        r.problem(setting, Some(",".into()), "it holds no address");
        WebConfig {
            listen: Vec::new(),
            telemetry_path: String::new(),
            connections_max: 0,
            connections_per_client_max: 0,
            config_file: None,
            health_without_auth: false,
        }
    })
}

/// Flags of another role (possible only where the mode decides), and variables that are most
/// likely misspelt.
fn warn_of_what_is_not_read(r: &mut Reader<'_>, role: Role, exports: bool) {
    note_misspelt_variables(r, exports);
    let unused = settings::ALL.iter().filter(|setting| {
        r.has_flag(setting) && !setting.scopes.meets(role.scope()) && setting.scopes != Scopes::ROOT
    });
    let unused: Vec<Warning> = unused
        .map(|setting| Warning::new(setting.title(), format!("it is not used by the {}", role.as_str())))
        .collect();
    r.warnings.extend(unused);
}

fn note_misspelt_variables(r: &mut Reader<'_>, exports: bool) {
    let (problems, warnings) = hints::unread_variables(r, exports);
    r.problems.extend(problems);
    r.warnings.extend(warnings);
}

/// Reads what `heartbeat drill` needs of a publisher's settings, all of which it may be given.
///
/// # Errors
/// Every problem that there is.
pub fn load_drill(flags: &Flags, source: &dyn Source) -> Result<(DrillConfig, Vec<Warning>), Problems> {
    let role = Role::Publisher;
    let mut reader = Reader::new(role.scope(), flags, source);
    let r = &mut reader;
    let config = DrillConfig {
        log: sections::log(r),
        publisher: sections::publisher_id(r),
        amqp: sections::amqp(r).0,
        publish_timeout: r.time(&settings::PUBLISH_TIMEOUT),
        signing_key: proofs::signing_key(r),
    };
    warn_of_what_is_not_read(r, role, false);
    reader.finish(config)
}

/// Reads what `heartbeat tap` needs.
///
/// # Errors
/// Every problem that there is.
pub fn load_tap(flags: &Flags, source: &dyn Source) -> Result<(TapConfig, Vec<Warning>), Problems> {
    let mut reader = Reader::new(Scopes::TAP, flags, source);
    let r = &mut reader;
    let config = TapConfig {
        log: sections::log(r),
        amqp: sections::amqp(r).0,
        message_bytes: r.number(&settings::LIMIT_MESSAGE_BYTES),
        components_per_message: r.number(&settings::LIMIT_COMPONENTS_PER_MESSAGE),
    };
    note_misspelt_variables(r, false);
    reader.finish(config)
}

/// Reads what `heartbeat status` needs.
///
/// # Errors
/// Every problem that there is.
pub fn load_status(flags: &Flags, source: &dyn Source) -> Result<(StatusConfig, Vec<Warning>), Problems> {
    let mut reader = Reader::new(Scopes::STATUS, flags, source);
    let r = &mut reader;
    let config = status::status(r);
    note_misspelt_variables(r, false);
    reader.finish(config)
}

/// Reads what `heartbeat doctor` needs to look after a role.
///
/// # Errors
/// Every problem that there is.
pub fn load_doctor(
    role: Role,
    flags: &Flags,
    source: &dyn Source,
) -> Result<(DoctorConfig, Vec<Warning>), Problems> {
    let mut reader = Reader::new(role.scope().and(Scopes::DOCTOR), flags, source);
    let r = &mut reader;
    let log = sections::log(r);
    let (amqp, management) = sections::amqp(r);
    let checks_queues = role != Role::Subscriber && sections::has_file(r, role) && {
        let targets = sections::emitter(r, role, management.clone()).targets;
        targets.is_some_and(|targets| !targets.queues.is_empty())
    };
    let redis = (role == Role::Subscriber).then(|| sections::redis(r, amqp.reconnect_max));
    note_misspelt_variables(r, false);
    reader.finish(DoctorConfig { log, role, amqp, management, checks_queues, redis })
}

/// Reads what `heartbeat forget` needs.
///
/// # Errors
/// Every problem that there is.
pub fn load_forget(flags: &Flags, source: &dyn Source) -> Result<(ForgetConfig, Vec<Warning>), Problems> {
    let mut reader = Reader::new(Scopes::FORGET, flags, source);
    let r = &mut reader;
    let reconnect_max = r.time(&settings::RECONNECT_MAX);
    let config = ForgetConfig { log: sections::log(r), store: sections::redis(r, reconnect_max) };
    note_misspelt_variables(r, false);
    reader.finish(config)
}

/// Reads where the publisher on this machine listens, for `heartbeat maintenance`.
///
/// # Errors
/// Every problem that there is.
pub fn load_local(flags: &Flags, source: &dyn Source) -> Result<(LocalConfig, Vec<Warning>), Problems> {
    let mut reader = Reader::new(Scopes::MAINTENANCE, flags, source);
    let r = &mut reader;
    let config = local::elsewhere(r);
    if config.is_none() && !r.is_given(&settings::LOCAL_LISTEN_ADDRESS) {
        let why = "it is not set here; set it to what the publisher on this machine has";
        r.problem(&settings::LOCAL_LISTEN_ADDRESS, None, why);
    }
    let nowhere = LocalConfig { listen: LocalAddress::Unix(PathBuf::new()), token: None };
    reader.finish(config.unwrap_or(nowhere))
}

/// Reads what `heartbeat keys` needs.
///
/// # Errors
/// Every problem that there is.
pub fn load_keys(flags: &Flags, source: &dyn Source) -> Result<(KeysConfig, Vec<Warning>), Problems> {
    let mut reader = Reader::new(Scopes::KEYS, flags, source);
    let r = &mut reader;
    let config = KeysConfig { publisher: sections::publisher_id(r), key_file: proofs::key_file(r) };
    reader.finish(config)
}

/// The file in which a role notes its health. Without a role, the mode decides, as at the start.
///
/// # Errors
/// Every problem that there is.
pub fn health_file(role: Option<Role>, flags: &Flags, source: &dyn Source) -> Result<PathBuf, Problems> {
    let role = role.unwrap_or_else(|| mode(flags, source).0);
    let mut reader = Reader::new(Scopes::HEALTHCHECK, flags, source);
    let path = sections::health_file(&mut reader, role);
    reader.finish(path).map(|(path, _)| path)
}

#[cfg(test)]
mod tests;
