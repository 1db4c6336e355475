//! The files that ship beside the program, judged by the programs that will read them.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use yaml_serde::Value;

/// Where runbooks are read on the web.
const RUNBOOKS: &str = "https://github.com/ELIXIR-NO/heartbeat-bridge/blob/main/docs/runbooks.md";

/// From what wakes somebody to what only tells that the way is whole.
const SEVERITIES: [&str; 4] = ["critical", "warning", "info", "none"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn alerts() -> PathBuf {
    root().join("alerts")
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).current_dir(alerts()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: `make install` brings it"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{program} {args:?}:\n{text}")) }
}

#[track_caller]
fn succeeds(program: &str, args: &[&str]) -> String {
    run(program, args).unwrap_or_else(|failure| panic!("{failure}"))
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every rule, as the file has them.
fn rules() -> Vec<Value> {
    let file: Value = yaml_serde::from_str(&text_of("alerts/heartbeat.rules.yml")).unwrap();
    let groups = file["groups"].as_sequence().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
}

/// Every alerting rule with its name.
fn alerting() -> Vec<(String, Value)> {
    let named = rules().into_iter().filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule)));
    let named: Vec<_> = named.collect();
    assert!(named.len() > 20, "the rules were not read");
    named
}

/// The tests of the rules: every file of their folder.
fn rule_tests() -> Vec<PathBuf> {
    let files = fs::read_dir(alerts().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn rules_are_valid() {
    succeeds("promtool", &["check", "rules", "heartbeat.rules.yml"]);
}

#[test]
fn alerts_fire_and_stay_silent_as_promised() {
    let files = rule_tests();
    let mut args = vec!["test", "rules"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    succeeds("promtool", &args);
}

#[test]
fn the_example_configurations_are_valid() {
    succeeds("promtool", &["check", "config", "prometheus.yml"]);
    succeeds("amtool", &["check-config", "alertmanager.yml"]);
}

/// Each alert is shown firing, with all that it says, and silent: a minute before, where it waits.
#[test]
fn every_alert_is_tested_on_both_sides() {
    let mut fires = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for path in rule_tests() {
        let file: Value = yaml_serde::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for case in file["tests"].as_sequence().unwrap() {
            for check in case["alert_rule_test"].as_sequence().into_iter().flatten() {
                let name = check["alertname"].as_str().unwrap().to_owned();
                let expected = check["exp_alerts"].as_sequence().unwrap();
                for alert in expected {
                    assert!(alert["exp_annotations"]["description"].is_string(), "{name}: {alert:?}");
                }
                if expected.is_empty() {
                    silent.insert(name)
                } else {
                    fires.insert(name)
                };
            }
        }
    }
    for (name, _) in alerting() {
        assert!(fires.contains(&name), "no test shows {name} firing");
        assert!(name == "HeartbeatWatchdog" || silent.contains(&name), "no test shows {name} silent");
    }
}

#[test]
fn every_alert_says_what_it_must() {
    for (name, rule) in alerting() {
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(SEVERITIES.contains(&severity), "{name} has the severity {severity:?}");
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_default().trim().to_owned();
        let summary = annotation("summary");
        let is_sentence = summary.starts_with(char::is_uppercase) && summary.ends_with('.');
        assert!(is_sentence && !summary.contains("{{"), "{name}: {summary:?} is no sentence, or not for all");
        assert!(annotation("description").ends_with(['.', '}']), "{name} does not say more");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOKS}#{}", name.to_lowercase()));
        let dashboard = annotation("dashboard_url");
        if name != "HeartbeatWatchdog" {
            let uid = dashboard.strip_prefix("http://localhost:3000/d/heartbeat-").unwrap_or_default();
            let stem = uid.split('?').next().unwrap();
            assert!(root().join(format!("dashboards/{stem}.json")).is_file(), "{name} links to {dashboard}");
        }
    }
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    const SECTIONS: [&str; 4] = ["### Meaning", "### Impact", "### Diagnosis", "### Mitigation"];
    let page = text_of("docs/runbooks.md");
    let sections: Vec<(&str, &str)> =
        page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let alerts: BTreeSet<String> = alerting().into_iter().map(|(name, _)| name).collect();
    let titles: BTreeSet<String> = sections.iter().map(|(title, _)| (*title).to_owned()).collect();
    assert_eq!(alerts, titles);
    for (title, text) in sections {
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("### ")).collect();
        assert_eq!(headings, SECTIONS, "{title}");
        assert!(text.contains("```promql"), "{title} has no query");
        let index = format!("(#{})", title.to_lowercase());
        let listed = page.split("\n## ").next().unwrap().contains(&index);
        assert!(listed, "{title} is not in the table at the top");
    }
}

/// Where an alert goes, by its labels.
fn receiver(labels: &[&str]) -> String {
    let args = [&["config", "routes", "test", "--config.file=alertmanager.yml"], labels].concat();
    // It warns on the lines after.
    succeeds("amtool", &args).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn alerts_are_routed_by_their_severity() {
    for (name, rule) in alerting() {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        let expected = match severity {
            "critical" => "page",
            "none" => "dead-mans-switch",
            _ => "ticket",
        };
        let labels = [format!("alertname={name}"), format!("severity={severity}")];
        assert_eq!(receiver(&[&labels[0], &labels[1]]), expected, "{name}");
    }
}

/// A label that is absent on both sides counts as equal to Alertmanager, and would let anything inhibit anything.
#[test]
fn inhibitions_compare_labels_that_there_are() {
    // What tells of what: the labels that each alert has by its expression.
    let labels = |name: &str| -> &[&str] {
        match name {
            name if name.contains("AllSubscribers") || name == "HeartbeatLate" => &["job"],
            name if name.contains("Subscriber") => &["job", "instance"],
            name if name.contains("Component") || name.contains("Queue") => {
                &["job", "publisher", "kind", "name"]
            }
            name if name.contains("Publisher") || name.contains("Clock") => &["job", "publisher"],
            other => panic!("{other} is new here"),
        }
    };
    let file: Value = yaml_serde::from_str(&text_of("alerts/alertmanager.yml")).unwrap();
    let names: Vec<String> = alerting().into_iter().map(|(name, _)| name).collect();
    let rules = file["inhibit_rules"].as_sequence().unwrap();
    assert!(rules.len() > 4, "the inhibitions were not read");
    for rule in rules {
        let equal: Vec<&str> =
            rule["equal"].as_sequence().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        for side in ["source_matchers", "target_matchers"] {
            let matcher = rule[side][0].as_str().unwrap();
            let pattern =
                fancy_regex::Regex::new(&format!("^(?:{})$", matcher.split('"').nth(1).unwrap())).unwrap();
            let matched: Vec<&String> = names.iter().filter(|name| pattern.is_match(name).unwrap()).collect();
            assert!(!matched.is_empty(), "{matcher} is no alert");
            for name in matched {
                // The queue of a component is empty unless it is a consumer, and then it is compared.
                let has = |label: &&&str| **label == "queue" || labels(name).contains(*label);
                let absent = equal.iter().find(|label| !has(label));
                assert!(absent.is_none(), "{name} has no label {absent:?}: {rule:?}");
            }
        }
    }
}

/// Names in the routes and inhibitions are names of alerts: a misspelt one would silence nothing, or everything.
#[test]
fn the_alertmanager_knows_the_alerts_by_name() {
    let text = text_of("alerts/alertmanager.yml");
    let names: Vec<String> = alerting().into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    for line in text.lines().filter(|line| line.contains("alertname")) {
        for matcher in line.split("alertname").skip(1).filter(|rest| rest.starts_with(['=', '~'])) {
            let pattern = matcher.split('"').nth(1).unwrap();
            // Every alternative at the top level, and in one pair of parentheses.
            let (prefix, rest) = pattern.split_once('(').unwrap_or(("", pattern));
            for part in rest.trim_end_matches(')').split('|') {
                let full = fancy_regex::Regex::new(&format!("^{prefix}{part}$")).unwrap();
                seen += 1;
                let known = names.iter().any(|name| full.is_match(name).unwrap());
                assert!(known, "{line:?}: {prefix}{part} is no alert");
            }
        }
    }
    assert!(seen > 15, "the matchers were not read: {seen}");
}
