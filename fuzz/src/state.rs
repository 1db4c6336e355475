//! Ways in which messages come and are looked at.

use std::time::Duration;

use heartbeat_bridge::heartbeat::Timestamp;
use heartbeat_bridge::state::hearing::Spans;
use heartbeat_bridge::state::{Moment, Policy, Receipt, Record, Snapshot, View};

/// When everything here happens, unless somebody says otherwise.
pub(crate) const NOW_MS: i64 = 1_795_451_100_000;

/// A limit that nothing here reaches.
pub(crate) fn policy() -> Policy {
    Policy { publishers_max: 1000, components_max: 1000, ..Policy::default() }
}

/// A delivery at a time.
pub(crate) fn receipt(ms: i64, live: bool) -> Receipt {
    let at = Timestamp::from_unix_ms(ms);
    Receipt { live, live_since: Timestamp::EPOCH, ..Receipt::at(at) }
}

/// What is shown of a view at a time, by a replica that heard everything since the beginning.
pub(crate) fn snapshot(view: &View, ms: i64, synced: bool) -> Snapshot {
    let now = Timestamp::from_unix_ms(ms);
    let policy = policy();
    let moment = Moment::new(now, Spans::unbroken(Timestamp::EPOCH, now), &policy);
    moment.snapshot(view.records().cloned(), (synced, Duration::from_millis(250)), None)
}

/// Everything that is asked of a view, whatever its records hold.
pub(crate) fn ask_everything(view: &View, ms: i64) {
    let now = Timestamp::from_unix_ms(ms);
    let policy = policy();
    for hearing in [Spans::default(), Spans::unbroken(Timestamp::EPOCH, now)] {
        let moment = Moment::new(now, hearing, &policy);
        for record in view.records() {
            let _ = moment.verdict(std::sync::Arc::clone(record));
            let _ = moment.doubted(record);
            let _ = moment.is_stale(record);
        }
    }
    let _ = view.retired_originals(&policy, now, Timestamp::EPOCH);
    for record in view.records() {
        let _ = view.legacy_id(&record.id);
        let _ = view.has_room(&policy, &record.id, 3);
    }
}

/// A view of one record.
pub(crate) fn view_of(record: Record) -> View {
    let mut view = View::default();
    view.put(record.into());
    view
}
