use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::amqp::{Mechanism, Node, QueueType};
use crate::store::Topology;

/// The variables that the original's README exports, `X=` where it exports `X=`, and the three
/// names that must not be empty filled in.
const ORIGINAL: &[(&str, &str)] = &[
    ("HEARTBEAT_MODE", "publisher"),
    ("RABBITMQ_HOST", ""),
    ("RABBITMQ_PORT", "5672"),
    ("RABBITMQ_USER", ""),
    ("RABBITMQ_PASS", ""),
    ("RABBITMQ_VHOST", ""),
    ("RABBITMQ_EXCHANGE", "sda"),
    ("RABBITMQ_QUEUE", "heartbeats"),
    ("RABBITMQ_ROUTING_KEY", "service.heartbeat"),
    ("RABBITMQ_TLS", ""),
    ("RABBITMQ_CA_CERT_PATH", ""),
    ("RABBITMQ_TLS_PORT", "5671"),
    ("PUBLISH_INTERVAL", "60"),
    ("RABBITMQ_MANAGEMENT_PORT", "15671"),
    ("REDIS_HOST", "redis"),
    ("REDIS_PORT", "6379"),
    ("REDIS_DB", "0"),
];

fn with(variables: &[(&str, &str)]) -> MapSource {
    MapSource::new(variables)
}

fn subscriber(source: &MapSource) -> (SubscriberConfig, Vec<Warning>) {
    let (config, warnings) = load(Role::Subscriber, &Flags::new(), source).unwrap();
    let RoleConfig::Subscriber(config) = config.role else { panic!("another role") };
    (*config, warnings)
}

fn problems(role: Role, variables: &[(&str, &str)]) -> Vec<Problem> {
    let result = load(role, &Flags::new(), &with(variables));
    result.map(drop).unwrap_err().iter().cloned().collect()
}

/// A folder with an empty publisher's file, and the variable that names it.
fn publisher_file() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("publisher.json");
    fs::write(&path, r#"{"heartbeat": {"hosts": [], "rmq_consumers": []}}"#).unwrap();
    (dir, path.display().to_string())
}

fn publisher(variables: &[(&str, &str)], host_name: &str) -> (PublisherConfig, Vec<Warning>) {
    let (_dir, path) = publisher_file();
    let mut source = with(variables);
    source.variables.insert("PUBLISHER_CONFIG_PATH".into(), path);
    source.host_name = host_name.into();
    let (config, warnings) = load(Role::Publisher, &Flags::new(), &source).unwrap();
    let RoleConfig::Publisher(config) = config.role else { panic!("another role") };
    (*config, warnings)
}

fn node(host: &str, port: u16) -> Node {
    Node { host: host.into(), port }
}

#[test]
fn defaults_are_valid_and_are_what_the_contract_says() {
    let (config, warnings) = subscriber(&with(&[]));
    assert_eq!(warnings, []);
    assert_eq!((config.amqp.nodes, config.amqp.vhost.as_str()), (vec![node("localhost", 5672)], "/"));
    assert_eq!(config.amqp.queue_type, None);
    assert_eq!((config.amqp.user.as_str(), config.amqp.password.read().expose()), ("guest", "guest"));
    assert_eq!(config.amqp.heartbeat, Duration::from_secs(10));
    assert_eq!(config.amqp.prefetch, 8192);
    assert_eq!(config.amqp.reconnect_max, Duration::from_secs(4));
    let redis = Topology::Single { node: ("redis".into(), 6379), database: 0 };
    assert_eq!(config.store.topology, redis);
    assert_eq!((config.store.timeout, config.store.password), (Duration::from_secs(2), None));
    assert!(config.store.contract_keys);
    assert_eq!(config.view.retention, Duration::from_secs(7 * 24 * 3600));
    let limits = Limits {
        message_bytes: 1 << 20,
        components_per_message: 2000,
        publishers: 10_000,
        components: 250_000,
    };
    assert_eq!(config.view.limits, limits);
    assert_eq!(config.batch, BatchConfig { publishers_max: 4096 });
    assert_eq!(config.web.listen, [ListenAddress { host: None, port: 11_911 }]);
    assert_eq!((config.web.telemetry_path.as_str(), config.web.connections_max), ("/metrics", 64));
}

#[test]
fn the_originals_environment_is_valid() {
    let (config, warnings) = subscriber(&with(ORIGINAL));
    assert_eq!(warnings, []);
    assert_eq!(config.amqp.nodes, [node("localhost", 5672)]);
    assert_eq!(config.amqp.exchange, "sda");
    let (config, warnings) = publisher(ORIGINAL, "oslo");
    assert_eq!(warnings, []);
    assert_eq!(config.emitter.publish_interval, Duration::from_secs(60));
    assert_eq!(config.emitter.probe_interval, Duration::from_secs(60));
    assert_eq!(config.emitter.management.port, 15_671);
    assert_eq!(config.emitter.id.as_str(), "oslo");
    assert_eq!(config.web, None);
}

#[test]
fn the_three_names_must_not_be_empty() {
    let empty = [("RABBITMQ_EXCHANGE", ""), ("RABBITMQ_QUEUE", ""), ("RABBITMQ_ROUTING_KEY", "")];
    let found = problems(Role::Subscriber, &empty);
    assert_eq!(found.len(), 3);
    for (problem, (name, _)) in found.iter().zip(empty) {
        assert!(problem.name.starts_with(name) && problem.why.contains("empty"), "{problem}");
    }
}

#[test]
fn every_wrong_setting_is_reported_at_once() {
    let wrong = [
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("SHUTDOWN_GRACE", "-1"),
        ("RABBITMQ_HOST", "amqp://me:canary@mq"),
        ("RABBITMQ_PORT", "0"),
        ("RABBITMQ_TLS", "ture"),
        ("RABBITMQ_PREFETCH", "65536"),
        ("RABBITMQ_HEARTBEAT", "1500ms"),
        ("RECONNECT_MAX", "0"),
        ("REDIS_PORT", "tcp://10.0.0.7:6379"),
        ("REDIS_DB", "256"),
        ("REDIS_MODE", "many"),
        ("PUBLISHER_GRACE", "oslo"),
        ("LIMIT_MESSAGE_BYTES", "1"),
        ("BATCH_MAX_PUBLISHERS", "0"),
        ("WEB_LISTEN_ADDRESS", "11911"),
        ("WEB_TELEMETRY_PATH", "metrics"),
        ("WEB_MAX_CONNECTIONS", "0"),
        ("EXPECTED_PUBLISHERS", "a\nb"),
        ("LEGACY_PUBLISHER_IDS", "x"),
    ];
    let found = problems(Role::Subscriber, &wrong);
    for (name, _) in wrong {
        let mine: Vec<_> = found.iter().filter(|p| p.name.starts_with(&format!("{name} ("))).collect();
        assert_eq!(mine.len(), 1, "{name}: {mine:?}");
        assert!(mine[0].value.is_some() && !mine[0].example.is_empty(), "{name}");
    }
    assert_eq!(found.len(), wrong.len(), "{found:?}");
    assert!(!found.iter().any(|problem| problem.to_string().contains("canary")));
}

#[test]
fn every_default_parses() {
    // A default that does not parse would come back as the type's own, and never be zero by right.
    let (_dir, path) = publisher_file();
    let flags = Flags::from([("publisher.config-path", path)]);
    let (config, _) = load(Role::Standalone, &flags, &with(&[])).unwrap();
    let RoleConfig::Standalone(config) = config.role else { panic!("another role") };
    let text = format!("{config:?}");
    for nothing in [": 0,", ": 0ns", "\"\"", "listen: []"] {
        assert!(!text.contains(nothing), "{nothing} in {text}");
    }
    assert_eq!(settings::ALL.iter().filter(|s| s.default.is_empty() && s.derived.is_empty()).count(), 14);
    let (config, _) = load_status(&Flags::new(), &with(&[])).unwrap();
    assert_eq!(config.url.to_string(), "http://localhost:11911/");
    assert_eq!((config.timeout.as_secs(), config.login), (10, None));
    let (config, _) = load_tap(&Flags::new(), &with(&[])).unwrap();
    assert_eq!((config.message_bytes, config.components_per_message), (1 << 20, 2000));
}

#[test]
fn a_flag_goes_before_its_variable() {
    let flags = Flags::from([("rabbitmq.host", "by-flag".to_owned()), ("redis.host", String::new())]);
    let source = with(&[("RABBITMQ_HOST", "by-variable"), ("REDIS_HOST", "by-variable")]);
    let (config, _) = load(Role::Subscriber, &flags, &source).unwrap();
    let RoleConfig::Subscriber(config) = config.role else { panic!("another role") };
    assert_eq!(config.amqp.nodes, [node("by-flag", 5672)]);
    // An empty flag counts as unset, like an empty variable.
    assert!(matches!(config.store.topology, Topology::Single { node, .. } if node.0 == "by-variable"));
}

#[test]
fn another_roles_settings_are_nobodys_problem() {
    publisher(&[("REDIS_PORT", "tcp://10.0.0.7:6379"), ("RABBITMQ_PREFETCH", "x")], "oslo");
    let flags = Flags::from([("publish.interval", "5".to_owned())]);
    let (_, warnings) = load(Role::Subscriber, &flags, &with(&[])).unwrap();
    assert!(warnings.iter().any(|w| w.to_string().contains("not used by the subscriber")), "{warnings:?}");
}

#[test]
fn secrets_come_from_a_variable_or_a_file() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let password = |path: &str| subscriber(&with(&[("REDIS_PASSWORD_FILE", path)])).0.store.password.unwrap();
    assert_eq!(password(&file("lf", b"canary\n")).read().expose(), "canary");
    assert_eq!(password(&file("crlf", b" canary \r\n")).read().expose(), " canary ");
    let (config, _) = subscriber(&with(&[("REDIS_PASSWORD", "canary"), ("REDIS_PASSWORD_FILE", "")]));
    assert_eq!(config.store.password.unwrap().read().expose(), "canary");

    let good = file("good", b"canary");
    let wrong = [
        (dir.path().join("none").display().to_string(), "no such file"),
        (dir.path().display().to_string(), "directory"),
        (file("empty", b"\n"), "empty"),
        (file("two", b"user\ncanary\n"), "more than one line"),
        (file("binary", b"canary\xff"), "UTF-8"),
        (file("long", &[b'x'; 100_000]), "longer"),
    ];
    for (path, why) in wrong {
        let found = problems(Role::Subscriber, &[("RABBITMQ_PASS_FILE", &path)]);
        assert!(found.len() == 1 && found[0].why.contains(why), "{found:?}");
        assert!(!found[0].to_string().contains("canary"));
    }
    let found = problems(Role::Subscriber, &[("RABBITMQ_PASS", "canary"), ("RABBITMQ_PASS_FILE", &good)]);
    assert!(found.len() == 1 && found[0].why.contains("keep one"), "{found:?}");
    assert!(!found[0].to_string().contains("canary"));
}

#[test]
fn a_printed_configuration_holds_no_secret() {
    let source = with(&[("RABBITMQ_PASS", "canary-1"), ("REDIS_PASSWORD", "canary-2")]);
    let (config, _) = subscriber(&source);
    assert_eq!(config.amqp.password.read().expose(), "canary-1");
    assert!(!format!("{config:?}{config:#?}").contains("canary"));
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let found =
        problems(Role::Subscriber, &[("RABBITMQ_USER", "a\u{fffd}"), ("RABBITMQ_PASS", "canary\u{fffd}")]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|p| p.why.contains("UTF-8") && !p.to_string().contains("canary")));
}

pub(super) fn pem_files(dir: &TempDir) -> (String, String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    (write("ca.pem", cert.pem()), write("cert.pem", cert.pem()), write("key.pem", key.serialize_pem()))
}

#[test]
fn tls_takes_the_tls_port_and_covers_the_management_api() {
    let dir = TempDir::new().unwrap();
    let (ca, cert, key) = pem_files(&dir);
    let tls = [
        ("RABBITMQ_TLS", "True"),
        ("RABBITMQ_CA_CERT_PATH", &ca),
        ("RABBITMQ_CLIENT_CERT_PATH", &cert),
        ("RABBITMQ_CLIENT_KEY_PATH", &key),
        ("RABBITMQ_MANAGEMENT_PORT", "15671"),
    ];
    let port = |more: &[(&str, &str)]| {
        let (config, warnings) = publisher(&[&tls[..], more].concat(), "oslo");
        assert!(config.amqp.tls.is_some());
        assert_eq!(config.amqp.tls, config.emitter.management.tls);
        (config.amqp.nodes[0].port, warnings.len())
    };
    assert_eq!(port(&[]), (5671, 0));
    assert_eq!(port(&[("RABBITMQ_PORT", "5672"), ("RABBITMQ_TLS_PORT", "5673")]), (5673, 0));
    // The original used RABBITMQ_PORT, whatever it was.
    assert_eq!(port(&[("RABBITMQ_PORT", "5671")]), (5671, 0));
    assert_eq!(port(&[("RABBITMQ_PORT", "5700")]), (5700, 1));
    assert_eq!(port(&[("RABBITMQ_PORT", "5700"), ("RABBITMQ_TLS_PORT", "5673")]), (5673, 1));

    let (config, _) = publisher(&[&tls[..], &[("RABBITMQ_MANAGEMENT_TLS", "false")]].concat(), "oslo");
    assert!(config.amqp.tls.is_some() && config.emitter.management.tls.is_none());
}

#[test]
fn the_nodes_of_a_cluster_are_asked_for_their_management_too() {
    let cluster = [("RABBITMQ_HOST", "a,b:1,a:2"), ("RABBITMQ_QUEUE_TYPE", "Quorum")];
    let (config, warnings) = publisher(&cluster, "oslo");
    assert_eq!(warnings, []);
    assert_eq!(config.amqp.nodes, [node("a", 5672), node("b", 1), node("a", 2)]);
    assert_eq!(config.amqp.queue_type, Some(QueueType::Quorum));
    assert_eq!(config.emitter.management.hosts, ["a", "b"]);
    let (config, _) = publisher(&[cluster[0], ("RABBITMQ_MANAGEMENT_HOST", "c")], "oslo");
    assert_eq!(config.emitter.management.hosts, ["c"]);
    assert_eq!(problems(Role::Subscriber, &[("RABBITMQ_QUEUE_TYPE", "stream")]).len(), 1);
}

#[test]
fn only_who_asks_the_management_api_hears_of_its_port() {
    let dir = TempDir::new().unwrap();
    let (ca, ..) = pem_files(&dir);
    let tls = [("RABBITMQ_TLS", "true"), ("RABBITMQ_CA_CERT_PATH", ca.as_str())];
    assert_eq!(subscriber(&with(&tls)).1, []);
    let (_, warnings) = publisher(&tls, "oslo");
    assert!(warnings.len() == 1 && warnings[0].text.contains("15671"), "{warnings:?}");
}

#[test]
fn files_of_tls_are_tried_at_once() {
    let dir = TempDir::new().unwrap();
    let (ca, cert, key) = pem_files(&dir);
    let none = dir.path().join("none").display().to_string();
    let on = ("RABBITMQ_TLS", "true");
    for (variables, name, why) in [
        (vec![("RABBITMQ_CA_CERT_PATH", &none)], "RABBITMQ_CA_CERT_PATH", "no such file"),
        (vec![("RABBITMQ_CA_CERT_PATH", &key)], "RABBITMQ_CA_CERT_PATH", "no certificate in PEM form"),
        (
            vec![("RABBITMQ_CA_CERT_PATH", &ca), ("RABBITMQ_CLIENT_CERT_PATH", &cert)],
            "RABBITMQ_CLIENT_KEY_PATH",
            "RABBITMQ_CLIENT_CERT_PATH is",
        ),
        (
            vec![("RABBITMQ_CA_CERT_PATH", &ca), ("RABBITMQ_CLIENT_KEY_PATH", &key)],
            "RABBITMQ_CLIENT_CERT_PATH",
            "RABBITMQ_CLIENT_KEY_PATH is",
        ),
    ] {
        let mut variables: Vec<(&str, &str)> =
            variables.into_iter().map(|(name, v)| (name, v.as_str())).collect();
        variables.push(on);
        let found = problems(Role::Subscriber, &variables);
        assert!(
            found.len() == 1 && found[0].name.starts_with(name) && found[0].why.contains(why),
            "{found:?}"
        );
    }
    let (_, warnings) = subscriber(&with(&[("RABBITMQ_CA_CERT_PATH", &none)]));
    assert!(warnings.len() == 1 && warnings[0].text.contains("RABBITMQ_TLS is not on"), "{warnings:?}");
}

#[test]
fn external_wants_a_certificate_to_show() {
    let dir = TempDir::new().unwrap();
    let (ca, cert, key) = pem_files(&dir);
    let external = ("RABBITMQ_AUTH_MECHANISM", "External");
    let tls = [external, ("RABBITMQ_TLS", "true"), ("RABBITMQ_CA_CERT_PATH", ca.as_str())];
    let pair = [("RABBITMQ_CLIENT_CERT_PATH", cert.as_str()), ("RABBITMQ_CLIENT_KEY_PATH", key.as_str())];
    for (variables, why) in [
        (vec![external], "RABBITMQ_TLS is not on"),
        (tls.to_vec(), "RABBITMQ_CLIENT_CERT_PATH is not set"),
        (vec![("RABBITMQ_AUTH_MECHANISM", "externel")], "it is neither plain nor external"),
    ] {
        let found = problems(Role::Subscriber, &variables);
        assert!(found.len() == 1 && found[0].why.contains(why), "{found:?}");
    }
    let (config, _) = subscriber(&with(&[&tls[..], &pair[..]].concat()));
    assert_eq!(config.amqp.mechanism, Mechanism::External);
}

#[test]
fn a_server_name_is_for_one_peer_and_the_management_api_follows() {
    let dir = TempDir::new().unwrap();
    let (ca, ..) = pem_files(&dir);
    let name = |text: &str| Some(rustls::pki_types::ServerName::try_from(text.to_owned()).unwrap());
    let tls = [("RABBITMQ_TLS", "true"), ("RABBITMQ_CA_CERT_PATH", ca.as_str())];
    let names = |more: &[(&str, &str)]| {
        let (config, _) = publisher(&[&tls[..], more].concat(), "oslo");
        (config.amqp.tls.unwrap().server_name, config.emitter.management.tls.unwrap().server_name)
    };
    assert_eq!(names(&[]), (None, None));
    let broker = ("RABBITMQ_TLS_SERVER_NAME", "broker.example.org");
    assert_eq!(names(&[broker]), (name("broker.example.org"), name("broker.example.org")));
    let api = ("RABBITMQ_MANAGEMENT_TLS_SERVER_NAME", "10.0.0.7");
    assert_eq!(names(&[broker, api]), (name("broker.example.org"), name("10.0.0.7")));
    for setting in ["RABBITMQ_TLS_SERVER_NAME", "REDIS_TLS_SERVER_NAME"] {
        let found = problems(Role::Subscriber, &[(setting, "https://broker")]);
        assert!(found.len() == 1 && found[0].why.contains("no host name"), "{found:?}");
        let (_, warnings) = subscriber(&with(&[(setting, "broker")]));
        assert!(warnings.iter().any(|w| w.to_string().contains("is not on")), "{warnings:?}");
    }
}

#[test]
fn a_cluster_has_one_database() {
    let cluster = [("REDIS_MODE", "cluster"), ("REDIS_NODES", "a:1,b:2"), ("REDIS_DB", "1")];
    assert!(problems(Role::Subscriber, &cluster)[0].name.starts_with("REDIS_DB"));
    let (config, _) = subscriber(&with(&cluster[..2]));
    let nodes = vec![("a".to_owned(), 1), ("b".to_owned(), 2)];
    assert_eq!(config.store.topology, Topology::Cluster { nodes });
}

#[test]
fn sentinels_are_named_by_the_operator() {
    let sentinel = ("REDIS_MODE", "sentinel");
    let found = problems(Role::Subscriber, &[sentinel]);
    assert!(found.len() == 1 && found[0].name.starts_with("REDIS_NODES"), "{found:?}");
    let found = problems(Role::Subscriber, &[sentinel, ("REDIS_NODES", "a:b:c")]);
    assert!(found.len() == 1 && !found[0].why.contains("not set"), "{found:?}");
    let (config, warnings) = subscriber(&with(&[sentinel, ("REDIS_HOST", "s"), ("REDIS_DB", "3")]));
    let nodes = vec![("s".to_owned(), 6379)];
    assert_eq!(config.store.topology, Topology::Sentinel { nodes, service: "mymaster".into(), database: 3 });
    assert_eq!(warnings, []);
}

#[test]
fn a_setting_of_redis_that_has_no_effect_is_told() {
    for (mode, unused) in [
        ("single", &[("REDIS_SENTINEL_SERVICE", "x"), ("REDIS_NODES", "a:1")][..]),
        ("cluster", &[("REDIS_SENTINEL_SERVICE", "x")]),
        ("cluster", &[("REDIS_HOST", "x"), ("REDIS_PORT", "6380"), ("REDIS_NODES", "a:1")]),
        ("sentinel", &[("REDIS_HOST", "x"), ("REDIS_NODES", "a:1")]),
    ] {
        let (_, warnings) = subscriber(&with(&[&[("REDIS_MODE", mode)], unused].concat()));
        let told =
            |name: &str| warnings.iter().any(|w| w.name.starts_with(name) && w.text.contains("not used"));
        for (name, _) in unused.iter().filter(|(name, _)| mode == "single" || *name != "REDIS_NODES") {
            assert!(told(name), "{mode}: {name} of {warnings:?}");
        }
    }
}

#[test]
fn a_publisher_has_an_id_that_lasts() {
    assert_eq!(publisher(&[("PUBLISHER_ID", "me")], "3f2a9c0d1e4b").0.emitter.id.as_str(), "me");
    for host_name in ["3f2a9c0d1e4b", "heartbeat-7d4b9c6f5d-x2x9z", ""] {
        let (config, warnings) = publisher(&[], host_name);
        assert_eq!(config.emitter.id.as_str(), "publisher");
        assert!(warnings.len() == 1 && warnings[0].name.starts_with("PUBLISHER_ID"), "{warnings:?}");
    }
}

#[test]
fn times_that_do_not_fit_together_are_warned_of() {
    for (variables, name) in [
        (&[("PROBE_INTERVAL", "61")][..], "PROBE_INTERVAL"),
        (&[("PROBE_INTERVAL", "1s")], "CHECK_TIMEOUT"),
        (&[("RECONNECT_MAX", "181s")], "RECONNECT_MAX"),
    ] {
        let (_, warnings) = publisher(variables, "oslo");
        assert!(warnings.len() == 1 && warnings[0].name.starts_with(name), "{warnings:?}");
    }
}

#[test]
fn the_publishers_file_must_be_there() {
    let found = problems(Role::Publisher, &[("PUBLISHER_CONFIG_PATH", "/does/not/exist.json")]);
    assert!(found.len() == 1 && found[0].why.contains("no such file"), "{found:?}");
    assert_eq!(problems(Role::Standalone, &[("PUBLISHER_CONFIG_PATH", "/does/not/exist.json")]).len(), 1);
    let (config, warnings) = load(Role::Standalone, &Flags::new(), &with(&[])).unwrap();
    let RoleConfig::Standalone(config) = config.role else { panic!("another role") };
    assert_eq!(config.emitter.targets, None);
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// The way to the broker is looked at before what is to be checked is written down.
#[test]
fn a_doctor_needs_no_publishers_file() {
    let doctor = |variables: &[(&str, &str)]| load_doctor(Role::Publisher, &Flags::new(), &with(variables));
    let (config, warnings) = doctor(&[]).unwrap();
    assert!(!config.checks_queues);
    assert!(warnings.len() == 1 && warnings[0].text.contains("checks no consumers"), "{warnings:?}");
    let (_, warnings) = doctor(&[("PUBLISHER_CONFIG_PATH", "/does/not/exist.json")]).unwrap();
    assert!(warnings[0].text.contains("/does/not/exist.json is not there"), "{warnings:?}");
    let (_, warnings) =
        load_doctor(Role::Standalone, &Flags::new(), &with(&[("PUBLISHER_CONFIG_PATH", "/not/there")]))
            .unwrap();
    assert_eq!(warnings, []);
    let unusable = doctor(&[("PUBLISHER_CONFIG_PATH", "/dev/null/a")]).unwrap_err();
    assert!(unusable.iter().next().is_some());
}

#[test]
fn the_mode_is_what_the_original_makes_of_it() {
    let mode = |value: &str| mode(&Flags::new(), &with(&[("HEARTBEAT_MODE", value)]));
    for value in ["", "publisher", "PUBLISHER", "Publisher"] {
        assert_eq!(mode(value), (Role::Publisher, None), "{value}");
    }
    assert_eq!(mode("Subscriber"), (Role::Subscriber, None));
    for value in ["standalone", " publisher", "x"] {
        let (role, warning) = mode(value);
        assert!(role == Role::Subscriber && warning.is_some(), "{value}");
    }
    let flags = Flags::from([("heartbeat.mode", "subscriber".to_owned())]);
    assert_eq!(super::mode(&flags, &with(&[])).0, Role::Subscriber);
}

#[test]
fn the_health_file_goes_by_role() {
    let source = with(&[("TMPDIR", "/var/tmp")]);
    let file = |role| health_file(role, &Flags::new(), &source).unwrap().display().to_string();
    assert_eq!(file(None), "/var/tmp/heartbeat-publisher.health");
    assert_eq!(file(Some(Role::Standalone)), "/var/tmp/heartbeat-standalone.health");
    let (config, _) = load(Role::Subscriber, &Flags::new(), &with(&[("HEALTH_FILE", "/x")])).unwrap();
    assert_eq!(config.process.health_file, PathBuf::from("/x"));
}

#[test]
fn forget_reads_redis_alone() {
    let source = with(&[("REDIS_HOST", "r"), ("RABBITMQ_PORT", "x"), ("RECONNECT_MAX", "1")]);
    let (config, _) = load_forget(&Flags::new(), &source).unwrap();
    assert_eq!(config.store.topology, Topology::Single { node: ("r".into(), 6379), database: 0 });
    assert!(load_forget(&Flags::new(), &with(&[("REDIS_PORT", "x")])).is_err());
}

/// Whoever plays a drill may be another user than the publisher's, who may not read what it checks nor write where it does.
#[test]
fn a_drill_reads_no_more_than_it_needs() {
    let source = with(&[
        ("PUBLISHER_ID", "oslo"),
        ("PUBLISHER_CONFIG_PATH", "/nowhere/publisher.json"),
        ("PUBLISHER_STATE_FILE", "/nowhere/publisher.state"),
        ("HEALTH_FILE", "/nowhere/publisher.health"),
        ("LOG_LEVEL", "debug"),
    ]);
    let (config, warnings) = load_drill(&Flags::new(), &source).unwrap();
    assert_eq!((config.publisher.as_str(), config.log.level), ("oslo", LogLevel::Debug));
    assert!(warnings.is_empty(), "{warnings:?}");
    let flags = Flags::from([("redis.host", "r".to_owned())]);
    let (_, warnings) = load_drill(&flags, &source).unwrap();
    assert!(warnings[0].to_string().contains("not used by the publisher"), "{warnings:?}");
    assert!(load_drill(&Flags::new(), &with(&[("RABBITMQ_PORT", "x")])).is_err());
}

#[test]
fn addresses_of_commas_alone_are_none() {
    assert!(problems(Role::Subscriber, &[("WEB_LISTEN_ADDRESS", ",")])[0].why.contains("no address"));
}

/// A name with a comma is one queue, as it always was; several have a setting of their own.
#[test]
fn one_queue_is_bound_itself_and_several_behind_an_exchange() {
    let (config, warnings) = subscriber(&with(&[("RABBITMQ_QUEUE", "a,b")]));
    assert_eq!((config.amqp.queues, config.amqp.spread), (vec!["a,b".to_owned()], None));
    assert!(warnings.is_empty(), "{warnings:?}");

    let several = [("RABBITMQ_QUEUES", "a,b"), ("RABBITMQ_QUEUE", "old"), ("RABBITMQ_EXCHANGE", "sda")];
    let (config, warnings) = subscriber(&with(&several));
    assert_eq!(config.amqp.queues, ["a", "b"]);
    assert_eq!(config.amqp.spread.as_deref(), Some("heartbeat-spread"));
    assert!(warnings.iter().any(|warning| warning.to_string().contains("RABBITMQ_QUEUE (")), "{warnings:?}");

    let same = [("RABBITMQ_QUEUES", "a"), ("RABBITMQ_SPREAD_EXCHANGE", "sda"), ("RABBITMQ_EXCHANGE", "sda")];
    assert_eq!(problems(Role::Subscriber, &same).len(), 1);
    let (_, warnings) = subscriber(&with(&[("RABBITMQ_SPREAD_EXCHANGE", "spread")]));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}
