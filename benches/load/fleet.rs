//! Publishers that are only imagined, and their heartbeats as the program itself would write them.

use std::time::Duration;

use heartbeat_bridge::heartbeat::wire::encode;
use heartbeat_bridge::heartbeat::{
    Component, ComponentKey, Epoch, Heartbeat, Outcome, PublisherId, PublisherTotals, Reason, Timestamp,
};

/// One component of so many is down.
const DOWN: usize = 7;

/// All publishers.
pub struct Fleet {
    publishers: Vec<Publisher>,
    components: usize,
    interval: Duration,
}

struct Publisher {
    id: PublisherId,
    epoch: Epoch,
    began: Timestamp,
    sequence: u64,
    /// How often its components have turned: which of them are down follows from it.
    turns: usize,
    turned: Timestamp,
}

/// The name of a component of a publisher.
pub fn name(publisher: usize, index: usize) -> String {
    format!("component-{publisher}-{index}")
}

/// What it is a check of.
pub fn address(index: usize) -> String {
    format!("host-{index}.example.org:443")
}

impl Fleet {
    /// So many publishers with so many components each, whose processes began at a time and announce an interval.
    pub fn new(publishers: usize, components: usize, began: Timestamp, interval: Duration) -> Self {
        let publishers = (0..publishers).map(|number| Publisher {
            id: PublisherId::new(&format!("publisher-{number}")).unwrap(),
            epoch: Epoch::random(),
            began,
            sequence: 0,
            turns: 0,
            turned: began,
        });
        Self { publishers: publishers.collect(), components, interval }
    }

    /// How many there are.
    pub fn publishers(&self) -> usize {
        self.publishers.len()
    }

    /// The id of one.
    pub fn id(&self, number: usize) -> &PublisherId {
        &self.publishers[number].id
    }

    /// The next heartbeat of one, made at a time; `changed` turns two of its components.
    pub fn beat(&mut self, number: usize, at: Timestamp, changed: bool) -> Heartbeat {
        let publisher = &mut self.publishers[number];
        publisher.sequence += 1;
        if changed {
            publisher.turns += 1;
            publisher.turned = at;
        }
        let Publisher { id, epoch, began, sequence, turns, turned } = publisher;
        let component = |index: usize| {
            let up = !(index + *turns).is_multiple_of(DOWN);
            Component {
                key: ComponentKey::host(&name(number, index)),
                target: Some(address(index).into()),
                outcome: if up { Outcome::Up } else { Outcome::Down },
                reason: (!up).then_some(Reason::Refused),
                checked_at: at,
                changed_at: Some(*turned),
                last_up_at: up.then_some(at),
                last_down_at: (!up).then_some(at),
                last_unknown_at: None,
                duration_seconds: Some(0.001_25),
                checks_total: Some(*sequence),
                failures_total: Some(if up { 0 } else { *sequence }),
                figures: None,
                certificate_not_after: None,
            }
        };
        Heartbeat {
            publisher: id.clone(),
            epoch: epoch.clone(),
            started_at: *began,
            uptime: Duration::from_millis(at.ms_since(*began).max(0).unsigned_abs()),
            sequence: *sequence,
            sent_at: at,
            interval: self.interval,
            version: "0.1.0".into(),
            totals: PublisherTotals::default(),
            components: (0..self.components).map(component).collect(),
            maintenance: Vec::new(),
            trace: None,
        }
    }

    /// The same as bytes.
    pub fn message(&mut self, number: usize, at: Timestamp, changed: bool) -> Vec<u8> {
        encode(&self.beat(number, at, changed))
    }
}

/// The time by this machine's clock.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::EPOCH.plus(since.unwrap_or_default())
}
