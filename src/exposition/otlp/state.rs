//! The state as requests: publisher by publisher, so that no more than one request is held at a time.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::LazyLock;
use std::vec::IntoIter;

use prost::Message;

use super::chunk::{Chunk, Chunks, Point, push_point_attribute};
use super::origin::Origin;
use super::shown::{Info, Marks, Shown, ShownComponent, ShownPublisher, bit_of, has};
use crate::exposition::families::{self, COMPONENTS, PUBLISHERS, QUEUES, SNAPSHOT};
use crate::exposition::family::{Family, FamilyType, Number, Since};
use crate::heartbeat::{ComponentKey, Kind, Outcome, PublisherId, Reason};
use crate::state::snapshot::{ComponentView, PublisherView, Snapshot};

/// Every family, by the place that [`Chunks`] knows it by.
static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(families::all);

const AT_PUBLISHERS: usize = SNAPSHOT.len();
const AT_INFO: usize = AT_PUBLISHERS + PUBLISHERS.len();
const AT_COMPONENTS: usize = AT_INFO + 1;
const AT_REASON: usize = AT_COMPONENTS + COMPONENTS.len();
const AT_QUEUES: usize = AT_REASON + 1;

/// The state as it leaves by OTLP, from one export to the next.
#[derive(Debug)]
pub struct StateMetrics {
    /// Encoded, as each request begins with them.
    resource: Vec<u8>,
    scope: Vec<u8>,
    shown: Shown,
}

impl StateMetrics {
    /// Nothing was shown yet.
    pub fn new(origin: &Origin) -> Self {
        let (resource, scope) = (origin.resource.encode_to_vec(), origin.scope.encode_to_vec());
        Self { resource, scope, shown: Shown::default() }
    }

    /// Begins an export of `snapshot`, in requests of at most `bytes_max` bytes.
    pub fn export(&mut self, snapshot: Snapshot, bytes_max: usize) -> StateExport<'_> {
        let chunks = Chunks::new(&FAMILIES, &self.resource, &self.scope, bytes_max);
        let before = std::mem::take(&mut self.shown.publishers).into_iter().peekable();
        let time = snapshot.now.unix_nanos();
        let Snapshot { now, shard, view_synced, view_lag, publishers } = snapshot;
        let bare = Snapshot { now, shard, view_synced, view_lag, publishers: Vec::new() };
        StateExport {
            shown: &mut self.shown,
            before,
            publishers: publishers.into_iter().peekable(),
            snapshot: Some(bare),
            chunks,
            time,
            attributes: Vec::new(),
            ended: false,
        }
    }
}

/// One export under way. [`StateExport::settle`] ends it.
pub struct StateExport<'a> {
    shown: &'a mut Shown,
    before: Peekable<IntoIter<ShownPublisher>>,
    publishers: Peekable<IntoIter<PublisherView>>,
    /// Until its own rows are written.
    snapshot: Option<Snapshot>,
    chunks: Chunks,
    time: u64,
    attributes: Vec<u8>,
    ended: bool,
}

impl StateExport<'_> {
    /// The next request; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        loop {
            if let Some(chunk) = self.chunks.take() {
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            self.advance();
        }
    }

    /// Takes note of whether every request arrived. What was not asked for did not.
    pub fn settle(mut self, delivered: bool) {
        let delivered = delivered && self.ended;
        // What was never reached is owed as before.
        self.shown.publishers.extend(self.before.by_ref());
        self.shown.settle(delivered);
    }

    /// Writes the next publisher, whether it is there or gone.
    fn advance(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            for (index, row) in SNAPSHOT.iter().enumerate() {
                self.push(index, None, (row.value)(&snapshot));
            }
            return;
        }
        let order = match (self.before.peek(), self.publishers.peek()) {
            (None, None) => {
                self.chunks.finish();
                self.ended = true;
                return;
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(now)) => before.id.cmp(&now.id),
        };
        let before = if order.is_le() { self.before.next() } else { None };
        let now = if order.is_ge() { self.publishers.next() } else { None };
        let id = match (&before, &now) {
            (_, Some(now)) => now.id.clone(),
            (Some(before), None) => before.id.clone(),
            (None, None) => return,
        };
        let shown = self.publisher(id, before, now.as_ref());
        self.shown.publishers.push(shown);
    }

    fn publisher(
        &mut self,
        id: PublisherId,
        before: Option<ShownPublisher>,
        now: Option<&PublisherView>,
    ) -> ShownPublisher {
        let mut values = [None; PUBLISHERS.len()];
        for (value, row) in values.iter_mut().zip(PUBLISHERS) {
            *value = now.and_then(|now| (row.value)(now));
        }
        let rows = Marks::turn(before.as_ref().map_or(Marks::default(), |before| before.rows), bits(&values));
        self.attributes.clear();
        push_point_attribute(&mut self.attributes, "publisher", id.as_str());
        let own = self.attributes.len();
        for (index, value) in values.iter().enumerate() {
            let start = now.and_then(|now| self.start_of(&PUBLISHERS[index].family, now));
            self.push_marked(AT_PUBLISHERS + index, rows, index, start, *value);
        }
        let (info_before, mut infos_withdrawn, components_before) = match before {
            Some(before) => (before.info, before.infos_withdrawn, before.components),
            None => (None, Vec::new(), Vec::new()),
        };
        let info = now.and_then(info_of);
        infos_withdrawn.extend(info_before);
        infos_withdrawn.retain(|old| Some(old) != info.as_ref());
        for (info, value) in infos_withdrawn
            .iter()
            .map(|old| (old, None))
            .chain(info.iter().map(|info| (info, Some(Number::Whole(1)))))
        {
            self.attributes.truncate(own);
            push_point_attribute(&mut self.attributes, "version", &info.0);
            push_point_attribute(&mut self.attributes, "epoch", &info.1);
            self.push(AT_INFO, None, value);
        }
        self.attributes.truncate(own);
        let components = self.components(components_before, now);
        ShownPublisher { id, rows, info, infos_withdrawn, components }
    }

    /// The components of a publisher, whose own attribute stands already.
    fn components(
        &mut self,
        before: Vec<ShownComponent>,
        publisher: Option<&PublisherView>,
    ) -> Vec<ShownComponent> {
        let started = publisher.and_then(|publisher| self.started(publisher));
        let mut before = before.into_iter().peekable();
        let mut now = publisher.into_iter().flat_map(PublisherView::components).peekable();
        let mut shown = Vec::with_capacity(publisher.map_or(0, |publisher| publisher.told.len()));
        loop {
            let order = match (before.peek(), now.peek()) {
                (None, None) => return shown,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(now)) => before.key.borrowed().cmp(&now.component.key),
            };
            let was = if order.is_le() { before.next() } else { None };
            let is = if order.is_ge() { now.next() } else { None };
            let key = match (&was, &is) {
                (Some(was), _) => was.key.clone(),
                (None, Some(is)) => is.component.key.owned(),
                (None, None) => return shown,
            };
            shown.push(self.component(key, was.as_ref(), is.as_ref(), started));
        }
    }

    fn component(
        &mut self,
        key: ComponentKey,
        before: Option<&ShownComponent>,
        now: Option<&ComponentView<'_>>,
        started: Option<u64>,
    ) -> ShownComponent {
        let of_publisher = self.attributes.len();
        let mut values = [None; COMPONENTS.len() + QUEUES.len()];
        if let Some(now) = now {
            for (value, row) in values.iter_mut().zip(COMPONENTS) {
                *value = (row.value)(now);
            }
            let figures = now.component.figures.as_ref();
            let figures = figures.filter(|_| key.kind == Kind::Queue && now.is_current());
            for (value, row) in values[COMPONENTS.len()..].iter_mut().zip(QUEUES) {
                *value = figures.and_then(|figures| (row.value)(figures));
            }
        }
        let (rows, reasons) = before.map_or_else(Default::default, |before| (before.rows, before.reasons));
        let rows = Marks::turn(rows, bits(&values));
        let reasons = Marks::turn(reasons, now.and_then(reason_of).map_or(0, bit_of));

        let figures = COMPONENTS.len()..values.len();
        if figures.clone().any(|index| has(rows.valued | rows.withdrawn, index)) {
            push_point_attribute(&mut self.attributes, "queue", &key.name);
            for index in figures {
                self.push_marked(AT_QUEUES + index - COMPONENTS.len(), rows, index, None, values[index]);
            }
            self.attributes.truncate(of_publisher);
        }
        for (name, value) in [("kind", key.kind.as_str()), ("name", &*key.name), ("queue", &*key.queue)] {
            push_point_attribute(&mut self.attributes, name, value);
        }
        for (index, row) in COMPONENTS.iter().enumerate() {
            let start = started.filter(|_| matches!(row.family.kind, FamilyType::Counter(_)));
            self.push_marked(AT_COMPONENTS + index, rows, index, start, values[index]);
        }
        let of_component = self.attributes.len();
        for reason in
            Reason::ALL.iter().filter(|reason| bit_of(**reason) & (reasons.valued | reasons.withdrawn) != 0)
        {
            push_point_attribute(&mut self.attributes, "reason", reason.as_str());
            let value = (reasons.valued & bit_of(*reason) != 0).then_some(Number::Whole(1));
            self.push(AT_REASON, None, value);
            self.attributes.truncate(of_component);
        }
        self.attributes.truncate(of_publisher);
        ShownComponent { key, rows, reasons }
    }

    /// When a counter of a publisher began.
    fn start_of(&self, family: &Family, view: &PublisherView) -> Option<u64> {
        match family.kind {
            FamilyType::Counter(Since::FirstReceived) => {
                view.first_received.map(|at| at.unix_nanos().min(self.time))
            }
            FamilyType::Counter(Since::ProcessStart) => self.started(view),
            FamilyType::Gauge | FamilyType::Info => None,
        }
    }

    /// When the publisher's process began, in the clock that the points are told by, and never after them.
    fn started(&self, view: &PublisherView) -> Option<u64> {
        let offset_ms = view.clock_offset_ms.unwrap_or(0);
        view.started_at.map(|at| at.plus_ms(offset_ms.saturating_neg()).unix_nanos().min(self.time))
    }

    /// A point, or a withdrawal, or nothing, as the marks say.
    fn push_marked(
        &mut self,
        family: usize,
        marks: Marks,
        index: usize,
        start: Option<u64>,
        value: Option<Number>,
    ) {
        if has(marks.valued | marks.withdrawn, index) {
            self.push(family, start, value);
        }
    }

    fn push(&mut self, family: usize, start: Option<u64>, value: Option<Number>) {
        let Self { chunks, attributes, time, .. } = self;
        chunks.push(family, &Point { attributes, start, time: *time, value });
    }
}

/// A bit for each value that there is.
fn bits(values: &[Option<Number>]) -> u64 {
    values.iter().rev().fold(0, |bits, value| bits << 1 | u64::from(value.is_some()))
}

fn reason_of(view: &ComponentView<'_>) -> Option<Reason> {
    view.reason.filter(|_| view.outcome.is_some_and(|outcome| outcome != Outcome::Up))
}

fn info_of(view: &PublisherView) -> Option<Info> {
    let version = view.version.clone()?;
    Some((version, view.epoch.clone().unwrap_or_default()))
}
