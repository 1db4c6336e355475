//! A publisher's standing as a small picture, for other people's pages.

use askama::Template;

use super::Standing;
use super::fleet::Fleet;
use crate::state::snapshot::Snapshot;
use crate::telemetry::visible;

/// Of one publisher; `None` if there is none of this name.
pub fn publisher(snapshot: &Snapshot, id: &str) -> Option<String> {
    let judged = Fleet::one(snapshot, id)?;
    let count = match judged.standing {
        Standing::Down => Some(judged.counts.down),
        Standing::Unknown => Some(judged.counts.unknown),
        _ => None,
    };
    let word = judged.standing.as_str();
    let mut text = count.map_or(word.to_owned(), |count| format!("{count} {word}"));
    match (judged.view.maintenance.of_publisher(), judged.in_maintenance()) {
        (Some(_), _) => text.push_str(", in maintenance"),
        (None, 0) => {}
        (None, count) => text.push_str(&format!(", {count} in maintenance")),
    }
    if judged.view.conflict {
        text.push_str(", two processes");
    }
    let colour = if judged.is_excused() { EXCUSED } else { colour(judged.standing) };
    Some(drawn(id, &text, colour))
}

/// Of one that there is not, whose name may be anything.
pub fn nobody() -> String {
    drawn("heartbeat", "no such publisher", colour(Standing::Unjudged))
}

/// Of what calls nobody, as it is in maintenance: neither good nor bad.
const EXCUSED: &str = "#57606a";

/// White text on them has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3).
fn colour(standing: Standing) -> &'static str {
    match standing {
        Standing::Silent => "#8b1a8b",
        Standing::Down => "#b3261e",
        Standing::Unknown => "#8a5300",
        Standing::Unjudged => EXCUSED,
        Standing::Up => "#1a6b34",
    }
}

/// Longer names are cut.
const NAME_CHARS_MAX: usize = 40;

/// Of a character in the font, on average and rounded up; text is drawn to the width that is reckoned.
const CHAR_WIDTH: usize = 7;

/// On either side of a text.
const MARGIN: usize = 6;

fn drawn(id: &str, text: &str, colour: &'static str) -> String {
    let id = &*visible(id);
    let mut name: String = id.chars().take(NAME_CHARS_MAX).collect();
    if name.len() < id.len() {
        name.push('…');
    }
    let width = |text: &str| text.chars().count() * CHAR_WIDTH;
    let (name_width, text_width) = (width(&name), width(text));
    let left = name_width + 2 * MARGIN;
    let badge = Badge {
        id,
        name: &name,
        text,
        colour,
        left,
        right: text_width + 2 * MARGIN,
        whole: left + text_width + 2 * MARGIN,
        name_width,
        text_width,
        text_at: left + MARGIN,
    };
    badge.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "badge.svg", config = "src/page/askama.toml")]
struct Badge<'a> {
    id: &'a str,
    name: &'a str,
    text: &'a str,
    colour: &'static str,
    left: usize,
    right: usize,
    whole: usize,
    name_width: usize,
    text_width: usize,
    text_at: usize,
}
