//! The components of one publisher, packed: of a fleet's hundred thousands each is some twenty bytes and its names, where
//! the struct that it is read as takes three hundred. All of them stand in one piece of memory, since each piece costs a
//! header and the room by which the allocator rounds it up.

mod packed;

use std::fmt;
use std::sync::Arc;

use crate::heartbeat::{Component, ComponentKey, Timestamp};

/// A component and when it was last checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComponentState<S = Arc<str>> {
    /// As the publisher told it.
    pub component: Component<S>,
    /// When it was checked, in the store's clock; `None` where that cannot be told.
    pub seen: Option<Timestamp>,
}

impl<S: AsRef<str>> ComponentState<S> {
    /// The same, with its names borrowed.
    pub fn borrowed(&self) -> ComponentState<&str> {
        ComponentState { component: self.component.borrowed(), seen: self.seen }
    }
}

/// Components sorted by key. A copy shares what it holds.
#[derive(Clone, Default, PartialEq)]
pub struct Components {
    packed: Arc<[u8]>,
}

impl Components {
    /// Packs components, in any order, each key once.
    pub fn pack(mut states: Vec<ComponentState<&str>>) -> Self {
        if !states.is_sorted_by(|a, b| a.component.key <= b.component.key) {
            states.sort_by(|a, b| a.component.key.cmp(&b.component.key));
        }
        if states.is_empty() { Self::default() } else { Self { packed: packed::write(&states).into() } }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        packed::sizes(&self.packed).0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// How long the names of all are, in bytes.
    pub fn names_len(&self) -> usize {
        packed::sizes(&self.packed).1
    }

    /// Each of them, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ComponentState<&str>> {
        packed::Reader::new(&self.packed)
    }

    /// The one of this key. It reads all before it, so who asks for many reads them side by side instead.
    pub fn get(&self, key: &ComponentKey) -> Option<Component<&str>> {
        let key = key.borrowed();
        self.iter().map(|state| state.component).find(|component| component.key == key)
    }
}

impl From<&[ComponentState]> for Components {
    fn from(states: &[ComponentState]) -> Self {
        Self::pack(states.iter().map(ComponentState::borrowed).collect())
    }
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::heartbeat::{FigureSource, Kind, Outcome, QueueFigures, Reason};

    fn times() -> impl Strategy<Value = Timestamp> {
        prop_oneof![1_795_451_000_000i64..1_795_452_000_000, any::<i64>()].prop_map(Timestamp::from_unix_ms)
    }

    fn keys() -> impl Strategy<Value = ComponentKey> {
        let kinds = prop_oneof![
            Just(Kind::Host),
            Just(Kind::Consumer),
            Just(Kind::Queue),
            "[a-z_]{1,32}".prop_map(|name| Kind::Other(name.into())),
        ];
        (kinds, "\\PC{1,40}", "\\PC{0,5}").prop_map(|(kind, name, queue)| ComponentKey {
            kind,
            name: name.into(),
            queue: queue.into(),
        })
    }

    fn states() -> impl Strategy<Value = ComponentState> {
        let maybe = || prop::option::of(times());
        let count = || prop::option::of(prop_oneof![0..1000u64, any::<u64>()]);
        let durations = prop_oneof![
            (0..10_000_000_000u64).prop_map(|nanos| std::time::Duration::from_nanos(nanos).as_secs_f64()),
            0.0..1e12f64,
        ];
        let outcomes = (
            prop::sample::select(vec![Outcome::Up, Outcome::Down, Outcome::Unknown]),
            prop::option::of(prop::sample::select(Reason::ALL.to_vec())),
        );
        let sources = vec![FigureSource::Management, FigureSource::Amqp, FigureSource::Other];
        let figures = prop::option::of((count(), count(), prop::sample::select(sources)));
        (
            (keys(), prop::option::of("\\PC{0,40}")),
            outcomes,
            (times(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe()),
            (prop::option::of(durations), count(), count(), figures),
        )
            .prop_map(
                |((key, target), (outcome, reason), at, (duration_seconds, checks, failures, figures))| {
                    let component = Component {
                        key,
                        target: target.map(Arc::from),
                        outcome,
                        reason,
                        checked_at: at.0,
                        changed_at: at.1,
                        last_up_at: at.2,
                        last_down_at: at.3,
                        last_unknown_at: at.4,
                        duration_seconds,
                        checks_total: checks,
                        failures_total: failures,
                        figures: figures.map(|(messages, consumers, source)| QueueFigures {
                            messages,
                            consumers,
                            source,
                        }),
                        certificate_not_after: at.6,
                    };
                    ComponentState { component, seen: at.5 }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(mut states in prop::collection::vec(states(), 0..12)) {
            let packed = Components::from(&states[..]);
            states.sort_by(|a, b| a.component.key.cmp(&b.component.key));
            prop_assert_eq!(packed.len(), states.len());
            let read: Vec<ComponentState> = packed
                .iter()
                .map(|state| ComponentState { component: state.component.owned(), seen: state.seen })
                .collect();
            prop_assert_eq!(&read, &states);
            for state in &states {
                prop_assert_eq!(packed.get(&state.component.key).map(|found| found.key.owned()), Some(state.component.key.clone()));
            }
            prop_assert_eq!(packed.is_empty(), states.is_empty());
            let names = |key: &ComponentKey| {
                let kind = if let Kind::Other(name) = &key.kind { name.len() } else { 0 };
                kind + key.name.len() + key.queue.len()
            };
            let target = |state: &ComponentState| state.component.target.as_ref().map_or(0, |target| target.len());
            let names: usize = states.iter().map(|state| names(&state.component.key) + target(state)).sum();
            prop_assert_eq!(packed.names_len(), names);
        }
    }

    /// Of the size that the design counts with: a host that was found up.
    #[test]
    fn a_component_takes_little_beside_its_names() {
        let at = Timestamp::from_unix_ms(1_795_451_095_123);
        let states: Vec<ComponentState> = (0..10)
            .map(|number| {
                let component = Component {
                    checked_at: at.plus_ms(-number * 7),
                    changed_at: Some(at.plus_ms(-86_400_000)),
                    last_up_at: Some(at.plus_ms(-number * 7)),
                    duration_seconds: Some(0.001_234_567),
                    checks_total: Some(12_345),
                    ..Component::checked(&format!("db-{number}"), Outcome::Up, at)
                };
                ComponentState { component, seen: Some(at.plus_ms(-number * 7 + 250)) }
            })
            .collect();
        let packed = Components::from(&states[..]);
        let beside = packed.packed.len() - packed.names_len();
        assert!(beside <= 10 * 25, "{beside}");
    }
}
