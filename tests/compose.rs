//! The container files: `docker-compose.yml`, what it mounts, and the `Dockerfile` keep what they promise of each other.
//! No container runs here; `scripts/compose-natively.sh` runs what can be run without one.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use heartbeat_bridge::config::{Scopes, settings};
use heartbeat_bridge::reading::GIVEN_UP_MAX;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The Compose Specification's own schema (Apache 2.0), as the linter dclint 3.1.0 carries it.
const SCHEMA: &str = include_str!("fixtures/compose-spec.schema.json");

/// Images without a shell, and without a program that could ask the server.
const WITHOUT_HEALTHCHECK: &[&str] = &["collector", "tempo"];

/// Only of what our own files do not say where it listens: the images' own ports.
const PORTS_OF_IMAGES: &[(&str, &[u16])] = &[
    ("broker", &[5672, 15672]),
    ("store", &[6379]),
    ("database", &[5432]),
    ("files", &[8080]),
    ("prometheus", &[9090]),
    ("alertmanager", &[9093]),
    ("grafana", &[3000]),
];

const ENCLAVE: &str = "enclave";
const OUTSIDE: &str = "outside";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// With every anchor put where it is named.
fn yaml(path: &str) -> Value {
    let mut value: yaml_serde::Value = yaml_serde::from_str(&text_of(path)).unwrap();
    // Once for each anchor within an anchor.
    for _ in 0..4 {
        value.apply_merge().unwrap();
    }
    let value = serde_json::to_value(value).unwrap();
    assert!(!value["services"].to_string().contains("<<"), "an anchor was not put in its place");
    value
}

fn json(path: &str) -> Value {
    serde_json::from_str(&text_of(path)).unwrap()
}

fn compose() -> Value {
    yaml("docker-compose.yml")
}

fn services() -> BTreeMap<String, Value> {
    let services = compose()["services"].as_object().unwrap().clone();
    assert!(services.len() > 10, "the services were not read");
    services.into_iter().collect()
}

/// Those that run our program, with the role that they run.
fn heartbeats() -> Vec<(String, String, Value)> {
    let own = services().into_iter().filter(|(_, service)| service.get("build").is_some());
    let own: Vec<_> =
        own.map(|(name, service)| (name, strings(&service["command"])[0].clone(), service)).collect();
    assert!(own.len() == 3, "{own:?}");
    own
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("{item} is no text")).to_owned()).collect()
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().cloned().unwrap_or_default();
    variables.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned())).collect()
}

/// Path in the container to path in the repository: configuration files and secrets.
fn mounts(service: &Value) -> BTreeMap<String, PathBuf> {
    let mut mounts = BTreeMap::new();
    for volume in strings(&service["volumes"]) {
        let parts: Vec<&str> = volume.split(':').collect();
        if parts[0].starts_with('.') {
            assert_eq!(parts.get(2), Some(&"ro"), "{volume} is not read-only");
            mounts.insert(parts[1].to_owned(), root().join(parts[0]));
        }
    }
    for secret in strings(&service["secrets"]) {
        let file = compose()["secrets"][&secret]["file"].as_str().unwrap().to_owned();
        mounts.insert(format!("/run/secrets/{secret}"), root().join(file));
    }
    mounts
}

/// The service in whose network namespace another one is: they share one localhost.
fn host_of(service: &Value) -> Option<String> {
    let mode = service.get("network_mode")?.as_str().unwrap();
    let host = mode.strip_prefix("service:").unwrap_or_else(|| panic!("{mode} is no service's network"));
    Some(host.to_owned())
}

fn networks(service: &Value) -> BTreeSet<String> {
    match host_of(service) {
        Some(host) => networks(&services()[&host]),
        None => strings(&service["networks"]).into_iter().collect(),
    }
}

/// The words after each directive of a name, in a file of nginx.
fn nginx_directives(path: &str, name: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.trim().trim_end_matches(';').split(' ').map(str::to_owned).collect();
    let lines = text_of(path).lines().map(words).collect::<Vec<Vec<String>>>();
    lines.into_iter().filter(|words| words[0] == name).map(|words| words[1..].to_vec()).collect()
}

/// Where a service listens for others.
fn ports(name: &str) -> BTreeSet<u16> {
    let port = |value: &Value| -> u16 {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {value} ends with no port"))
    };
    let from = |path: &str, pointer: &str| port(yaml(path).pointer(pointer).unwrap_or(&Value::Null));
    match name {
        "collector" => {
            BTreeSet::from([from("deploy/compose/collector.yml", "/receivers/otlp/protocols/http/endpoint")])
        }
        "tempo" => BTreeSet::from([
            from("deploy/compose/tempo.yml", "/server/http_listen_port"),
            from("deploy/compose/tempo.yml", "/distributor/receivers/otlp/protocols/grpc/endpoint"),
        ]),
        "notified" => {
            let listens = nginx_directives("deploy/compose/notified.conf", "listen");
            listens.into_iter().map(|words| port(&words[0].as_str().into())).collect()
        }
        "loki" => BTreeSet::from([from("deploy/compose/loki.yml", "/server/http_listen_port")]),
        _ => match services()[name]["environment"].get("WEB_LISTEN_ADDRESS") {
            Some(address) => BTreeSet::from([port(address)]),
            None => {
                let known = PORTS_OF_IMAGES.iter().find(|(image, _)| *image == name);
                known.map(|(_, ports)| ports.iter().copied().collect()).unwrap_or_default()
            }
        },
    }
}

/// `who` reaches `address`, as `host:port`, on a network that both are on.
#[track_caller]
fn assert_reaches(who: &str, address: &str) {
    let address = address.trim_start_matches("http://");
    let address = address.split('/').next().unwrap();
    let (host, port) = address.split_once(':').unwrap_or_else(|| panic!("{address} has no port"));
    let services = services();
    let target = services.get(host).unwrap_or_else(|| panic!("{who} names {host}, which is no service"));
    assert!(ports(host).contains(&port.parse().unwrap()), "{who}: {host} does not listen at {port}");
    let common = networks(&services[who]).intersection(&networks(target)).count();
    assert!(common > 0, "{who} and {host} are on no network together");
}

fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: `make install` brings it"));
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    if status.success() { Ok(text) } else { Err(format!("{command:?}:\n{text}")) }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    run(command).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn docker_compose_reads_the_file() {
    let read = |file: &Path| {
        let mut command = Command::new("docker-compose");
        run(command.arg("--file").arg(file).args(["config", "--quiet"]).current_dir(root()))
    };
    read(Path::new("docker-compose.yml")).unwrap_or_else(|failure| panic!("{failure}"));
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("docker-compose.yml");
    fs::write(&broken, text_of("docker-compose.yml").replace("read_only:", "read_olny:")).unwrap();
    assert!(read(&broken).is_err(), "docker-compose lets anything pass");
}

#[test]
fn the_file_follows_the_specification() {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let mut file = compose();
    let errors: Vec<String> =
        validator.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    file["services"]["publisher"]["read_olny"] = true.into();
    assert!(!validator.is_valid(&file), "the schema lets anything pass");
}

/// A whole version, or a digest.
fn is_exact(image: &str) -> bool {
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, ""));
    let version = tag.trim_start_matches('v').split('-').next().unwrap();
    let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    // PostgreSQL's versions have two numbers.
    let whole = if name == "postgres" { 2 } else { 3 };
    name.ends_with("@sha256") || numbers.is_ok_and(|numbers| numbers.len() == whole)
}

#[test]
fn every_image_is_of_one_version() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap();
        assert!(is_exact(image), "{name}: {image}");
        if service.get("build").is_some() {
            assert_eq!(image, concat!("heartbeat-bridge:", env!("CARGO_PKG_VERSION")), "{name}");
        }
    }
    let dockerfile = text_of("Dockerfile");
    let images: Vec<&str> =
        instructions(&dockerfile, "FROM").map(|line| line.split(' ').next().unwrap()).collect();
    assert!(images.len() == 2 && images.iter().all(|image| is_exact(image)), "{images:?}");
    for vague in ["redis", "redis:latest", "redis:8", "redis:8.2", "redis:8-alpine", "host:5000/redis"] {
        assert!(!is_exact(vague), "{vague}");
    }
}

/// What follows an instruction, line by line.
fn instructions<'a>(dockerfile: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    dockerfile.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '))
}

/// For names, for disks that were given up, and for a few hundred files, of which each may hang.
#[test]
fn our_own_have_threads_for_all_that_may_be_waited_for() {
    for (name, _, service) in heartbeats() {
        let threads = service["pids_limit"].as_u64().unwrap();
        assert!(threads > 512 + GIVEN_UP_MAX as u64 + 300, "{name}: {threads}");
    }
}

#[test]
fn no_container_may_more_than_it_must() {
    for (name, service) in services() {
        let (user, group) = service["user"].as_str().unwrap().split_once(':').unwrap();
        assert!(user.parse::<u32>().unwrap() > 0 && group.parse::<u32>().is_ok(), "{name} runs as root");
        assert_eq!(service["read_only"], true, "{name} may write to its root");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(strings(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        for bound in ["mem_limit", "cpus", "pids_limit"] {
            assert!(!service[bound].is_null(), "{name} has no {bound}");
        }
        // An engine refuses more than the machine has, and the smallest has one.
        assert!(service["cpus"].as_f64().unwrap() <= 1.0, "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(!service["logging"]["options"]["max-size"].is_null(), "the log of {name} grows for ever");
        for forbidden in ["privileged", "cap_add", "pid", "ipc", "devices", "userns_mode"] {
            assert!(service[forbidden].is_null(), "{name} has {forbidden}");
        }
        // Not the machine's network, and not a container's of which nothing is known here.
        if let Some(host) = host_of(&service) {
            assert!(
                services().contains_key(&host),
                "{name} is in the network of {host}, which is no service"
            );
            assert_eq!(host_of(&services()[&host]), None, "{name} is a guest of a guest");
            for own in ["networks", "ports", "hostname"] {
                assert!(service[own].is_null(), "{name} has {own}, which are its host's to have");
            }
        }
        for port in strings(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port} to everybody");
            let inside = port.rsplit(':').next().unwrap().parse().unwrap();
            assert!(ports(&name).contains(&inside), "{name} publishes {port}, where nobody listens");
        }
    }
}

#[test]
fn health_is_checked_where_the_image_can() {
    for (name, service) in services() {
        let test = strings(&service["healthcheck"]["test"]);
        assert_eq!(test.is_empty(), WITHOUT_HEALTHCHECK.contains(&&*name), "{name}");
        // What it asks is asked where it listens.
        for address in test.iter().filter_map(|word| word.strip_prefix("http://127.0.0.1:")) {
            let port = address.split('/').next().unwrap().parse().unwrap();
            assert!(ports(&name).contains(&port), "the health check of {name} asks {port}");
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let checked = how["condition"] == "service_healthy";
            assert_eq!(checked, !WITHOUT_HEALTHCHECK.contains(&&**other), "{name} waits for {other}");
        }
    }
    for (name, role, service) in heartbeats() {
        let test = strings(&service["healthcheck"]["test"]);
        assert_eq!(test, ["CMD", "/usr/local/bin/heartbeat", "healthcheck", &role, "--ready"], "{name}");
    }
}

#[test]
fn our_image_and_its_containers_agree() {
    let dockerfile = text_of("Dockerfile");
    let only = |name| instructions(&dockerfile, name).next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(only("ENTRYPOINT"), r#"["/usr/local/bin/heartbeat"]"#);
    assert!(only("COPY --from=build").ends_with(" /usr/local/bin/heartbeat"));
    let health_file = only("ENV").strip_prefix("HEALTH_FILE=").unwrap();
    let rust: Vec<u32> = only("FROM").split([':', '.', '-']).filter_map(|part| part.parse().ok()).collect();
    let least: Vec<u32> =
        env!("CARGO_PKG_RUST_VERSION").split('.').filter_map(|part| part.parse().ok()).collect();
    assert!(rust >= least, "{rust:?} builds what needs {least:?}");
    let label = format!("image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(dockerfile.contains(&label), "{label} is not in the Dockerfile");
    // All that is copied from the context is let through to it.
    let let_through = text_of(".dockerignore");
    let copied = instructions(&dockerfile, "COPY").filter(|line| !line.starts_with("--from"));
    for file in copied.flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' ')) {
        assert!(let_through.lines().any(|line| line == format!("!{file}")), "{file} is not let through");
    }
    for (name, _, service) in heartbeats() {
        assert_eq!(service["user"], only("USER"), "{name}");
        let folder = Path::new(health_file).parent().unwrap().to_str().unwrap();
        let memory = strings(&service["tmpfs"]);
        assert!(memory.iter().any(|tmpfs| tmpfs.split(':').next() == Some(folder)), "{name}: {memory:?}");
        let grace = humantime::parse_duration(service["stop_grace_period"].as_str().unwrap()).unwrap();
        let own = humantime::parse_duration(settings::SHUTDOWN_GRACE.default).unwrap();
        assert!(grace > own, "{name} is killed before it ends by itself");
    }
}

#[test]
fn every_variable_of_ours_is_a_setting_of_its_role() {
    for (name, role, service) in heartbeats() {
        let scope = if role == "publisher" { Scopes::PUBLISHER } else { Scopes::SUBSCRIBER };
        for variable in environment(&service).keys() {
            let is_it = |setting: &&heartbeat_bridge::config::Setting| {
                setting.variable == variable || setting.file_variable().as_ref() == Some(variable)
            };
            let setting = settings::ALL.iter().copied().find(is_it);
            let setting = setting.unwrap_or_else(|| panic!("{name} sets {variable}, which is no setting"));
            assert!(setting.scopes.meets(scope), "{name} sets {variable}, which {role} does not read");
        }
    }
}

#[test]
fn our_roles_take_their_environment() {
    for (name, role, service) in heartbeats() {
        let mounts = mounts(&service);
        let variables = environment(&service).into_iter().map(|(variable, value)| {
            let host = mounts.get(&value).map(|path| path.to_str().unwrap().to_owned());
            assert!(host.is_some() || !value.starts_with('/'), "{name}: nothing is mounted at {value}");
            (variable, host.unwrap_or(value))
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.args([&role, "--config.check"]).env_clear().envs(variables);
        let said = succeeds(&mut command);
        assert_eq!(said, "configuration is valid\n", "{name}");
        assert!(run(command.env("RABBITMQ_PASS_FILE", "/nowhere")).is_err(), "{name} is not checked");
    }
}

#[test]
fn what_is_mounted_is_there_and_what_is_there_is_mounted() {
    let mounted: BTreeSet<PathBuf> = services()
        .values()
        .flat_map(|service| mounts(service).into_values())
        .map(|path| fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    // The one makes the passwords, the other is for whoever looks at the broker's pages.
    let others = ["deploy/compose/new-passwords.sh", "deploy/compose/secrets/broker-viewer"];
    let mut folders = vec![root().join("deploy/compose")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let known = others.iter().any(|other| path == root().join(other));
                assert!(known || mounted.contains(&path), "{} is mounted nowhere", path.display());
            }
        }
    }
    let file = compose();
    let used: BTreeSet<String> =
        services().values().flat_map(|service| strings(&service["secrets"])).collect();
    let defined: BTreeSet<String> = file["secrets"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, defined);
    let volumes = services().into_values().flat_map(|service| strings(&service["volumes"]));
    let used: BTreeSet<String> = volumes
        .filter(|volume| !volume.starts_with('.'))
        .map(|volume| volume.split(':').next().unwrap().into())
        .collect();
    let defined: BTreeSet<String> = file["volumes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, defined);
}

#[test]
fn each_secret_is_seen_by_those_that_need_it() {
    for (name, service) in services() {
        for secret in strings(&service["secrets"]) {
            let path = format!("/run/secrets/{secret}");
            assert!(
                environment(&service).values().any(|value| *value == path),
                "{name} does not read {secret}"
            );
        }
        for (variable, value) in environment(&service) {
            let secret = ["PASS", "PASSWORD", "TOKEN", "SECRET"].iter().any(|word| variable.ends_with(word));
            assert!(!secret, "{name} has {variable}={value} in its environment");
        }
    }
}

/// Or a service that is stopped would be unknown, and wake nobody.
#[test]
fn the_publishers_resolver_tells_of_what_is_gone() {
    for (name, role, service) in heartbeats().iter().filter(|(_, role, _)| role == "publisher") {
        assert_eq!(strings(&service["dns_opt"]), ["ndots:1"], "{name} ({role})");
    }
}

#[test]
fn the_enclave_is_shut() {
    let file = compose();
    assert_eq!(file["networks"][ENCLAVE]["internal"], true);
    assert!(file["networks"][OUTSIDE]["internal"].is_null(), "published ports need a network with a gateway");
    let within: BTreeSet<String> = services()
        .into_iter()
        .filter(|(_, service)| networks(service).contains(ENCLAVE))
        .map(|(name, _)| name)
        .collect();
    let targets = json("deploy/compose/publisher.json");
    let hosts = targets["heartbeat"]["hosts"].as_array().unwrap().iter();
    let mut wanted: BTreeSet<String> = hosts.map(|host| host["host"].as_str().unwrap().to_owned()).collect();
    wanted.insert("publisher".into());
    assert_eq!(within, wanted, "the publisher and what it checks, and nothing else");
    for (name, service) in services() {
        let both = networks(&service).len() == 2;
        assert_eq!(both, name == "broker", "{name}: {:?}", networks(&service));
        assert!(!networks(&service).is_empty(), "{name} is on the default network");
        if !both && within.contains(&name) {
            assert!(service["ports"].is_null(), "{name} publishes a port out of the enclave");
        }
    }
}

#[test]
fn what_one_names_the_other_is() {
    let targets = json("deploy/compose/publisher.json");
    for host in targets["heartbeat"]["hosts"].as_array().unwrap() {
        assert_reaches("publisher", &format!("{}:{}", host["host"].as_str().unwrap(), host["port"]));
    }
    for (name, role, service) in heartbeats() {
        let variables = environment(&service);
        let host =
            |variable: &str| variables.get(variable).unwrap_or_else(|| panic!("{name} has no {variable}"));
        assert_reaches(&name, &format!("{}:{}", host("RABBITMQ_HOST"), settings::RABBITMQ_PORT.default));
        if role == "publisher" {
            let port = settings::RABBITMQ_MANAGEMENT_PORT.default;
            assert_reaches(&name, &format!("{}:{port}", host("RABBITMQ_HOST")));
            assert!(
                variables.keys().all(|variable| !variable.starts_with("OTEL_")),
                "it reaches no collector"
            );
        } else {
            assert_reaches(&name, &format!("{}:{}", host("REDIS_HOST"), settings::REDIS_PORT.default));
            assert_reaches(&name, host("OTEL_EXPORTER_OTLP_ENDPOINT"));
            let expected = &environment(&services()["publisher"])["PUBLISHER_ID"];
            assert_eq!(host("EXPECTED_PUBLISHERS"), expected);
        }
    }
    let collector = yaml("deploy/compose/collector.yml");
    for (_, exporter) in collector["exporters"].as_object().unwrap() {
        assert_reaches("collector", exporter["endpoint"].as_str().unwrap());
    }
    for pipeline in ["traces", "logs"] {
        for kind in ["receivers", "processors", "exporters"] {
            for part in strings(&collector["service"]["pipelines"][pipeline][kind]) {
                assert!(!collector[kind][&part].is_null(), "the collector has no {part}");
            }
        }
    }
    for source in datasources() {
        assert_reaches("grafana", source["url"].as_str().unwrap());
    }
}

#[test]
fn prometheus_scrapes_every_subscriber() {
    let prometheus = yaml("deploy/compose/prometheus.yml");
    let targets = |configs: &Value| -> Vec<String> {
        configs.as_array().unwrap().iter().flat_map(|config| strings(&config["targets"])).collect()
    };
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    let job = jobs.iter().find(|job| job["job_name"] == "heartbeat").expect("the rules expect this job");
    let scraped = targets(&job["static_configs"]);
    let subscribers =
        heartbeats().into_iter().filter(|(_, role, _)| role == "subscriber").map(|(name, ..)| name);
    let hosts: Vec<&str> = scraped.iter().map(|target| target.split(':').next().unwrap()).collect();
    assert_eq!(hosts, subscribers.collect::<Vec<_>>());
    let alertmanagers = prometheus["alerting"]["alertmanagers"].as_array().unwrap();
    let alertmanagers: Vec<String> =
        alertmanagers.iter().flat_map(|manager| targets(&manager["static_configs"])).collect();
    assert_eq!(alertmanagers.len(), 1);
    for target in scraped.iter().chain(&alertmanagers) {
        assert_reaches("prometheus", target);
    }
}

/// Lays a service's files as they are mounted, below a folder of ours.
fn lay_files(service: &str, folder: &Path) {
    for (target, source) in mounts(&services()[service]) {
        let target = folder.join(target.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(source, target).unwrap();
    }
}

#[test]
fn prometheus_and_alertmanager_take_their_files() {
    for (service, tool, words) in [
        ("prometheus", "promtool", ["check", "config"].as_slice()),
        ("alertmanager", "amtool", &["check-config"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        lay_files(service, folder.path());
        let flags = strings(&services()[service]["command"]);
        let file = flags.iter().find_map(|flag| flag.strip_prefix("--config.file=/")).unwrap();
        let said = succeeds(Command::new(tool).args(words).arg(folder.path().join(file)));
        // Prometheus takes a pattern of rules that fits no file.
        assert!(
            service != "prometheus" || said.contains("rules found") && !said.contains(" 0 rules"),
            "{said}"
        );
    }
}

/// Alertmanager's own configuration names localhost: that is whoever shares its network namespace, and no one else.
#[test]
fn every_notification_is_listened_for() {
    let services = services();
    let mounted = &mounts(&services["alertmanager"])["/etc/alertmanager/alertmanager.yml"];
    assert!(mounted.ends_with("alerts/alertmanager.yml"), "{}", mounted.display());
    let alertmanager = yaml("alerts/alertmanager.yml");
    let within = |service: &Value| host_of(service).as_deref() == Some("alertmanager");
    let guests: Vec<&String> =
        services.iter().filter(|(_, service)| within(service)).map(|(name, _)| name).collect();
    let mut taken = ports("alertmanager");
    for guest in &guests {
        for port in ports(guest) {
            assert!(taken.insert(port), "two listen at {port} within one network namespace");
        }
    }
    let mut paths = BTreeMap::new();
    for receiver in alertmanager["receivers"].as_array().unwrap() {
        let webhooks = receiver["webhook_configs"].as_array().into_iter().flatten();
        let urls: Vec<&str> = webhooks.map(|webhook| webhook["url"].as_str().unwrap()).collect();
        assert!(!urls.is_empty(), "nobody sees what {} gets", receiver["name"]);
        for url in urls {
            let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
            let (host, port) = address.split_once(':').unwrap();
            assert_eq!(host, "localhost", "{url}");
            let listens = |guest: &&&String| ports(guest).contains(&port.parse().unwrap());
            assert_eq!(guests.iter().filter(listens).count(), 1, "{url}: {guests:?} do not listen there");
            paths.insert(receiver["name"].as_str().unwrap(), format!("/{path}"));
        }
    }
    // All that comes is printed but the watchdog, which wakes nobody, and the health check.
    let conf = "deploy/compose/notified.conf";
    let unprinted: BTreeSet<String> = text_of(conf)
        .lines()
        .filter_map(|line| line.trim().strip_suffix(" 0;"))
        .map(|path| path.trim().to_owned())
        .collect();
    assert_eq!(unprinted, BTreeSet::from([paths["dead-mans-switch"].clone(), "/".to_owned()]));
    // The longest that is taken fits into the buffer; of what lies in a file, nothing is printed.
    let only = |name: &str| nginx_directives(conf, name).concat();
    assert_eq!(only("client_max_body_size"), only("client_body_buffer_size"));
    assert_eq!(only("client_max_body_size").len(), 1);
    // Nobody else on Alertmanager's network reaches it, and it reaches its second half.
    let listens = nginx_directives(conf, "listen").concat();
    assert!(listens.iter().all(|address| address.starts_with("127.0.0.1:")), "{listens:?}");
    let second = only("proxy_pass")[0].replace("http://", "");
    assert!(listens.contains(&second), "nobody listens at {second}");
}

fn definitions() -> Value {
    json("deploy/compose/rabbitmq/definitions.json")
}

#[test]
fn the_brokers_definitions_are_what_the_roles_use() {
    let definitions = definitions();
    let only = |kind: &str| {
        let all = definitions[kind].as_array().unwrap();
        assert_eq!(all.len(), 1, "{kind}");
        all[0].clone()
    };
    let (exchange, queue, binding) = (only("exchanges"), only("queues"), only("bindings"));
    // As our program would create them.
    assert_eq!((&exchange["type"], &exchange["durable"]), (&"topic".into(), &true.into()));
    assert_eq!((&queue["durable"], &queue["arguments"]), (&true.into(), &serde_json::json!({})));
    assert_eq!((&binding["source"], &binding["destination"]), (&exchange["name"], &queue["name"]));
    for (name, _, service) in heartbeats() {
        let variables = environment(&service);
        assert_eq!(exchange["name"], *variables["RABBITMQ_EXCHANGE"], "{name}");
        assert_eq!(queue["name"], *variables["RABBITMQ_QUEUE"], "{name}");
        assert_eq!(binding["routing_key"], *variables["RABBITMQ_ROUTING_KEY"], "{name}");
    }
    // The consumers that are looked for are the subscribers, by the beginning of their tags.
    let targets = json("deploy/compose/publisher.json");
    let checked = &targets["heartbeat"]["rmq_consumers"][0];
    assert_eq!(checked["queue"], queue["name"]);
    let tag = checked["listeners"][0]["tag"].as_str().unwrap().trim_start_matches('^');
    assert!(
        text_of("src/subscriber/mod.rs").contains(&format!("format!(\"{tag}{{}}\"")),
        "no consumer begins with {tag}"
    );
    let conf = text_of("deploy/compose/rabbitmq/rabbitmq.conf");
    let path = conf.lines().find_map(|line| line.strip_prefix("load_definitions = ")).unwrap();
    assert!(mounts(&services()["broker"])[path].ends_with("rabbitmq/definitions.json"));
}

/// What docs/least-privilege.md gives each role where everything stands, with the wider of the publisher's tags.
#[test]
fn the_brokers_users_may_what_they_must() {
    let definitions = definitions();
    let user = |name: &str| {
        let of_it = |value: &&Value| value["name"] == name || value["user"] == name;
        let user = definitions["users"].as_array().unwrap().iter().find(of_it).unwrap();
        let permission = definitions["permissions"].as_array().unwrap().iter().find(of_it).unwrap();
        let allowed =
            ["configure", "write", "read"].map(|what| permission[what].as_str().unwrap().to_owned());
        (strings(&user["tags"]), allowed)
    };
    let monitoring = vec!["monitoring".to_owned()];
    assert_eq!(user("publisher"), (monitoring.clone(), ["^$", "^sda$", "^$"].map(str::to_owned)));
    assert_eq!(user("subscriber"), (vec![], ["^$", "^$", "^heartbeat$"].map(str::to_owned)));
    // For people, at the broker's pages.
    assert_eq!(user("viewer"), (monitoring, ["^$", "^$", "^$"].map(str::to_owned)));
    assert_eq!(definitions["users"].as_array().unwrap().len(), 3, "and nobody else is let in");
    for (name, role, service) in heartbeats() {
        assert_eq!(environment(&service)["RABBITMQ_USER"], role, "{name}");
    }
}

/// Exactly the rights of docs/least-privilege.md.
#[test]
fn the_stores_user_may_what_the_page_says() {
    let conf = text_of("deploy/compose/redis/redis.conf");
    let page = text_of("docs/least-privilege.md").replace("\\\n", " ");
    let rights = |text: &str, begin: &str| {
        let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin}"));
        let words = line.split(' ').map(|word| word.trim_matches('\''));
        words.filter(|word| word.starts_with(['~', '+'])).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let given = rights(&conf, "user heartbeat on #");
    assert_eq!(given, rights(&page, "redis-cli ACL SETUSER heartbeat reset on"));
    assert!(given.len() > 20, "{given:?}");
    assert!(conf.lines().any(|line| line == "user default off"), "whoever has no name is let in");
    for (name, role, service) in heartbeats() {
        assert!(role == "publisher" || environment(&service)["REDIS_USERNAME"] == "heartbeat", "{name}");
    }
}

/// Every password below the folder is that of its hash; returns them all.
#[track_caller]
fn passwords_of_hashes(folder: &Path) -> BTreeSet<String> {
    let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    let password = |name: &str| text(&format!("secrets/{name}")).trim_end().to_owned();
    let definitions: Value = serde_json::from_str(&text("rabbitmq/definitions.json")).unwrap();
    for user in definitions["users"].as_array().unwrap() {
        let name = user["name"].as_str().unwrap();
        let hash = BASE64_STANDARD.decode(user["password_hash"].as_str().unwrap()).unwrap();
        let (salt, hash) = hash.split_at(4);
        let salted = [salt, password(&format!("broker-{name}")).as_bytes()].concat();
        assert_eq!(Sha256::digest(salted).as_slice(), hash, "{name} has another password");
    }
    let conf = text("redis/redis.conf");
    let hash = conf.split_once("user heartbeat on #").unwrap().1.split(' ').next().unwrap();
    let digest = Sha256::digest(password("store-heartbeat"));
    assert_eq!(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hash);
    let names = fs::read_dir(folder.join("secrets")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| password(name.to_str().unwrap())).collect()
}

#[test]
fn passwords_fit_their_hashes_and_can_be_made_anew() {
    let shipped = passwords_of_hashes(&root().join("deploy/compose"));
    assert!(
        shipped.iter().all(|password| password.starts_with("demonstration-")),
        "a real one is in the repository"
    );
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("compose");
    succeeds(Command::new("cp").arg("-r").arg(root().join("deploy/compose")).arg(&copy));
    succeeds(&mut Command::new(copy.join("new-passwords.sh")));
    let fresh = passwords_of_hashes(&copy);
    assert_eq!(fresh.len(), shipped.len(), "each has its own");
    assert!(fresh.iter().all(|password| password.len() >= 32), "{fresh:?}");
    assert!(fresh.is_disjoint(&shipped));
    succeeds(Command::new(copy.join("new-passwords.sh")).arg("--demonstration"));
    assert_eq!(passwords_of_hashes(&copy), shipped);
}

fn datasources() -> Vec<Value> {
    yaml("deploy/compose/grafana/datasources.yml")["datasources"].as_array().unwrap().clone()
}

/// Every value of a key, however deep.
fn values_of<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(key));
            object.values().for_each(|value| values_of(value, key, found));
        }
        Value::Array(list) => list.iter().for_each(|value| values_of(value, key, found)),
        _ => {}
    }
}

#[test]
fn grafana_finds_its_dashboards_and_they_their_data() {
    let mounts = mounts(&services()["grafana"]);
    let provider = yaml("deploy/compose/grafana/dashboards.yml");
    let path = provider["providers"][0]["options"]["path"].as_str().unwrap();
    let folder = mounts.get(path).unwrap_or_else(|| panic!("nothing is mounted at {path}"));
    for kind in ["datasources", "dashboards"] {
        let begin = format!("/etc/grafana/provisioning/{kind}/");
        assert_eq!(mounts.keys().filter(|target| target.starts_with(&begin)).count(), 1, "{begin}");
    }
    let sources = datasources();
    let uids: BTreeSet<&str> = sources.iter().map(|source| source["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, BTreeSet::from(["loki", "prometheus", "tempo"]));
    assert_eq!(sources.iter().filter(|source| source["isDefault"] == true).count(), 1);
    for source in &sources {
        let mut named = Vec::new();
        values_of(source, "datasourceUid", &mut named);
        assert!(!named.is_empty(), "{} leads nowhere", source["name"]);
        assert!(named.iter().all(|uid| uids.contains(uid.as_str().unwrap())), "{named:?}");
    }
    // The exemplars name their trace so, and so do Loki's records that came by OTLP.
    let prometheus = sources.iter().find(|source| source["uid"] == "prometheus").unwrap();
    assert_eq!(prometheus["jsonData"]["exemplarTraceIdDestinations"][0]["name"], "trace_id");
    let interval = &yaml("deploy/compose/prometheus.yml")["global"]["scrape_interval"];
    assert_eq!(&prometheus["jsonData"]["timeInterval"], interval);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let dashboards: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
    assert!(!dashboards.is_empty(), "there are no dashboards");
    for dashboard in dashboards {
        let file: Value = serde_json::from_str(&fs::read_to_string(&dashboard).unwrap()).unwrap();
        let mut named = Vec::new();
        values_of(&file, "datasource", &mut named);
        for source in named.iter().filter_map(|source| source["uid"].as_str().or(source.as_str())) {
            let known = source.starts_with('$') || source == "-- Grafana --" || uids.contains(source);
            assert!(known, "{} wants the data source {source}", dashboard.display());
        }
    }
}
