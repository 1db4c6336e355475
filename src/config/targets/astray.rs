//! Keys at the top of the file and within `heartbeat` that nothing reads, and lists among them that somebody meant to be
//! checked.
//!
//! What the original ignored in silence ends no start: it is warned of. Entries as only this program's lists have them were
//! hardly written for the original, so a list of such at the wrong place or under a wrong name is a problem: a publisher that
//! checks less than somebody wrote is green for no reason.

use serde_json::{Map, Value};

use super::meant::meant;
use super::reader::{Reader, below};
use super::{HEARTBEAT_EXAMPLE, HEARTBEAT_KEYS};

/// What tells an entry of each list that the contract does not know.
const TELLING_KEYS: &[(&str, &[&str])] = &[
    ("http", &["url"]),
    ("tls", &["host"]),
    ("dns", &["query_name"]),
    ("grpc", &["host"]),
    ("jobs", &["period"]),
    ("maintenance", &["ends", "lasts"]),
];

/// A list with entries that is not read.
struct Astray<'a> {
    key: &'a str,
    /// The list that was meant.
    list: &'static str,
    /// Whether its entries are as only this program has them.
    is_ours: bool,
}

/// Keys beside `heartbeat`.
pub(super) fn at_the_top(reader: &mut Reader, root: &Map<String, Value>) {
    let lists = lists(root, &["heartbeat"]);
    for Astray { key, list, is_ours } in &lists {
        let place = if key == list { "its place is" } else { &format!("is `{list}` meant? Its place is") };
        let why = format!("is not read, and none of its entries counts; {place} within `heartbeat`");
        // Beside `heartbeat` may stand what is for other programs, under names that are alike.
        if *is_ours && key == list {
            reader.amiss(below("", key), why, HEARTBEAT_EXAMPLE);
        } else {
            reader.warn(below("", key), why);
        }
    }
    warn_of_others(reader, root, "", &["heartbeat"], &lists);
}

/// Keys within `heartbeat`.
pub(super) fn within(reader: &mut Reader, heartbeat: &Map<String, Value>) {
    let lists = lists(heartbeat, HEARTBEAT_KEYS);
    for Astray { key, list, is_ours } in &lists {
        let why = format!("is not known, and none of its entries counts; is `{list}` meant?");
        if *is_ours {
            reader.amiss(below("heartbeat", key), why, "");
        } else {
            reader.warn(below("heartbeat", key), why);
        }
    }
    warn_of_others(reader, heartbeat, "heartbeat", HEARTBEAT_KEYS, &lists);
}

fn lists<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Vec<Astray<'a>> {
    let unread = object.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unread
        .filter_map(|(key, value)| {
            let list = meant(key, HEARTBEAT_KEYS.iter().copied())?;
            let mut entries = value.as_array()?.iter().filter_map(Value::as_object).peekable();
            entries.peek()?;
            Some(Astray { key, list, is_ours: entries.any(|entry| is_of(list, entry)) })
        })
        .collect()
}

/// Whether `entry` is as only this list has them. Keys are taken as they are spelt: others have such as are alike.
fn is_of(list: &str, entry: &Map<String, Value>) -> bool {
    let mut telling = TELLING_KEYS.iter().filter(|(of, _)| *of == list).flat_map(|(_, keys)| *keys);
    telling.any(|key| entry.contains_key(*key))
}

fn warn_of_others(
    reader: &mut Reader,
    object: &Map<String, Value>,
    path: &str,
    known: &[&str],
    said: &[Astray<'_>],
) {
    let said: Vec<&str> = said.iter().map(|list| list.key).collect();
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
        for (list, entry) in [
            ("http", "url: 'http://a'"),
            ("tls", "host: a, port: 636"),
            ("dns", "server: a, query_name: b"),
            ("grpc", "host: a, port: 1"),
            ("jobs", "name: a, period: 1d"),
            ("maintenance", "begins: 2026-12-06T02:00:00Z, lasts: 2h"),
        ] {
            let at_the_top = said(&format!("heartbeat: {{hosts: []}}\n{list}: [{{{entry}}}]\n"));
            let why = "is not read, and none of its entries counts; its place is within `heartbeat`";
            assert_eq!(at_the_top, Err(vec![format!("{list} {why}")]));
        }
        for (slip, meant, entry) in [
            ("htttp", "http", "url: 'http://a'"),
            ("HTTP", "http", "url: 'http://a'"),
            ("https", "http", "url: 'http://a'"),
            ("job", "jobs", "name: a, period: 1d"),
            ("dsn", "dns", "query_name: a"),
        ] {
            // Beside the right one, too.
            for beside in ["", ", http: []"] {
                let within = said(&format!("heartbeat: {{{slip}: [{{{entry}}}]{beside}}}"));
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
            // A list of another program's, with a name that is one of ours or near to one.
            (
                "{heartbeat: {}, jobs: [{name: nightly, command: backup}]}",
                "jobs is not read, and none of its entries counts; its place is within `heartbeat`",
            ),
            (
                "{heartbeat: {}, jobs: [{name: nightly, interval: 60}]}",
                "jobs is not read, and none of its entries counts; its place is within `heartbeat`",
            ),
            (
                "{heartbeat: {}, tls: [{hosts: [a], secretName: b}]}",
                "tls is not read, and none of its entries counts; its place is within `heartbeat`",
            ),
            (
                "{heartbeat: {dbs: [{name: a, dsn: b}]}}",
                "heartbeat.dbs is not known, and none of its entries counts; is `dns` meant?",
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
