//! The fleet as a table, worst first, as the API has it.

use std::fmt::Write as _;

use super::Fleet;
use super::answer::{Component, Publisher};
use crate::heartbeat::Timestamp;
use crate::page::{Standing, ago};
use crate::telemetry::visible;
use crate::terminal::{Cell, Style, Table, Terminal};

/// Components that are named of one publisher at most; the rest is counted.
const NAMED_MAX: usize = 3;

/// The table, and what is to be said of all of it.
pub fn render(fleet: &Fleet, terminal: &Terminal) -> String {
    let mut text = String::new();
    if !fleet.publishers.is_empty() {
        let mut table = Table::new(&["PUBLISHER", "STATE", "LAST SEEN", "UP", "NOT UP"]);
        for publisher in &fleet.publishers {
            table.push(row(publisher, fleet.view.at()));
        }
        text.push_str(&table.render(terminal));
        text.push_str("\n\n");
    }
    text.push_str(&summary(fleet));
    for warning in warnings(fleet) {
        let _ = write!(text, "\n{} {}", terminal.paint(Style::Odd, "warning:"), visible(&warning));
    }
    text
}

fn row(publisher: &Publisher, now: Option<Timestamp>) -> [Cell; 5] {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| Timestamp::parse_rfc3339(text).ok());
    let last_seen = match (time(&publisher.last_seen), now) {
        (Some(at), Some(now)) => ago(now, at),
        (Some(at), None) => at.to_rfc3339_seconds(),
        (None, _) => "never".to_owned(),
    };
    let up = publisher.components.iter().filter(|component| component.state == "up").count();
    let all = publisher.components.len();
    let (up, mut not_up) = match publisher.standing() {
        // How they are, nobody knows.
        Some(Standing::Silent) => (format!("? of {all}"), String::new()),
        _ => (format!("{up} of {all}"), not_up(&publisher.components)),
    };
    if let Some(until) = &publisher.maintenance_until {
        let gap = if not_up.is_empty() { "" } else { "; " };
        let _ = write!(not_up, "{gap}under maintenance until {until}");
    }
    [
        (&publisher.id).into(),
        Cell::new(style(publisher), &publisher.state),
        last_seen.into(),
        up.into(),
        not_up.into(),
    ]
}

fn style(publisher: &Publisher) -> Style {
    match publisher.standing() {
        _ if publisher.maintenance_until.is_some() => Style::Faint,
        Some(Standing::Up) => Style::Good,
        Some(Standing::Down | Standing::Silent) => Style::Bad,
        Some(Standing::Unknown | Standing::Unjudged) | None => Style::Odd,
    }
}

/// Those that are not up, the first of them by name. The API has the worst first.
fn not_up(components: &[Component]) -> String {
    let odd: Vec<&Component> = components.iter().filter(|component| component.state != "up").collect();
    let named = odd.iter().take(NAMED_MAX).map(|component| {
        let Component { kind, name, queue, state, reason } = component;
        let queue = queue.as_ref().map(|queue| format!(" of {queue}")).unwrap_or_default();
        let reason = reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
        format!("{kind} {name}{queue} ({state}{reason})")
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if odd.len() > NAMED_MAX {
        let _ = write!(text, ", and {} more", odd.len() - NAMED_MAX);
    }
    text
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
    let plural = if all == 1 { "" } else { "s" };
    format!("{all} publisher{plural}: {}.", told.join(", "))
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
    warnings
}
