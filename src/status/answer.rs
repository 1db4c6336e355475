//! What is understood of an answer of the API. Fields of later versions are passed over.

use serde::Deserialize;
use serde_json::Value;

use super::Verdict;
use crate::heartbeat::{PublisherId, Timestamp};
use crate::page::Standing;

/// The fleet, as a subscriber sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Fleet {
    /// How far it can be trusted.
    pub view: View,
    /// Publishers that were found.
    pub publishers: Vec<Publisher>,
}

/// How far an answer can be trusted.
#[derive(Clone, Debug, Deserialize)]
pub struct View {
    /// The time there.
    pub now: String,
    /// Whether the subscriber sees what others see.
    pub synced: bool,
    /// Why it is not ready, where it is not.
    pub not_ready_because: Option<String>,
}

/// A publisher.
#[derive(Clone, Debug, Deserialize)]
pub struct Publisher {
    /// Its name.
    pub id: String,
    /// How it is; a word of a later version is unknown.
    pub state: String,
    /// When it was first heard of; none: never.
    #[serde(default)]
    pub first_received: Option<String>,
    /// When its newest heartbeat was sent, as far as that is known.
    pub last_seen: Option<String>,
    /// Until when it is in maintenance, with all that it checks.
    #[serde(default)]
    pub maintenance_until: Option<String>,
    /// Its windows of maintenance that are not over.
    #[serde(default)]
    pub maintenance: Vec<Window>,
    /// Whether several go by its name.
    #[serde(default)]
    pub conflict: bool,
    /// What it checks.
    pub components: Vec<Component>,
}

/// A window of maintenance.
#[derive(Clone, Debug, Deserialize)]
pub struct Window {
    /// The names that it is for; none: all.
    pub components: Vec<String>,
}

/// A component.
#[derive(Clone, Debug, Deserialize)]
pub struct Component {
    /// What sort of thing it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The queue on which it is expected.
    pub queue: Option<String>,
    /// How it is.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Until when it is in maintenance, alone or with its publisher.
    #[serde(default)]
    pub maintenance_until: Option<String>,
}

impl Fleet {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is of another form.
    pub(super) fn read(json: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(json)
    }

    /// What it comes to. What is in maintenance is passed over, and drills are.
    pub fn verdict(&self) -> Verdict {
        let worst = self.publishers.iter().filter_map(Publisher::verdict).max().unwrap_or(Verdict::Up);
        if self.view.is_good() { worst } else { worst.max(Verdict::Unknown) }
    }
}

impl View {
    /// Whether the subscriber sees what there is to see.
    pub(super) fn is_good(&self) -> bool {
        self.synced && self.not_ready_because.is_none()
    }

    /// The time there, where it can be read.
    pub(super) fn at(&self) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(&self.now).ok()
    }
}

impl Publisher {
    /// What it comes to; `None` where nobody is called for it, however it is.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        if self.maintenance_until.is_some() || PublisherId::new(&self.id).is_ok_and(|id| id.is_drill()) {
            return None;
        }
        let by_state = match self.standing() {
            Some(Standing::Up) => Verdict::Up,
            Some(Standing::Down) => Verdict::Down,
            // Its silence is no component's, nor that nobody can judge it.
            Some(Standing::Silent) => return Some(Verdict::Down),
            Some(Standing::Unjudged) | None => return Some(Verdict::Unknown),
            Some(Standing::Unknown) => Verdict::Unknown,
        };
        if !self.has_components_in_maintenance() {
            return Some(by_state);
        }
        let counted = self.components.iter().filter(|component| component.maintenance_until.is_none());
        let worst = counted.map(|component| match component.state.as_str() {
            "up" => Verdict::Up,
            "down" => Verdict::Down,
            _ => Verdict::Unknown,
        });
        Some(worst.max().unwrap_or(Verdict::Up))
    }

    /// Whether some of its components are in maintenance, or all of them with it.
    pub(super) fn has_components_in_maintenance(&self) -> bool {
        self.components.iter().any(|component| component.maintenance_until.is_some())
    }

    /// The names that its windows are for, and that it has not.
    pub(super) fn strangers(&self) -> impl Iterator<Item = &str> {
        let named = self.maintenance.iter().flat_map(|window| &window.components);
        let is_there = |name: &&String| self.components.iter().any(|component| component.name == **name);
        named.filter(move |name| !is_there(name)).map(String::as_str)
    }

    /// How it is.
    pub(super) fn standing(&self) -> Option<Standing> {
        Standing::parse(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fleet(states: &[&str], synced: bool) -> Fleet {
        let publishers: Vec<Value> = states
            .iter()
            .map(|state| json!({"id": "x", "state": state, "last_seen": null, "components": [], "later": 1}))
            .collect();
        let view = json!({"now": "2026-01-01T00:00:00Z", "synced": synced, "not_ready_because": null});
        Fleet::read(&json!({"view": view, "publishers": publishers})).unwrap()
    }

    #[test]
    fn the_worst_decides() {
        for (states, verdict) in [
            (&["up", "up"][..], Verdict::Up),
            (&[], Verdict::Up),
            (&["up", "unknown"], Verdict::Unknown),
            (&["unjudged"], Verdict::Unknown),
            (&["a word of later"], Verdict::Unknown),
            (&["unknown", "down"], Verdict::Down),
            (&["silent", "up"], Verdict::Down),
        ] {
            assert_eq!(fleet(states, true).verdict(), verdict, "{states:?}");
        }
        assert_eq!(
            fleet(&["up"], false).verdict(),
            Verdict::Unknown,
            "who is cut off cannot say that all is up"
        );
    }

    #[test]
    fn maintenance_and_drills_are_passed_over() {
        let mut drill = fleet(&["silent", "up"], true);
        drill.publishers[0].id = "drill:oslo".into();
        assert_eq!(drill.verdict(), Verdict::Up);
        let mut known = fleet(&["down", "up"], true);
        known.publishers[0].maintenance_until = Some("2026-01-02T00:00:00Z".into());
        assert_eq!(known.verdict(), Verdict::Up);
    }

    #[test]
    fn what_is_down_in_a_window_of_its_own_is_passed_over() {
        for (state, components, verdict) in [
            ("down", &[("down", true), ("up", false)][..], Verdict::Up),
            ("down", &[("down", true), ("unknown", false)], Verdict::Unknown),
            ("down", &[("down", true), ("down", false)], Verdict::Down),
            ("down", &[("up", true), ("down", false)], Verdict::Down),
            ("unknown", &[("unknown", true)], Verdict::Up),
            ("silent", &[("unknown", true)], Verdict::Down),
            ("unjudged", &[("unjudged", true), ("unjudged", false)], Verdict::Unknown),
            ("unjudged", &[("unjudged", true)], Verdict::Unknown),
        ] {
            let component = |(state, kept): &(&str, bool)| {
                let until = kept.then_some("2026-01-02T00:00:00Z");
                json!({"kind": "host", "name": "x", "state": state, "maintenance_until": until})
            };
            let mut fleet = fleet(&[state], true);
            fleet.publishers[0].components =
                components.iter().map(|one| serde_json::from_value(component(one)).unwrap()).collect();
            assert_eq!(fleet.verdict(), verdict, "{state} {components:?}");
        }
    }
}
