//! Which faults come when: rounds of three to six at once, each on another part, all from one seed. Pure.

use std::fmt;
use std::time::Duration;

use crate::support::v2::Chance;

/// What a fault is done to. In one round each part has one fault at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The broker and what it holds.
    Broker,
    /// Redis and what it holds.
    Redis,
    /// The process of one of the two subscribers.
    Subscriber(usize),
    /// Between that subscriber and the broker.
    AmqpPath(usize),
    /// Between that subscriber and Redis.
    RedisPath(usize),
    /// Between all publishers and the broker.
    PublishPath,
    /// The process of a publisher.
    Publisher,
    /// A simulated publisher.
    Simulated,
    /// The ports that the publishers check.
    Ports,
}

/// What is done to it, from its begin until it is lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL, and started again in the end.
    Kill,
    /// SIGSTOP, and SIGCONT in the end.
    Pause,
    /// SIGTERM, and started again in the end.
    Restart,
    /// The broker takes no messages for want of memory.
    MemoryAlarm,
    /// Likewise, for want of disk.
    DiskAlarm,
    /// The user of all may do nothing, and all connections are closed.
    Permissions,
    /// The queue is deleted, once.
    QueueDeleted,
    /// The exchange is deleted, once.
    ExchangeDeleted,
    /// All connections are closed by the server, once.
    ConnectionsClosed,
    /// Redis answers no writes.
    ClientPause,
    /// Redis forgets the scripts, once.
    ScriptFlush,
    /// 200 ms ± 100 ms each way.
    Latency,
    /// Nothing gets through, and it all comes in the end.
    Stall,
    /// Nothing gets through, and connections are dead for good.
    BlackHole,
    /// Likewise, from the client to the server alone.
    BlackHoleUp,
    /// Likewise, from the server to the client alone.
    BlackHoleDown,
    /// Connections are refused, and those that are up are reset.
    Refuse,
    /// Connections are reset again and again.
    Resets,
    /// 16 kB in a second.
    Bandwidth,
    /// Segments of a few bytes.
    Slices,
    /// Each connection ends after some bytes from the server.
    Cut,
    /// The server's side is closed, and the client is not told, once.
    HalfOpen,
    /// Checked ports are closed.
    Close,
}

impl Kind {
    /// It is over as soon as it is done, and nothing is left to be lifted.
    fn is_once(self) -> bool {
        matches!(
            self,
            Self::QueueDeleted
                | Self::ExchangeDeleted
                | Self::ConnectionsClosed
                | Self::ScriptFlush
                | Self::HalfOpen
        )
    }
}

const PATH: [Kind; 11] = [
    Kind::Latency,
    Kind::Stall,
    Kind::BlackHole,
    Kind::BlackHoleUp,
    Kind::BlackHoleDown,
    Kind::Refuse,
    Kind::Resets,
    Kind::Bandwidth,
    Kind::Slices,
    Kind::Cut,
    Kind::HalfOpen,
];

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// To what.
    pub part: Part,
    /// What.
    pub kind: Kind,
    /// When, since the begin of its round.
    pub begin: Duration,
    /// How long.
    pub length: Duration,
    /// For choices within the fault.
    pub chance: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} at {:.1} s", self.kind, self.part, self.begin.as_secs_f64())?;
        if self.length.is_zero() { Ok(()) } else { write!(f, " for {:.1} s", self.length.as_secs_f64()) }
    }
}

/// Everything that can go wrong.
pub fn all() -> Vec<(Part, Kind)> {
    let of = |part, kinds: &[Kind]| kinds.iter().map(|kind| (part, *kind)).collect::<Vec<_>>();
    let broker = [
        Kind::Kill,
        Kind::Pause,
        Kind::MemoryAlarm,
        Kind::DiskAlarm,
        Kind::Permissions,
        Kind::QueueDeleted,
        Kind::ExchangeDeleted,
        Kind::ConnectionsClosed,
    ];
    let redis = [
        Kind::Kill,
        Kind::Pause,
        Kind::Restart,
        Kind::ClientPause,
        Kind::ConnectionsClosed,
        Kind::ScriptFlush,
    ];
    let mut all = of(Part::Broker, &broker);
    all.extend(of(Part::Redis, &redis));
    for number in 0..2 {
        all.extend(of(Part::Subscriber(number), &[Kind::Kill, Kind::Pause, Kind::Restart]));
        all.extend(of(Part::AmqpPath(number), &PATH));
        all.extend(of(Part::RedisPath(number), &PATH));
    }
    all.extend(of(Part::PublishPath, &PATH));
    all.extend(of(Part::Publisher, &[Kind::Kill, Kind::Pause]));
    all.extend(of(Part::Simulated, &[Kind::Kill, Kind::Pause]));
    all.extend(of(Part::Ports, &[Kind::Close]));
    all
}

/// Without these a run has proven little: the first round has them, and no more. Each with its begin and its length, in
/// milliseconds.
///
/// They are told so that a loss would show: publishers speak their last words while Redis is away, and then the
/// subscriber dies that took some of them. Had it acknowledged them before they were stored, nobody would have them.
const FIRST: [(Part, Kind, u64, u64); 5] = [
    (Part::Redis, Kind::Kill, 1_000, 12_000),
    (Part::Simulated, Kind::Kill, 3_500, 25_000),
    (Part::Publisher, Kind::Kill, 4_000, 24_000),
    (Part::Subscriber(0), Kind::Kill, 6_500, 4_500),
    (Part::AmqpPath(1), Kind::Resets, 1_500, 2_200),
];

/// An endless list of rounds. Faults are drawn as from a bag: all come before one comes again.
pub struct Schedule {
    chance: Chance,
    bag: Vec<(Part, Kind)>,
    rounds: u64,
}

impl Schedule {
    /// The one of a seed.
    pub fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed), bag: Vec::new(), rounds: 0 }
    }

    fn draw(&mut self, used: &[Part]) -> (Part, Kind) {
        if !self.bag.iter().any(|(part, _)| !used.contains(part)) {
            self.bag.extend(all());
        }
        loop {
            let chosen = usize::try_from(self.chance.below(self.bag.len() as u64)).unwrap();
            if !used.contains(&self.bag[chosen].0) {
                return self.bag.swap_remove(chosen);
            }
        }
    }

    fn first(&mut self, (part, kind, begin, length): (Part, Kind, u64, u64)) -> Fault {
        let (begin, length) = (Duration::from_millis(begin), Duration::from_millis(length));
        Fault { part, kind, begin, length, chance: self.chance.below(u64::MAX) }
    }

    fn fault(&mut self, (part, kind): (Part, Kind)) -> Fault {
        let ms = |ms| Duration::from_millis(ms);
        // Who dies stays dead for longer than a grace of listening after all else is lifted, so that a lie would show.
        let length = match part {
            Part::Publisher | Part::Simulated | Part::Ports => 20_000 + self.chance.below(5_000),
            _ => 2_000 + self.chance.below(10_000),
        };
        let length = if kind.is_once() { 0 } else { length };
        let begin = self.chance.below(6_000);
        Fault { part, kind, begin: ms(begin), length: ms(length), chance: self.chance.below(u64::MAX) }
    }
}

impl Iterator for Schedule {
    type Item = Vec<Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rounds += 1;
        if self.rounds == 1 {
            return Some(FIRST.into_iter().map(|fault| self.first(fault)).collect());
        }
        let wanted = 3 + usize::try_from(self.chance.below(4)).unwrap();
        let mut used = Vec::new();
        let mut faults: Vec<Fault> = Vec::new();
        while faults.len() < wanted {
            let drawn = self.draw(&used);
            used.push(drawn.0);
            faults.push(self.fault(drawn));
        }
        faults.sort_by_key(|fault| fault.begin);
        Some(faults)
    }
}

#[test]
fn a_seed_gives_one_schedule_of_three_to_six_faults_on_different_parts() {
    let rounds = |seed| Schedule::new(seed).take(40).collect::<Vec<_>>();
    assert_eq!(rounds(1), rounds(1));
    assert_ne!(rounds(1), rounds(2));
    for round in rounds(3) {
        assert!((3..=6).contains(&round.len()), "{round:?}");
        let mut parts: Vec<Part> = round.iter().map(|fault| fault.part).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), round.len(), "{round:?}");
    }
}

#[test]
fn every_fault_comes_before_one_comes_twice() {
    let mut seen: Vec<(Part, Kind)> = Vec::new();
    for fault in Schedule::new(5).skip(1).flatten().take(all().len()) {
        let fault = (fault.part, fault.kind);
        // What is left of a bag may be on parts that a round has already, so a few come early.
        if seen.contains(&fault) {
            assert!(seen.len() + 12 > all().len(), "{fault:?} comes twice after {}", seen.len());
        }
        seen.push(fault);
    }
}
