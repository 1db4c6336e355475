//! The files for Kubernetes keep what they promise of the program, of each other and of the alerts. No cluster runs here.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heartbeat_bridge::config::{Scopes, settings};
use serde_json::Value;

/// Set to 1, the rules are written anew.
const UPDATE: &str = "UPDATE_GOLDEN";

const ROLES: [(&str, Scopes); 2] = [("subscriber", Scopes::SUBSCRIBER), ("publisher", Scopes::PUBLISHER)];

/// What is used of Kubernetes and of the Prometheus operator.
const KINDS: &[(&str, &str)] = &[
    ("Deployment", "apps/v1"),
    ("Service", "v1"),
    ("Secret", "v1"),
    ("PodDisruptionBudget", "policy/v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("ServiceMonitor", "monitoring.coreos.com/v1"),
    ("PrometheusRule", "monitoring.coreos.com/v1"),
    ("Kustomization", "kustomize.config.k8s.io/v1beta1"),
];

/// Not part of what is applied: an example, and what kustomize itself reads.
const APART: [&str; 2] = ["secret.example.yaml", "kustomization.yaml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn base(role: &str) -> PathBuf {
    root().join("deploy/kubernetes").join(role)
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one document of a file, with every anchor put where it is named.
fn yaml(path: &Path) -> Value {
    let value: yaml_serde::Value =
        yaml_serde::from_str(&text_of(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::to_value(value).unwrap()
}

fn file(role: &str, name: &str) -> Value {
    yaml(&base(role).join(name))
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn map(value: &Value) -> BTreeMap<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no map")).clone().into_iter().collect()
}

/// The pod of a role, as its Deployment has it.
fn pod(role: &str) -> Value {
    file(role, "deployment.yaml")["spec"]["template"].clone()
}

fn container(role: &str) -> Value {
    let containers = pod(role)["spec"]["containers"].clone();
    assert_eq!(list(&containers).len(), 1, "{role}");
    containers[0].clone()
}

fn environment(role: &str) -> BTreeMap<String, String> {
    let text = text_of(&base(role).join(format!("{role}.env")));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap()).collect()
}

/// Where a path in the container comes from: the volume's name and the rest of the path.
fn mounted(role: &str, path: &str) -> (String, String) {
    let container = container(role);
    let mounts = list(&container["volumeMounts"]);
    let found = mounts.iter().find_map(|mount| {
        let rest = path.strip_prefix(mount["mountPath"].as_str().unwrap())?;
        Some((mount["name"].as_str().unwrap().to_owned(), rest.trim_start_matches('/').to_owned()))
    });
    found.unwrap_or_else(|| panic!("{role}: nothing is mounted for {path}"))
}

fn volume(role: &str, name: &str) -> Value {
    let pod = pod(role);
    let volumes = list(&pod["spec"]["volumes"]);
    volumes
        .iter()
        .find(|volume| volume["name"] == name)
        .unwrap_or_else(|| panic!("{role}: no {name}"))
        .clone()
}

#[test]
fn every_file_is_what_it_says_and_is_applied() {
    for (role, _) in ROLES {
        let kustomization = file(role, "kustomization.yaml");
        let mut applied: BTreeSet<String> = strings(&kustomization["resources"]).into_iter().collect();
        for name in names_in(&base(role)).iter().filter(|name| name.ends_with(".yaml")) {
            let document = file(role, name);
            let kind = document["kind"].as_str().unwrap();
            let version = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, version)| *version);
            assert_eq!(document["apiVersion"].as_str(), version, "{role}/{name}");
            if !APART.contains(&&**name) {
                assert!(applied.remove(name), "{role}/{name} is not applied");
                let own = document["metadata"]["name"].as_str().unwrap();
                assert!(
                    own == format!("heartbeat-{role}") || kind == "PrometheusRule",
                    "{role}/{name}: {own}"
                );
                assert_eq!(document["metadata"]["namespace"], Value::Null, "{role}/{name}");
            }
        }
        assert!(applied.is_empty(), "{role}: {applied:?} are not there");
        let generated = list(&kustomization["configMapGenerator"]);
        for part in generated.iter().flat_map(|map| [&map["envs"], &map["files"]]) {
            for name in strings(part) {
                assert!(base(role).join(&name).exists(), "{role}: {name} is not there");
            }
        }
        // What the pod takes from a map is generated, and the other way about.
        let generated: BTreeSet<&str> = generated.iter().map(|map| map["name"].as_str().unwrap()).collect();
        let (container, pod) = (container(role), pod(role));
        let from = list(&container["envFrom"]).iter().map(|from| &from["configMapRef"]["name"]);
        let volumes = list(&pod["spec"]["volumes"]).iter().map(|volume| &volume["configMap"]["name"]);
        let used: BTreeSet<&str> = from.chain(volumes).filter_map(Value::as_str).collect();
        assert_eq!(used, generated, "{role}");
    }
}

#[test]
fn the_image_is_of_this_version() {
    for (role, _) in ROLES {
        assert_eq!(
            container(role)["image"],
            concat!("heartbeat-bridge:", env!("CARGO_PKG_VERSION")),
            "{role}"
        );
        let image = file(role, "kustomization.yaml")["images"][0].clone();
        assert_eq!(
            (&image["name"], &image["newTag"]),
            (&"heartbeat-bridge".into(), &env!("CARGO_PKG_VERSION").into())
        );
        assert_eq!(strings(&container(role)["args"]), [role]);
    }
}

/// The profile `restricted` of Kubernetes' pod security standards, and more.
#[test]
fn no_pod_may_more_than_it_must() {
    for (role, _) in ROLES {
        let (pod, container) = (pod(role)["spec"].clone(), container(role));
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{role}");
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{role}");
        let user = format!("{}:{}", security["runAsUser"], security["runAsGroup"]);
        assert!(
            text_of(&root().join("Dockerfile")).lines().any(|line| line == format!("USER {user}")),
            "{user}"
        );
        // By group, since a secret's files belong to root.
        assert_eq!(security["fsGroup"], security["runAsGroup"], "{role}");
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{role}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{role}");
        assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"], "{role}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{role}");
        assert_eq!(pod["enableServiceLinks"], false, "{role}: RABBITMQ_PORT would be an address");
        for amount in ["cpu", "memory"] {
            for bound in ["requests", "limits"] {
                assert!(
                    !container["resources"][bound][amount].is_null(),
                    "{role} has no {bound} of {amount}"
                );
            }
        }
        for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[forbidden].is_null(), "{role} has {forbidden}");
        }
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        let own = humantime::parse_duration(settings::SHUTDOWN_GRACE.default).unwrap();
        assert!(grace > own.as_secs(), "{role} is killed before it ends by itself");
        // The one place that it writes to.
        let dockerfile = text_of(&root().join("Dockerfile"));
        let health = dockerfile.lines().find_map(|line| line.strip_prefix("ENV HEALTH_FILE=")).unwrap();
        assert_eq!(volume(role, &mounted(role, health).0)["emptyDir"]["medium"], "Memory", "{role}");
        for mount in list(&container["volumeMounts"]) {
            let in_memory = !volume(role, mount["name"].as_str().unwrap())["emptyDir"].is_null();
            assert!(in_memory || mount["readOnly"] == true, "{role}: {mount}");
        }
    }
}

#[test]
fn every_variable_is_a_setting_of_its_role() {
    for (role, scope) in ROLES {
        let variables = environment(role);
        assert!(variables.len() > 8, "{role}: {variables:?}");
        for variable in variables.keys() {
            let setting = settings::ALL.iter().copied().find(|setting| {
                setting.variable == variable || setting.file_variable().as_ref() == Some(variable)
            });
            let setting = setting.unwrap_or_else(|| panic!("{role} sets {variable}, which is no setting"));
            assert!(setting.scopes.meets(scope), "{variable} is not read by {role}");
            assert!(
                !setting.is_secret() || setting.variable != variable,
                "{role} has a secret in {variable}"
            );
        }
        assert!(list(&container(role)["env"]).is_empty(), "{role}: settings are in its file");
    }
}

/// Where every path leads to what is mounted there, the program takes it all.
#[test]
fn the_roles_take_their_settings() {
    for (role, _) in ROLES {
        let folder = tempfile::tempdir().unwrap();
        let variables = environment(role).into_iter().map(|(variable, value)| {
            if !value.starts_with('/') {
                return (variable, value);
            }
            let (name, key) = mounted(role, &value);
            let volume = volume(role, &name);
            let path = if volume["secret"].is_null() {
                base(role).join(&key)
            } else {
                let path = folder.path().join(&key);
                fs::write(&path, secrets(role)[&key].as_str().unwrap()).unwrap();
                path
            };
            (variable, path.to_str().unwrap().to_owned())
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.args([role, "--config.check"]).env_clear().envs(variables);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(said, "configuration is valid\n", "{role}");
        let broken = command.env("RABBITMQ_PASS_FILE", "/nowhere").output().unwrap();
        assert!(!broken.status.success(), "{role} is not checked");
    }
}

/// The keys of a role's secret, as the example has them.
fn secrets(role: &str) -> BTreeMap<String, Value> {
    let example = file(role, "secret.example.yaml");
    assert_eq!(example["metadata"]["name"], volume(role, "secrets")["secret"]["secretName"], "{role}");
    map(&example["stringData"])
}

#[test]
fn secrets_are_files_and_none_is_here() {
    for (role, _) in ROLES {
        let read: BTreeSet<String> = environment(role)
            .iter()
            .filter(|(variable, _)| variable.ends_with("_FILE"))
            .map(|(_, path)| mounted(role, path))
            .filter(|(volume, _)| volume == "secrets")
            .map(|(_, key)| key)
            .collect();
        let secrets = secrets(role);
        assert_eq!(read, secrets.keys().cloned().collect(), "{role}");
        assert!(secrets.values().all(|value| value == "replace-me"), "{role}: {secrets:?}");
        assert!(!strings(&file(role, "kustomization.yaml")["resources"]).contains(&APART[0].to_owned()));
    }
}

/// Whether labels that are asked for are on what is meant.
#[track_caller]
fn assert_selects(selector: &Value, labels: &Value) {
    let (wanted, given) = (map(selector), map(labels));
    assert!(
        !wanted.is_empty() && wanted.iter().all(|(name, value)| given.get(name) == Some(value)),
        "{wanted:?}"
    );
}

#[test]
fn selectors_find_what_they_are_for() {
    for (role, _) in ROLES {
        let labels = &pod(role)["metadata"]["labels"];
        let deployment = file(role, "deployment.yaml");
        assert_selects(&deployment["spec"]["selector"]["matchLabels"], labels);
        assert_selects(&file(role, "network.yaml")["spec"]["podSelector"]["matchLabels"], labels);
        let pod = pod(role);
        for constraint in list(&pod["spec"]["topologySpreadConstraints"]) {
            assert_selects(&constraint["labelSelector"]["matchLabels"], labels);
        }
        // The other role's pods are not meant.
        let other = ROLES.iter().find(|(other, _)| *other != role).unwrap().0;
        let others = self::pod(other)["metadata"]["labels"].clone();
        assert_ne!(map(labels), map(&others));
    }
    let labels = &pod("subscriber")["metadata"]["labels"];
    let (service, monitor) = (file("subscriber", "service.yaml"), file("subscriber", "monitor.yaml"));
    assert_selects(&service["spec"]["selector"], labels);
    assert_selects(&file("subscriber", "disruption.yaml")["spec"]["selector"]["matchLabels"], labels);
    assert_selects(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]);
    let spread = pod("subscriber")["spec"]["topologySpreadConstraints"].clone();
    assert!(!list(&spread).is_empty(), "all subscribers may be on one node");
}

#[test]
fn subscribers_are_several_and_a_publisher_is_one() {
    let subscriber = file("subscriber", "deployment.yaml")["spec"].clone();
    assert!(subscriber["replicas"].as_u64() > Some(1));
    assert_eq!(subscriber["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    // Less than there are, or no node could be drained.
    let disruption = file("subscriber", "disruption.yaml")["spec"].clone();
    assert!(disruption["maxUnavailable"].as_u64() < subscriber["replicas"].as_u64());
    let publisher = file("publisher", "deployment.yaml")["spec"].clone();
    assert_eq!((&publisher["replicas"], &publisher["strategy"]["type"]), (&1.into(), &"Recreate".into()));
    assert!(environment("publisher").contains_key("PUBLISHER_ID"), "a pod's name is no id");
    let expected = &environment("subscriber")["EXPECTED_PUBLISHERS"];
    assert_eq!(*expected, environment("publisher")["PUBLISHER_ID"]);
    for shared in ["RABBITMQ_EXCHANGE", "RABBITMQ_QUEUE", "RABBITMQ_ROUTING_KEY"] {
        assert_eq!(environment("publisher")[shared], environment("subscriber")[shared], "{shared}");
    }
}

#[test]
fn probes_ask_what_the_program_answers() {
    let subscriber = container("subscriber");
    let port = &subscriber["ports"][0];
    let listens = settings::WEB_LISTEN_ADDRESS.default.trim_start_matches(':');
    assert_eq!(port["containerPort"].to_string(), listens);
    assert!(!environment("subscriber").contains_key("WEB_LISTEN_ADDRESS"));
    let routes = text_of(&root().join("src/http/routes.rs"));
    for (probe, path) in [("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")] {
        let asked = &subscriber[probe]["httpGet"];
        assert_eq!((&asked["path"], &asked["port"]), (&path.into(), &port["name"]), "{probe}");
        assert!(routes.contains(&format!("\"{path}\" =>")), "{path} is not answered");
    }
    let publisher = container("publisher");
    let dockerfile = text_of(&root().join("Dockerfile"));
    for (probe, more) in [("livenessProbe", None), ("readinessProbe", Some("--ready"))] {
        let words = strings(&publisher[probe]["exec"]["command"]);
        assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{}\"]", words[0])), "{probe}: {words:?}");
        let wanted = ["healthcheck", "publisher"].into_iter().chain(more);
        assert!(words[1..].iter().map(String::as_str).eq(wanted), "{probe}: {words:?}");
        // A publisher that never noted its health is not well, and that is all there is to say against it.
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.args(&words[1..]).env_clear().env("HEALTH_FILE", folder.path().join("health"));
        assert_eq!(command.status().unwrap().code(), Some(1), "{probe}");
    }
}

#[test]
fn the_monitor_scrapes_under_the_name_that_the_rules_expect() {
    let (service, monitor) = (file("subscriber", "service.yaml"), file("subscriber", "monitor.yaml"));
    let label = monitor["spec"]["jobLabel"].as_str().unwrap();
    let job = service["metadata"]["labels"][label].as_str().unwrap();
    let prometheus = yaml(&root().join("alerts/prometheus.yml"));
    assert_eq!(prometheus["scrape_configs"][0]["job_name"], job);
    assert!(text_of(&root().join("alerts/heartbeat.rules.yml")).contains(&format!("job=\"{job}\"")));
    let endpoint = &monitor["spec"]["endpoints"][0];
    let port = &service["spec"]["ports"][0];
    assert_eq!(endpoint["port"], port["name"]);
    assert_eq!(port["targetPort"], container("subscriber")["ports"][0]["name"]);
    assert_eq!(endpoint["path"], settings::WEB_TELEMETRY_PATH.default);
    let interval = humantime::parse_duration(endpoint["interval"].as_str().unwrap()).unwrap();
    assert!(interval.as_secs() <= 30, "the rules need more than that");
}

/// The ports that a role's policy lets it reach, names apart.
fn let_out(role: &str) -> BTreeSet<String> {
    let policy = file(role, "network.yaml")["spec"].clone();
    assert_eq!(strings(&policy["policyTypes"]), ["Ingress", "Egress"], "{role}");
    let ways = list(&policy["egress"]).iter().filter(|way| way["to"].is_null());
    ways.flat_map(|way| list(&way["ports"])).map(|port| port["port"].to_string()).collect()
}

#[test]
fn the_network_lets_through_what_is_needed_and_no_more() {
    let port = |role: &str, setting: &heartbeat_bridge::config::Setting| {
        environment(role).get(setting.variable).cloned().unwrap_or_else(|| setting.default.to_owned())
    };
    for (role, _) in ROLES {
        assert_eq!(environment(role)["RABBITMQ_TLS"], "true", "{role} sends its password in the clear");
    }
    let subscriber = [&settings::RABBITMQ_TLS_PORT, &settings::REDIS_PORT];
    assert_eq!(let_out("subscriber"), subscriber.map(|setting| port("subscriber", setting)).into());
    let publisher = [&settings::RABBITMQ_TLS_PORT, &settings::RABBITMQ_MANAGEMENT_PORT];
    let mut wanted: BTreeSet<String> = publisher.map(|setting| port("publisher", setting)).into();
    let checks: Value = serde_json::from_str(&text_of(&base("publisher").join("publisher.json"))).unwrap();
    wanted.extend(list(&checks["heartbeat"]["hosts"]).iter().map(|host| host["port"].to_string()));
    assert_eq!(let_out("publisher"), wanted);
    let ingress = |role: &str| file(role, "network.yaml")["spec"]["ingress"].clone();
    assert!(list(&ingress("publisher")).is_empty(), "nothing of a publisher listens");
    assert_eq!(ingress("subscriber")[0]["ports"][0]["port"], container("subscriber")["ports"][0]["name"]);
    assert!(!list(&ingress("subscriber")[0]["from"]).is_empty(), "anybody is let in");
}

/// The alerts' own file, as the operator's resource.
#[test]
fn the_rules_are_those_of_the_alerts() {
    let alerts = root().join("alerts/heartbeat.rules.yml");
    let text = text_of(&alerts);
    let groups = &text[text.find("\ngroups:\n").unwrap() + 1..];
    let head = "# Made of alerts/heartbeat.rules.yml, where it is explained: UPDATE_GOLDEN=1 cargo test --test kubernetes\n\
                apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: heartbeat\n  labels:\n    \
                app.kubernetes.io/name: heartbeat\nspec:\n";
    let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
    let wanted = head.to_owned() + &groups.lines().map(indented).collect::<String>();
    let path = base("subscriber").join("rules.yaml");
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(text_of(&path) == wanted, "the rules are other ones: set {UPDATE}=1 to write them anew");
    // As they are read, too: an indentation could change a text of several lines.
    assert_eq!(yaml(&path)["spec"]["groups"], yaml(&alerts)["groups"]);
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    fs::write(&rules, yaml(&path)["spec"].to_string()).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(&rules).output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}: `make install` brings it"));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_page_says_that_no_cluster_ran_them() {
    let page = text_of(&root().join("deploy/kubernetes/README.md"));
    assert!(page.contains("No cluster has run these files"));
    for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = target.split('#').next().unwrap();
        assert!(root().join("deploy/kubernetes").join(file).exists(), "{target} is not there");
    }
}
