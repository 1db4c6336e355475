//! The fleet as a table, worst first, as the API has it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::answer::{Component, Publisher};
use super::{Fleet, Verdict};
use crate::heartbeat::{Reason, Timestamp};
use crate::page::{Standing, ago};
use crate::terminal::{Cell, Painted, Style, Table, Terminal, counted};

/// Components that are named of one publisher at most; the rest is counted.
const NAMED_MAX: usize = 3;

/// What a state means that is the subscriber's own.
const UNJUDGED: &str =
    "unjudged: The subscriber cannot tell yet: it has not listened for long enough, or is cut off.";

/// States and reasons that the table names.
type Words<'a> = BTreeSet<&'a str>;

/// The table, and what is to be said of all of it.
pub fn render(fleet: &Fleet, terminal: &Terminal) -> Painted {
    let mut lines = Vec::new();
    let mut words = Words::new();
    if !fleet.publishers.is_empty() {
        let mut table = Table::new(&["PUBLISHER", "STATE", "LAST SEEN", "UP", "NOT UP"]);
        for publisher in &fleet.publishers {
            table.push(row(publisher, fleet.view.at(), &mut words));
        }
        lines.extend([table.render(terminal), Painted::default()]);
    }
    lines.push(summary(fleet).into());
    for warning in warnings(fleet) {
        let mut line = terminal.paint(Style::Odd, "warning:");
        line.push(format!(" {warning}"));
        lines.push(line);
    }
    let meanings = meanings(&words);
    if !meanings.is_empty() {
        lines.push(Painted::default());
    }
    lines.extend(meanings);
    Painted::lines(lines)
}

/// What the words mean.
fn meanings(words: &Words<'_>) -> Vec<Painted> {
    let reasons = Reason::ALL.iter().filter(|reason| words.contains(reason.as_str()));
    let reasons = reasons.map(|reason| format!("{reason}: {}", reason.meaning()).into());
    let unjudged = words.contains(Standing::Unjudged.as_str()).then(|| UNJUDGED.into());
    reasons.chain(unjudged).collect()
}

fn row<'a>(publisher: &'a Publisher, now: Option<Timestamp>, words: &mut Words<'a>) -> [Cell; 5] {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| Timestamp::parse_rfc3339(text).ok());
    let last_seen = match (time(&publisher.last_seen), now) {
        (Some(at), Some(now)) => ago(now, at),
        (Some(at), None) => at.to_rfc3339_seconds(),
        // Messages that waited in the queue told of it, and nobody knows for how long they did.
        (None, _) if publisher.first_received.is_some() => "unclear when".to_owned(),
        (None, _) => "never".to_owned(),
    };
    let up = publisher.components.iter().filter(|component| component.state == "up").count();
    let all = publisher.components.len();
    let is_silent = publisher.standing() == Some(Standing::Silent);
    // How they are, nobody knows.
    let up = if is_silent { format!("? of {all}") } else { format!("{up} of {all}") };
    words.insert(&publisher.state);
    [
        (&publisher.id).into(),
        Cell::new(style(publisher), &publisher.state),
        last_seen.into(),
        up.into(),
        told(publisher, is_silent, words).into(),
    ]
}

fn style(publisher: &Publisher) -> Style {
    match publisher.verdict() {
        None => Style::Faint,
        Some(_) if publisher.standing() == Some(Standing::Up) => Style::Good,
        // What is not up of it calls nobody.
        Some(Verdict::Up) => Style::Faint,
        Some(Verdict::Unknown) => Style::Odd,
        Some(Verdict::Down) => Style::Bad,
    }
}

/// What is to be said of a publisher: what is not up, and what is in maintenance.
fn told<'a>(publisher: &'a Publisher, is_silent: bool, words: &mut Words<'a>) -> String {
    let is_odd = |component: &&Component| component.state != "up" && !is_silent;
    let mut parts = Vec::new();
    if let Some(until) = &publisher.maintenance_until {
        parts.extend(named(publisher.components.iter().filter(is_odd), words));
        parts.push(format!("in maintenance until {}", to_the_second(until)));
        return parts.join("; ");
    }
    let own = |component: &&Component| component.maintenance_until.is_some();
    parts.extend(named(publisher.components.iter().filter(|one| is_odd(one) && !own(one)), words));
    let mut ends: Vec<&String> =
        publisher.components.iter().filter_map(|component| component.maintenance_until.as_ref()).collect();
    ends.sort();
    ends.dedup();
    for end in ends {
        let until = publisher.components.iter().filter(|one| one.maintenance_until.as_ref() == Some(end));
        let names = named(until, words).unwrap_or_default();
        parts.push(format!("in maintenance until {}: {names}", to_the_second(end)));
    }
    parts.join("; ")
}

/// The first of them, in the order of the API, which has the worst first; `None` where there is none.
fn named<'a>(components: impl Iterator<Item = &'a Component>, words: &mut Words<'a>) -> Option<String> {
    let components: Vec<&Component> = components.collect();
    let named = components.iter().take(NAMED_MAX).map(|component| {
        let Component { kind, name, queue, state, reason, .. } = component;
        words.extend(std::iter::once(state.as_str()).chain(reason.as_deref()));
        let queue = queue.as_ref().map(|queue| format!(" of {queue}")).unwrap_or_default();
        let reason = reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
        format!("{kind} {name}{queue} ({state}{reason})")
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if components.len() > NAMED_MAX {
        let _ = write!(text, ", and {} more", components.len() - NAMED_MAX);
    }
    (!text.is_empty()).then_some(text)
}

/// A time of the API as people read it.
fn to_the_second(text: &str) -> String {
    Timestamp::parse_rfc3339(text).map_or_else(|_| text.to_owned(), Timestamp::to_rfc3339_seconds)
}

fn summary(fleet: &Fleet) -> String {
    let all = fleet.publishers.len();
    if all == 0 {
        return "No publisher is found.".to_owned();
    }
    let count = |standing| fleet.publishers.iter().filter(|one| one.standing() == Some(standing)).count();
    let counts = Standing::ALL.into_iter().map(|standing| (standing, count(standing)));
    let counts = counts.filter(|(_, count)| *count > 0);
    let told: Vec<String> =
        counts.map(|(standing, count)| format!("{count} {}", standing.as_str())).collect();
    let mut text = format!("{}: {}", counted(all as u64, "publisher"), told.join(", "));
    let (whole, others): (Vec<&Publisher>, Vec<&Publisher>) =
        fleet.publishers.iter().partition(|publisher| publisher.maintenance_until.is_some());
    let partly = others.iter().filter(|publisher| publisher.has_components_in_maintenance()).count();
    for (count, how) in [(whole.len(), "in maintenance"), (partly, "partly in maintenance")] {
        if count > 0 {
            let _ = write!(text, "; {count} {how}");
        }
    }
    text.push('.');
    text
}

/// How far it can be trusted.
fn warnings(fleet: &Fleet) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &fleet.view.not_ready_because {
        warnings.push(format!("the subscriber is not ready, and may not know all of this: {why}"));
    } else if !fleet.view.synced {
        warnings.push("the subscriber is cut off from what others hear".to_owned());
    }
    for publisher in fleet.publishers.iter().filter(|publisher| publisher.conflict) {
        warnings.push(format!("several publishers go by the name {}", publisher.id));
    }
    for publisher in &fleet.publishers {
        for stranger in publisher.strangers() {
            let id = &publisher.id;
            warnings.push(format!(
                "a window of maintenance of {id} is for {stranger}, which is no component of it"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(publisher: serde_json::Value) -> String {
        let view = json!({"now": "2026-01-01T00:00:07Z", "synced": true, "not_ready_because": null});
        let fleet = Fleet::read(&json!({"view": view, "publishers": [publisher]})).unwrap();
        render(&fleet, &Terminal::new(Box::new(std::io::sink()), false, false)).as_str().to_owned()
    }

    #[test]
    fn words_of_the_table_are_explained_and_no_others() {
        // Whose name reads like a reason has none.
        let components = json!([
            {"kind": "host", "name": "db, timeout)", "state": "down", "reason": "refused"},
            {"kind": "host", "name": "web (unjudged", "state": "down", "reason": "of a later version"},
        ]);
        let mut publisher =
            json!({"id": "oslo", "state": "down", "last_seen": null, "components": components});
        let refused = "\n\nrefused: The connection was refused.";
        assert!(told(publisher.clone()).ends_with(refused), "{}", told(publisher));
        publisher["state"] = json!("unjudged");
        let text = told(publisher);
        assert!(text.ends_with(&format!("{refused}\n{UNJUDGED}")), "{text}");
    }

    #[test]
    fn who_was_heard_of_was_not_never_seen() {
        for (first_received, when) in [(Some("2026-01-01T00:00:00Z"), "unclear when"), (None, "never")] {
            let text = told(json!({
                "id": "oslo", "state": "unjudged", "first_received": first_received, "last_seen": null, "components": []
            }));
            assert!(text.contains(&format!("unjudged  {when}  ")), "{text}");
        }
    }
}
