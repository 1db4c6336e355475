//! The state as text: once through the snapshot, each value into the text of its family.

use super::Format;
use super::encoder::{END_OF_LABELS, FamilyWriter, push_label};
use super::gzip::{Compressor, Text};
use crate::exposition::families::{
    COMPONENT_REASON, COMPONENTS, PUBLISHER_INFO, PUBLISHERS, QUEUES, SNAPSHOT,
};
use crate::exposition::family::{Family, Number};
use crate::heartbeat::{Kind, Outcome};
use crate::state::shard::Shard;
use crate::state::snapshot::{ComponentView, PublisherView, Snapshot};

/// Every family of the state that has a sample, compressed by and by where there is who does.
pub(super) fn write(
    snapshot: &Snapshot,
    format: Format,
    mut compressor: Option<&mut Compressor>,
) -> Vec<Text> {
    let mut families = Families::new(snapshot, format, compressor.as_ref().map(|_| Compressor::ROOM));
    // What is not of a publisher is told once.
    if snapshot.shard.is_none_or(Shard::is_first) {
        for (row, family) in SNAPSHOT.iter().zip(&mut families.snapshot) {
            if let Some(value) = (row.value)(snapshot) {
                family.bare(value);
            }
        }
    }
    let mut labels = Vec::new();
    for publisher in &snapshot.publishers {
        labels.clear();
        push_label(&mut labels, "publisher", publisher.id.as_str());
        let own = labels.len();
        families.publisher(publisher, &mut labels);
        for component in publisher.components() {
            labels.truncate(own);
            families.component(&component, &mut labels);
        }
        if let Some(compressor) = &mut compressor {
            families.all().for_each(|family| family.stroke(compressor));
        }
    }
    families.finish()
}

/// Text beside the names in a line of a family of components, at most, save for its own name: the names of labels, and
/// a value.
const LINE_BYTES: usize = 80;

/// A writer for each family, in the order of the exposition.
struct Families {
    snapshot: Vec<FamilyWriter>,
    publishers: Vec<FamilyWriter>,
    info: FamilyWriter,
    components: Vec<FamilyWriter>,
    reason: FamilyWriter,
    queues: Vec<FamilyWriter>,
}

impl Families {
    fn new(snapshot: &Snapshot, format: Format, room_max: Option<usize>) -> Self {
        let writer = |family: &Family, bytes: usize| {
            FamilyWriter::new(family, format, bytes.min(room_max.unwrap_or(usize::MAX)))
        };
        let publishers = snapshot.publishers.len();
        let (mut ids, mut lines, mut names) = (0, 0, 0);
        for publisher in &snapshot.publishers {
            let id = publisher.id.as_str().len();
            ids += id;
            lines += publisher.told.len();
            names += publisher.told.names_len() + id * publisher.told.len();
        }
        let of_publishers =
            |family: &Family| writer(family, ids + publishers * (family.name.len() + LINE_BYTES));
        let of_components =
            |family: &Family| writer(family, names + lines * (family.name.len() + LINE_BYTES));
        Self {
            snapshot: SNAPSHOT.iter().map(|row| writer(&row.family, 256)).collect(),
            publishers: PUBLISHERS.iter().map(|row| of_publishers(&row.family)).collect(),
            info: of_publishers(&PUBLISHER_INFO),
            components: COMPONENTS.iter().map(|row| of_components(&row.family)).collect(),
            // Of what is not up, which should be little.
            reason: writer(&COMPONENT_REASON, 1024),
            queues: QUEUES.iter().map(|row| writer(&row.family, 1024)).collect(),
        }
    }

    /// `labels` holds that of the publisher, and more when it is done.
    fn publisher(&mut self, view: &PublisherView, labels: &mut Vec<u8>) {
        let own = labels.len();
        labels.extend_from_slice(END_OF_LABELS);
        for (row, family) in PUBLISHERS.iter().zip(&mut self.publishers) {
            if let Some(value) = (row.value)(view) {
                family.sample(labels, value);
            }
        }
        let Some(version) = &view.version else { return };
        labels.truncate(own);
        labels.push(b',');
        push_label(labels, "version", version);
        self.info.sample_with(labels, ("epoch", view.epoch.as_deref().unwrap_or_default()), Number::Whole(1));
    }

    /// As [`Families::publisher`].
    fn component(&mut self, view: &ComponentView<'_>, labels: &mut Vec<u8>) {
        let key = view.component.key;
        if key.kind == Kind::Queue && view.is_current() {
            let figures = view.component.figures.as_ref();
            for (row, family) in QUEUES.iter().zip(&mut self.queues) {
                if let Some(value) = figures.and_then(row.value) {
                    family.sample_with(labels, ("queue", key.name), value);
                }
            }
        }
        for (name, value) in [("kind", key.kind.text()), ("name", key.name), ("queue", key.queue)] {
            labels.push(b',');
            push_label(labels, name, value);
        }
        let down = view.outcome.is_some_and(|outcome| outcome != Outcome::Up);
        if let Some(reason) = view.reason.filter(|_| down) {
            self.reason.sample_with(labels, ("reason", reason.as_str()), Number::Whole(1));
        }
        labels.extend_from_slice(END_OF_LABELS);
        for (row, family) in COMPONENTS.iter().zip(&mut self.components) {
            if let Some(value) = (row.value)(view) {
                family.sample(labels, value);
            }
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut FamilyWriter> {
        let Self { snapshot, publishers, info, components, reason, queues } = self;
        let several = snapshot.iter_mut().chain(publishers).chain([info]).chain(components);
        several.chain([reason]).chain(queues)
    }

    fn finish(self) -> Vec<Text> {
        let Self { snapshot, publishers, info, components, reason, queues } = self;
        let all = snapshot.into_iter().chain(publishers).chain([info]).chain(components);
        all.chain([reason]).chain(queues).filter_map(FamilyWriter::finish).collect()
    }
}
