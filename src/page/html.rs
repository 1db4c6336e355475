//! Pages, from templates: whole and usable without JavaScript, which only keeps them current.

use std::borrow::Cow;

use askama::Template;

use super::ago::{When, ago};
use super::events::{Past, Planned};
use super::fleet::{Fleet, Judged};
use super::query::of_publisher;
use super::words::words;
use super::{Counts, Query, Standing};
use crate::build_info::VERSION;
use crate::heartbeat::{Outcome, Timestamp};
use crate::state::snapshot::{ComponentView, Snapshot};
use crate::telemetry::visible;

/// What pages ask the browser for, by its path, content type and content.
pub const ASSETS: [(&str, &str, &str); 2] = [
    ("assets/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("assets/page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
];

/// What a page may load and do: its own style and script, and nothing else. Forms lead back to it.
pub const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                                  img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Components on a page up to which those that are up are shown, too, and not folded away.
const COMPONENTS_UNFOLDED: usize = 200;

/// Where things are, as links from the page.
#[derive(Clone, Debug)]
pub struct Links {
    /// The metrics, such as `/metrics`.
    pub metrics: String,
}

/// The fleet.
pub fn fleet(snapshot: &Snapshot, query: &Query, ready: &Result<(), String>, links: &Links) -> String {
    let fleet = Fleet::find(snapshot, query);
    let on_page: usize = fleet.page.iter().map(|judged| judged.counts.all()).sum();
    let unfold = on_page <= COMPONENTS_UNFOLDED;
    let totals = fleet.totals.iter().filter(|(_, total)| *total > 0);
    let page = FleetPage {
        frame: Frame::new(snapshot, ready, links),
        totals: totals.map(|(standing, total)| Total { word: standing.as_str(), total: *total }).collect(),
        all: snapshot.publishers.len(),
        choices: Standing::ALL
            .map(|standing| Choice { word: standing.as_str(), chosen: query.standings.contains(&standing) }),
        search: &query.search,
        strangers: query.said_of_strangers().map(|said| visible(&said).into_owned()),
        narrow: query.is_narrow(),
        found: fleet.found,
        publishers: fleet.page.iter().map(|judged| Row::of(judged, snapshot.now, unfold)).collect(),
        number: fleet.number,
        pages: fleet.pages,
        before: (fleet.number > 1).then(|| query.of_page(fleet.number - 1)),
        after: (fleet.number < fleet.pages).then(|| query.of_page(fleet.number + 1)),
    };
    rendered(&page)
}

/// One publisher; `None` if there is none of this name.
pub fn publisher(snapshot: &Snapshot, id: &str, ready: &Result<(), String>, links: &Links) -> Option<String> {
    let judged = Fleet::one(snapshot, id)?;
    let (view, now) = (judged.view, snapshot.now);
    let page = PublisherPage {
        frame: Frame::new(snapshot, ready, links),
        row: Row::of(&judged, now, true),
        expected: view.expected,
        windows: view.maintenance.windows().map(|window| Planned::of(window, view, now)).collect(),
        recent: view.recent.events().iter().rev().map(|event| Past::of(event, now)).collect(),
        facts: facts(&judged, now),
        badge: of_publisher("badge.svg", id),
        api: of_publisher("api/v1/publisher", id),
    };
    Some(rendered(&page))
}

/// That there is no publisher of this name.
pub fn nobody(id: &str, ready: &Result<(), String>, links: &Links) -> String {
    let frame = Frame { fleet: true, ..Frame::bare(ready, links) };
    rendered(&PlainPage { frame, title: "No such publisher", id: visible(id), text: "is not known here." })
}

/// The page of a role that shows itself alone.
pub fn publishers_own(ready: &Result<(), String>, links: &Links) -> String {
    let text = "A publisher: it checks components and sends heartbeats. How they are, a subscriber shows.";
    rendered(&PlainPage { frame: Frame::bare(ready, links), title: "Heartbeat", id: "".into(), text })
}

fn rendered(page: &impl Template) -> String {
    // Writing to memory cannot fail, and nothing that is written can.
    page.render().unwrap_or_default()
}

/// What stands around every page.
struct Frame<'a> {
    version: &'static str,
    /// Whether there is a fleet to be shown.
    fleet: bool,
    now: Option<When>,
    not_ready: Option<&'a str>,
    out_of_step: bool,
    metrics: &'a str,
}

impl<'a> Frame<'a> {
    fn new(snapshot: &Snapshot, ready: &'a Result<(), String>, links: &'a Links) -> Self {
        Self {
            fleet: true,
            now: Some(When::of(snapshot.now, snapshot.now)),
            out_of_step: !snapshot.view_synced,
            ..Self::bare(ready, links)
        }
    }

    fn bare(ready: &'a Result<(), String>, links: &'a Links) -> Self {
        Self {
            version: VERSION,
            fleet: false,
            now: None,
            not_ready: ready.as_ref().err().map(String::as_str),
            out_of_step: false,
            metrics: &links.metrics,
        }
    }
}

#[derive(Template)]
#[template(path = "plain.html", config = "src/page/askama.toml")]
struct PlainPage<'a> {
    frame: Frame<'a>,
    title: &'static str,
    id: Cow<'a, str>,
    text: &'static str,
}

#[derive(Template)]
#[template(path = "fleet.html", config = "src/page/askama.toml")]
struct FleetPage<'a> {
    frame: Frame<'a>,
    totals: Vec<Total>,
    all: usize,
    choices: [Choice; 5],
    search: &'a str,
    /// What is to be said of states that were asked for, and that there are not.
    strangers: Option<String>,
    narrow: bool,
    found: usize,
    publishers: Vec<Row<'a>>,
    number: usize,
    pages: usize,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "publisher.html", config = "src/page/askama.toml")]
struct PublisherPage<'a> {
    frame: Frame<'a>,
    row: Row<'a>,
    expected: bool,
    windows: Vec<Planned>,
    /// The latest first.
    recent: Vec<Past>,
    facts: Vec<(&'static str, String)>,
    badge: String,
    api: String,
}

struct Total {
    word: &'static str,
    total: usize,
}

struct Choice {
    word: &'static str,
    chosen: bool,
}

/// A publisher, as it is written.
struct Row<'a> {
    id: Cow<'a, str>,
    link: String,
    word: &'static str,
    said: String,
    /// When it turned silent.
    turned: Option<When>,
    seen: Option<When>,
    conflict: bool,
    /// When the window of maintenance ends that is on.
    maintenance: Option<When>,
    /// Components that tell something, and all of them where nothing is folded.
    shown: Vec<Line<'a>>,
    folded: Vec<Line<'a>>,
    /// What the folded ones are called.
    folded_as: &'static str,
}

impl<'a> Row<'a> {
    fn of(judged: &Judged<'a>, now: Timestamp, unfold: bool) -> Self {
        let view = judged.view;
        let components = judged.components();
        let lines = components.iter().map(|component| Line::of(judged, component, now));
        // Of a publisher that is not heard, all components say the same.
        let heard = !matches!(judged.standing, Standing::Silent | Standing::Unjudged);
        let (shown, folded) = lines.partition(|line| unfold || (heard && line.word != Outcome::Up.as_str()));
        let turned =
            view.deadline.filter(|_| judged.standing == Standing::Silent && view.last_seen.is_some());
        Self {
            id: visible(view.id.as_str()),
            link: of_publisher("publisher", view.id.as_str()),
            word: judged.standing.as_str(),
            said: said(judged.standing, judged.counts, view.last_seen.is_some()),
            turned: turned.map(|at| When::of(at, now)),
            seen: view.last_seen.map(|at| When::of(at, now)),
            conflict: view.conflict,
            maintenance: view.maintenance.of_publisher().map(|end| When::of(end, now)),
            shown,
            folded,
            folded_as: if heard { Outcome::Up.as_str() } else { "components" },
        }
    }
}

/// A publisher's standing in words.
fn said(standing: Standing, counts: Counts, seen: bool) -> String {
    match standing {
        Standing::Silent if !seen => "never heard of".to_owned(),
        Standing::Silent => "not heard of in time".to_owned(),
        Standing::Unjudged => "this subscriber cannot judge now".to_owned(),
        Standing::Up if counts.all() == 0 => "up, and checks nothing".to_owned(),
        Standing::Up => format!("all {} up", counts.all()),
        Standing::Down | Standing::Unknown => {
            let parts = [(counts.down, "down"), (counts.unknown, "unknown"), (counts.unjudged, "unjudged")];
            let parts = parts.iter().filter(|(count, _)| *count > 0);
            let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
            format!("{} of {}", parts.join(", "), counts.all())
        }
    }
}

/// A component, as it is written.
struct Line<'a> {
    kind: &'a str,
    name: Cow<'a, str>,
    queue: Cow<'a, str>,
    target: Cow<'a, str>,
    word: &'static str,
    reason: &'static str,
    /// When the window of maintenance ends that is on for it, and not for all of its publisher.
    maintenance: Option<When>,
    /// In the store's clock.
    since: Option<When>,
    last_up: Option<When>,
}

impl<'a> Line<'a> {
    fn of(judged: &Judged<'_>, view: &ComponentView<'a>, now: Timestamp) -> Self {
        let when = |at: Option<Timestamp>| at.map(|at| When::of(judged.by_the_store(at, now), now));
        let component = view.component;
        Self {
            kind: component.key.kind.text(),
            name: visible(component.key.name),
            queue: visible(component.key.queue),
            target: visible(component.target.unwrap_or_default()),
            word: view.outcome.map_or("unjudged", Outcome::as_str),
            reason: view.reason.map_or("", words),
            maintenance: view
                .maintenance
                .filter(|_| judged.view.maintenance.of_publisher().is_none())
                .map(|end| When::of(end, now)),
            // What is unknown by silence is so since another time than the publisher told.
            since: when(component.changed_at).filter(|_| view.is_current()),
            // Of what is up, that is the latest check.
            last_up: when(component.last_up_at).filter(|_| view.outcome != Some(Outcome::Up)),
        }
    }
}

/// How a clock differs from the store's.
fn clock(offset_ms: i64) -> String {
    let side = if offset_ms < 0 { "behind" } else { "ahead" };
    format!("{} ms {side}", offset_ms.unsigned_abs())
}

/// What else is known of a publisher.
fn facts(judged: &Judged<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
    let view = judged.view;
    let mut facts: Vec<(&'static str, Option<String>)> = vec![
        ("Version", view.version.as_deref().map(|version| visible(version).into_owned())),
        ("Interval", view.interval.map(|interval| humantime::format_duration(interval).to_string())),
        ("Silent from", view.deadline.map(|at| format!("{} ({})", at.to_rfc3339_seconds(), ago(now, at)))),
        (
            "First heard of",
            view.first_received.map(|at| format!("{} ({})", at.to_rfc3339_seconds(), ago(now, at))),
        ),
        ("Its clock", view.clock_offset_ms.map(clock)),
        ("Epoch", view.epoch.as_deref().map(str::to_owned)),
        ("Sequence", view.sequence.map(|sequence| sequence.to_string())),
    ];
    if let Some(counts) = view.counts {
        let numbers = [
            ("Heartbeats", counts.heartbeats),
            ("Lost", counts.lost),
            ("Duplicates", counts.duplicates),
            ("Superseded", counts.superseded),
            ("Restarts", counts.restarts),
        ];
        facts.extend(numbers.map(|(name, number)| (name, Some(number.to_string()))));
    }
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
