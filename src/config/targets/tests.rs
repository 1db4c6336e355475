use proptest::prelude::*;

use super::*;

/// Most of what is held here is so in either form.
fn parse(text: &str) -> Result<(Targets, Vec<Warning>), Vec<Problem>> {
    super::parse(text, Form::JsonFirst)
}

fn read(text: &str) -> Targets {
    let (targets, warnings) = parse(text).unwrap();
    assert_eq!(warnings, [], "{text}");
    targets
}

fn warnings(text: &str) -> (Targets, Vec<String>) {
    let (targets, warnings) = parse(text).unwrap();
    (targets, warnings.iter().map(Warning::to_string).collect())
}

fn pattern(text: &str) -> TagPattern {
    TagPattern::new(text).unwrap()
}

#[test]
fn the_file_of_a_real_deployment_loads_unchanged() {
    let targets = read(include_str!("../../../tests/fixtures/publisher-config-fega.json"));
    let hosts: Vec<_> = targets.hosts.iter().map(|host| (&*host.name, &*host.endpoints)).collect();
    assert_eq!(hosts, [("sda-doa", &[("doa".into(), 8080)][..]), ("sda-db", &[("db".into(), 5432)])]);
    let queues: Vec<_> = targets.queues.iter().map(|queue| &*queue.queue).collect();
    let expected = [
        "inbox",
        "ingest",
        "archived",
        "verified",
        "completed",
        "accessionIDs",
        "mappings",
        "error",
        "files",
    ];
    assert_eq!(queues, expected);
    let interceptor =
        ListenerTarget { name: "mq-interceptor".into(), patterns: vec![pattern("mq-interceptor")] };
    let queue = &targets.queues[0];
    assert_eq!(queue.listeners, [interceptor]);
    assert_eq!((queue.timeout, queue.failure_threshold, queue.success_threshold), (None, 1, 1));
}

#[test]
fn lists_may_be_missing_or_empty() {
    for text in [
        r#"{"heartbeat": {}}"#,
        r#"{"heartbeat": {"hosts": [], "rmq_consumers": []}}"#,
        r#"{"heartbeat": {"hosts": null}}"#,
    ] {
        assert_eq!(read(text), Targets::default());
    }
    let (targets, said) = warnings("{}");
    assert_eq!(
        (targets, said),
        (Targets::default(), vec!["heartbeat is missing: nothing is checked".into()])
    );
}

#[test]
fn our_own_keys_are_read() {
    let targets = read(
        r#"{"heartbeat": {
            "hosts": [{"host": "db", "port": 5432, "timeout": 2.5, "failure_threshold": 3},
                      {"host": "::1", "port": " 80 ", "name": "web", "timeout": "500ms", "success_threshold": 2}],
            "rmq_consumers": [{"queue": "inbox", "timeout": "7", "failure_threshold": 2}]}}"#,
    );
    let [db, web] = &targets.hosts[..] else { panic!("{targets:?}") };
    assert_eq!((&*db.name, db.timeout), ("db", Some(Duration::from_millis(2500))));
    assert_eq!((db.failure_threshold, db.success_threshold), (3, 1));
    assert_eq!((&*web.endpoints, web.timeout), (&[("::1".into(), 80)][..], Some(Duration::from_millis(500))));
    assert_eq!((web.failure_threshold, web.success_threshold), (1, 2));
    let inbox = &targets.queues[0];
    assert_eq!((inbox.listeners.len(), inbox.timeout), (0, Some(Duration::from_secs(7))));
    assert_eq!((inbox.failure_threshold, inbox.success_threshold), (2, 1));
}

#[test]
fn entries_of_one_name_are_merged_and_said() {
    let (targets, said) = warnings(
        r#"{"heartbeat": {
            "hosts": [{"host": "db1", "port": 5432, "name": "db"},
                      {"host": "db2", "port": 5432, "name": "db", "timeout": 4},
                      {"host": "db2", "port": 5432, "name": "db", "timeout": 5}],
            "rmq_consumers": [
                {"queue": "inbox", "listeners": [{"tag": "a", "name": "one"}, {"tag": "b", "name": "one"}]},
                {"queue": "inbox", "listeners": [{"tag": "c", "name": "one"}, {"tag": "d", "name": "two"}]}]}}"#,
    );
    let [db] = &targets.hosts[..] else { panic!("{targets:?}") };
    assert_eq!(*db.endpoints, [("db1".into(), 5432), ("db2".into(), 5432)]);
    assert_eq!(db.timeout, Some(Duration::from_secs(4)));
    let [inbox] = &targets.queues[..] else { panic!("{targets:?}") };
    let listeners: Vec<_> =
        inbox.listeners.iter().map(|listener| (&*listener.name, &*listener.patterns)).collect();
    let one = [pattern("a"), pattern("b"), pattern("c")];
    assert_eq!(listeners, [("one", &one[..]), ("two", &[pattern("d")])]);
    let host = r#"is a host named "db" again: its endpoints are one target, up when all of them are"#;
    let listener =
        r#"is a listener of this queue named "one" again: it is up when each of its tags finds a consumer"#;
    assert_eq!(
        said,
        [
            format!("heartbeat.hosts[1] {host}"),
            format!("heartbeat.hosts[2] {host}"),
            "heartbeat.hosts[2].timeout has no effect: an earlier entry of the same name sets another".into(),
            format!("heartbeat.rmq_consumers[0].listeners[1] {listener}"),
            r#"heartbeat.rmq_consumers[1] is a queue named "inbox" again: the listeners of both are expected on it"#
                .into(),
            format!("heartbeat.rmq_consumers[1].listeners[0] {listener}"),
        ]
    );
}

#[test]
fn what_has_no_effect_is_said() {
    for (text, expected) in [
        (
            r#"{"heartbeat": {}, "hosts": []}"#,
            &["hosts is not known and has no effect; its place is within `heartbeat`"][..],
        ),
        (
            r#"{"heartbeat": {"host": [], "consumers": [], "colour": 1}}"#,
            &[
                "heartbeat.colour is not known and has no effect",
                "heartbeat.consumers is not known and has no effect; is `rmq_consumers` meant?",
                "heartbeat.host is not known and has no effect; is `hosts` meant?",
            ],
        ),
        (
            r#"{"heartbeat": {"hosts": [{"host": "db", "port": 1, "time_out": 3, "a\u001b[31m": 1}]}}"#,
            &[
                r"heartbeat.hosts[0].a\u{1b}[31m is not known and has no effect",
                "heartbeat.hosts[0].time_out is not known and has no effect; is `timeout` meant?",
            ],
        ),
        (
            r#"{"heartbeat": {"hosts": [{"host": "http://db", "port": 1}]}}"#,
            &[r#"heartbeat.hosts[0].host is "http://db": only a host name or an address can be looked up"#],
        ),
        (
            r#"{"heartbeat": {"rmq_consumers": [{"queue": "q", "listeners": [{"tag": "", "name": "n"}]}]}}"#,
            &["heartbeat.rmq_consumers[0].listeners[0].tag is empty: it finds every consumer of the queue"],
        ),
    ] {
        assert_eq!(warnings(text).1, expected, "{text}");
    }
}

/// One entry of `hosts` and what is wrong with it.
const BAD_HOSTS: &[(&str, &str)] = &[
    (r#""db""#, r#" is "db", which is no object; example: {"host": "db", "port": 5432, "name": "database"}"#),
    (r#"{"port": 1}"#, r#".host is missing; example: "db.example.org""#),
    (
        r#"{"hostname": "db", "port": 1}"#,
        r#".host is missing; is `hostname` meant to be it?; example: "db.example.org""#,
    ),
    (r#"{"host": 7, "port": 1}"#, r#".host is 7, which is no text; example: "db.example.org""#),
    (
        r#"{"host": "", "port": 1}"#,
        r#".host is "", which is no host name or address; example: "db.example.org""#,
    ),
    (r#"{"host": "db"}"#, ".port is missing; example: 5432"),
    (r#"{"host": "db", "prot": 1}"#, ".port is missing; is `prot` meant to be it?; example: 5432"),
    (
        r#"{"host": "db", "port": "http"}"#,
        r#".port is "http", which is not a port from 1 to 65535; example: 5432"#,
    ),
    (
        r#"{"host": "db", "port": 65536}"#,
        ".port is 65536, which is not a port from 1 to 65535; example: 5432",
    ),
    (r#"{"host": "db", "port": 0}"#, ".port is 0, which is not a port from 1 to 65535; example: 5432"),
    (r#"{"host": "db", "port": -1}"#, ".port is -1, which is not a port from 1 to 65535; example: 5432"),
    (r#"{"host": "db", "port": null}"#, ".port is null, which is not a port from 1 to 65535; example: 5432"),
    (
        r#"{"host": "db", "port": 1, "name": ""}"#,
        r#".name is "", which is no name: it is empty; example: "database""#,
    ),
    (
        r#"{"host": "db", "port": 1, "name": "a\u0085b"}"#,
        r#".name is "a\u{85}b", which is no name: it holds a control character; example: "database""#,
    ),
    (
        r#"{"host": "db", "port": 1, "timeout": 0}"#,
        r#".timeout is 0, which is no time above 0; example: 2.5 (seconds) or "500ms""#,
    ),
    (
        r#"{"host": "db", "port": 1, "timeout": "soon"}"#,
        r#".timeout is "soon", which is no duration; example: 2.5 (seconds) or "500ms""#,
    ),
    (
        r#"{"host": "db", "port": 1, "timeout": "NaN"}"#,
        r#".timeout is "NaN", which is no duration; example: 2.5 (seconds) or "500ms""#,
    ),
    (
        r#"{"host": "db", "port": 1, "timeout": "2h"}"#,
        r#".timeout is "2h", which is longer than 1h, the longest that it may be; example: 2.5 (seconds) or "500ms""#,
    ),
    (
        r#"{"host": "db", "port": 1, "failure_threshold": 0}"#,
        ".failure_threshold is 0, which is no whole number above 0; example: 3",
    ),
    (
        r#"{"host": "db", "port": 1, "success_threshold": "2"}"#,
        r#".success_threshold is "2", which is no whole number above 0; example: 3"#,
    ),
];

/// One entry of `rmq_consumers` and what is wrong with it.
const BAD_QUEUES: &[(&str, &str)] = &[
    (
        "1",
        r#" is 1, which is no object; example: {"queue": "inbox", "listeners": [{"tag": "sda-ingest", "name": "ingest"}]}"#,
    ),
    ("{}", r#".queue is missing; example: "inbox""#),
    (r#"{"queue": "q", "listeners": {}}"#, ".listeners is {}, which is no list; example: []"),
    (
        r#"{"queue": "q", "listeners": [0]}"#,
        r#".listeners[0] is 0, which is no object; example: {"tag": "sda-ingest", "name": "ingest"}"#,
    ),
    (
        r#"{"queue": "q", "listeners": [{"name": "n"}]}"#,
        r#".listeners[0].tag is missing; example: "sda-ingest""#,
    ),
    (r#"{"queue": "q", "listeners": [{"tag": "t"}]}"#, r#".listeners[0].name is missing; example: "ingest""#),
    (
        r#"{"listeners": [{"tag": "t", "name": 1}], "queue": "q"}"#,
        r#".listeners[0].name is 1, which is no text; example: "ingest""#,
    ),
    (
        r#"{"queue": "q", "listeners": [{"tag": "(", "name": "n"}]}"#,
        r#".listeners[0].tag is "(", which cannot be searched for: the pattern does not compile: Parsing error at position 1: Opening parenthesis without closing parenthesis; example: "sda-ingest""#,
    ),
];

#[test]
fn each_problem_is_named_with_its_place_and_an_example() {
    let check = |list: &str, entry: &str, expected: &str| {
        let problems = parse(&format!(r#"{{"heartbeat": {{"{list}": [{entry}]}}}}"#)).unwrap_err();
        let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said, [format!("heartbeat.{list}[0]{expected}")]);
    };
    for (entry, expected) in BAD_HOSTS {
        check("hosts", entry, expected);
    }
    for (entry, expected) in BAD_QUEUES {
        check("rmq_consumers", entry, expected);
    }
}

#[test]
fn files_of_another_shape_are_refused() {
    let example = r#"{"heartbeat": {"hosts": [{"host": "db", "port": 5432}], "rmq_consumers": []}}"#;
    for (text, expected) in [
        ("", "the file is empty"),
        ("null", "the file is empty"),
        ("{\"heartbeat\": }", "the file is no JSON: expected value at line 1 column 15"),
        ("[]", "the file is [], which is no object"),
        (r#"{"heartbeat": 1}"#, "heartbeat is 1, which is no object"),
    ] {
        let problems = parse(text).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].to_string(), format!("{expected}; example: {example}"));
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = parse(
        r#"{"heartbeat": {"hosts": [{"port": 0}, {"host": "db", "port": 1}],
                          "rmq_consumers": [{"listeners": [{"tag": "["}]}]}}"#,
    )
    .unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let listener = "heartbeat.rmq_consumers[0].listeners[0]";
    assert_eq!(
        places,
        [
            "heartbeat.hosts[0].host",
            "heartbeat.hosts[0].port",
            "heartbeat.rmq_consumers[0].queue",
            &format!("{listener}.tag"),
            &format!("{listener}.name"),
        ]
    );
}

/// Who is not there for a slip of its own is no stranger.
#[test]
fn a_window_for_an_entry_with_a_problem_is_not_warned_of() {
    let window = r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "components": ["db"]}"#;
    let read = |host: &str| {
        let text = format!(r#"{{"heartbeat": {{"hosts": [{host}], "maintenance": [{window}]}}}}"#);
        super::read(&text, Form::JsonFirst).1
    };
    let slip = read(r#"{"host": "db", "port": 0}"#);
    let stranger = read(r#"{"host": "www", "port": 1}"#);
    assert_eq!((slip.problems.len(), slip.warnings), (1, vec![]));
    let nameless = read(r#"{"hosst": "db", "port": 1}"#);
    assert!(nameless.warnings.iter().all(|warning| !warning.path.contains("maintenance")), "it may be that");
    assert_eq!((stranger.problems, stranger.warnings.len()), (vec![], 1));
}

#[test]
fn what_is_empty_is_said_to_be_and_shown_in_its_own_form() {
    for text in ["", " \n", "# nothing yet\n"] {
        let [problem] = &super::parse(text, Form::Yaml).unwrap_err()[..] else { panic!("{text:?}") };
        let example = "heartbeat: {hosts: [{host: db, port: 5432}], rmq_consumers: []}";
        assert_eq!((problem.why.as_str(), problem.example), ("is empty", example), "{text:?}");
        assert!(super::parse(problem.example, Form::Yaml).is_ok());
    }
    let (_, warnings) = super::parse("heartbeat:\n", Form::Yaml).unwrap();
    assert_eq!(warnings[0].to_string(), "heartbeat is empty: nothing is checked");
}

#[test]
fn a_duration_that_is_none_is_shown_one_by_its_key() {
    let text = r#"{"heartbeat": {"jobs": [{"name": "a", "period": "daily", "grace": "long", "max_runtime": "x"}],
        "maintenance": [{"begins": "2026-12-06T02:00:00Z", "lasts": "a while", "every": "week"}]}}"#;
    let said: Vec<_> = parse(text).unwrap_err().iter().map(Problem::to_string).collect();
    for expected in [
        r#"period is "daily", which is no duration; example: "1day""#,
        r#"grace is "long", which is no duration; example: "1h""#,
        r#"max_runtime is "x", which is no duration; example: "3h""#,
        r#"lasts is "a while", which is no duration; example: "2h""#,
        r#"every is "week", which is no duration; example: "7days""#,
    ] {
        assert!(said.iter().any(|said| said.ends_with(expected)), "{expected}: {said:?}");
    }
}

#[test]
fn long_values_are_shortened_and_long_names_refused() {
    let long = "ø".repeat(70);
    let problems = parse(&format!(r#"{{"heartbeat": {{"hosts": [{{"host": "{long}", "port": 1}}]}}}}"#));
    let [problem] = &problems.unwrap_err()[..] else { panic!() };
    assert_eq!(problem.value, Some(format!("\"{}…", "ø".repeat(59))));
    assert_eq!(problem.why, "which is no name: it is longer than 128 bytes; a `name` beside it would do");
}

/// JSON that looks much like the file.
fn json() -> impl Strategy<Value = Value> {
    let key =
        "heartbeat|hosts|rmq_consumers|host|port|name|queue|listeners|tag|timeout|failure_threshold|.{0,4}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

#[test]
fn jobs_are_read_with_their_terms() {
    let (targets, warnings) = warnings(
        r#"{"heartbeat": {"jobs": [
            {"name": "backup", "period": "1day", "grace": "1h", "max_runtime": "3h"},
            {"name": "sync", "period": 300, "grace": "30s"},
            {"name": "sync", "period": 60, "grace": 1},
            {"name": "odd", "period": "1h", "grace": "1m"}]}}"#,
    );
    let job = |name: &str, period: u64, grace: u64, runtime: u64| {
        let [period, grace, max_runtime] = [period, grace, runtime].map(Duration::from_secs);
        JobTarget { name: name.into(), terms: JobTerms { period, grace, max_runtime } }
    };
    let day = 24 * 3600;
    let expected = [job("backup", day, 3600, 3 * 3600), job("sync", 300, 30, 30), job("odd", 3600, 60, 60)];
    assert_eq!(targets.jobs, expected);
    assert_eq!(warnings, ["heartbeat.jobs[2] is a job named \"sync\" again: only the first counts"]);
    let problems = parse(
        r#"{"heartbeat": {"jobs": [{"name": "", "every": "1h", "grace": 0}, 5, {"name": "a", "period": null, "grace": 1}]}}"#,
    );
    let said: Vec<_> = problems.unwrap_err().iter().map(Problem::to_string).collect();
    assert_eq!(
        said,
        [
            "heartbeat.jobs[0].every is not known; is `period` meant? There are name, period, grace, max_runtime",
            "heartbeat.jobs[0].name is \"\", which is no name: it is empty; example: \"backup\"",
            "heartbeat.jobs[0].period is missing; is `every` meant to be it?; example: \"1day\"",
            "heartbeat.jobs[0].grace is 0, which is no time above 0; \
             example: \"1h\"",
            "heartbeat.jobs[1] is 5, which is no object; example: \
             {\"name\": \"backup\", \"period\": \"1day\", \"grace\": \"1h\"}",
            "heartbeat.jobs[2].period is null, which is no duration; example: \"1day\"",
        ]
    );
}

/// With the same places and examples as JSON's.
#[test]
fn a_file_in_yaml_says_the_same() {
    let yaml = "\
# Comments are the reason to use it.
heartbeat:
  hosts:
    - {host: db, port: 5432, timeout: 500ms}
  rmq_consumers:
    - queue: inbox
      listeners:
        - tag: sda-ingest
          name: ingest
";
    let json = r#"{"heartbeat": {"hosts": [{"host": "db", "port": 5432, "timeout": "500ms"}], "rmq_consumers":
        [{"queue": "inbox", "listeners": [{"tag": "sda-ingest", "name": "ingest"}]}]}}"#;
    assert_eq!(super::parse(yaml, Form::Yaml).unwrap(), (read(json), Vec::new()));
    let wrong = "heartbeat:\n  hosts:\n    - host: db\n      port: none\n      name: 5\n";
    let problems = super::parse(wrong, Form::Yaml).unwrap_err();
    let said: Vec<_> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        said,
        [
            "heartbeat.hosts[0].port is \"none\", which is not a port from 1 to 65535; example: 5432",
            "heartbeat.hosts[0].name is 5, which is no text; example: \"database\"",
        ]
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_json_panics_and_every_message_is_one_line(hosts in json(), queues in json(), whole in json()) {
        let file = serde_json::json!({"heartbeat": {"hosts": [hosts.clone()], "rmq_consumers": [queues.clone()]}});
        let lists = serde_json::json!({"heartbeat": {"hosts": hosts, "rmq_consumers": queues}});
        for text in [file, lists, whole].map(|value| value.to_string()) {
            let said: Vec<String> = match parse(&text) {
                Ok((_, warnings)) => warnings.iter().map(Warning::to_string).collect(),
                Err(problems) => problems.iter().map(Problem::to_string).collect(),
            };
            for line in said {
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn windows_of_maintenance_are_read() {
    let targets = read(
        r#"{"heartbeat": {"hosts": [{"host": "db", "port": 1}], "maintenance": [
            {"begins": "2026-12-06T02:00:00Z", "ends": "2026-12-06T04:00:00+01:00", "comment": "new disks", "components": ["db"]},
            {"begins": "2026-12-06T02:00:00Z", "lasts": "90m", "every": "7days"}]}}"#,
    );
    let at = |text: &str| crate::heartbeat::Timestamp::parse_rfc3339(text).unwrap();
    let [once, weekly] = &targets.maintenance[..] else { panic!("{targets:?}") };
    assert_eq!(once.first.ends_at(), at("2026-12-06T03:00:00Z"));
    assert_eq!((once.first.comment(), once.every), (Some("new disks"), None));
    assert!(once.first.covers("db") && !once.first.covers("www"));
    assert_eq!(weekly.first.ends_at(), at("2026-12-06T03:30:00Z"));
    assert_eq!(weekly.every, Some(Duration::from_secs(7 * 86_400)));
    let problems = |entry: &str| {
        let text = format!(r#"{{"heartbeat": {{"maintenance": [{entry}]}}}}"#);
        parse(&text)
            .unwrap_err()
            .iter()
            .map(|problem| format!("{}: {}", problem.path, problem.why))
            .collect::<Vec<_>>()
    };
    for (entry, said) in [
        ("{}", "maintenance[0].begins: is missing"),
        (r#"{"begins": "2026-12-06 02:00", "lasts": "2h"}"#, "begins: which is no time with its zone"),
        (r#"{"begins": "2026-12-06T02:00:00Z"}"#, "needs either `ends` or `lasts`"),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "ends": "2026-12-06T03:00:00Z"}"#,
            "needs either",
        ),
        (r#"{"begins": "2026-12-06T02:00:00Z", "ends": "2026-12-06T01:00:00Z"}"#, "it ends before it begins"),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "ends": "2026-12-26T01:00:00Z"}"#,
            "it is longer than seven days",
        ),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "8days"}"#,
            "lasts: which is longer than 7days, the longest that it may be",
        ),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "every": "9999h"}"#,
            "every: which is longer than 366days, the longest that it may be",
        ),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "every": "2h"}"#,
            "every: which is no longer than the window",
        ),
        // One for a component must not become one for everything.
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "component": "db"}"#,
            "component: is not known; is `components` meant? There are begins, ends,",
        ),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "components": [7]}"#,
            "components: holds something that is no name",
        ),
        (
            r#"{"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "components": [""]}"#,
            "the name of a component: it is empty",
        ),
    ] {
        let all = problems(entry);
        assert!(all.iter().any(|problem| problem.contains(said)), "{entry}: {all:?}");
    }
}
