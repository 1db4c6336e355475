//! Keys at the top of the file and within `heartbeat` that nothing reads, and lists among them that somebody meant to be
//! checked.
//!
//! What the original ignored in silence ends no start: it is warned of. A list of objects under a name that only this program
//! knows was hardly written for the original, so one at the wrong place or under a wrong name is a problem: a publisher that
//! checks less than somebody wrote is green for no reason.

use serde_json::{Map, Value};

use super::meant::is_meant;
use super::reader::{Reader, below};
use super::{CONTRACT_LISTS, HEARTBEAT_EXAMPLE, HEARTBEAT_KEYS};

/// Keys beside `heartbeat`.
pub(super) fn at_the_top(reader: &mut Reader, root: &Map<String, Value>) {
    let lists = lists(root, &["heartbeat"]);
    for (key, list) in &lists {
        let place = if key == list { "its place is" } else { &format!("is `{list}` meant? Its place is") };
        let why = format!("is not read, and none of its entries counts; {place} within `heartbeat`");
        // Beside `heartbeat` may stand what is for other programs, under names that are alike.
        if key == list {
            say(reader, below("", key), list, why, HEARTBEAT_EXAMPLE);
        } else {
            reader.warn(below("", key), why);
        }
    }
    warn_of_others(reader, root, "", &["heartbeat"], &lists);
}

/// Keys within `heartbeat`.
pub(super) fn within(reader: &mut Reader, heartbeat: &Map<String, Value>) {
    let lists = lists(heartbeat, HEARTBEAT_KEYS);
    for (key, list) in &lists {
        let why = format!("is not known, and none of its entries counts; is `{list}` meant?");
        say(reader, below("heartbeat", key), list, why, "");
    }
    warn_of_others(reader, heartbeat, "heartbeat", HEARTBEAT_KEYS, &lists);
}

/// The lists with entries as ours have them that are not read, and which one is meant by each.
fn lists<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Vec<(&'a str, &'static str)> {
    let is_filled =
        |value: &Value| value.as_array().is_some_and(|entries| entries.iter().any(Value::is_object));
    let unread = object.iter().filter(|(key, value)| !known.contains(&key.as_str()) && is_filled(value));
    unread.filter_map(|(key, _)| Some((key.as_str(), meant(key)?))).collect()
}

/// The list that one who wrote `key` meant.
fn meant(key: &str) -> Option<&'static str> {
    let exactly = HEARTBEAT_KEYS.iter().find(|list| **list == key);
    exactly.or_else(|| HEARTBEAT_KEYS.iter().find(|list| is_meant(key, list))).copied()
}

fn say(reader: &mut Reader, path: String, list: &str, why: String, example: &'static str) {
    if CONTRACT_LISTS.contains(&list) {
        reader.warn(path, why);
    } else {
        reader.amiss(path, why, example);
    }
}

fn warn_of_others(
    reader: &mut Reader,
    object: &Map<String, Value>,
    path: &str,
    known: &[&str],
    said: &[(&str, &str)],
) {
    let said: Vec<&str> = said.iter().map(|(key, _)| *key).collect();
    reader.unknown_keys(object, path, &[known, &said].concat());
}

#[cfg(test)]
mod tests {
    use crate::config::targets::{Form, Problem, Warning, parse};

    /// What is said of a file: its problems, or else its warnings.
    fn said(text: &str) -> Result<Vec<String>, Vec<String>> {
        match parse(text, Form::Yaml) {
            Ok((_, warnings)) => Ok(warnings.iter().map(Warning::to_string).collect()),
            Err(problems) => Err(problems.iter().map(Problem::sentence).collect()),
        }
    }

    #[test]
    fn a_list_of_ours_that_nothing_reads_is_a_problem() {
        for list in ["http", "tls", "dns", "grpc", "jobs", "maintenance"] {
            let at_the_top = said(&format!("heartbeat: {{hosts: []}}\n{list}: [{{}}]\n"));
            let why = "is not read, and none of its entries counts; its place is within `heartbeat`";
            assert_eq!(at_the_top, Err(vec![format!("{list} {why}")]));
        }
        for (slip, meant) in [("htttp", "http"), ("HTTP", "http"), ("https", "http"), ("job", "jobs")] {
            // Beside the right one, too.
            for beside in ["", ", http: []"] {
                let within = said(&format!("heartbeat: {{{slip}: [{{}}]{beside}}}"));
                let why = format!("is not known, and none of its entries counts; is `{meant}` meant?");
                assert_eq!(within, Err(vec![format!("heartbeat.{slip} {why}")]));
            }
        }
    }

    /// What the original ignored ends no start.
    #[test]
    fn a_file_that_served_the_original_goes_on_to_serve() {
        for (text, warning) in [
            (
                "{heartbeat: {}, hosts: [{host: a, port: 1}]}",
                "hosts is not read, and none of its entries counts; its place is within `heartbeat`",
            ),
            (
                "{heartbeat: {rmq_consumer: [{}]}}",
                "heartbeat.rmq_consumer is not known, and none of its entries counts; is `rmq_consumers` meant?",
            ),
            // Nothing in it that somebody could miss, or another program's settings.
            (
                "{heartbeat: {}, http: []}",
                "http is not known and has no effect; its place is within `heartbeat`",
            ),
            (
                "{heartbeat: {}, http: {port: 80}}",
                "http is not known and has no effect; its place is within `heartbeat`",
            ),
            ("{heartbeat: {}, servers: [{}]}", "servers is not known and has no effect"),
            (
                "{heartbeat: {}, dns: [10.0.0.53]}",
                "dns is not known and has no effect; its place is within `heartbeat`",
            ),
            (
                "{heartbeat: {}, htttp: [{}]}",
                "htttp is not read, and none of its entries counts; is `http` meant? Its place is within `heartbeat`",
            ),
        ] {
            assert_eq!(said(text), Ok(vec![warning.to_owned()]), "{text}");
        }
    }
}
