use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::own::tests::registry;
use super::*;
use crate::heartbeat::{ComponentKey, Kind, Outcome, Reason};
use crate::state::snapshot::samples::*;
use crate::state::verdict::Verdict;

pub(in crate::exposition) fn rendered(snapshot: &Snapshot, registry: &Registry, format: Format) -> String {
    let plain = render(Some(snapshot), Some(registry), format, Coding::Identity).concat();
    let packed = render(Some(snapshot), Some(registry), format, Coding::Gzip).concat();
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain, "what is compressed is another text");
    String::from_utf8(plain).unwrap()
}

/// Compares with a file, or writes it where `UPDATE_GOLDEN` is set.
fn assert_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs; UPDATE_GOLDEN=1 writes it anew. Rendered:\n{text}");
}

#[test]
fn both_formats_are_as_in_the_golden_files() {
    assert_golden("metrics.openmetrics.txt", &rendered(&snapshot(), &registry(), Format::OpenMetrics1));
    assert_golden("metrics.txt", &rendered(&snapshot(), &registry(), Format::Text));
    assert_eq!(
        rendered(&snapshot(), &registry(), Format::OpenMetrics0),
        rendered(&snapshot(), &registry(), Format::OpenMetrics1)
    );
}

/// Of a size at which each family of components is compressed in several strokes, and the others at the end.
#[test]
fn a_large_state_is_compressed_as_it_is_written() {
    let mut large = snapshot();
    let states = (0..3_000).map(|number| {
        let (outcome, reason) =
            if number % 7 == 0 { (Outcome::Down, Some(Reason::Refused)) } else { (Outcome::Up, None) };
        component(
            ComponentKey::consumer(&format!("listener {number:05}"), "some queue"),
            outcome,
            reason,
            true,
        )
    });
    large.publishers[0].told = told(&states.collect::<Vec<_>>());
    for format in [Format::Text, Format::OpenMetrics1] {
        let text = rendered(&large, &registry(), format);
        assert!(text.len() > 2_000_000, "{}", text.len());
        assert_eq!(text.matches("# TYPE heartbeat_component_up gauge").count(), 1);
    }
}

#[test]
fn without_a_state_the_own_metrics_are_still_told() {
    let out = render(None, Some(&registry()), Format::OpenMetrics1, Coding::Identity).concat();
    let parsed = parse(std::str::from_utf8(&out).unwrap(), true);
    assert_eq!(parsed.values("heartbeat_subscriber_received_total"), [5.0]);
    assert!(parsed.values("heartbeat_subscriber_view_synced").is_empty());
}

#[test]
fn the_tables_keep_the_rules_of_the_formats() {
    let mut names = BTreeSet::new();
    for family in crate::exposition::families::all() {
        assert!(names.insert(family.name), "{} is there twice", family.name);
        assert!(family.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", family.name);
        assert!(family.unit.is_none_or(|unit| family.name.ends_with(unit)), "{}", family.name);
        assert_eq!(family.unit.is_some(), family.name.ends_with("_seconds"), "{}", family.name);
        let reserved = ["_total", "_info", "_count", "_sum", "_bucket", "_created"];
        assert!(!reserved.iter().any(|suffix| family.name.ends_with(suffix)), "{}", family.name);
        assert!(!family.help.contains(['\n', '\\', '"']) && family.help.ends_with('.'), "{}", family.name);
    }
}

#[test]
fn what_is_stale_keeps_its_reason_times_and_counters_only() {
    let parsed = parse(&rendered(&snapshot(), &Registry::default(), Format::Text), false);
    let of_stale = |name: &str| {
        let of = |sample: &&Sample| sample.name == name && sample.label("publisher") == "stale";
        parsed.samples.iter().filter(of).map(|sample| sample.value).collect::<Vec<_>>()
    };
    for withdrawn in [
        "heartbeat_component_up",
        "heartbeat_component_check_duration_seconds",
        "heartbeat_queue_messages",
        "heartbeat_queue_consumers",
    ] {
        assert!(of_stale(withdrawn).is_empty(), "{withdrawn}");
    }
    for kept in [
        "heartbeat_component_unknown",
        "heartbeat_component_reason",
        "heartbeat_component_last_change_timestamp_seconds",
        "heartbeat_component_last_up_timestamp_seconds",
        "heartbeat_component_checks_total",
        "heartbeat_component_check_failures_total",
    ] {
        assert_eq!(of_stale(kept).len(), 3, "{kept}");
    }
    assert_eq!(of_stale("heartbeat_component_certificate_not_after_timestamp_seconds").len(), 1);
    assert_eq!(of_stale("heartbeat_publisher_up"), [0.0]);
}

#[test]
fn a_view_out_of_step_gives_no_verdicts() {
    let mut unsynced = snapshot();
    unsynced.view_synced = false;
    for publisher in &mut unsynced.publishers {
        publisher.up = None;
        publisher.verdict = Verdict::Withheld;
    }
    let parsed = parse(&rendered(&unsynced, &Registry::default(), Format::OpenMetrics1), true);
    assert_eq!(parsed.values("heartbeat_subscriber_view_synced"), [0.0]);
    for verdict in ["publisher_up", "component_up", "component_unknown", "component_reason", "queue_messages"]
    {
        assert!(parsed.values(&format!("heartbeat_{verdict}")).is_empty(), "{verdict}");
    }
    assert!(!parsed.values("heartbeat_component_checks_total").is_empty());
}

pub(in crate::exposition) fn any_name() -> impl Strategy<Value = Arc<str>> {
    let printable =
        any::<char>().prop_filter("no control", |c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'));
    let character = prop_oneof![3 => printable, 2 => proptest::sample::select(vec!['"', '\\', '{', '}', ',', '=', '#', ' ', 'n'])];
    proptest::collection::vec(character, 1..20).prop_map(|chars| chars.into_iter().collect::<String>().into())
}

pub(in crate::exposition) fn any_key() -> impl Strategy<Value = ComponentKey> {
    prop_oneof![
        any_name().prop_map(|name| ComponentKey::host(&name)),
        (any_name(), any_name()).prop_map(|(name, queue)| ComponentKey::consumer(&name, &queue)),
        any_name().prop_map(|name| ComponentKey::queue(&name)),
        any_name().prop_map(|name| ComponentKey { kind: Kind::Other("disk".into()), name, queue: "".into() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_names_they_are_read_back(
        publishers in proptest::collection::btree_map(
            any_name(), proptest::collection::btree_map(any_key(), 0u8..3, 0..6), 0..4),
    ) {
        let outcomes = [Outcome::Up, Outcome::Down, Outcome::Unknown];
        let mut snapshot = Snapshot { publishers: Vec::new(), ..snapshot() };
        let mut expected = Vec::new();
        for (id, keys) in &publishers {
            let mut view = publisher(id);
            let mut states = Vec::new();
            for (key, outcome) in keys {
                let outcome = outcomes[usize::from(*outcome)];
                let reason = (outcome != Outcome::Up).then_some(Reason::Timeout);
                states.push(component(key.clone(), outcome, reason, true));
                let labels = [("publisher", &**id), ("kind", key.kind.as_str()), ("name", &*key.name), ("queue", &*key.queue)];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
                expected.push((labels, f64::from(u8::from(outcome == Outcome::Unknown))));
            }
            view.told = told(&states);
            snapshot.publishers.push(view);
        }
        for format in [Format::OpenMetrics1, Format::Text] {
            let text = rendered(&snapshot, &Registry::default(), format);
            let parsed = parse(&text, format.is_open_metrics());
            let unknown = parsed.samples.iter().filter(|sample| sample.name == "heartbeat_component_unknown");
            let found: Vec<_> = unknown.map(|sample| (sample.labels.clone(), sample.value)).collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[derive(Debug)]
pub(in crate::exposition) struct Sample {
    pub(in crate::exposition) name: String,
    pub(in crate::exposition) labels: Vec<(String, String)>,
    pub(in crate::exposition) value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

#[derive(Debug)]
pub(in crate::exposition) struct Parsed {
    pub(in crate::exposition) samples: Vec<Sample>,
}

impl Parsed {
    fn values(&self, name: &str) -> Vec<f64> {
        self.samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).collect()
    }
}

/// A reader of both formats that shares nothing with the writer, and panics where a rule is broken: each
/// family declared once and in one piece, every sample within its family, no series twice.
pub(in crate::exposition) fn parse(text: &str, open_metrics: bool) -> Parsed {
    let body = if open_metrics { text.strip_suffix("# EOF\n").expect("no end mark") } else { text };
    let (mut declared, mut series) = (BTreeSet::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut samples = Vec::new();
    for line in body.strip_suffix('\n').unwrap_or(body).split('\n').filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert!(declared.insert(name.to_owned()), "{name} is declared twice");
            (family, kind) = (name.to_owned(), of.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(open_metrics && name == family && name.ends_with(&format!("_{unit}")), "{line}");
        } else if !line.starts_with("# HELP ") {
            let sample = parse_sample(line);
            let suffixes: &[&str] = match kind.as_str() {
                "counter" if open_metrics => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            let belongs = suffixes.iter().any(|suffix| sample.name == format!("{family}{suffix}"));
            assert!(belongs, "{} is no sample of {family} ({kind})", sample.name);
            assert!(series.insert(format!("{}{:?}", sample.name, sample.labels)), "{line} is there twice");
            samples.push(sample);
        }
    }
    Parsed { samples }
}

fn parse_sample(line: &str) -> Sample {
    let mut chars = line.chars().peekable();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| !matches!(c, '{' | ' ')) {
        name.push(c);
    }
    let mut labels = Vec::new();
    if chars.next_if_eq(&'{').is_some() {
        while chars.next_if_eq(&'}').is_none() {
            let mut label = String::new();
            while let Some(c) = chars.next_if(|c| *c != '=') {
                label.push(c);
            }
            assert_eq!((chars.next(), chars.next()), (Some('='), Some('"')), "{line}");
            let mut value = String::new();
            loop {
                match chars.next().expect("the label ends") {
                    '"' => break,
                    '\\' => value.push(match chars.next() {
                        Some('n') => '\n',
                        Some(c @ ('\\' | '"')) => c,
                        other => panic!("no escape: {other:?} in {line}"),
                    }),
                    c => value.push(c),
                }
            }
            labels.push((label, value));
            chars.next_if_eq(&',');
        }
    }
    assert_eq!(chars.next(), Some(' '), "{line}");
    let rest: String = chars.collect();
    let value = rest.split(' ').next().unwrap();
    Sample { name, labels, value: value.parse().unwrap() }
}
