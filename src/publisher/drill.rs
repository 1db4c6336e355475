//! A drill: a publisher that plays an outage, so that the whole way of an alert is seen to work, and whoever is called
//! reads that it is a drill.
//!
//! It has an id of its own, by which everything knows it for a drill, and one component of a kind of its own, which is told to
//! nobody in the name of a host or a queue. Its last heartbeat has no component: then subscribers forget it.

use std::sync::Arc;
use std::time::Duration;

use crate::amqp::publish::{PublishFailure, Publisher};
use crate::clock;
use crate::heartbeat::{Component, ComponentKey, Heartbeat, Kind, Outcome, PublisherId, Reason, Timestamp};
use crate::signing::SigningKey;

use super::life::Life;
use super::outgoing::outgoing;

/// The name of its component.
const COMPONENT: &str = "alert chain";

/// What a drill plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Everything is up.
    Up,
    /// Its component is down.
    Down,
    /// It is over: it has no component any more.
    Over,
}

/// A drill under way.
pub struct Drill {
    life: Life,
    interval: Duration,
    key: Option<Arc<SigningKey>>,
    shown: Option<Component>,
}

impl Drill {
    /// A drill of `publisher`, which tells of itself every `interval`, signed by `key` where there is one.
    pub fn new(publisher: &PublisherId, interval: Duration, key: Option<Arc<SigningKey>>) -> Self {
        Self { life: Life::begin(publisher.drill()), interval, key, shown: None }
    }

    /// The id that it is known by.
    pub fn id(&self) -> &PublisherId {
        &self.life.id
    }

    /// Sends one heartbeat, and waits for the broker to confirm it.
    ///
    /// # Errors
    /// Says what became of it.
    pub async fn tell(&mut self, stage: Stage, publisher: &Publisher) -> Result<(), PublishFailure> {
        let heartbeat = self.heartbeat(stage, clock::boot());
        // Before, since nobody may wait for the end.
        self.life.use_up();
        publisher.publish(outgoing(&heartbeat, self.key.as_deref(), [])).await
    }

    fn heartbeat(&mut self, stage: Stage, boot: Duration) -> Heartbeat {
        let heartbeat = self.life.heartbeat(boot, self.interval);
        self.shown = component(stage, self.shown.take(), heartbeat.sent_at);
        Heartbeat { components: self.shown.iter().cloned().collect(), ..heartbeat }
    }
}

/// The component at a stage, after what it was before.
fn component(stage: Stage, before: Option<Component>, now: Timestamp) -> Option<Component> {
    let outcome = match stage {
        Stage::Up => Outcome::Up,
        Stage::Down => Outcome::Down,
        Stage::Over => return None,
    };
    let kept = before.as_ref().filter(|before| before.outcome == outcome);
    let last = |of: Outcome, held: Option<Timestamp>| if outcome == of { Some(now) } else { held };
    Some(Component {
        key: ComponentKey { kind: Kind::Other("drill".into()), name: COMPONENT.into(), queue: "".into() },
        target: None,
        outcome,
        reason: (outcome == Outcome::Down).then_some(Reason::Drill),
        checked_at: now,
        changed_at: kept.map_or(Some(now), |kept| kept.changed_at),
        last_up_at: last(Outcome::Up, before.as_ref().and_then(|before| before.last_up_at)),
        last_down_at: last(Outcome::Down, before.as_ref().and_then(|before| before.last_down_at)),
        last_unknown_at: None,
        duration_seconds: None,
        checks_total: None,
        failures_total: None,
        figures: None,
        certificate_not_after: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_down_comes_back_and_ends_without_a_component() {
        let oslo = PublisherId::new("oslo").unwrap();
        let mut drill = Drill::new(&oslo, Duration::from_secs(5), None);
        let began = clock::boot();
        let mut tell = |stage, second| {
            let heartbeat = drill.heartbeat(stage, began + Duration::from_secs(second));
            drill.life.use_up();
            heartbeat
        };
        let up = tell(Stage::Up, 0);
        assert_eq!((up.publisher.as_str(), up.sequence, up.components[0].reason), ("drill:oslo", 1, None));
        let down = [tell(Stage::Down, 5), tell(Stage::Down, 10)];
        for heartbeat in &down {
            let component = &heartbeat.components[0];
            assert_eq!(component.key.kind.as_str(), "drill");
            assert_eq!((component.outcome, component.reason), (Outcome::Down, Some(Reason::Drill)));
            assert_eq!(component.changed_at, Some(down[0].sent_at));
            assert_eq!(component.last_up_at, Some(up.sent_at));
        }
        assert_eq!(tell(Stage::Up, 15).components[0].outcome, Outcome::Up);
        let over = tell(Stage::Over, 20);
        assert_eq!((over.components.len(), over.sequence), (0, 5));
    }
}
