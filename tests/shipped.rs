//! The files that ship beside the program, judged by the programs that will read them.

use std::path::Path;
use std::process::Command;

fn promtool(args: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    let output = Command::new("promtool").args(args).current_dir(folder).output();
    let output = output.expect("promtool is installed: it comes with prometheus");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {args:?}:\n{}", String::from_utf8_lossy(&text));
}

#[test]
fn rules_are_valid() {
    promtool(&["check", "rules", "heartbeat.rules.yml"]);
}

#[test]
fn alerts_fire_and_stay_silent_as_promised() {
    promtool(&["test", "rules", "heartbeat.test.yml"]);
}

#[test]
fn the_example_configuration_is_valid() {
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn every_alert_has_its_runbook() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join("alerts/heartbeat.rules.yml")).unwrap();
    let runbooks = std::fs::read_to_string(root.join("docs/runbooks.md")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 3, "the rules were not read: {alerts:?}");
    for alert in alerts {
        assert!(runbooks.lines().any(|line| line == format!("## {alert}")), "{alert} has no section");
        let anchor = format!("docs/runbooks.md#{}", alert.to_lowercase());
        assert!(rules.lines().any(|line| line.ends_with(&anchor)), "{alert} does not link to its section");
    }
}
