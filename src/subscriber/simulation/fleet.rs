//! Publishers, each with a clock of its own that may be wrong, step, and begin anew in the past.

use std::time::Duration;

use crate::heartbeat::wire::encode;
use crate::heartbeat::{
    Component, Epoch, Heartbeat, Outcome, PublisherId, PublisherTotals, Reason, Timestamp,
};

/// What each announces, in milliseconds.
pub(super) const INTERVAL_MS: i64 = 1_000;

/// One publisher.
pub(super) struct Publisher {
    pub(super) id: PublisherId,
    pub(super) epoch: Epoch,
    /// Restarts.
    pub(super) lives: u64,
    pub(super) sequence: u64,
    pub(super) alive: bool,
    /// When its process began, in true time.
    began: i64,
    /// Its wall clock minus the true time.
    clock_ms: i64,
    pub(super) next_beat: i64,
    pub(super) component: Component,
}

/// A heartbeat, and what is true of it.
#[derive(Clone, Debug)]
pub(super) struct Emission {
    pub(super) publisher: PublisherId,
    pub(super) epoch: Epoch,
    pub(super) sequence: u64,
    /// True time, in milliseconds.
    pub(super) at: i64,
    pub(super) component: Component,
    pub(super) body: Vec<u8>,
}

impl Publisher {
    pub(super) fn start(number: usize, now: i64, clock_ms: i64) -> Self {
        Self {
            id: PublisherId::new(&format!("p{number}")).unwrap(),
            epoch: epoch(0),
            lives: 0,
            sequence: 0,
            alive: true,
            began: now,
            clock_ms,
            next_beat: now,
            component: Component::checked(&format!("db{number}"), Outcome::Up, at(now + clock_ms)),
        }
    }

    /// A new process of the same publisher, its wall clock moved by so much.
    pub(super) fn restart(&mut self, now: i64, step_ms: i64) {
        self.lives += 1;
        self.epoch = epoch(self.lives);
        self.sequence = 0;
        self.alive = true;
        self.began = now;
        self.clock_ms += step_ms;
        self.next_beat = now;
        let name = self.component.key.name.to_string();
        self.component = Component::checked(&name, Outcome::Up, at(now + self.clock_ms));
    }

    /// Its wall clock is set anew. What it told before moves with it, as the program does it.
    pub(super) fn step_clock(&mut self, step_ms: i64) {
        self.clock_ms += step_ms;
        let component = &mut self.component;
        for time in [
            &mut component.changed_at,
            &mut component.last_up_at,
            &mut component.last_down_at,
            &mut component.last_unknown_at,
        ] {
            *time = time.map(|at| at.plus_ms(step_ms));
        }
    }

    /// Its next heartbeat, after a check that found `outcome`.
    pub(super) fn beat(&mut self, now: i64, outcome: Outcome) -> Emission {
        self.sequence += 1;
        self.next_beat = now + INTERVAL_MS;
        let wall = at(now + self.clock_ms);
        let component = &mut self.component;
        if component.outcome != outcome {
            component.changed_at = Some(wall);
        }
        component.outcome = outcome;
        component.reason = (outcome != Outcome::Up).then_some(Reason::Refused);
        component.checked_at = wall;
        *match outcome {
            Outcome::Up => &mut component.last_up_at,
            Outcome::Down => &mut component.last_down_at,
            Outcome::Unknown => &mut component.last_unknown_at,
        } = Some(wall);
        let heartbeat = Heartbeat {
            publisher: self.id.clone(),
            epoch: self.epoch.clone(),
            started_at: at(self.began + self.clock_ms),
            uptime: Duration::from_millis(u64::try_from(now - self.began).unwrap()),
            sequence: self.sequence,
            sent_at: wall,
            interval: Duration::from_millis(INTERVAL_MS.unsigned_abs()),
            version: "1".into(),
            totals: PublisherTotals::default(),
            components: vec![component.clone()],
            maintenance: Vec::new(),
            trace: None,
        };
        Emission {
            publisher: self.id.clone(),
            epoch: self.epoch.clone(),
            sequence: self.sequence,
            at: now,
            component: component.clone(),
            body: encode(&heartbeat),
        }
    }
}

fn epoch(life: u64) -> Epoch {
    Epoch::parse(&format!("{life:016x}")).unwrap()
}

/// A moment, from true milliseconds.
pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}
