//! The state as text.

use super::Format;
use super::encoder::{Encoder, push_label};
use crate::exposition::families::{
    COMPONENT_REASON, COMPONENTS, PUBLISHER_INFO, PUBLISHERS, QUEUES, SNAPSHOT,
};
use crate::exposition::family::Number;
use crate::heartbeat::{Kind, Outcome};
use crate::state::snapshot::Snapshot;

/// Appends every family of the state.
pub(super) fn write(snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
    let labels = Labels::of(snapshot);
    let mut encoder = Encoder::new(out, format);
    for row in SNAPSHOT {
        encoder.family(&row.family, |samples| {
            if let Some(value) = (row.value)(snapshot) {
                samples.sample(b"", value);
            }
        });
    }
    write_publishers(&mut encoder, snapshot, &labels.publishers);
    write_components(&mut encoder, snapshot, &labels.components);
    write_queues(&mut encoder, snapshot, &labels.publishers);
}

fn write_publishers(encoder: &mut Encoder<'_>, snapshot: &Snapshot, labels: &Blocks) {
    for row in PUBLISHERS {
        encoder.family(&row.family, |samples| {
            for (publisher, labels) in snapshot.publishers.iter().zip(labels.iter()) {
                if let Some(value) = (row.value)(publisher) {
                    samples.sample(labels, value);
                }
            }
        });
    }
    encoder.family(&PUBLISHER_INFO, |samples| {
        let mut block = Vec::new();
        for (publisher, labels) in snapshot.publishers.iter().zip(labels.iter()) {
            let Some(version) = &publisher.version else { continue };
            block.clear();
            block.extend_from_slice(labels);
            block.push(b',');
            push_label(&mut block, "version", version);
            let epoch = publisher.epoch.as_ref().map_or("", |epoch| epoch.as_str());
            samples.sample_with(&block, ("epoch", epoch), Number::Whole(1));
        }
    });
}

fn write_components(encoder: &mut Encoder<'_>, snapshot: &Snapshot, labels: &Blocks) {
    let components = || snapshot.publishers.iter().flat_map(|view| &view.components).zip(labels.iter());
    for row in COMPONENTS {
        encoder.family(&row.family, |samples| {
            for (component, labels) in components() {
                if let Some(value) = (row.value)(component) {
                    samples.sample(labels, value);
                }
            }
        });
    }
    encoder.family(&COMPONENT_REASON, |samples| {
        for (component, labels) in components() {
            let down = component.outcome.is_some_and(|outcome| outcome != Outcome::Up);
            if let Some(reason) = component.reason.filter(|_| down) {
                samples.sample_with(labels, ("reason", reason.as_str()), Number::Whole(1));
            }
        }
    });
}

fn write_queues(encoder: &mut Encoder<'_>, snapshot: &Snapshot, labels: &Blocks) {
    for row in QUEUES {
        encoder.family(&row.family, |samples| {
            for (publisher, labels) in snapshot.publishers.iter().zip(labels.iter()) {
                let queues =
                    publisher.components.iter().filter(|view| view.component.key.kind == Kind::Queue);
                for view in queues.filter(|view| view.is_current()) {
                    if let Some(value) = view.component.figures.as_ref().and_then(row.value) {
                        let queue = ("queue", &*view.component.key.name);
                        samples.sample_with(labels, queue, value);
                    }
                }
            }
        });
    }
}

/// The labels of everything, rendered and escaped once for all families.
struct Labels {
    publishers: Blocks,
    /// In the order of the snapshot.
    components: Blocks,
}

impl Labels {
    fn of(snapshot: &Snapshot) -> Self {
        let (mut publishers, mut components) = (Blocks::default(), Blocks::default());
        let mut own = Vec::new();
        for publisher in &snapshot.publishers {
            own.clear();
            push_label(&mut own, "publisher", publisher.id.as_str());
            publishers.push(|text| text.extend_from_slice(&own));
            for view in &publisher.components {
                let key = &view.component.key;
                components.push(|text| {
                    text.extend_from_slice(&own);
                    for (name, value) in
                        [("kind", key.kind.as_str()), ("name", &*key.name), ("queue", &*key.queue)]
                    {
                        text.push(b',');
                        push_label(text, name, value);
                    }
                });
            }
        }
        Self { publishers, components }
    }
}

/// Label blocks one after the other in one allocation.
#[derive(Default)]
struct Blocks {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Blocks {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }
}
