//! Records as text: JSON, so that an operator can read one, and so that a later version can add to
//! it. Unknown keys are ignored.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::heartbeat::maintenance::WINDOWS_MAX;
use crate::heartbeat::wire::v2::{INTERVAL_MAX, SEQUENCE_MAX, WireComponent};
use crate::heartbeat::{PublisherId, PublisherTotals, Timestamp, Window, check_name};
use crate::state::components::{ComponentState, Components};
use crate::state::elsewhere::Missing;
use crate::state::recent::Recent;
use crate::state::record::{Detail, GAPS_MAX, LIVES_MAX, Life, Record};
use crate::state::seldom::Rare;
use crate::state::sequence::SequenceWindow;
use crate::state::snapshot::PublisherCounts;
use crate::trace::TraceContext;

/// Highest revision that is taken, and next to which there is room for as many again.
const REVISION_MAX: u64 = SEQUENCE_MAX;

/// A counter that has come so far in a record stays there: none gets here by counting.
const COUNT_MAX: u64 = 1 << 63;

/// Largest difference between two clocks, in milliseconds: no two times are further apart.
const OFFSET_MAX_MS: u64 = 1 << 50;

/// Longest name of an epoch, in bytes: that of an original is made of 32 characters and a hash.
const EPOCH_BYTES_MAX: usize = 256;

/// What a record takes as text, about, and what each component adds beside its names: so much room is made at once.
const RECORD_BYTES: usize = 768;
const COMPONENT_BYTES: usize = 256;

/// A record as text; `C`: its components, as they are written or as they are read.
#[derive(Deserialize, Serialize)]
#[serde(bound(deserialize = "C: Deserialize<'de>"))]
struct Stored<'a, C> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten_at: Option<i64>,
    first_received: i64,
    #[serde(default)]
    last_seen: Option<i64>,
    #[serde(default)]
    clock_offset_ms: Option<i64>,
    #[serde(borrow)]
    lives: Vec<StoredLife<'a>>,
    #[serde(borrow)]
    shown: Cow<'a, str>,
    #[serde(default)]
    conflict_at: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    trace: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    maintenance: Vec<StoredWindow<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    recent: Option<&'a RawValue>,
    heartbeats: u64,
    lost: u64,
    duplicates: u64,
    superseded: u64,
    restarts: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    v2: Option<StoredV2<'a>>,
    components: C,
}

/// A component with when it was checked, in the store's clock.
type StoredComponent<'a> = (WireComponent<'a, i64>, Option<i64>);

/// Components as they are written, one by one.
struct Told<'a>(&'a Components);

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|state| -> StoredComponent<'_> {
            (WireComponent::from(state.component), state.seen.map(Timestamp::unix_ms))
        }))
    }
}

#[derive(Deserialize, Serialize)]
struct StoredLife<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    first: u64,
    highest: u64,
    seen: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<StoredMissing>,
    offset_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<i64>,
    began: Option<i64>,
    last_seen: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps_ms: Vec<u64>,
}

#[derive(Deserialize, Serialize)]
struct StoredMissing {
    doubted_to: u64,
    stranger_to: u64,
    waited_to: u64,
    since: i64,
    from: u64,
    words: Vec<u64>,
}

#[derive(Deserialize, Serialize)]
struct StoredWindow<'a> {
    begins_at: i64,
    ends_at: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    comment: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    components: Vec<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
struct StoredV2<'a> {
    started_at: i64,
    sent_at: i64,
    sequence: u64,
    interval_ms: u64,
    #[serde(borrow)]
    version: Cow<'a, str>,
    publish_failures: u64,
    reconnects: u64,
    blocked_seconds: f64,
}

/// Writes a record.
pub fn encode(record: &Record) -> String {
    let counts = record.counts;
    let stored = Stored {
        id: record.id.as_str().into(),
        revision: record.revision,
        forgotten_at: record.rare.forgotten_at.map(Timestamp::unix_ms),
        first_received: record.first_received.unix_ms(),
        last_seen: record.last_seen.map(Timestamp::unix_ms),
        clock_offset_ms: record.clock_offset_ms,
        lives: record.lives.iter().map(StoredLife::from).collect(),
        shown: (&*record.shown).into(),
        conflict_at: record.rare.conflict_at.map(Timestamp::unix_ms),
        trace: record.rare.trace.map(|trace| trace.to_string().into()),
        maintenance: record
            .rare
            .maintenance
            .iter()
            .flat_map(|all| all.iter())
            .map(StoredWindow::from)
            .collect(),
        recent: record.rare.recent.stored(),
        heartbeats: counts.heartbeats,
        lost: counts.lost,
        duplicates: counts.duplicates,
        superseded: counts.superseded,
        restarts: counts.restarts,
        v2: match &record.detail {
            Detail::Legacy => None,
            Detail::V2 { started_at, sent_at, sequence, interval_ms, version, totals } => Some(StoredV2 {
                started_at: started_at.unix_ms(),
                sent_at: sent_at.unix_ms(),
                sequence: *sequence,
                interval_ms: *interval_ms,
                version: (&**version).into(),
                publish_failures: totals.publish_failures,
                reconnects: totals.reconnects,
                blocked_seconds: totals.blocked_seconds,
            }),
        },
        components: Told(&record.components),
    };
    let room = RECORD_BYTES + COMPONENT_BYTES * record.components.len() + record.components.names_len();
    let mut text = Vec::with_capacity(room);
    // Writing to memory cannot fail, and the map keys are all strings.
    let _ = serde_json::to_writer(&mut text, &stored);
    String::from_utf8(text).unwrap_or_default()
}

/// Reads a record; `None` for what is none. Whoever can write to the store can write anything, so that only
/// what this program could have written counts: the rest is replaced by the publisher's next heartbeat.
pub fn decode(text: &str) -> Option<Record> {
    let stored: Stored<'_, Vec<StoredComponent<'_>>> =
        serde_json::from_str(text).ok().filter(Stored::is_possible)?;
    let time = |ms: Option<i64>| ms.map(Timestamp::from_unix_ms);
    let mut components = Vec::with_capacity(stored.components.len());
    for (component, seen) in stored.components {
        components.push(ComponentState { component: component.into_component().ok()?, seen: time(seen) });
    }
    components.sort_by(|a, b| a.component.key.cmp(&b.component.key));
    if components.windows(2).any(|pair| pair[0].component.key == pair[1].component.key) {
        return None;
    }
    let lives: Vec<Life> = stored.lives.iter().map(Life::from).collect();
    let shown = lives.iter().find(|life| *life.epoch == *stored.shown).map(|life| Arc::clone(&life.epoch));
    Some(Record {
        id: PublisherId::new(&stored.id).ok()?,
        revision: stored.revision,
        first_received: Timestamp::from_unix_ms(stored.first_received),
        last_seen: time(stored.last_seen),
        clock_offset_ms: stored.clock_offset_ms,
        lives,
        shown: shown.unwrap_or_else(|| stored.shown.into()),
        counts: PublisherCounts {
            heartbeats: stored.heartbeats.min(COUNT_MAX),
            lost: stored.lost.min(COUNT_MAX),
            duplicates: stored.duplicates.min(COUNT_MAX),
            superseded: stored.superseded.min(COUNT_MAX),
            restarts: stored.restarts.min(COUNT_MAX),
        },
        rare: Rare {
            forgotten_at: time(stored.forgotten_at),
            conflict_at: time(stored.conflict_at),
            trace: stored.trace.as_deref().and_then(TraceContext::parse),
            maintenance: windows(&stored.maintenance),
            recent: stored.recent.map_or(Recent::NOTHING, Recent::from_stored),
        }
        .into(),
        detail: stored.v2.as_ref().map_or(Detail::Legacy, Detail::from),
        components: Components::from(&components[..]),
    })
}

impl<C> Stored<'_, C> {
    fn is_possible(&self) -> bool {
        self.revision <= REVISION_MAX
            && self.clock_offset_ms.is_none_or(is_offset)
            && self.shown.len() <= EPOCH_BYTES_MAX
            && self.lives.len() <= LIVES_MAX
            && self.lives.iter().all(StoredLife::is_possible)
            && self.v2.as_ref().is_none_or(StoredV2::is_possible)
    }
}

impl StoredLife<'_> {
    fn is_possible(&self) -> bool {
        self.epoch.len() <= EPOCH_BYTES_MAX
            && self.first.max(self.highest) <= SEQUENCE_MAX
            && self.offset_ms.is_none_or(is_offset)
            && self.gaps_ms.len() <= GAPS_MAX
    }
}

impl StoredV2<'_> {
    fn is_possible(&self) -> bool {
        self.sequence <= SEQUENCE_MAX
            && u128::from(self.interval_ms) <= INTERVAL_MAX.as_millis()
            && check_name(&self.version).is_ok()
            && self.blocked_seconds.is_finite()
            && self.blocked_seconds >= 0.0
    }
}

impl<'a> From<&'a Window> for StoredWindow<'a> {
    fn from(window: &'a Window) -> Self {
        Self {
            begins_at: window.begins_at().unix_ms(),
            ends_at: window.ends_at().unix_ms(),
            comment: window.comment().map(Cow::from),
            components: window.components().iter().map(|name| Cow::from(&**name)).collect(),
        }
    }
}

/// Those of the windows that are some; a record is worth more than a window that was spoilt.
fn windows(stored: &[StoredWindow<'_>]) -> Option<Arc<[Window]>> {
    let windows: Arc<[Window]> = stored.iter().filter_map(StoredWindow::read).take(WINDOWS_MAX).collect();
    (!windows.is_empty()).then_some(windows)
}

impl StoredWindow<'_> {
    fn read(&self) -> Option<Window> {
        let names: Vec<&str> = self.components.iter().map(|name| &**name).collect();
        let from_to = (Timestamp::from_unix_ms(self.begins_at), Timestamp::from_unix_ms(self.ends_at));
        Window::new(from_to, self.comment.as_deref(), &names).ok()
    }
}

fn is_offset(ms: i64) -> bool {
    ms.unsigned_abs() <= OFFSET_MAX_MS
}

impl<'a> From<&'a Life> for StoredLife<'a> {
    fn from(life: &'a Life) -> Self {
        Self {
            epoch: (&*life.epoch).into(),
            first: life.sequence.first,
            highest: life.sequence.highest,
            seen: life.sequence.seen,
            missing: life.sequence.missing.as_deref().map(StoredMissing::from),
            offset_ms: life.offset_ms,
            started_at: life.started_at.map(Timestamp::unix_ms),
            began: life.began.map(Timestamp::unix_ms),
            last_seen: life.last_seen.map(Timestamp::unix_ms),
            gaps_ms: life.gaps.iter().copied().map(millis).collect(),
        }
    }
}

impl From<&StoredLife<'_>> for Life {
    fn from(stored: &StoredLife<'_>) -> Self {
        Self {
            epoch: (&*stored.epoch).into(),
            sequence: SequenceWindow {
                first: stored.first,
                highest: stored.highest,
                seen: stored.seen,
                missing: stored.missing.as_ref().map(|missing| Box::new(Missing::from(missing))),
            },
            offset_ms: stored.offset_ms,
            started_at: stored.started_at.map(Timestamp::from_unix_ms),
            began: stored.began.map(Timestamp::from_unix_ms),
            last_seen: stored.last_seen.map(Timestamp::from_unix_ms),
            gaps: stored.gaps_ms.iter().copied().map(Duration::from_millis).collect(),
        }
    }
}

impl From<&Missing> for StoredMissing {
    fn from(missing: &Missing) -> Self {
        Self {
            doubted_to: missing.doubted_to,
            stranger_to: missing.stranger_to,
            waited_to: missing.waited_to,
            since: missing.since.unix_ms(),
            from: missing.from,
            words: missing.words.clone(),
        }
    }
}

impl From<&StoredMissing> for Missing {
    fn from(stored: &StoredMissing) -> Self {
        let missing = Self {
            doubted_to: stored.doubted_to,
            stranger_to: stored.stranger_to,
            waited_to: stored.waited_to,
            since: Timestamp::from_unix_ms(stored.since),
            from: stored.from,
            words: stored.words.clone(),
        };
        missing.bounded()
    }
}

impl From<&StoredV2<'_>> for Detail {
    fn from(stored: &StoredV2<'_>) -> Self {
        Self::V2 {
            started_at: Timestamp::from_unix_ms(stored.started_at),
            sent_at: Timestamp::from_unix_ms(stored.sent_at),
            sequence: stored.sequence,
            interval_ms: stored.interval_ms,
            version: Arc::from(&*stored.version),
            totals: PublisherTotals {
                publish_failures: stored.publish_failures,
                reconnects: stored.reconnects,
                blocked_seconds: stored.blocked_seconds,
            },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::wire::{Limits, decode as decode_message};
    use crate::state::elsewhere::Elsewhere;
    use crate::state::recent::{Event, What};
    use crate::state::{Receipt, apply};

    fn receipt(ms: i64) -> Receipt {
        let at = Timestamp::from_unix_ms(ms);
        Receipt {
            at,
            live: true,
            live_since: Timestamp::EPOCH,
            broker_at: None,
            elsewhere: Elsewhere::Nobody,
            guarded: false,
            trace: None,
        }
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let mixed = include_bytes!("../../tests/fixtures/v1-mixed.json");
        let message = decode_message(mixed, &Limits::default()).unwrap();
        let (record, _) = apply(None, &message, &receipt(1_795_451_100_000));
        let (record, _) = apply(Some(&record), &message, &receipt(1_795_451_160_000));
        assert!(!record.lives[0].gaps.is_empty());
        assert_eq!(decode(&encode(&record)).as_ref(), Some(&record));
        let tombstone = record.forget(Timestamp::from_unix_ms(1_795_451_200_000));
        assert_eq!(decode(&encode(&tombstone)), Some(tombstone));
    }

    #[test]
    fn what_few_records_have_is_read_back() {
        let message =
            decode_message(include_bytes!("../../tests/fixtures/v1-mixed.json"), &Limits::default()).unwrap();
        let (mut record, _) = apply(None, &message, &receipt(1_795_451_100_000));
        let at = Timestamp::from_unix_ms;
        let window = Window::new((at(1), at(2)), Some("new disks"), &["db", "a \"b\""]).unwrap();
        let event = Event { at: at(3), what: What::Heard { silent_since: at(2) } };
        record.rare.set(|rare| {
            rare.maintenance = Some([window].into());
            rare.recent = rare.recent.with(&[event]);
        });
        assert_eq!(decode(&encode(&record)), Some(record));
    }

    /// What of a value is not in another, by its path; numbers of equal value are the same.
    fn missing_in(value: &serde_json::Value, other: Option<&serde_json::Value>, path: &str) -> Vec<String> {
        use serde_json::Value;
        let each = |key: String, value: &Value, other: Option<&Value>| missing_in(value, other, &key);
        match (value, other) {
            (Value::Object(fields), Some(Value::Object(others))) => {
                let fields = fields.iter().filter(|(_, value)| !value.is_null());
                fields
                    .flat_map(|(key, value)| each(format!("{path}/{key}"), value, others.get(key)))
                    .collect()
            }
            (Value::Array(items), Some(Value::Array(others))) if items.len() == others.len() => {
                let items = items.iter().zip(others).enumerate();
                items.flat_map(|(i, (item, other))| each(format!("{path}/{i}"), item, Some(other))).collect()
            }
            (value, Some(other)) if value == other => Vec::new(),
            (value, other) => vec![format!("{path}: {value} is {other:?}")],
        }
    }

    /// In a rolling upgrade this version goes on with what the one before it stored.
    #[test]
    fn what_an_earlier_version_stored_is_kept_to_the_last_field() {
        for text in [
            include_str!("../../tests/fixtures/0.1.0/record.json"),
            include_str!("../../tests/fixtures/0.1.0/record-original.json"),
            include_str!("../../tests/fixtures/0.1.0/record-forgotten.json"),
        ] {
            let read = decode(text).unwrap_or_else(|| panic!("cannot be read: {text}"));
            let written: serde_json::Value = serde_json::from_str(&encode(&read)).unwrap();
            let stored: serde_json::Value = serde_json::from_str(text).unwrap();
            // Components are kept in an order of their own.
            let sorted = |mut record: serde_json::Value| {
                let components = record["components"].as_array_mut().unwrap();
                components.sort_by_key(|component| component[0]["name"].to_string());
                record
            };
            assert_eq!(missing_in(&sorted(stored), Some(&sorted(written)), ""), [""; 0]);
        }
    }

    /// While it goes on, the version before this one reads what this one stores: what it does not know it leaves out.
    #[test]
    fn what_a_later_version_stored_is_read_as_far_as_it_is_known() {
        let later = decode(include_str!("../../tests/fixtures/later/record.json")).expect("it can be read");
        let now = decode(include_str!("../../tests/fixtures/0.1.0/record.json")).unwrap();
        assert_eq!((&later.lives, later.counts, later.detail), (&now.lives, now.counts, now.detail));
        let strange = later.components.iter().find(|state| state.component.key.name == "www").unwrap();
        assert_eq!(strange.component.outcome, crate::heartbeat::Outcome::Unknown);
        assert_eq!(later.components.len(), now.components.len() + 1);
    }

    #[test]
    fn what_is_no_record_is_none() {
        for text in ["", "{}", "[]", "null", "\u{1F600}"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    /// Each of these once made a sum overflow, a scrape fail, or memory grow.
    #[test]
    fn what_nobody_of_us_wrote_is_none() {
        let good: serde_json::Value =
            serde_json::from_str(include_str!("../../fuzz/seeds/record/v2.json")).unwrap();
        assert!(decode(&good.to_string()).is_some());
        let spoilt = |pointer: &str, value: serde_json::Value| {
            let mut record = good.clone();
            *record.pointer_mut(pointer).unwrap() = value;
            decode(&record.to_string())
        };
        let many = |value: &serde_json::Value, times: usize| vec![value.clone(); times].into();
        for (pointer, value) in [
            ("/revision", u64::MAX.into()),
            ("/clock_offset_ms", i64::MIN.into()),
            ("/shown", "x".repeat(1000).into()),
            ("/lives", many(&good["lives"][0], 9)),
            ("/lives/0/highest", u64::MAX.into()),
            ("/lives/0/offset_ms", i64::MAX.into()),
            ("/lives/0/epoch", "x".repeat(1000).into()),
            ("/v2/sequence", u64::MAX.into()),
            ("/v2/interval_ms", u64::MAX.into()),
            ("/v2/version", "a\nb".into()),
            ("/v2/blocked_seconds", (-1.0).into()),
            ("/components", many(&good["components"][0], 2)),
        ] {
            assert_eq!(spoilt(pointer, value), None, "{pointer}");
        }
        // Of windows only what is spoilt is left out.
        let kept =
            |spoilt: Option<Record>| spoilt.unwrap().rare.maintenance.as_deref().map_or(0, <[Window]>::len);
        assert_eq!(kept(spoilt("/maintenance/0/ends_at", i64::MAX.into())), 0);
        assert_eq!(kept(spoilt("/maintenance/0/comment", "a\nb".into())), 0);
        assert_eq!(kept(spoilt("/maintenance", many(&good["maintenance"][0], 17))), WINDOWS_MAX);
        let counts = spoilt("/duplicates", u64::MAX.into()).unwrap().counts;
        assert_eq!(counts.duplicates, COUNT_MAX);
    }
}
