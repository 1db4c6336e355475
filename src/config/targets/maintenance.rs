//! The list `maintenance`: windows that are planned, once or again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::entry::one_or_several;
use super::reader::{Reader, shown};
use super::{Targets, Warning};
use crate::config::likeness::nearest;
use crate::heartbeat::maintenance::WINDOW_MAX;
use crate::heartbeat::{Timestamp, Window};

const KEYS: &[&str] = &["begins", "ends", "lasts", "every", "comment", "components"];
const EXAMPLE: &str = r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "every": "7days"}"#;

/// Those of one that somebody begins by a command, once.
const KEYS_OF_COMMAND: &[&str] = &["begins", "ends", "lasts", "comment", "components"];
const EXAMPLE_OF_COMMAND: &str = r#"{"lasts": "2h", "comment": "new disks", "components": ["database"]}"#;

/// Names that one who names none of them is told.
const NAMES_TOLD: usize = 50;

/// Longest time between two windows of one entry: a leap year.
const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A window that is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedWindow {
    /// The first, or only one.
    pub first: Window,
    /// The time from the beginning of one to that of the next, where it comes again; longer than the window.
    pub every: Option<Duration>,
}

impl PlannedWindow {
    /// The one that is on at `now`, or comes next, and the one after that; for ever the first where it does not come again.
    pub fn near(&self, now: Timestamp) -> impl Iterator<Item = Window> {
        let every = self.every.map_or(0, |every| i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        let passed = now.ms_since(self.first.begins_at()).max(0).checked_div(every).unwrap_or(0);
        let next = (every > 0).then(|| passed + 1);
        [Some(passed), next]
            .into_iter()
            .flatten()
            .map(move |number| self.first.by_a_clock_ahead(number.saturating_mul(every)))
    }
}

/// The list `maintenance`.
pub(super) fn windows(reader: &mut Reader, heartbeat: &Map<String, Value>) -> Vec<(String, PlannedWindow)> {
    let list = reader.list(heartbeat, "maintenance", "heartbeat", "[]").iter().enumerate();
    list.filter_map(|(index, entry)| {
        let path = format!("heartbeat.maintenance[{index}]");
        let window = read(reader, entry, &path)?;
        Some((path, window))
    })
    .collect()
}

/// Reads a window as it stands in the list, for whoever begins it at `now` by a command: it begins then, where it does not say
/// when.
///
/// # Errors
/// All that is wrong with it, a line each.
pub fn begun(text: &[u8], now: Timestamp) -> Result<Window, String> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| format!("that is no JSON: {error}; example: {EXAMPLE_OF_COMMAND}"))?;
    let mut reader = Reader::default();
    let window = read_begun(&mut reader, &value, now);
    match window.filter(|_| reader.problems.is_empty()) {
        Some(window) if window.ends_at() <= now => Err("the window would be over already".into()),
        Some(window) => Ok(window),
        None => {
            let problems: Vec<String> = reader.problems.iter().map(ToString::to_string).collect();
            Err(problems.join("\n"))
        }
    }
}

fn read_begun(reader: &mut Reader, value: &Value, now: Timestamp) -> Option<Window> {
    let path = "window";
    let entry = &without_marks(reader.object(value, path, EXAMPLE_OF_COMMAND)?);
    reader.refuse_unknown_keys(entry, path, KEYS_OF_COMMAND);
    let begins = if is_there(entry, "begins") { reader.time(entry, "begins", path)? } else { now };
    window(reader, entry, path, Some(begins), EXAMPLE_OF_COMMAND)
}

/// Without where it is from and its number, as a window is told of with them: one that is told of begins the same again.
/// Whatever else stands under these names was meant to do something.
fn without_marks(entry: &Map<String, Value>) -> Map<String, Value> {
    let is_mark = |key: &str, value: &Value| match key {
        "from" => value == "file" || value == "command",
        "number" => value.is_u64(),
        _ => false,
    };
    let kept = entry.iter().filter(|(key, value)| !is_mark(key, value));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn read(reader: &mut Reader, entry: &Value, path: &str) -> Option<PlannedWindow> {
    let entry = reader.object(entry, path, EXAMPLE)?;
    // A key that was misspelt would make a window of one component one of everything.
    reader.refuse_unknown_keys(entry, path, KEYS);
    let begins = reader.time(entry, "begins", path);
    let every = reader.duration(entry, "every", path, EVERY_MAX, r#""7days""#);
    let first = window(reader, entry, path, begins, EXAMPLE)?;
    let length = first.ends_at().ms_since(first.begins_at()).unsigned_abs();
    if every.is_some_and(|every| every.as_millis() <= u128::from(length)) {
        let why = "which is no longer than the window itself, so that there would always be one";
        let value = entry.get("every").unwrap_or(&Value::Null);
        reader.problem(format!("{path}.every"), value, why, r#""7days""#);
        return None;
    }
    if every.is_none() {
        reader.once.push((path.to_owned(), first.ends_at()));
    }
    Some(PlannedWindow { first, every })
}

/// Warnings of windows that come once, and have.
pub(super) fn over(once: &[(String, Timestamp)], now: Timestamp) -> impl Iterator<Item = Warning> {
    once.iter().filter(move |(_, ends)| *ends <= now).map(|(path, ends)| {
        let why = format!("is over already, since {}: it does nothing any more", ends.to_rfc3339_seconds());
        Warning { path: path.clone(), why }
    })
}

/// What an entry says of one window, besides when it begins.
fn window(
    reader: &mut Reader,
    entry: &Map<String, Value>,
    path: &str,
    begins: Option<Timestamp>,
    example: &'static str,
) -> Option<Window> {
    let ends = if is_there(entry, "ends") { reader.time(entry, "ends", path) } else { None };
    let lasts = reader.duration(entry, "lasts", path, WINDOW_MAX, r#""2h""#);
    let comment = if is_there(entry, "comment") {
        Some(reader.name(entry, "comment", path, r#""new disks""#)?)
    } else {
        None
    };
    let list = one_or_several(entry, "components").iter();
    let names: Option<Vec<&str>> = list.map(Value::as_str).collect();
    let Some(names) = names else {
        reader.amiss(format!("{path}.components"), "holds something that is no name", r#"["database"]"#);
        return None;
    };
    if is_there(entry, "ends") == is_there(entry, "lasts") {
        reader.amiss(path.into(), "needs either `ends` or `lasts`, so that it ends", example);
        return None;
    }
    let begins = begins?;
    let ends = ends.or_else(|| Some(begins.plus(lasts?)))?;
    let window = Window::new((begins, ends), comment.as_deref(), &names);
    window.map_err(|error| reader.amiss(path.into(), format!("is no window: {error}"), example)).ok()
}

fn is_there(entry: &Map<String, Value>, key: &str) -> bool {
    entry.get(key).is_some_and(|value| !value.is_null())
}

/// Warns of each name that a window is for, and that none of these is which are told of.
pub(super) fn warn_of_strangers(reader: &mut Reader, windows: &[(String, PlannedWindow)], known: &[&str]) {
    for (path, planned) in windows {
        for (at, name) in planned.first.components().iter().enumerate() {
            if !known.contains(&&**name) {
                let meant = nearest(name, known.iter().copied()).map(quoted);
                let meant = meant.map(|meant| format!("; is {meant} meant?"));
                let why = format!(
                    "is {}, which no component of this file is named: the window does nothing for it{}",
                    quoted(name),
                    meant.unwrap_or_default()
                );
                reader.warn(format!("{path}.components[{at}]"), why);
            }
        }
    }
}

impl Targets {
    /// What is to be said of the names that `window` is for, and that nothing has which is told of; `None` where there are no
    /// such names.
    pub fn strangers(&self, window: &Window) -> Option<String> {
        let strangers: Vec<&str> =
            window.components().iter().map(|name| &**name).filter(|name| !is_known(self, name)).collect();
        let [first, rest @ ..] = &strangers[..] else { return None };
        if let ([], Some(meant)) = (rest, meant(self, first)) {
            let first = quoted(first);
            return Some(format!("no component of this publisher is named {first}; is {meant} meant?"));
        }
        let strangers: Vec<String> = strangers.iter().map(|name| quoted(name)).collect();
        let all: BTreeSet<&str> = self.component_names().collect();
        let mut known: Vec<String> = all.iter().take(NAMES_TOLD).map(|name| quoted(name)).collect();
        if all.len() > NAMES_TOLD {
            known.push("…".into());
        }
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        Some(format!(
            "no component of this publisher is named {}; there are: {known}",
            strangers.join(" or ")
        ))
    }

    /// The names of all that is told of.
    pub(super) fn component_names(&self) -> impl Iterator<Item = &str> {
        let hosts = self.hosts.iter().map(|host| &host.name);
        let queues = self.queues.iter().flat_map(|queue| {
            std::iter::once(&queue.queue).chain(queue.listeners.iter().map(|listener| &listener.name))
        });
        let probes = self.probes.iter().map(|probe| &probe.name);
        let jobs = self.jobs.iter().map(|job| &job.name);
        hosts.chain(queues).chain(probes).chain(jobs).map(|name| &**name)
    }
}

fn is_known(targets: &Targets, name: &str) -> bool {
    targets.component_names().any(|known| known == name)
}

/// The name that is most likely meant, as it is written.
fn meant(targets: &Targets, name: &str) -> Option<String> {
    nearest(name, targets.component_names()).map(quoted)
}

fn quoted(name: &str) -> String {
    shown(&Value::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::targets::{Form, parse};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1000)
    }

    #[test]
    fn a_window_that_is_begun_is_written_as_in_the_file() {
        let now = Timestamp::parse_rfc3339("2026-12-06T01:00:00Z").unwrap();
        for (text, expected) in [
            (r#"{"lasts": "2h"}"#, Ok((0, 7_200))),
            (r#"{"lasts": 90, "components": ["db"], "comment": "new disks"}"#, Ok((0, 90))),
            (r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "comment": null}"#, Ok((3_600, 10_800))),
            (r#"{"ends": "2026-12-06T02:00:00Z"}"#, Ok((0, 3_600))),
            ("", Err("that is no JSON: EOF")),
            ("[]", Err("window is [], which is no object")),
            ("{}", Err("needs either `ends` or `lasts`")),
            (r#"{"lasts": "2h", "ends": "2026-12-06T02:00:00Z"}"#, Err("needs either `ends` or `lasts`")),
            (r#"{"lasts": "2h", "until": 1}"#, Err("window.until is not known")),
            // As one that is told of has them.
            (r#"{"lasts": "2h", "from": "command", "number": 3}"#, Ok((0, 7_200))),
            (r#"{"lasts": "2h", "from": "file"}"#, Ok((0, 7_200))),
            (
                r#"{"from": "2026-12-06T02:00:00Z", "lasts": "2h"}"#,
                Err(
                    "window.from is not known; is `begins` meant? There are begins, ends, lasts, comment, components",
                ),
            ),
            (r#"{"lasts": "2h", "from": null}"#, Err("window.from is not known")),
            (r#"{"lasts": "2h", "number": "db"}"#, Err("window.number is not known")),
            (r#"{"lasts": "soon", "number": 1.5}"#, Err("components\nwindow.lasts is \"soon\"")),
            (r#"{"lasts": "2h", "every": "7days"}"#, Err("window.every is not known")),
            (r#"{"lasts": "soon"}"#, Err("window.lasts is \"soon\", which is no duration; example: \"2h\"")),
            (r#"{"lasts": "8days"}"#, Err("longer than 7days")),
            (r#"{"lasts": "0"}"#, Err("no time above 0")),
            (r#"{"begins": "2026-01-01T00:00:00Z", "lasts": "2h"}"#, Err("over already")),
            (r#"{"begins": "tomorrow", "lasts": "2h"}"#, Err("which is no time with its zone")),
            (r#"{"lasts": "2h", "components": "db"}"#, Ok((0, 7_200))),
            (r#"{"lasts": "2h", "components": {"db": 1}}"#, Err("holds something that is no name")),
            (r#"{"lasts": "2h", "components": ["a\nb"]}"#, Err("the name of a component")),
            (r#"{"lasts": "2h", "comment": ""}"#, Err("which is no name")),
        ] {
            let said = begun(text.as_bytes(), now);
            match (said, expected) {
                (Ok(window), Ok((begins, ends))) => {
                    let seconds = |at: Timestamp| at.ms_since(now) / 1000;
                    let told = (seconds(window.begins_at()), seconds(window.ends_at()));
                    assert_eq!(told, (begins, ends), "{text}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (said, _) => panic!("{text}: {said:?}"),
            }
        }
    }

    #[test]
    fn a_name_that_nothing_has_is_told_with_the_one_that_is_meant() {
        let file = serde_json::json!({"heartbeat": {
            "hosts": [{"host": "db", "port": 1, "name": "database"}],
            "rmq_consumers": [{"queue": "inbox", "listeners": [{"tag": "x", "name": "ingest"}]}],
            "dns": [{"name": "names", "server": "ns", "query_name": "a.example"}],
            "jobs": [{"name": "backup", "period": "1day", "grace": "1h"}],
            "maintenance": [
                {"begins": "2026-12-06T02:00:00Z", "lasts": "2h"},
                {"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "components": ["backup", "databse", "x"]},
            ],
        }});
        let (targets, warnings) = parse(&file.to_string(), Form::JsonFirst).unwrap();
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let of = |at: usize, name: &str, meant: &str| {
            format!(
                "heartbeat.maintenance[1].components[{at}] is \"{name}\", which no component of this file is named: the \
                 window does nothing for it{meant}"
            )
        };
        assert_eq!(warnings, [of(1, "databse", "; is \"database\" meant?"), of(2, "x", "")]);
        let strangers = |names: &[&str]| {
            let window = Window::new((at(0), at(1)), None, names).unwrap();
            targets.strangers(&window)
        };
        assert_eq!(strangers(&[]), None);
        assert_eq!(strangers(&["database", "inbox", "ingest", "names", "backup"]), None);
        let none = "no component of this publisher is named";
        assert_eq!(strangers(&["Inbox"]).unwrap(), format!("{none} \"Inbox\"; is \"inbox\" meant?"));
        let there = r#"there are: "backup", "database", "inbox", "ingest", "names""#;
        assert_eq!(
            strangers(&["x", "inbox", "databse"]).unwrap(),
            format!("{none} \"x\" or \"databse\"; {there}")
        );
        let nothing = Targets::default();
        let window = Window::new((at(0), at(1)), None, &["x"]).unwrap();
        assert_eq!(nothing.strangers(&window).unwrap(), format!("{none} \"x\"; there are: none"));
    }

    #[test]
    fn one_that_is_over_is_warned_of_unless_it_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("publisher.json");
        let window =
            |begins: &str, more: &str| format!(r#"{{"begins": "{begins}T02:00:00Z", "lasts": "2h"{more}}}"#);
        let windows = [
            window("2026-01-01", ""),
            window("2026-01-01", r#", "every": "7days""#),
            window("2999-01-01", ""),
        ];
        let text = format!(r#"{{"heartbeat": {{"maintenance": [{}]}}}}"#, windows.join(", "));
        std::fs::write(&path, text).unwrap();
        let warnings: Vec<String> =
            crate::config::targets::load(&path).unwrap().1.iter().map(ToString::to_string).collect();
        let over =
            "heartbeat.maintenance[0] is over already, since 2026-01-01T04:00:00Z: it does nothing any more";
        assert_eq!(warnings, [over]);
    }

    #[test]
    fn one_that_comes_again_does_so_on_the_second() {
        let first = Window::new((at(1_000), at(1_100)), None, &[]).unwrap();
        let near = |every: Option<u64>, now: i64| -> Vec<i64> {
            let planned = PlannedWindow { first: first.clone(), every: every.map(Duration::from_secs) };
            planned.near(at(now)).map(|window| window.begins_at().unix_ms() / 1000).collect()
        };
        assert_eq!(near(None, 0), [1_000]);
        assert_eq!(near(None, 5_000), [1_000]);
        assert_eq!(near(Some(500), 0), [1_000, 1_500]);
        assert_eq!(near(Some(500), 1_499), [1_000, 1_500]);
        assert_eq!(near(Some(500), 1_500), [1_500, 2_000]);
        assert_eq!(near(Some(500), 86_400_123), [86_400_000, 86_400_500]);
    }
}
