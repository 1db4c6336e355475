//! Snapshots for the tests of whatever is made of them.

use super::*;
use crate::heartbeat::{ComponentKey, FigureSource, Kind, QueueFigures, Window};
use crate::state::components::ComponentState;
use crate::state::hearing::Spans;
use crate::state::verdict::Ages;

const NOW_MS: i64 = 1_795_451_095_123;

pub(crate) fn at(ms_ago: i64) -> Timestamp {
    Timestamp::from_unix_ms(NOW_MS - ms_ago)
}

/// A component with every figure, last found `told` for `reason`; checked just now, or so long ago that it is in doubt.
pub(crate) fn component(
    key: ComponentKey,
    told: Outcome,
    reason: Option<Reason>,
    checked_now: bool,
) -> ComponentState {
    let is_secure = matches!(key.kind, Kind::Other(_));
    ComponentState {
        component: Component {
            key,
            target: None,
            outcome: told,
            reason: (told != Outcome::Up).then_some(reason.unwrap_or(Reason::Other)),
            checked_at: at(5_000),
            changed_at: Some(at(3_600_000)),
            last_up_at: Some(at(5_000)),
            last_down_at: None,
            last_unknown_at: None,
            duration_seconds: Some(0.0125),
            checks_total: Some(42),
            failures_total: Some(7),
            figures: Some(QueueFigures {
                messages: Some(12),
                consumers: Some(0),
                source: FigureSource::Management,
            }),
            certificate_not_after: is_secure.then(|| at(-20 * 86_400_000)),
        },
        seen: Some(if checked_now { at(0) } else { Timestamp::EPOCH }),
    }
}

/// Each component judged by its own age.
pub(crate) fn each() -> Verdict {
    Verdict::Each(Ages {
        now: at(0),
        grace: Duration::from_secs(180),
        heard: Some(at(0)),
        hearing: Arc::new(Spans::default()),
    })
}

pub(crate) fn publisher(id: &str) -> PublisherView {
    PublisherView {
        id: PublisherId::new(id).unwrap(),
        expected: false,
        up: Some(true),
        first_received: Some(at(86_300_000)),
        last_seen: Some(at(5_000)),
        deadline: Some(at(-175_000)),
        interval: Some(Duration::from_secs(60)),
        clock_offset_ms: Some(-1_250),
        started_at: Some(at(86_400_000)),
        sequence: Some(1440),
        version: Some("0.1.0".into()),
        epoch: Some("00c0ffee00c0ffee".into()),
        conflict: false,
        counts: Some(PublisherCounts {
            heartbeats: 1440,
            lost: 3,
            duplicates: 2,
            superseded: 1,
            restarts: 0,
        }),
        totals: Some(PublisherTotals { publish_failures: 4, reconnects: 1, blocked_seconds: 2.5 }),
        told: Components::default(),
        verdict: each(),
        maintenance: Maintenance::NONE,
        recent: Recent::NOTHING,
    }
}

pub(crate) fn never_seen(id: &str) -> PublisherView {
    PublisherView { verdict: each(), ..PublisherView::never_seen(&PublisherId::new(id).unwrap(), true) }
}

pub(crate) fn told(states: &[ComponentState]) -> Components {
    Components::from(states)
}

/// A publisher of each sort, with names that break careless writers.
pub(crate) fn snapshot() -> Snapshot {
    use Outcome::{Down, Unknown, Up};
    let mut nasty = publisher("a \"b\" \\c {d=\"e\"} # \u{1f600}");
    nasty.conflict = true;
    nasty.told = told(&[
        component(ComponentKey::host("back\\slash"), Up, None, true),
        component(ComponentKey::host("\u{202e}rtl\u{200f}"), Down, Some(Reason::Refused), true),
        component(
            ComponentKey::consumer("}, quoted \"\\", "q\\"),
            Unknown,
            Some(Reason::StatsDisabled),
            true,
        ),
        component(ComponentKey::queue("q\\"), Up, None, true),
    ]);
    let mut stale = publisher("stale");
    stale.up = Some(false);
    stale.told = told(&[
        component(ComponentKey::host("db"), Up, None, true),
        component(ComponentKey::queue("files"), Down, Some(Reason::Refused), true),
        component(ComponentKey::other("tls", "front"), Down, Some(Reason::Expiring), true),
    ]);
    stale.verdict = Verdict::Unknown(Reason::Stale);
    let window = Window::new((at(60_000), at(-600_000)), Some("new disks"), &[]).unwrap();
    stale.maintenance = Maintenance::new(at(0), Some([window].into()));
    let mut original =
        PublisherView { version: Some("original".into()), epoch: None, ..never_seen("original") };
    original.expected = false;
    original.up = None;
    original.last_seen = Some(at(0));
    let unjudged = Component {
        duration_seconds: None,
        checks_total: None,
        failures_total: None,
        figures: None,
        certificate_not_after: None,
        ..component(ComponentKey::queue("inbox"), Up, None, true).component
    };
    original.told = told(&[ComponentState { component: unjudged, seen: None }]);
    original.verdict = Verdict::Withheld;
    Snapshot {
        now: at(0),
        shard: None,
        view_synced: true,
        view_lag: Duration::from_millis(250),
        publishers: vec![nasty, never_seen("expected"), original, stale],
    }
}
