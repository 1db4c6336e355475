//! The freshness stories, each with a publisher that is known to be dead or alive.

mod guarded;

use std::time::Duration;

use super::elsewhere::Elsewhere;
use super::hearing::Spans;
use super::record::Detail;
use super::*;
use crate::heartbeat::*;

const INTERVAL_MS: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + ms)
}

/// A publisher with a clock of its own, some milliseconds off the store's.
struct Publisher {
    epoch: Epoch,
    began: i64,
    clock_ms: i64,
    sequence: u64,
}

impl Publisher {
    fn start(began: i64, clock_ms: i64) -> Self {
        Self { epoch: Epoch::random(), began, clock_ms, sequence: 0 }
    }

    fn beat(&mut self, now: i64) -> Message {
        self.sequence += 1;
        let wall = at(now + self.clock_ms);
        Message::V2(Box::new(Heartbeat {
            publisher: PublisherId::new("p").unwrap(),
            epoch: self.epoch.clone(),
            started_at: at(self.began + self.clock_ms),
            uptime: Duration::from_millis((now - self.began).try_into().unwrap()),
            sequence: self.sequence,
            sent_at: wall,
            interval: Duration::from_millis(INTERVAL_MS.try_into().unwrap()),
            version: "1".into(),
            totals: PublisherTotals::default(),
            components: vec![Component::checked("db", Outcome::Up, wall)],
            maintenance: Vec::new(),
            trace: None,
        }))
    }
}

fn original(life: &str, entries: &[(&str, bool, Timestamp)]) -> Message {
    let components = entries
        .iter()
        .map(|(name, ok, at)| LegacyComponent {
            key: ComponentKey::host(name),
            ok_at: ok.then_some(*at),
            not_ok_at: (!ok).then_some(*at),
        })
        .collect();
    Message::V1(LegacyHeartbeat {
        service: PublisherId::new("publisher").unwrap(),
        life: life.into(),
        components,
    })
}

fn live(ms: i64) -> Receipt {
    Receipt {
        at: at(ms),
        live: true,
        live_since: at(i64::MIN / 4),
        broker_at: None,
        elsewhere: Elsewhere::Nobody,
        guarded: false,
        trace: None,
    }
}

fn backlog(ms: i64) -> Receipt {
    Receipt { live: false, ..live(ms) }
}

#[derive(Default)]
struct Bench {
    record: Option<Record>,
}

impl Bench {
    fn take(&mut self, message: &Message, receipt: Receipt) -> Effect {
        let before = self.record.clone();
        let (record, effect) = apply(before.as_ref(), message, &receipt);
        if let Some(before) = before {
            assert!(record.last_seen >= before.last_seen, "last seen went back");
        }
        self.record = Some(record);
        effect
    }

    fn up(&self, now: i64) -> Option<bool> {
        self.shown(now).up
    }

    fn shown(&self, now: i64) -> snapshot::PublisherView {
        self.shown_by(&Spans::unbroken(at(-HOUR_MS * 24), at(now)), now)
    }

    fn shown_by(&self, hearing: &Spans, now: i64) -> snapshot::PublisherView {
        let policy = Policy::default();
        let moment = Moment::new(at(now), hearing.clone(), &policy);
        moment.snapshot(self.view().records().cloned(), (true, Duration::ZERO), None).publishers.remove(0)
    }

    fn view(&self) -> View {
        let mut view = View::default();
        view.put(std::sync::Arc::new(self.record.clone().unwrap()));
        view
    }

    fn counts(&self) -> snapshot::PublisherCounts {
        self.record.as_ref().unwrap().counts
    }
}

/// Until the broker has answered for its deadline, the last verdict stands: on its components, too.
#[test]
fn in_the_second_before_the_answer_no_component_is_in_doubt() {
    let mut bench = Bench::default();
    bench.take(&Publisher::start(0, 0).beat(10_000), live(10_000));
    let grace = 30_000;
    let mut hearing = Spans::unbroken(at(0), at(39_900));
    hearing.go_on(hearing.iter().last().unwrap());
    for (now, up, known) in [(10_000 + grace + 500, Some(true), true), (10_000 + grace + 1_000, None, false)]
    {
        let shown = bench.shown_by(&hearing, now);
        assert_eq!(shown.up, up, "{now}");
        assert!(shown.components().len() > 0);
        for component in shown.components() {
            assert_eq!(component.outcome != Some(Outcome::Unknown), known, "{now}: {component:?}");
        }
        let policy = Policy::default();
        let moment = Moment::new(at(now), hearing.clone(), &policy);
        assert!(moment.doubted(bench.record.as_ref().unwrap()).is_empty(), "{now}");
    }
}

#[test]
fn an_hour_of_backlog_does_not_raise_the_dead() {
    for clock_ms in [0, HOUR_MS, -HOUR_MS, 7_300] {
        let mut bench = Bench::default();
        let mut publisher = Publisher::start(0, clock_ms);
        assert_eq!(bench.take(&publisher.beat(10_000), live(10_005)), Effect::Stored);
        // It beats for half an hour into the queue, then dies; it is drained after an hour.
        let beats: Vec<_> = (2..180).map(|n| publisher.beat(n * INTERVAL_MS)).collect();
        for (n, beat) in beats.iter().enumerate() {
            assert_eq!(bench.take(beat, backlog(HOUR_MS + n as i64)), Effect::Stored);
        }
        let last_seen = bench.record.as_ref().unwrap().last_seen.unwrap();
        assert!((last_seen.ms_since(at(179 * INTERVAL_MS))).abs() <= 10, "clock {clock_ms}");
        assert_eq!(bench.up(HOUR_MS + 1000), Some(false), "clock {clock_ms}");
        assert_eq!(bench.counts().lost, 0);
    }
}

#[test]
fn an_hour_of_backlog_does_not_bury_the_living() {
    for clock_ms in [0, HOUR_MS, -HOUR_MS] {
        let mut bench = Bench::default();
        let mut publisher = Publisher::start(0, clock_ms);
        bench.take(&publisher.beat(10_000), live(10_005));
        for n in 2..=360 {
            bench.take(&publisher.beat(n * INTERVAL_MS), backlog(HOUR_MS + n));
        }
        assert_eq!(bench.up(HOUR_MS + 1000), Some(true), "clock {clock_ms}");
        assert_eq!(bench.shown(HOUR_MS + 1000).components().next().unwrap().outcome, Some(Outcome::Up));
    }
}

#[test]
fn a_clock_stepped_in_between_changes_nothing() {
    for step in [HOUR_MS, -HOUR_MS] {
        let mut bench = Bench::default();
        let mut publisher = Publisher::start(0, 0);
        bench.take(&publisher.beat(10_000), live(10_005));
        publisher.clock_ms += step;
        bench.take(&publisher.beat(20_000), backlog(HOUR_MS));
        assert_eq!(bench.up(HOUR_MS), Some(false), "dead since 20 s, step {step}");
        bench.take(&publisher.beat(HOUR_MS + 5_000), live(HOUR_MS + 5_000));
        assert_eq!(bench.up(HOUR_MS + 6_000), Some(true), "alive, step {step}");
        assert_eq!(bench.shown(HOUR_MS + 6_000).components().next().unwrap().outcome, Some(Outcome::Up));
    }
}

#[test]
fn a_first_message_from_a_backlog_proves_nothing() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, HOUR_MS);
    assert_eq!(bench.take(&publisher.beat(10_000), backlog(20_000)), Effect::Stored);
    let shown = bench.shown(21_000);
    assert_eq!(shown.up, None);
    assert_eq!(shown.components().next().unwrap().outcome, Some(Outcome::Unknown));
    assert_eq!(shown.components().next().unwrap().reason, Some(Reason::Unconfirmed));
    assert_eq!(bench.up(20_000 + 30_000), Some(false));
    bench.take(&publisher.beat(60_000), live(60_001));
    assert_eq!(bench.up(61_000), Some(true));
}

#[test]
fn a_restart_in_the_backlog_is_taken_by_the_clock_of_the_epoch_before() {
    let mut bench = Bench::default();
    let mut first = Publisher::start(0, -HOUR_MS);
    bench.take(&first.beat(10_000), live(10_000));
    let mut second = Publisher::start(50_000, -HOUR_MS);
    assert_eq!(bench.take(&second.beat(60_000), backlog(100_000)), Effect::Stored);
    assert_eq!(bench.record.as_ref().unwrap().last_seen, Some(at(60_000)));
    assert_eq!(bench.counts().restarts, 1);
    // Nothing of the first comes back, whenever it comes.
    assert_eq!(bench.take(&first.beat(20_000), backlog(100_001)), Effect::Superseded);
    assert_eq!(bench.shown(100_002).epoch, Some(second.epoch.as_str().into()));
    assert!(!bench.shown(100_002).conflict);
}

#[test]
fn a_restart_with_the_clock_in_the_past_recovers() {
    let mut bench = Bench::default();
    let mut first = Publisher::start(0, 0);
    bench.take(&first.beat(10_000), live(10_000));
    let mut second = Publisher::start(15_000, -365 * 24 * HOUR_MS);
    assert_eq!(bench.take(&second.beat(16_000), backlog(20_000)), Effect::Superseded);
    assert_eq!(bench.take(&second.beat(26_000), live(26_000)), Effect::Stored);
    let shown = bench.shown(26_500);
    assert_eq!(
        (shown.up, shown.epoch, shown.conflict),
        (Some(true), Some(second.epoch.as_str().into()), false)
    );
}

#[test]
fn a_redelivery_counts_once_and_moves_nothing() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, 0);
    let first = publisher.beat(10_000);
    bench.take(&first, live(10_000));
    assert_eq!(bench.take(&first, backlog(500_000)), Effect::Duplicate);
    assert_eq!(bench.up(500_001), Some(false));
    assert_eq!((bench.counts().heartbeats, bench.counts().duplicates), (1, 1));
}

#[test]
fn two_processes_with_one_id_are_a_conflict_and_the_later_is_shown() {
    let mut bench = Bench::default();
    let mut old = Publisher::start(0, 0);
    bench.take(&old.beat(10_000), live(10_000));
    let mut new = Publisher::start(12_000, 0);
    bench.take(&new.beat(15_000), live(15_000));
    assert!(!bench.shown(15_000).conflict);
    for n in 2..5 {
        assert_eq!(bench.take(&old.beat(n * 10_000), live(n * 10_000)), Effect::Superseded);
        assert_eq!(bench.take(&new.beat(n * 10_000 + 5_000), live(n * 10_000 + 5_000)), Effect::Stored);
        let shown = bench.shown(n * 10_000 + 5_001);
        assert!(shown.conflict);
        assert_eq!(shown.epoch, Some(new.epoch.as_str().into()));
        assert_eq!(bench.counts().restarts, 1);
    }
    // The later one dies: the other, which goes on, is shown again, and the conflict ends.
    for n in 5..12 {
        bench.take(&old.beat(n * 10_000), live(n * 10_000));
    }
    let shown = bench.shown(115_000);
    assert_eq!(shown.epoch, Some(old.epoch.as_str().into()));
    assert_eq!(shown.up, Some(true));
    assert!(!bench.shown(150_000).conflict);
}

#[test]
fn losses_are_counted_unless_a_stranger_shares_the_queue() {
    for elsewhere in [Elsewhere::Nobody, Elsewhere::Stranger] {
        let mut bench = Bench::default();
        let mut publisher = Publisher::start(0, 0);
        for n in 1..=200 {
            let beat = publisher.beat(n * INTERVAL_MS);
            if n == 1 || n % 2 == 0 {
                bench.take(&beat, Receipt { elsewhere, ..live(n * INTERVAL_MS) });
            }
        }
        assert_eq!(bench.counts().lost > 0, elsewhere == Elsewhere::Nobody);
    }
}

#[test]
fn a_hung_prober_behind_a_beating_publisher_is_seen() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, HOUR_MS);
    for n in 1..=10 {
        let Message::V2(mut beat) = publisher.beat(n * INTERVAL_MS) else { unreachable!() };
        beat.components[0].checked_at = at(INTERVAL_MS + HOUR_MS);
        bench.take(&Message::V2(beat), live(n * INTERVAL_MS));
    }
    let shown = bench.shown(100_001);
    assert_eq!(shown.up, Some(true));
    assert_eq!(shown.components().next().unwrap().reason, Some(Reason::Stale));
}

#[test]
fn a_forgotten_publisher_comes_back_only_alive() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, 0);
    bench.take(&publisher.beat(10_000), live(10_000));
    let late = publisher.beat(20_000);
    bench.record = bench.record.take().map(|record| record.forget(at(30_000)));
    assert_eq!(bench.take(&late, backlog(40_000)), Effect::Superseded);
    assert!(bench.record.as_ref().unwrap().is_forgotten());
    assert_eq!(bench.take(&publisher.beat(50_000), live(50_000)), Effect::Stored);
    assert!(!bench.record.as_ref().unwrap().is_forgotten());
    assert_eq!(bench.take(&late, backlog(51_000)), Effect::Superseded);
}

#[test]
fn originals_merge_each_component_by_its_own_age() {
    let mut bench = Bench::default();
    // Two originals under one id, one with its clock an hour ahead; it dies at 100 s.
    for n in 1..=20 {
        let now = n * 60_000;
        if now <= 120_000 {
            bench.take(
                &original("ahead", &[("a", true, at(now + HOUR_MS)), ("both", true, at(now + HOUR_MS))]),
                live(now),
            );
        }
        bench.take(&original("right", &[("b", true, at(now)), ("both", false, at(now))]), live(now + 1_000));
    }
    let shown = bench.shown(1_210_000);
    assert_eq!(shown.up, Some(true));
    let outcome = |name: &str| {
        let found = shown.components().find(|c| c.component.key.name == name).unwrap();
        (found.outcome.unwrap(), found.reason)
    };
    assert_eq!(outcome("a"), (Outcome::Unknown, Some(Reason::Stale)));
    assert_eq!(outcome("b"), (Outcome::Up, None));
    assert_eq!(outcome("both"), (Outcome::Down, Some(Reason::Reported)));
    assert_eq!(shown.version.as_deref(), Some("original"));
    assert_eq!(shown.interval, Some(Duration::from_secs(60)));
}

#[test]
fn a_dead_original_is_not_raised_by_its_backlog() {
    for clock in [HOUR_MS, -HOUR_MS, 0] {
        let mut bench = Bench::default();
        bench.take(&original("x", &[("a", true, at(clock + 60_000))]), live(60_000));
        for n in 2..10 {
            bench.take(&original("x", &[("a", true, at(clock + n * 60_000))]), backlog(HOUR_MS));
        }
        assert_eq!(bench.up(HOUR_MS), Some(false));
        let last_seen = bench.record.as_ref().unwrap().last_seen;
        assert_eq!(last_seen, Some(at(540_000)));
    }
}

#[test]
fn an_original_without_components_lives_by_its_deliveries() {
    let mut bench = Bench::default();
    assert_eq!(bench.take(&original("x", &[]), live(60_000)), Effect::Stored);
    assert_eq!(bench.up(61_000), Some(true));
    bench.take(&original("x", &[]), backlog(300_000));
    assert_eq!(bench.up(300_000), Some(false));
}

#[test]
fn an_original_does_not_speak_in_the_name_of_a_version_2_publisher() {
    let mut bench = Bench::default();
    let mut publisher = Publisher::start(0, 0);
    bench.take(&publisher.beat(10_000), live(10_000));
    assert_eq!(bench.take(&original("x", &[("db", false, at(11_000))]), live(11_000)), Effect::Superseded);
    assert_eq!(bench.shown(12_000).components().next().unwrap().outcome, Some(Outcome::Up));
    let mut view = View::default();
    view.put(std::sync::Arc::new(bench.record.unwrap()));
    assert_eq!(view.legacy_id(&PublisherId::new("p").unwrap()).as_str(), "p-original");
    assert_eq!(view.legacy_id(&PublisherId::new("q").unwrap()).as_str(), "q");
}

#[test]
fn an_original_retires_when_a_version_2_publisher_names_all_it_named() {
    let policy = Policy::default();
    let mut view = View::default();
    let (record, _) = apply(None, &original("x", &[("db", true, at(0))]), &live(0));
    view.put(std::sync::Arc::new(record));
    let mut publisher = Publisher::start(0, 0);
    let (record, _) = apply(None, &publisher.beat(10_000), &live(10_000));
    assert!(matches!(record.detail, Detail::V2 { .. }));
    view.put(std::sync::Arc::new(record));
    assert!(view.retired_originals(&policy, at(80_000), at(0)).is_empty());
    assert_eq!(view.retired_originals(&policy, at(90_000), at(0)).len(), 1);
    // Only heard of lately, its silence before proves nothing.
    assert!(view.retired_originals(&policy, at(90_000), at(80_000)).is_empty());
}

#[test]
fn no_sequence_overflows_what_is_counted() {
    let mut bench = Bench::default();
    for began in [0, 100_000] {
        let mut publisher = Publisher::start(began, 0);
        bench.take(&publisher.beat(began + 10_000), live(began + 10_000));
        publisher.sequence = u64::MAX - 1;
        bench.take(&publisher.beat(began + 20_000), live(began + 20_000));
    }
    assert_eq!(bench.counts().lost, u64::MAX);
}

/// The same heartbeat, with a component that was found so, and windows by its own clock.
fn with(message: Message, outcome: Outcome, windows: &[(i64, i64)]) -> Message {
    let Message::V2(mut heartbeat) = message else { return message };
    let found = heartbeat.sent_at;
    heartbeat.components = vec![Component::checked("db", outcome, found)];
    let ahead = |ms: i64| found.plus_ms(ms);
    let window =
        |(begins, ends): &(i64, i64)| Window::new((ahead(*begins), ahead(*ends)), None, &[]).unwrap();
    heartbeat.maintenance = windows.iter().map(window).collect();
    Message::V2(heartbeat)
}

/// Whatever its clock says, and though it falls silent in its window.
#[test]
fn a_window_of_maintenance_ends_by_the_stores_clock() {
    for clock in [0, -3_600_000, 86_400_000] {
        let mut bench = Bench::default();
        let mut publisher = Publisher::start(0, clock);
        let beat = with(publisher.beat(10_000), Outcome::Up, &[(0, 60_000)]);
        bench.take(&beat, live(10_000));
        let until = |now: i64| bench.shown(now).maintenance.of_publisher();
        assert_eq!([until(10_000), until(69_999), until(70_000)], [Some(at(70_000)), Some(at(70_000)), None]);
        let shown = bench.shown(65_000);
        assert_eq!(shown.up, Some(false), "what is silent is shown as silent");
        assert!(shown.components().all(|component| component.maintenance == Some(at(70_000))));
        // It says so no more: the next heartbeat has taken the window back.
        bench.take(&publisher.beat(66_000), live(66_000));
        assert_eq!(bench.shown(67_000).maintenance.of_publisher(), None);
    }
}

#[test]
fn what_happened_of_late_is_remembered_by_the_stores_clock() {
    use super::change::Changes;
    use super::recent::{What, remember};
    let mut record: Option<Record> = None;
    let mut take = |message: &Message, now: i64| {
        let (mut next, _) = apply(record.as_ref(), message, &live(now));
        let changes = Changes::between(record.as_ref(), &next);
        remember(&mut next, record.as_ref(), &changes);
        record = Some(next);
    };
    let mut publisher = Publisher::start(0, 5_000);
    take(&with(publisher.beat(10_000), Outcome::Up, &[]), 10_000);
    take(&with(publisher.beat(20_000), Outcome::Down, &[]), 20_000);
    take(&with(publisher.beat(30_000), Outcome::Down, &[]), 30_000);
    let mut next = Publisher::start(100_000, 5_000);
    take(&with(next.beat(110_000), Outcome::Up, &[]), 110_000);
    let record = record.unwrap();
    let events = record.rare.recent.events();
    let told: Vec<(Timestamp, &What<'_>)> = events.iter().map(|event| (event.at, &event.what)).collect();
    let turned = |outcome, reason| What::Turned {
        kind: "host".into(),
        name: "db".into(),
        queue: "".into(),
        outcome,
        reason,
    };
    let expected = [
        (at(20_000), &turned(Outcome::Down, Some(Reason::Refused))),
        (at(110_000), &What::Heard { silent_since: at(30_000) }),
        (at(110_000), &What::Restarted),
        (at(110_000), &turned(Outcome::Up, None)),
    ];
    assert_eq!(told, expected);
    assert_eq!(record.forget(at(120_000)).rare.recent.events(), [], "with the publisher it is forgotten");
}

/// Alone, a publisher is shown as it is among all; one that is expected and was never seen, too.
#[test]
fn one_alone_is_shown_as_among_all() {
    let mut bench = Bench::default();
    bench.take(&Publisher::start(0, 0).beat(10_000), live(10_000));
    let id = |id: &str| PublisherId::new(id).unwrap();
    let policy = Policy { expected: [id("q")].into(), ..Policy::default() };
    let moment = Moment::new(at(15_000), Spans::unbroken(at(-HOUR_MS), at(15_000)), &policy);
    let record = bench.record.clone().unwrap();
    let records = || bench.view().records().cloned().collect::<Vec<_>>();
    let all = moment.snapshot(records(), (true, Duration::ZERO), None);
    let p = moment.one(&id("p"), Some(&record), (true, Duration::ZERO));
    let q = moment.one(&id("q"), None, (true, Duration::ZERO));
    let shown = |snapshot: &Snapshot| format!("{:?}", snapshot.publishers);
    assert_eq!(format!("[{:?}, {:?}]", p.publishers[0], q.publishers[0]), shown(&all));
    assert_eq!(shown(&moment.one(&id("r"), None, (true, Duration::ZERO))), "[]");
    let forgotten = record.forget(at(14_000));
    assert_eq!(shown(&moment.one(&id("p"), Some(&forgotten), (true, Duration::ZERO))), "[]");
}
