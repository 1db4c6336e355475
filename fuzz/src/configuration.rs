//! What an operator writes: the publisher's file, and settings.

use std::collections::BTreeSet;

use heartbeat_bridge::config::{Flags, MapSource, Problems, Role, load, load_forget, targets};
use heartbeat_bridge::heartbeat::check_name;

/// The input is read as the file, in both forms, and, line by line as `NAME=value`, as variables of each role. What is taken
/// keeps the rules; what is not is said on one line each.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for form in [targets::Form::JsonFirst, targets::Form::Yaml] {
        file(&text, form);
    }
    let mut variables = MapSource::new(&[]);
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        // A file of the machine that this runs on is nobody's input.
        let names_a_file =
            ["FILE", "PATH", "DIR", "CERT", "KEY", "CA"].iter().any(|word| name.contains(word));
        if !names_a_file {
            variables.variables.insert(name.to_owned(), value.to_owned());
        }
    }
    for role in [Role::Publisher, Role::Subscriber, Role::Standalone] {
        match load(role, &Flags::new(), &variables) {
            Ok((_, warnings)) => warnings.iter().for_each(|warning| on_one_line(&warning.to_string())),
            Err(problems) => are_on_a_line_each(&problems),
        }
    }
    let _ = load_forget(&Flags::new(), &variables);
}

fn file(text: &str, form: targets::Form) {
    match targets::parse(text, form) {
        Ok((targets, warnings)) => {
            warnings.iter().for_each(|warning| on_one_line(&warning.to_string()));
            let hosts = targets.hosts.iter().map(|host| &*host.name);
            let queues = targets.queues.iter().map(|queue| &*queue.queue);
            are_names_each_once(hosts);
            are_names_each_once(queues);
            are_names_each_once(targets.jobs.iter().map(|job| &*job.name));
            for queue in &targets.queues {
                are_names_each_once(queue.listeners.iter().map(|listener| &*listener.name));
                assert!(queue.listeners.iter().all(|listener| !listener.patterns.is_empty()));
            }
            assert!(targets.hosts.iter().all(|host| !host.endpoints.is_empty()));
            for (kind, _) in targets::probe_keys() {
                let of_kind = targets.probes.iter().filter(|probe| probe.spec.kind() == kind);
                are_names_each_once(of_kind.map(|probe| &*probe.name));
            }
            assert!(targets.probes.iter().all(|probe| !probe.spec.target().is_empty()));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| on_one_line(&problem.to_string()));
        }
    }
}

fn are_names_each_once<'a>(names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(name).unwrap();
        assert!(seen.insert(name), "{name:?} is there twice");
    }
}

/// What it is, the value and an example have a line each.
pub(crate) fn are_on_a_line_each(problems: &Problems) {
    assert!(!problems.is_empty());
    let problems = problems.iter().map(ToString::to_string);
    problems.for_each(|problem| problem.split("\n    ").for_each(on_one_line));
}

/// Whoever reads it on a terminal reads it as it is.
fn on_one_line(text: &str) {
    assert!(!text.is_empty());
    let odd = text
        .chars()
        .find(|c| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    assert_eq!(odd, None, "{text:?}");
}
