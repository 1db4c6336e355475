//! The units of systemd, and what the Debian package makes of them. Their true test is `make package`, which installs, starts,
//! upgrades and removes the package under a systemd of its own; what is cheap is held here.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use heartbeat_bridge::cli::EXIT_USAGE;
use heartbeat_bridge::config::{Role, settings};
use heartbeat_bridge::reading::GIVEN_UP_MAX;

const BINARY: &str = env!("CARGO_BIN_EXE_heartbeat");
const ROLES: [Role; 2] = [Role::Publisher, Role::Subscriber];

/// Of the runtime that has most.
const THREADS_FOR_NAMES: usize = 512;

/// As many files as a large configuration names, and may lie on disks that hang.
const FILES: usize = 3000;

fn path_of(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text_of(file: &str) -> String {
    fs::read_to_string(path_of(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A unit's text.
fn unit(role: Role) -> String {
    text_of(&format!("deploy/systemd/heartbeat-{}.service", role.as_str()))
}

/// The value of a key that a unit has once.
#[track_caller]
fn value(unit: &str, key: &str) -> String {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let first = values.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(values.next(), None, "{key} is there twice");
    first.to_owned()
}

/// `systemd-analyze` of a unit that starts the program that was built, from a folder of its own.
fn analyze(role: Role, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("heartbeat-{}.service", role.as_str()));
    fs::write(&file, unit(role).replace("/usr/bin/heartbeat", BINARY)).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg("--no-pager").arg(&file).output();
    output.unwrap_or_else(|error| panic!("systemd-analyze: {error}: `make install` brings it"))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    for role in ROLES {
        // The pages of the manual are installed by the package.
        let output = analyze(role, &["verify", "--man=no"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Of units that are not ours.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("heartbeat")).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}");
    }
}

/// The page says how exposed they are, by systemd's own measure.
#[test]
fn the_units_are_as_confined_as_the_page_says() {
    let page = text_of("docs/install.md");
    let told = page.split("`systemd-analyze security` says ").nth(1).expect("the page tells the figure");
    let told: f64 = told.split(' ').next().unwrap().parse().unwrap();
    for role in ROLES {
        let output = analyze(role, &["security", "--offline=true", "--threshold=100"]);
        let said = String::from_utf8(output.stdout).unwrap();
        let exposure = said.rsplit("Overall exposure level for ").next().unwrap();
        let exposure: f64 = exposure.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(exposure, told, "{said}");
    }
}

/// `/proc/sys/kernel/random/boot_id` names the run of the machine, by which moments in files are understood.
#[test]
fn the_units_may_read_which_run_of_the_machine_it_is() {
    for role in ROLES {
        for line in unit(role).lines().filter(|line| !line.starts_with('#')) {
            let hides = line.starts_with("ProcSubset=") && line != "ProcSubset=all";
            let keeps_from = line.starts_with("InaccessiblePaths=") && line.contains("/proc");
            assert!(!hides && !keeps_from, "{line}");
        }
    }
}

#[test]
fn the_units_differ_in_their_role_alone() {
    let neutral = |role: Role| {
        let text = unit(role).replace(role.as_str(), "ROLE");
        let service = text.split_once("[Service]").unwrap().1.to_owned();
        // A subscriber has no file that is read anew when it is told to.
        let service = service.replace("ExecReload=/bin/kill -HUP $MAINPID\n", "").replace(" /bin/kill ", " ");
        // Nor does it remember anything itself: that is what Redis is for.
        let service = service.replace(" PUBLISHER_STATE_FILE=%S/heartbeat-ROLE/state.json", "");
        let service = service.replace("StateDirectory=heartbeat-ROLE\nStateDirectoryMode=0700\n", "");
        service.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(neutral(Role::Publisher), neutral(Role::Subscriber));
}

#[test]
fn the_units_and_the_program_agree() {
    for role in ROLES {
        let unit = unit(role);
        let name = format!("heartbeat-{}", role.as_str());
        assert_eq!(value(&unit, "ExecStart"), format!("/usr/bin/heartbeat {}", role.as_str()));
        assert_eq!(value(&unit, "Type"), "notify");
        assert_eq!(value(&unit, "RestartPreventExitStatus"), EXIT_USAGE.to_string());
        assert_eq!(value(&unit, "RuntimeDirectory"), name);
        let state = format!(" PUBLISHER_STATE_FILE=%S/{name}/state.json");
        let state = if role == Role::Publisher { state } else { String::new() };
        assert_eq!(value(&unit, "Environment"), format!("HEALTH_FILE=%t/{name}/health{state}"));
        assert_eq!(value(&unit, "EnvironmentFile"), format!("/etc/heartbeat/{}.env", role.as_str()));
        let grace = humantime::parse_duration(settings::SHUTDOWN_GRACE.default).unwrap();
        let stop: u64 = value(&unit, "TimeoutStopSec").parse().unwrap();
        assert!(Duration::from_secs(stop) > grace * 2, "{stop} s are not enough for {grace:?}");
        let tasks: usize = value(&unit, "TasksMax").parse().unwrap();
        assert!(tasks > THREADS_FOR_NAMES + GIVEN_UP_MAX + FILES, "{tasks} are too few");
    }
}

/// The variables of an environment file, with those that a comment suggests.
fn variables(role: Role) -> Vec<(String, String, bool)> {
    let text = text_of(&format!("deploy/systemd/{}.env", role.as_str()));
    let lines = text.lines().filter_map(|line| {
        let (line, set) = line.strip_prefix('#').map_or((line, true), |line| (line, false));
        let (name, value) = line.split_once('=')?;
        let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        (is_name && !name.is_empty()).then(|| (name.to_owned(), value.to_owned(), set))
    });
    lines.collect()
}

#[test]
fn the_environment_files_hold_settings_of_their_role() {
    for role in ROLES {
        for (name, _, _) in variables(role) {
            let setting = settings::ALL.iter().find(|setting| {
                setting.variable == name || setting.file_variable().as_deref() == Some(&name)
            });
            let setting = setting.unwrap_or_else(|| panic!("{name} is no setting"));
            assert!(setting.scopes.meets(role.scope()), "{name} is not read by the {}", role.as_str());
        }
    }
}

/// What is installed is a configuration, though there is nothing to connect to yet.
#[test]
fn the_environment_files_are_valid_as_they_are() {
    for role in ROLES {
        let mut command = Command::new(BINARY);
        command.args([role.as_str(), "--config.check"]).env_clear();
        for (name, value, _) in variables(role).into_iter().filter(|(.., set)| *set) {
            command.env(
                name,
                value.replace("/etc/heartbeat/", &format!("{}/", path_of("deploy/systemd").display())),
            );
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

/// The part of the manifest that describes the package.
fn described() -> String {
    let manifest = text_of("Cargo.toml");
    manifest.split_once("[package.metadata.deb]").expect("the manifest describes the package").1.to_owned()
}

#[test]
fn the_package_holds_what_there_is() {
    let described = described();
    let list = described.split_once("assets = [").unwrap().1.split_once("\n]").unwrap().0;
    let entries = list.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next());
    let sources: Vec<&str> = entries.collect();
    assert!(sources.len() > 10, "{sources:?}");
    // The rest is made when the package is.
    for source in sources.iter().filter(|source| !source.starts_with("target/")) {
        let folder = source.rsplit_once('*').map_or(*source, |(folder, _)| folder);
        assert!(path_of(folder).exists(), "{source} is not there");
    }
    for role in ROLES {
        let (name, env) = (format!("heartbeat-{}", role.as_str()), format!("{}.env", role.as_str()));
        assert!(sources.contains(&format!("deploy/systemd/{env}").as_str()), "{env} is not in the package");
        let unit = format!(
            "{{ unit-name = \"{name}\", unit-scripts = \"deploy/systemd\", enable = false, start = false }}"
        );
        assert!(described.contains(&unit), "{name} is not in the package, or is started by it");
    }
}

#[test]
fn the_user_of_the_units_is_made() {
    let made = text_of("deploy/systemd/heartbeat-bridge.conf");
    let user =
        made.lines().find_map(|line| line.strip_prefix("u ")).unwrap().split(' ').next().unwrap().to_owned();
    for role in ROLES {
        let unit = unit(role);
        assert_eq!((value(&unit, "User"), value(&unit, "Group")), (user.clone(), user.clone()));
    }
    assert!(text_of("deploy/debian/postinst").contains(&format!("-g {user} /etc/heartbeat/secrets")));
    assert!(text_of("deploy/debian/postrm").contains(&format!("userdel {user} ")));
}
