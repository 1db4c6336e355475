use std::time::Duration;

use super::html::Links;
use super::*;
use crate::heartbeat::{ComponentKey, Outcome, Reason, Window};
use crate::state::components::ComponentState;
use crate::state::maintenance::Maintenance;
use crate::state::recent::{Event, Recent, What};
use crate::state::snapshot::samples::{at, component, never_seen, publisher, snapshot, told};
use crate::state::snapshot::{PublisherView, Snapshot};
use crate::state::verdict::Verdict;

fn links() -> Links {
    Links { metrics: "metrics".into() }
}

fn of(publishers: Vec<PublisherView>) -> Snapshot {
    Snapshot { publishers, ..snapshot() }
}

fn all() -> Query {
    Query::parse("")
}

/// A publisher with hosts that were found so.
fn with(id: &str, outcomes: &[Outcome]) -> PublisherView {
    let states = outcomes.iter().enumerate().map(|(number, outcome)| {
        component(ComponentKey::host(&format!("host-{number}")), *outcome, Some(Reason::Refused), true)
    });
    let states: Vec<ComponentState> = states.collect();
    PublisherView { told: told(&states), ..publisher(id) }
}

/// One of each standing, by id in another order.
fn one_of_each() -> Snapshot {
    use Outcome::{Down, Unknown, Up};
    let silent =
        PublisherView { up: Some(false), verdict: Verdict::Unknown(Reason::Stale), ..with("e", &[Up, Down]) };
    let unjudged = PublisherView { up: None, verdict: Verdict::Withheld, ..with("b", &[Up, Down]) };
    of(vec![
        with("a", &[Up, Up]),
        unjudged,
        with("c", &[Up, Unknown]),
        with("d", &[Up, Down, Unknown]),
        silent,
    ])
}

#[test]
fn the_worst_are_first() {
    let snapshot = one_of_each();
    let fleet = Fleet::find(&snapshot, &all());
    let found: Vec<(&str, Standing)> =
        fleet.page.iter().map(|judged| (judged.view.id.as_str(), judged.standing)).collect();
    let expected: Vec<(&str, Standing)> = ["e", "d", "c", "b", "a"].into_iter().zip(Standing::ALL).collect();
    assert_eq!(found, expected);
    assert_eq!(fleet.totals, Standing::ALL.map(|standing| (standing, 1)));
}

#[test]
fn nobody_is_up_whose_components_nobody_knows() {
    for view in [
        never_seen("x"),
        PublisherView { up: Some(true), verdict: Verdict::Withheld, ..with("x", &[Outcome::Up]) },
        PublisherView { up: None, verdict: Verdict::Withheld, ..with("x", &[Outcome::Up]) },
        PublisherView {
            up: Some(true),
            verdict: Verdict::Unknown(Reason::View),
            ..with("x", &[Outcome::Up])
        },
    ] {
        let snapshot = of(vec![view]);
        let standing = Fleet::find(&snapshot, &all()).page[0].standing;
        assert_ne!(standing, Standing::Up);
        let page = html::fleet(&snapshot, &all(), &Ok(()), &links());
        assert!(!page.contains("class=\"publisher up\"") && !page.contains("<tr class=\"up\""), "{page}");
    }
}

#[test]
fn a_query_finds_by_name_of_publisher_component_and_target_and_by_standing() {
    let snapshot = one_of_each();
    for (query, ids) in [
        ("q=A", "a"),
        ("q=HOST-2", "d"),
        ("q=host-1&state=down&state=up", "da"),
        ("state=silent", "e"),
        ("q=nothing", ""),
        ("page=9", "edcba"),
    ] {
        let fleet = Fleet::find(&snapshot, &Query::parse(query));
        let found: String = fleet.page.iter().map(|judged| judged.view.id.as_str()).collect();
        assert_eq!(found, ids, "{query}");
        assert_eq!(fleet.totals.iter().map(|(_, total)| total).sum::<usize>(), 5, "totals are of all");
    }
}

#[test]
fn many_are_shown_a_page_at_a_time() {
    let snapshot = of((0..250).map(|number| publisher(&format!("p-{number:03}"))).collect());
    let mut shown = Vec::new();
    for number in 1..=3 {
        let fleet = Fleet::find(&snapshot, &Query::parse(&format!("page={number}")));
        assert_eq!((fleet.number, fleet.pages, fleet.found), (number, 3, 250));
        shown.extend(fleet.page.iter().map(|judged| judged.view.id.clone()));
    }
    assert!(shown.iter().eq(snapshot.publishers.iter().map(|publisher| &publisher.id)));
    let page = html::fleet(&snapshot, &Query::parse("page=2&q=p"), &Ok(()), &links());
    for link in ["href=\"?q=p\" rel=\"prev\"", "href=\"?q=p&#38;page=3\" rel=\"next\""] {
        assert!(page.contains(link), "{link}: {page}");
    }
}

#[test]
fn a_page_ends_where_its_components_are_many() {
    let many = with("a", &[Outcome::Up; 2_000]);
    let named = |id: &str| PublisherView { id: publisher(id).id, ..many.clone() };
    let snapshot = of(vec![named("a"), named("b"), named("c"), publisher("d")]);
    let on = |page: usize| -> String {
        let fleet = Fleet::find(&snapshot, &Query::parse(&format!("page={page}")));
        assert_eq!(fleet.pages, 2);
        fleet.page.iter().map(|judged| judged.view.id.as_str()).collect()
    };
    assert_eq!([on(1), on(2)], ["ab", "cd"]);
}

#[test]
fn whatever_the_names_they_are_text() {
    let id = "<script>alert(1)</script>\"'&";
    let mut nasty = publisher(id);
    nasty.version = Some("</dd><img src=x>".into());
    nasty.told = told(&[component(
        ComponentKey::consumer("<b onmouseover=x>", "\"><i>"),
        Outcome::Down,
        Some(Reason::Refused),
        true,
    )]);
    let snapshot = of(vec![nasty]);
    let query = Query::parse("q=%3Cscript%3E");
    let pages = [
        html::fleet(&snapshot, &query, &Err("<u>".into()), &links()),
        html::publisher(&snapshot, id, &Ok(()), &links()).unwrap(),
        html::nobody("<script>", &Ok(()), &links()),
        badge::publisher(&snapshot, id).unwrap(),
        badge::nobody(),
    ];
    for page in pages {
        for raw in ["<script>alert", "<b on", "<i>", "<img", "<u>", "<script>\""] {
            assert!(!page.contains(raw), "{raw}: {page}");
        }
    }
}

#[test]
fn a_page_asks_for_nothing_from_elsewhere() {
    let snapshot = one_of_each();
    let pages = [
        html::fleet(&snapshot, &all(), &Ok(()), &links()),
        html::publisher(&snapshot, "d", &Ok(()), &links()).unwrap(),
        html::nobody("x", &Ok(()), &links()),
        html::publishers_own(&Ok(()), &links()),
    ];
    for page in pages {
        for foreign in ["http:", "https:", "src=\"//", "href=\"//", "style=", " onclick"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for (path, ..) in html::ASSETS {
            assert!(page.contains(&format!("\"{path}\"")), "{path}");
        }
    }
}

#[test]
fn since_when_is_in_the_stores_clock_and_of_what_the_publisher_told() {
    // Its clock is 1.25 s behind, so that an hour ago by it is 1.25 s less.
    let page = html::publisher(&one_of_each(), "d", &Ok(()), &links()).unwrap();
    let since = at(3_600_000 - 1_250).to_rfc3339_seconds();
    assert!(page.contains(&since), "{since}: {page}");
    // Those of a silent one became unknown by silence, and not when the publisher saw them change, even where it told so.
    let mut silent = one_of_each();
    silent.publishers[4].told = with("e", &[Outcome::Unknown, Outcome::Up]).told;
    let page = html::publisher(&silent, "e", &Ok(()), &links()).unwrap();
    assert!(!page.contains(&since) && page.contains("not heard of in time"), "{page}");
}

#[test]
fn a_replica_that_cannot_judge_says_so() {
    let mut out_of_step = one_of_each();
    out_of_step.view_synced = false;
    let page = html::fleet(&out_of_step, &all(), &Err("not connected to Redis".into()), &links());
    assert!(page.contains("Not ready: not connected to Redis."), "{page}");
    assert!(page.contains("gives no verdicts"), "{page}");
}

#[test]
fn a_badge_says_what_is_wrong() {
    let snapshot = one_of_each();
    for (id, text) in [("a", "up"), ("b", "unjudged"), ("c", "1 unknown"), ("d", "1 down"), ("e", "silent")] {
        let badge = badge::publisher(&snapshot, id).unwrap();
        assert!(badge.contains(&format!("<title>{id}: {text}</title>")), "{badge}");
    }
    for (id, text, colour) in [
        ("down", "1 down, in maintenance", "#57606a"),
        ("part", "1 down, 1 in maintenance", "#57606a"),
        ("zone", "1 unknown", "#8a5300"),
    ] {
        let badge = badge::publisher(&in_maintenance(), id).unwrap();
        assert!(badge.contains(&format!("<title>{id}: {text}</title>")) && badge.contains(colour), "{badge}");
    }
    assert!(badge::publisher(&snapshot, "f").is_none());
    assert!(badge::nobody().contains("no such publisher"));
}

#[test]
fn the_api_withdraws_what_is_not_of_now() {
    let mut snapshot = one_of_each();
    snapshot.view_lag = Duration::from_millis(250);
    let answer = |id: &str| -> serde_json::Value {
        serde_json::from_slice(&json::publisher(&snapshot, id, &Ok(())).unwrap()).unwrap()
    };
    let (fresh, silent) = (answer("d"), answer("e"));
    assert_eq!(fresh["view"]["lag_seconds"], 0.25);
    let states = |answer: &serde_json::Value| -> Vec<String> {
        let components = answer["publisher"]["components"].as_array().unwrap();
        components.iter().map(|component| component["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&fresh), ["down", "unknown", "up"]);
    assert_eq!(states(&silent), ["unknown", "unknown"]);
    for component in silent["publisher"]["components"].as_array().unwrap() {
        assert_eq!(component["reason"], "stale");
        for withdrawn in ["check_duration_seconds", "messages", "consumers"] {
            assert!(component[withdrawn].is_null(), "{component}");
        }
    }
    assert!(json::publisher(&snapshot, "nobody", &Ok(())).is_none());
}

/// Holds an answer to the description of the API.
fn assert_described(schema: &str, answer: &[u8]) {
    let mut document: serde_json::Value = serde_json::from_str(json::OPENAPI).unwrap();
    // Whoever reads it must let fields be added; we must not forget to describe one.
    for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        schema["additionalProperties"] = false.into();
    }
    document["$ref"] = format!("#/components/schemas/{schema}").into();
    let validator = jsonschema::options().should_validate_formats(true).build(&document).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{answer:#}");
}

#[test]
fn the_api_answers_as_it_is_described() {
    for snapshot in [snapshot(), one_of_each(), in_maintenance(), of(Vec::new())] {
        for ready in [Ok(()), Err("not connected to Redis".to_owned())] {
            assert_described("Publishers", &json::publishers(&snapshot, &all(), &ready));
            for publisher in &snapshot.publishers {
                let answer = json::publisher(&snapshot, publisher.id.as_str(), &ready).unwrap();
                assert_described("One", &answer);
            }
        }
    }
    assert_described("Error", &json::error("x"));
}

#[test]
fn what_can_be_asked_for_is_described() {
    let document: serde_json::Value = serde_json::from_str(json::OPENAPI).unwrap();
    for (path, parameters) in [("publishers", &json::OF_FLEET[..]), ("publisher", &json::OF_ONE)] {
        let described = document["paths"][format!("/api/v1/{path}")]["get"]["parameters"].as_array().unwrap();
        let names: Vec<&str> = described.iter().map(|one| one["name"].as_str().unwrap()).collect();
        let known: Vec<&str> = parameters.iter().map(|one| one.as_str()).collect();
        assert_eq!(names, known, "{path}");
        let states =
            described.iter().find(|one| one["name"] == "state").map(|one| &one["schema"]["items"]["enum"]);
        if let Some(states) = states {
            assert_eq!(*states, serde_json::json!(Standing::ALL.map(Standing::as_str)));
        }
    }
}

#[test]
fn a_state_that_there_is_not_finds_nobody_and_is_told_of() {
    let page = html::fleet(&one_of_each(), &Query::parse("state=%3Cb%3E"), &Ok(()), &links());
    let said = "Of what was asked for, no state is called &#34;&#60;b&#62;&#34;; there are silent, down, unknown, unjudged, up.";
    assert!(page.contains(said) && page.contains("None of 5 publishers is found."), "{page}");
    assert!(page.contains("Show all") && !page.contains("class=\"publisher "), "{page}");
}

/// A publisher whose whole is in maintenance, one with a window for a component, and what both went through.
fn in_maintenance() -> Snapshot {
    let window = |ago: (i64, i64), comment, names: &[&str]| {
        Window::new((at(ago.0), at(ago.1)), comment, names).unwrap()
    };
    let mut whole = with("down", &[Outcome::Down]);
    let windows = [window((60_000, -600_000), Some("<i>new</i> disks"), &[])];
    whole.maintenance = Maintenance::new(at(0), Some(windows.into()));
    let turned = |ago, name: &'static str, outcome, reason| Event {
        at: at(ago),
        what: What::Turned { kind: "host".into(), name: name.into(), queue: "".into(), outcome, reason },
    };
    whole.recent = Recent::NOTHING.with(&[
        Event { at: at(7_200_000), what: What::Heard { silent_since: at(7_500_000) } },
        Event { at: at(7_200_000), what: What::Restarted },
        turned(3_600_000, "<b>", Outcome::Down, Some(Reason::Refused)),
        turned(1_800_000, "<b>", Outcome::Up, None),
    ]);
    let mut part = with("part", &[Outcome::Down, Outcome::Up]);
    let windows =
        [window((60_000, -600_000), None, &["host-0", "<gone>"]), window((-60_000, -120_000), None, &[])];
    part.maintenance = Maintenance::new(at(0), Some(windows.into()));
    of(vec![whole, part, with("zone", &[Outcome::Unknown])])
}

#[test]
fn what_is_in_maintenance_says_so_and_stands_behind_what_is_not() {
    let snapshot = in_maintenance();
    let fleet = Fleet::find(&snapshot, &all());
    let found: Vec<&str> = fleet.page.iter().map(|judged| judged.view.id.as_str()).collect();
    assert_eq!(found, ["part", "zone", "down"], "a window of one component does not move its publisher");
    let page = html::fleet(&snapshot, &all(), &Ok(()), &links());
    assert_eq!(page.matches("in maintenance, which ends").count(), 2, "{page}");
    let page = html::publisher(&snapshot, "part", &Ok(()), &links()).unwrap();
    assert!(page.contains("planned</b>: everything, begins"), "{page}");
    let named = r#"now</b>: <bdi>host-0</bdi>, <bdi>&#60;gone&#62;</bdi> <span class="conflict">which is no component of it</span>, ends"#;
    assert!(page.contains(named), "{page}");
}

#[test]
fn a_publishers_page_tells_what_happened_of_late() {
    let page = html::publisher(&in_maintenance(), "down", &Ok(()), &links()).unwrap();
    let recent = page.split_once("Recent changes").unwrap().1;
    let told = ["<bdi>&#60;b&#62;</bdi>", "connection refused", "another process of it", "silent for 5 min"];
    let places: Vec<usize> = told.iter().map(|text| recent.find(text).expect(text)).collect();
    assert!(places.is_sorted(), "the latest first: {recent}");
    assert!(page.contains("&#60;i&#62;new"), "{page}");
    let page = html::publisher(&in_maintenance(), "zone", &Ok(()), &links()).unwrap();
    assert!(page.contains("None is remembered."), "{page}");
}
