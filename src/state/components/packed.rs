//! How components stand in bytes: small numbers in few bytes, times as what they are apart, and nothing for what is not
//! there. Only this process reads what it wrote, so the form may change with any version.

use super::ComponentState;
use crate::heartbeat::{
    Component, ComponentKey, FigureSource, Kind, Outcome, QueueFigures, Reason, Timestamp,
};

/// What there is of a component.
mod has {
    pub(super) const QUEUE: u16 = 1;
    pub(super) const TARGET: u16 = 1 << 1;
    pub(super) const REASON: u16 = 1 << 2;
    pub(super) const CHANGED: u16 = 1 << 3;
    pub(super) const LAST_UP: u16 = 1 << 4;
    pub(super) const LAST_DOWN: u16 = 1 << 5;
    pub(super) const LAST_UNKNOWN: u16 = 1 << 6;
    pub(super) const SEEN: u16 = 1 << 7;
    /// A duration that is a whole number of nanoseconds.
    pub(super) const NANOSECONDS: u16 = 1 << 8;
    /// Any other.
    pub(super) const SECONDS: u16 = 1 << 9;
    pub(super) const CHECKS: u16 = 1 << 10;
    pub(super) const FAILURES: u16 = 1 << 11;
    pub(super) const FIGURES: u16 = 1 << 12;
    pub(super) const MESSAGES: u16 = 1 << 13;
    pub(super) const CONSUMERS: u16 = 1 << 14;
    pub(super) const CERTIFICATE: u16 = 1 << 15;
}

const NANOSECONDS: f64 = 1e9;

/// The number of nanoseconds that says exactly the same, if there is one.
fn nanoseconds(seconds: f64) -> Option<u64> {
    let nanos = (seconds * NANOSECONDS).round();
    let fits = nanos < 9e15 && nanos / NANOSECONDS == seconds && seconds.is_sign_positive();
    fits.then_some(nanos as u64)
}

/// How many there are and how long their names are, the values of each, and the names of all.
pub(super) fn write(states: &[ComponentState<&str>]) -> Vec<u8> {
    let names_len = states.iter().map(names_len).sum();
    let mut writer = Writer {
        names: String::with_capacity(names_len),
        values: Vec::with_capacity(states.len() * 32 + names_len),
        before: Before::default(),
    };
    writer.number(states.len() as u64);
    writer.number(names_len as u64);
    for state in states {
        writer.component(state);
    }
    writer.values.extend_from_slice(writer.names.as_bytes());
    writer.values
}

/// How many components there are and how long their names, without a look at any of them.
pub(super) fn sizes(packed: &[u8]) -> (usize, usize) {
    Reader::at(packed).sizes().unwrap_or_default()
}

/// Bytes of all names of a component.
fn names_len(state: &ComponentState<&str>) -> usize {
    let key = state.component.key;
    let kind = if let Kind::Other(name) = key.kind { name.len() } else { 0 };
    kind + key.name.len() + key.queue.len() + state.component.target.map_or(0, str::len)
}

/// What times are told apart from: those of the component before.
#[derive(Clone, Copy, Default)]
struct Before {
    checked_ms: i64,
    /// From when it was checked by the publisher's clock to when by the store's.
    seen_ms: i64,
}

struct Writer {
    names: String,
    values: Vec<u8>,
    before: Before,
}

impl Writer {
    fn component(&mut self, state: &ComponentState<&str>) {
        let component = &state.component;
        let nanos = component.duration_seconds.and_then(nanoseconds);
        let figures = component.figures;
        let there = [
            (has::QUEUE, !component.key.queue.is_empty()),
            (has::TARGET, component.target.is_some()),
            (has::REASON, component.reason.is_some()),
            (has::CHANGED, component.changed_at.is_some()),
            (has::LAST_UP, component.last_up_at.is_some()),
            (has::LAST_DOWN, component.last_down_at.is_some()),
            (has::LAST_UNKNOWN, component.last_unknown_at.is_some()),
            (has::SEEN, state.seen.is_some()),
            (has::NANOSECONDS, nanos.is_some()),
            (has::SECONDS, component.duration_seconds.is_some() && nanos.is_none()),
            (has::CHECKS, component.checks_total.is_some()),
            (has::FAILURES, component.failures_total.is_some()),
            (has::FIGURES, figures.is_some()),
            (has::MESSAGES, figures.is_some_and(|figures| figures.messages.is_some())),
            (has::CONSUMERS, figures.is_some_and(|figures| figures.consumers.is_some())),
            (has::CERTIFICATE, component.certificate_not_after.is_some()),
        ];
        let flags = there.iter().fold(0, |flags, (flag, there)| if *there { flags | flag } else { flags });
        self.values.extend_from_slice(&u16::to_le_bytes(flags));
        let source = figures.map_or(0, |figures| source_number(figures.source));
        self.values
            .push(kind_number(&component.key.kind) | outcome_number(component.outcome) << 2 | source << 4);
        if let Kind::Other(name) = component.key.kind {
            self.name(name);
        }
        self.name(component.key.name);
        if flags & has::QUEUE != 0 {
            self.name(component.key.queue);
        }
        if let Some(target) = component.target {
            self.name(target);
        }
        if let Some(reason) = component.reason {
            self.values.push(reason as u8);
        }

        let checked_ms = component.checked_at.unix_ms();
        self.signed(checked_ms - self.before.checked_ms);
        self.before.checked_ms = checked_ms;
        let times =
            [component.changed_at, component.last_up_at, component.last_down_at, component.last_unknown_at];
        for at in times.into_iter().flatten() {
            self.signed(checked_ms - at.unix_ms());
        }
        if let Some(seen) = state.seen {
            let seen_ms = seen.unix_ms() - checked_ms;
            self.signed(seen_ms - self.before.seen_ms);
            self.before.seen_ms = seen_ms;
        }

        match (nanos, component.duration_seconds) {
            (Some(nanos), _) => self.number(nanos),
            (None, Some(seconds)) => self.values.extend_from_slice(&seconds.to_le_bytes()),
            (None, None) => {}
        }
        let counts = [
            component.checks_total,
            component.failures_total,
            figures.and_then(|figures| figures.messages),
            figures.and_then(|figures| figures.consumers),
        ];
        for count in counts.into_iter().flatten() {
            self.number(count);
        }
        if let Some(at) = component.certificate_not_after {
            self.signed(at.unix_ms() - checked_ms);
        }
    }

    fn name(&mut self, name: &str) {
        self.number(name.len() as u64);
        self.names.push_str(name);
    }

    /// LEB128: seven bits a byte, the lowest first, and the top bit where more follow.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.values.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.values.push(value as u8);
    }

    /// Small ones of either sign in few bytes: 0, -1, 1, -2, ...
    fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63).cast_unsigned());
    }
}

/// Reads what [`write()`] wrote.
pub(super) struct Reader<'a> {
    names: &'a str,
    values: &'a [u8],
    left: usize,
    before: Before,
}

impl<'a> Reader<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        let mut reader = Self::at(packed);
        if let Some(len) = reader.begin() {
            reader.left = len;
        }
        reader
    }

    fn at(packed: &'a [u8]) -> Self {
        Self { names: "", values: packed, left: 0, before: Before::default() }
    }

    fn begin(&mut self) -> Option<usize> {
        let (len, names_len) = self.sizes()?;
        let (values, names) = self.values.split_at_checked(self.values.len().checked_sub(names_len)?)?;
        // Looked at once for all; each name is then a part of what is known to be text.
        (self.values, self.names) = (values, str::from_utf8(names).ok()?);
        Some(len)
    }

    /// How many components there are, and how long their names.
    fn sizes(&mut self) -> Option<(usize, usize)> {
        Some((usize::try_from(self.number()?).ok()?, usize::try_from(self.number()?).ok()?))
    }

    /// `None` where the bytes are none that [`write()`] made, which they always are.
    fn component(&mut self) -> Option<ComponentState<&'a str>> {
        let flags = u16::from_le_bytes(self.bytes()?);
        let [head] = self.bytes()?;
        let has = |flag: u16| flags & flag != 0;
        let kind = match head & 3 {
            0 => Kind::Host,
            1 => Kind::Consumer,
            2 => Kind::Queue,
            _ => Kind::Other(self.name()?),
        };
        let name = self.name()?;
        // An empty text of an address that exists: where a processor has AVX-512, glibc 2.36 compares a constant one,
        // which has none, a hundred times slower.
        let queue = if has(has::QUEUE) { self.name()? } else { &self.names[..0] };
        let target = if has(has::TARGET) { Some(self.name()?) } else { None };
        let reason = match has(has::REASON) {
            true => Some(*Reason::ALL.get(usize::from(self.bytes::<1>()?[0]))?),
            false => None,
        };

        let checked_ms = self.before.checked_ms + self.signed()?;
        self.before.checked_ms = checked_ms;
        let mut earlier = |flag: u16| match has(flag) {
            true => self.signed().map(|ms| Some(Timestamp::from_unix_ms(checked_ms - ms))),
            false => Some(None),
        };
        let changed_at = earlier(has::CHANGED)?;
        let last_up_at = earlier(has::LAST_UP)?;
        let last_down_at = earlier(has::LAST_DOWN)?;
        let last_unknown_at = earlier(has::LAST_UNKNOWN)?;
        let seen = match has(has::SEEN) {
            true => {
                self.before.seen_ms += self.signed()?;
                Some(Timestamp::from_unix_ms(checked_ms + self.before.seen_ms))
            }
            false => None,
        };

        let duration_seconds = match (has(has::NANOSECONDS), has(has::SECONDS)) {
            (true, _) => Some(self.number()? as f64 / NANOSECONDS),
            (false, true) => Some(f64::from_le_bytes(self.bytes()?)),
            (false, false) => None,
        };
        let mut count = |flag: u16| if has(flag) { self.number().map(Some) } else { Some(None) };
        let (checks_total, failures_total) = (count(has::CHECKS)?, count(has::FAILURES)?);
        let (messages, consumers) = (count(has::MESSAGES)?, count(has::CONSUMERS)?);
        let certificate_not_after = match has(has::CERTIFICATE) {
            true => Some(Timestamp::from_unix_ms(checked_ms + self.signed()?)),
            false => None,
        };
        let component = Component {
            key: ComponentKey { kind, name, queue },
            target,
            outcome: outcome_of(head >> 2 & 3),
            reason,
            checked_at: Timestamp::from_unix_ms(checked_ms),
            changed_at,
            last_up_at,
            last_down_at,
            last_unknown_at,
            duration_seconds,
            checks_total,
            failures_total,
            figures: has(has::FIGURES).then(|| QueueFigures {
                messages,
                consumers,
                source: source_of(head >> 4 & 3),
            }),
            certificate_not_after,
        };
        Some(ComponentState { component, seen })
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.values.split_first_chunk()?;
        self.values = rest;
        Some(*bytes)
    }

    fn name(&mut self) -> Option<&'a str> {
        let (name, rest) = self.names.split_at_checked(usize::try_from(self.number()?).ok()?)?;
        self.names = rest;
        Some(name)
    }

    fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.values.split_first()?;
        self.values = rest;
        let mut value = u64::from(first & 0x7f);
        let (mut more, mut shift) = (*first >= 0x80, 7);
        while more {
            let (next, rest) = self.values.split_first()?;
            self.values = rest;
            value |= u64::from(next & 0x7f).checked_shl(shift)?;
            (more, shift) = (*next >= 0x80, shift + 7);
        }
        Some(value)
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = ComponentState<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.component()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Reader<'_> {}

fn kind_number(kind: &Kind<&str>) -> u8 {
    match kind {
        Kind::Host => 0,
        Kind::Consumer => 1,
        Kind::Queue => 2,
        Kind::Other(_) => 3,
    }
}

fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Up => 0,
        Outcome::Down => 1,
        Outcome::Unknown => 2,
    }
}

fn outcome_of(number: u8) -> Outcome {
    match number {
        0 => Outcome::Up,
        1 => Outcome::Down,
        _ => Outcome::Unknown,
    }
}

fn source_number(source: FigureSource) -> u8 {
    match source {
        FigureSource::Management => 0,
        FigureSource::Amqp => 1,
        FigureSource::Other => 2,
    }
}

fn source_of(number: u8) -> FigureSource {
    match number {
        0 => FigureSource::Management,
        1 => FigureSource::Amqp,
        _ => FigureSource::Other,
    }
}
