//! What Prometheus reads, as text.
//!
//! The state, up to a few million samples, is written by an encoder of our own straight from the
//! snapshot ([`state`]); the program's own few hundred come from prometheus-client ([`own`]).

mod encoder;
mod format;
mod gzip;
mod own;
mod state;
#[cfg(test)]
pub(super) mod tests;

pub use format::{Format, negotiate};
#[cfg(test)]
pub(super) use own::tests::registry as own_registry;

use self::gzip::{Compressor, Text};
use super::Registry;
use crate::state::snapshot::Snapshot;

/// What is done to the text before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Nothing.
    Identity,
    /// gzip.
    Gzip,
}

/// One whole exposition, in parts that follow each other: the state, where there is any, then the program's own
/// metrics.
///
/// The two never share a family: names of the state are fixed in `families.rs`, and a registry must not use
/// them.
pub fn render(
    snapshot: Option<&Snapshot>,
    registry: Option<&Registry>,
    format: Format,
    coding: Coding,
) -> Vec<Vec<u8>> {
    let mut compressor = (coding == Coding::Gzip).then(Compressor::new);
    let mut texts =
        snapshot.map_or_else(Vec::new, |snapshot| state::write(snapshot, format, compressor.as_mut()));
    let mut last = Text::default();
    if let Some(registry) = registry {
        own::write(registry, format, &mut last.rest);
    }
    if format.is_open_metrics() {
        last.rest.extend_from_slice(b"# EOF\n");
    }
    texts.push(last);
    match compressor {
        None => texts.into_iter().map(|text| text.rest).collect(),
        Some(compressor) => compressor.member(texts),
    }
}
