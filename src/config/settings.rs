//! The table of all settings: the one place that knows their names, defaults and bounds.
//!
//! Flags, variables, `--help` and the documentation of the configuration all follow from it.
//! Names and defaults of the original program (contract, section 1) stand as they are there, and so
//! do OpenTelemetry's, in [`otel`].

use std::time::Duration;

use super::setting::{Heading, Kind, Scopes, Setting};

const PROCESS: (Heading, Scopes) = (Heading::Process, Scopes::ROLES);
const RABBIT: (Heading, Scopes) = (Heading::RabbitMq, Scopes::ROLES.and(Scopes::TAP));
const QUEUES: (Heading, Scopes) = (Heading::RabbitMq, Scopes::ROLES);
const MANAGEMENT: (Heading, Scopes) = (Heading::Management, EMITS.and(Scopes::DOCTOR));
const REDIS: (Heading, Scopes) = (Heading::Redis, Scopes::SUBSCRIBER.and(Scopes::FORGET));
const CHECKS: (Heading, Scopes) = (Heading::Checks, EMITS);
const JUDGES: (Heading, Scopes) = (Heading::Publishers, SHOWS);
const PROVES: (Heading, Scopes) = (Heading::Authenticity, Scopes::PUBLISHER.and(Scopes::KEYS));
const DEMANDS: (Heading, Scopes) = (Heading::Authenticity, Scopes::SUBSCRIBER);
const LOCAL: (Heading, Scopes) = (Heading::Local, EMITS.and(Scopes::MAINTENANCE));
const LIMITS: (Heading, Scopes) = (Heading::Limits, SHOWS);
const LIMITS_OF_MESSAGES: (Heading, Scopes) = (Heading::Limits, SHOWS.and(Scopes::TAP));
const WEB: (Heading, Scopes) = (Heading::Web, Scopes::ROLES);
const STATUS: (Heading, Scopes) = (Heading::Status, Scopes::STATUS);
const LOG: (Heading, Scopes) = (Heading::Logging, Scopes::ROLES.and(Scopes::FORGET).and(Scopes::TAP));

const EMITS: Scopes = Scopes::PUBLISHER.and(Scopes::STANDALONE);
const CONNECTS: Scopes = Scopes::PUBLISHER.and(Scopes::SUBSCRIBER);
const SHOWS: Scopes = Scopes::SUBSCRIBER.and(Scopes::STANDALONE);

const PORT: Kind = Kind::Number(1, 65_535);
/// More than any machine has room for, and far from where arithmetic would end.
const COUNT_MAX: u64 = 100_000_000;
/// RabbitMQ's own bound on a message before version 4, in bytes.
const MESSAGE_BYTES_MAX: u64 = 128 << 20;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// As people count it, 365.25 days to the year.
const TEN_YEARS: u64 = 3_652 * DAY + 12 * HOUR;

const fn time_ms(min: u64, max: u64) -> Kind {
    Kind::Time(Duration::from_millis(min), Duration::from_millis(max))
}

const fn time_s(min: u64, max: u64) -> Kind {
    Kind::Time(Duration::from_secs(min), Duration::from_secs(max))
}

macro_rules! settings {
    ($(#[$about:meta])+ $table:ident: $($name:ident = $setting:expr;)+) => {
        $(
            #[doc = concat!("`", stringify!($name), "`")]
            pub static $name: Setting = $setting.in_variable(stringify!($name));
        )+

        $(#[$about])+
        pub(super) static $table: [&Setting; [$(stringify!($name),)+].len()] = [$(&$name,)+];
    };
}

pub mod otel;

/// Every setting, in the order of `--help`.
pub static ALL: &[&Setting] = &JOINED;

static JOINED: [&Setting; OURS.len() + otel::TABLE.len()] = {
    let mut joined = [OURS[0]; OURS.len() + otel::TABLE.len()];
    let mut at = 0;
    while at < joined.len() {
        joined[at] = if at < OURS.len() { OURS[at] } else { otel::TABLE[at - OURS.len()] };
        at += 1;
    }
    joined
};

const fn new(
    flag: &'static str,
    place: (Heading, Scopes),
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting::new(flag, place, kind, default, help)
}

settings! {
    /// Those that are the program's own.
    OURS:

    HEARTBEAT_MODE = new("heartbeat.mode", (Heading::Process, Scopes::ROOT), Kind::Text("ROLE"), "publisher",
        "The role when no command is given: publisher, in capitals or not; anything else is the subscriber");
    SHUTDOWN_GRACE = new("shutdown.grace", PROCESS, time_ms(0, HOUR * 1000), "10s",
        "Longest time from the signal to stop until the process ends by itself");
    HEALTH_FILE = new("health.file", (Heading::Process, Scopes::ROLES.and(Scopes::HEALTHCHECK)), Kind::File, "",
        "File in which the role notes its health, for `heartbeat healthcheck`")
        .derived_from("heartbeat-<role>.health in the system's folder of temporary files")
        .such_as("/run/heartbeat/publisher.health");
    RECONNECT_MAX = new("reconnect.max", (Heading::Process, Scopes::ROLES.and(Scopes::FORGET)),
        time_ms(100, HOUR * 1000), "4s",
        "Longest pause between two attempts to connect to a server; a large fleet sets it higher");

    RABBITMQ_HOST = new("rabbitmq.host", RABBIT, Kind::List("HOST[:PORT]"), "localhost",
        "Host name or address of the broker, or of each node of a cluster, separated by commas; each attempt to connect \
         begins with another one");
    RABBITMQ_PORT = new("rabbitmq.port", RABBIT, PORT, "5672",
        "Port of the broker, without TLS");
    RABBITMQ_USER = new("rabbitmq.user", RABBIT, Kind::Text("USER"), "guest",
        "User at the broker and at its management API");
    RABBITMQ_PASS = new("rabbitmq.pass", RABBIT, Kind::Secret, "guest",
        "Password of RABBITMQ_USER");
    RABBITMQ_AUTH_MECHANISM = new("rabbitmq.auth-mechanism", RABBIT, Kind::Text("MECHANISM"), "plain",
        "How to log in at the broker: plain, by user and password, or external, by the client certificate")
        .that_protects();
    RABBITMQ_VHOST = new("rabbitmq.vhost", RABBIT, Kind::Text("VHOST"), "/",
        "Virtual host");
    RABBITMQ_EXCHANGE = new("rabbitmq.exchange", RABBIT, Kind::Required("EXCHANGE"), "my_topic_exchange",
        "Exchange of the heartbeats; must not be empty");
    RABBITMQ_QUEUE = new("rabbitmq.queue", QUEUES, Kind::Required("QUEUE"), "my_queue",
        "Queue of the heartbeats; must not be empty");
    RABBITMQ_QUEUE_TYPE = new("rabbitmq.queue-type", (Heading::RabbitMq, CONNECTS), Kind::Text("TYPE"), "",
        "What the queue is to be where it is created: classic or quorum; one that stands is used as it is")
        .derived_from("the broker's own, with no argument").such_as("quorum");
    RABBITMQ_QUEUES = new("rabbitmq.queues", QUEUES, Kind::List("QUEUES"), "",
        "Queues that share the heartbeats out by publisher, separated by commas, each with a single active consumer")
        .derived_from("RABBITMQ_QUEUE alone").such_as("heartbeat-1,heartbeat-2,heartbeat-3");
    RABBITMQ_SPREAD_EXCHANGE = new("rabbitmq.spread-exchange", QUEUES, Kind::Text("EXCHANGE"), "heartbeat-spread",
        "Consistent-hash exchange between RABBITMQ_EXCHANGE and RABBITMQ_QUEUES");
    RABBITMQ_ROUTING_KEY = new("rabbitmq.routing-key", RABBIT, Kind::Required("KEY"), "service.heartbeat",
        "Key from the exchange to the queue; must not be empty");
    RABBITMQ_TLS = new("rabbitmq.tls", RABBIT, Kind::Boolean, "false",
        "TLS to the broker and, unless set apart, to its management API").that_protects();
    RABBITMQ_TLS_PORT = new("rabbitmq.tls-port", RABBIT, PORT, "5671",
        "Port of the broker, with TLS");
    RABBITMQ_CA_CERT_PATH = new("rabbitmq.ca-cert-path", RABBIT, Kind::File, "",
        "PEM file with the only roots that the broker and its management API are trusted by")
        .derived_from("the system's roots").such_as("/etc/heartbeat/ca.pem").that_protects();
    RABBITMQ_CLIENT_CERT_PATH = new("rabbitmq.client-cert-path", RABBIT, Kind::File, "",
        "PEM file with the client's certificate and its chain").such_as("/etc/heartbeat/client.pem")
        .that_protects();
    RABBITMQ_CLIENT_KEY_PATH = new("rabbitmq.client-key-path", RABBIT, Kind::File, "",
        "PEM file with the client's key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
        .such_as("/etc/heartbeat/client.key").that_protects();
    RABBITMQ_TLS_SERVER_NAME = new("rabbitmq.tls-server-name", RABBIT, Kind::Host, "",
        "Name that the broker's certificate must be for, where it is reached by an address or through a tunnel")
        .derived_from("RABBITMQ_HOST").such_as("rabbitmq.example.org").that_protects();
    RABBITMQ_HEARTBEAT = new("rabbitmq.heartbeat", RABBIT, time_s(1, HOUR), "10s",
        "AMQP heartbeat to ask for; silence of twice that ends the connection");
    RABBITMQ_PREFETCH = new("rabbitmq.prefetch", (Heading::RabbitMq, Scopes::SUBSCRIBER), PORT, "8192",
        "Deliveries that may be unacked at one time");
    RABBITMQ_DEAD_LETTER_EXCHANGE = new("rabbitmq.dead-letter-exchange", (Heading::RabbitMq, Scopes::SUBSCRIBER),
        Kind::Text("EXCHANGE"), "", "Exchange for messages that cannot be understood")
        .derived_from("a bounded list in Redis").such_as("heartbeat.dead");

    RABBITMQ_MANAGEMENT_HOST = new("rabbitmq.management-host", MANAGEMENT, Kind::List("HOST"), "",
        "Host name or address of the management API, or of each node's, separated by commas").derived_from("RABBITMQ_HOST").such_as("localhost");
    RABBITMQ_MANAGEMENT_PORT = new("rabbitmq.management-port", MANAGEMENT, PORT, "15672",
        "Port of the management API; with TLS it is usually 15671");
    RABBITMQ_MANAGEMENT_TLS = new("rabbitmq.management-tls", MANAGEMENT, Kind::Boolean, "",
        "https to the management API").derived_from("RABBITMQ_TLS").such_as("true").that_protects();
    RABBITMQ_MANAGEMENT_TLS_SERVER_NAME = new("rabbitmq.management-tls-server-name", MANAGEMENT, Kind::Host, "",
        "Name that the management API's certificate must be for, where that is not its host's")
        .derived_from("RABBITMQ_TLS_SERVER_NAME").such_as("rabbitmq.example.org").that_protects();

    REDIS_HOST = new("redis.host", REDIS, Kind::Host, "redis",
        "Host name or address of Redis");
    REDIS_PORT = new("redis.port", REDIS, PORT, "6379",
        "Port of Redis, with TLS or without");
    REDIS_DB = new("redis.db", REDIS, Kind::Number(0, 255), "0",
        "Number of the database; a cluster has 0 alone");
    REDIS_MODE = new("redis.mode", REDIS, Kind::Text("MODE"), "single",
        "How Redis is run: single, sentinel or cluster");
    REDIS_NODES = new("redis.nodes", REDIS, Kind::List("HOST:PORT"), "",
        "The Sentinels, or some nodes of the cluster, separated by commas")
        .derived_from("REDIS_HOST and REDIS_PORT").such_as("redis-1:26379,redis-2:26379");
    REDIS_SENTINEL_SERVICE = new("redis.sentinel-service", REDIS, Kind::Text("NAME"), "mymaster",
        "The name that the Sentinels have for the primary");
    REDIS_USERNAME = new("redis.username", REDIS, Kind::Text("USER"), "",
        "ACL user").derived_from("the default user").such_as("heartbeat");
    REDIS_PASSWORD = new("redis.password", REDIS, Kind::Secret, "",
        "Password of REDIS_USERNAME, or of the default user");
    REDIS_TLS = new("redis.tls", REDIS, Kind::Boolean, "false",
        "TLS to Redis").that_protects();
    REDIS_CA_CERT_PATH = new("redis.ca-cert-path", REDIS, Kind::File, "",
        "PEM file with the only roots that Redis is trusted by")
        .derived_from("the system's roots").such_as("/etc/heartbeat/ca.pem").that_protects();
    REDIS_CLIENT_CERT_PATH = new("redis.client-cert-path", REDIS, Kind::File, "",
        "PEM file with the client's certificate and its chain").such_as("/etc/heartbeat/client.pem")
        .that_protects();
    REDIS_CLIENT_KEY_PATH = new("redis.client-key-path", REDIS, Kind::File, "",
        "PEM file with the client's key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
        .such_as("/etc/heartbeat/client.key").that_protects();
    REDIS_TLS_SERVER_NAME = new("redis.tls-server-name", REDIS, Kind::Host, "",
        "Name that the certificates of Redis must be for, of every node and Sentinel")
        .derived_from("the host's, as it is connected to").such_as("redis.example.org").that_protects();
    REDIS_TIMEOUT = new("redis.timeout", REDIS, time_ms(10, 600_000), "2s",
        "Longest time of one command");
    REDIS_CONTRACT_KEYS = new("redis.contract-keys", (Heading::Redis, Scopes::SUBSCRIBER), Kind::Boolean, "true",
        "Write the keys service:* and queue:*, for other readers");

    PUBLISHER_CONFIG_PATH = new("publisher.config-path", CHECKS, Kind::File, "/publisher_config.json",
        "JSON or YAML file that says what to check").or_flag("config.file");
    PUBLISHER_CONFIG_WATCH = new("publisher.config-watch", CHECKS, Kind::Boolean, "false",
        "Whether a change of PUBLISHER_CONFIG_PATH is put in force without being asked for, by SIGHUP or POST /-/reload");
    PUBLISHER_STATE_FILE = new("publisher.state-file", CHECKS, Kind::File, "",
        "File in which the publisher remembers, across restarts, what jobs told it, and windows of maintenance that a command \
         began")
        .derived_from("none, a restart forgets it").such_as("/var/lib/heartbeat/publisher.state");
    PUBLISHER_ID = new("publisher.id", (Heading::Checks, EMITS.and(Scopes::KEYS)), Kind::Text("ID"), "",
        "Who this publisher is, across restarts").derived_from("the host's name").such_as("oslo");
    PUBLISH_INTERVAL = new("publish.interval", CHECKS, time_ms(100, DAY * 1000), "60",
        "Time between two heartbeats; a change is sent at once");
    PROBE_INTERVAL = new("probe.interval", CHECKS, time_ms(100, DAY * 1000), "",
        "Time between two rounds of checks").derived_from("PUBLISH_INTERVAL").such_as("15s");
    CHECK_TIMEOUT = new("check.timeout", CHECKS, time_ms(1, HOUR * 1000), "5s",
        "Longest time of one check, unless the file says otherwise");
    CHECK_CONCURRENCY = new("check.concurrency", CHECKS, Kind::Number(1, 65_535), "256",
        "Most checks that run at one time");
    PUBLISH_TIMEOUT = new("publish.timeout", (Heading::Checks, Scopes::PUBLISHER), time_ms(10, HOUR * 1000), "5s",
        "Longest wait for the broker's confirmation of one heartbeat");

    LOCAL_LISTEN_ADDRESS = new("local.listen-address", LOCAL, Kind::Text("ADDRESS"), "",
        "Where jobs and commands on this machine speak to the publisher: unix:/path of a socket, or host:port")
        .derived_from("none, it listens nowhere").such_as("unix:/run/heartbeat/publisher.sock");
    LOCAL_TOKEN = new("local.token", LOCAL, Kind::Secret, "",
        "Token that whoever speaks to LOCAL_LISTEN_ADDRESS has to show, as `Authorization: Bearer`; a port needs one");

    EXPECTED_PUBLISHERS = new("expected-publishers", JUDGES, Kind::List("ID"), "",
        "Publishers that are shown before they are first seen, separated by commas").such_as("oslo,bergen");
    LEGACY_PUBLISHER_IDS = new("legacy.publisher-ids", JUDGES, Kind::List("KEY=ID"), "",
        "Ids for messages of the original program: routing-key=id or queue:NAME=id, separated by commas")
        .derived_from("the message's service field").such_as("service.heartbeat=oslo,queue:my_queue=bergen");
    PUBLISHER_GRACE = new("publisher.grace", JUDGES, Kind::List("ID=TIME"), "",
        "Silence after which a publisher is stale, as id=duration, *=duration for all others, separated by commas")
        .derived_from("3 intervals, at least 30s (original program: 180s)").such_as("oslo=5m,*=90s");
    RETENTION = new("retention", JUDGES, time_s(60, TEN_YEARS), "7days",
        "Silence after which a publisher is forgotten");
    BROKER_TIMESTAMP_TRUSTED = new("broker.timestamp-trusted", JUDGES, Kind::Boolean, "false",
        "Whether the broker stamps every message itself (RabbitMQ 3.12 and later, with overwrite)");

    SIGNING_KEY_FILE = new("signing.key-file", PROVES, Kind::File, "",
        "PEM file with the Ed25519 key (PKCS#8, not encrypted) that signs the heartbeats; read anew when it changes")
        .derived_from("none, they are not signed").such_as("/etc/heartbeat/signing.pem").that_protects();

    TRUSTED_KEYS_FILE = new("trusted-keys.file", DEMANDS, Kind::File, "",
        "File with the keys that may sign, and for whom: a line each, as `heartbeat keys` prints it; read anew when it changes")
        .derived_from("none").such_as("/etc/heartbeat/trusted.keys").that_protects();
    SIGNATURE_POLICY = new("signature.policy", DEMANDS, Kind::List("ID=POLICY"), "accept",
        "What is done with a heartbeat that no trusted key of its publisher signed: accept, warn or refuse, and \
         id=policy for single publishers, separated by commas").such_as("warn,oslo=refuse").that_protects();
    RABBITMQ_SEND_USER_ID = new("rabbitmq.send-user-id", (Heading::Authenticity, Scopes::PUBLISHER), Kind::Boolean,
        "false", "Name RABBITMQ_USER in each message, which the broker refuses if another user sent it")
        .that_protects();
    USER_ID_POLICY = new("user-id.policy", DEMANDS, Kind::List("ID=POLICY"), "accept",
        "What is done with a heartbeat of which the broker does not say that the user of its publisher sent it: \
         accept, warn or refuse, and id=policy for single publishers, separated by commas")
        .such_as("refuse,oslo=warn").that_protects();
    USER_ID_MAP = new("user-id.map", DEMANDS, Kind::List("ID=USER"), "",
        "Users of publishers that are not called as their publisher, separated by commas")
        .derived_from("the publisher's id").such_as("oslo=mq-oslo");

    BATCH_MAX_PUBLISHERS = new("batch.max-publishers", LIMITS, Kind::Number(1, 65_535), "4096",
        "Most publishers that are stored in one round trip");
    LIMIT_MESSAGE_BYTES = new("limit.message-bytes", LIMITS_OF_MESSAGES, Kind::Bytes(1024, MESSAGE_BYTES_MAX), "1MiB",
        "Longest message; longer ones are refused").that_protects();
    LIMIT_COMPONENTS_PER_MESSAGE = new("limit.components-per-message", LIMITS_OF_MESSAGES, Kind::Number(1, COUNT_MAX), "2000",
        "Most components in one message").that_protects();
    LIMIT_PUBLISHERS = new("limit.publishers", LIMITS, Kind::Number(1, COUNT_MAX), "10000",
        "Most publishers that are shown; further ones are dropped and counted").that_protects();
    LIMIT_COMPONENTS = new("limit.components", LIMITS, Kind::Number(1, COUNT_MAX), "250000",
        "Most components that are shown; further ones are dropped and counted").that_protects();

    WEB_LISTEN_ADDRESS = new("web.listen-address", (Heading::Web, SHOWS), Kind::List("ADDRESS"), ":11911",
        "Address to listen on: :port, host:port or [ipv6]:port; may be given several times");
    EMITTER_LISTEN_ADDRESS = new("emitter.listen-address", (Heading::Web, Scopes::PUBLISHER),
        Kind::List("ADDRESS"), "", "Address of the publisher's own exposition; may be given several times")
        .derived_from("none, it listens nowhere").such_as("127.0.0.1:11912");
    WEB_TELEMETRY_PATH = new("web.telemetry-path", WEB, Kind::Text("PATH"), "/metrics",
        "Path of the exposition");
    WEB_MAX_CONNECTIONS = new("web.max-connections", WEB, Kind::Number(1, 65_535), "64",
        "Most connections that are open at one time").that_protects();
    WEB_MAX_CONNECTIONS_PER_CLIENT = new("web.max-connections-per-client", WEB, Kind::Number(1, 65_535), "32",
        "Most of them from one address; of IPv6, from one network of 64 bits").that_protects();
    WEB_CONFIG_FILE = new("web.config.file", WEB, Kind::File, "",
        "YAML file with TLS, passwords, headers and a rate limit for all that is served, as exporter-toolkit has it")
        .derived_from("none, http for everybody").such_as("/etc/heartbeat/web.yml").that_protects();
    WEB_HEALTH_WITHOUT_AUTH = new("web.health-without-auth", WEB, Kind::Boolean, "false",
        "Whether /-/healthy and /-/ready answer without the password that WEB_CONFIG_FILE asks for");

    STATUS_URL = new("status.url", STATUS, Kind::Text("URL"), "http://localhost:11911",
        "Address of a subscriber, or of standalone, with what its paths begin with where a proxy adds that").or_flag("url");
    STATUS_USER = new("status.user", STATUS, Kind::Text("USER"), "",
        "User, where the subscriber asks for one").derived_from("none").such_as("prometheus");
    STATUS_PASSWORD = new("status.password", STATUS, Kind::Secret, "",
        "Password of STATUS_USER");
    STATUS_CA_CERT_PATH = new("status.ca-cert-path", STATUS, Kind::File, "",
        "PEM file with the only roots that the subscriber is trusted by")
        .derived_from("the system's roots").such_as("/etc/heartbeat/ca.pem").that_protects();
    STATUS_CLIENT_CERT_PATH = new("status.client-cert-path", STATUS, Kind::File, "",
        "PEM file with the client's certificate and its chain").such_as("/etc/heartbeat/client.pem");
    STATUS_CLIENT_KEY_PATH = new("status.client-key-path", STATUS, Kind::File, "",
        "PEM file with the client's key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
        .such_as("/etc/heartbeat/client.key");
    STATUS_TIMEOUT = new("status.timeout", STATUS, time_ms(100, HOUR * 1000), "10s",
        "Longest wait for an answer");

    LOG_LEVEL = new("log.level", LOG, Kind::Text("LEVEL"), "info",
        "Least severity that is logged: debug, info, warn or error");
    LOG_FORMAT = new("log.format", LOG, Kind::Text("FORMAT"), "logfmt",
        "Form of a log line: logfmt or json");
}

#[cfg(test)]
mod tests {
    use super::super::setting::variable_of;
    use super::*;

    /// The contract's table, section 1, and Redis without what the original does not know.
    const CONTRACT: &[(&str, &str)] = &[
        ("HEARTBEAT_MODE", "publisher"),
        ("PUBLISHER_CONFIG_PATH", "/publisher_config.json"),
        ("RABBITMQ_HOST", "localhost"),
        ("RABBITMQ_PORT", "5672"),
        ("RABBITMQ_USER", "guest"),
        ("RABBITMQ_PASS", "guest"),
        ("RABBITMQ_VHOST", "/"),
        ("RABBITMQ_EXCHANGE", "my_topic_exchange"),
        ("RABBITMQ_QUEUE", "my_queue"),
        ("RABBITMQ_ROUTING_KEY", "service.heartbeat"),
        ("RABBITMQ_TLS", "false"),
        ("RABBITMQ_CA_CERT_PATH", ""),
        ("RABBITMQ_TLS_PORT", "5671"),
        ("RABBITMQ_MANAGEMENT_PORT", "15672"),
        ("PUBLISH_INTERVAL", "60"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6379"),
        ("REDIS_DB", "0"),
    ];

    #[test]
    fn every_variable_of_the_contract_has_its_default() {
        for (variable, default) in CONTRACT {
            let setting = ALL.iter().find(|setting| setting.variable == *variable);
            assert_eq!(setting.map(|setting| setting.default), Some(*default), "{variable}");
        }
        let required: Vec<_> = ALL.iter().filter(|s| s.must_not_be_empty()).map(|s| s.variable).collect();
        assert_eq!(required, ["RABBITMQ_EXCHANGE", "RABBITMQ_QUEUE", "RABBITMQ_ROUTING_KEY"]);
    }

    #[test]
    fn the_variable_follows_from_the_flag() {
        for setting in ALL {
            assert_eq!(setting.variable, variable_of(setting.flag));
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL
            .iter()
            .flat_map(|s| [Some(s.flag), s.alias])
            .flatten()
            .chain(ALL.iter().map(|s| s.variable))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn help_says_something_and_secrets_have_files() {
        for setting in ALL {
            assert!(!setting.help.is_empty() && !setting.help.ends_with('.'), "{}", setting.flag);
            assert!(setting.derived.is_empty() || setting.default.is_empty(), "{}", setting.flag);
            assert!(!setting.example_line().ends_with('='), "{}", setting.flag);
        }
        assert_eq!(RABBITMQ_PASS.file_variable().as_deref(), Some("RABBITMQ_PASS_FILE"));
        assert_eq!(REDIS_HOST.file_variable(), None);
    }
}
