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
    /// When it was last heard.
    pub last_seen: Option<String>,
    /// Until when it is under maintenance.
    #[serde(default)]
    pub maintenance_until: Option<String>,
    /// Whether several go by its name.
    #[serde(default)]
    pub conflict: bool,
    /// What it checks.
    pub components: Vec<Component>,
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
}

impl Fleet {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is of another form.
    pub(super) fn read(json: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(json)
    }

    /// What it comes to. Whoever is under maintenance is passed over, and drills are.
    pub fn verdict(&self) -> Verdict {
        let counted = self.publishers.iter().filter(|publisher| publisher.counts());
        let worst = counted.map(|publisher| match publisher.standing() {
            Some(Standing::Up) => Verdict::Up,
            Some(Standing::Down | Standing::Silent) => Verdict::Down,
            Some(Standing::Unknown | Standing::Unjudged) | None => Verdict::Unknown,
        });
        let worst = worst.max().unwrap_or(Verdict::Up);
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
    /// Whether somebody should care how it is.
    fn counts(&self) -> bool {
        self.maintenance_until.is_none() && !PublisherId::new(&self.id).is_ok_and(|id| id.is_drill())
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
}
