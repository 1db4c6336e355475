//! What Prometheus reads, as text.
//!
//! The state, up to a few million samples, is written by an encoder of our own straight from the
//! snapshot ([`state`]); the program's own few hundred come from prometheus-client ([`own`]).

mod encoder;
mod format;
mod own;
mod state;
#[cfg(test)]
pub(super) mod tests;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

pub use format::{Format, negotiate};
#[cfg(test)]
pub(super) use own::tests::registry as own_registry;

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

/// The fastest that makes it smaller: the text of metrics shrinks nineteenfold by it, and by the default of most programs
/// thirtyfold, at six times the cost.
const GZIP_LEVEL: u32 = 1;

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
    let mut parts = snapshot.map_or_else(Vec::new, |snapshot| state::write(snapshot, format));
    let mut last = Vec::new();
    if let Some(registry) = registry {
        own::write(registry, format, &mut last);
    }
    if format.is_open_metrics() {
        last.extend_from_slice(b"# EOF\n");
    }
    parts.push(last);
    match coding {
        Coding::Identity => parts,
        Coding::Gzip => vec![compress(parts)],
    }
}

fn compress(parts: Vec<Vec<u8>>) -> Vec<u8> {
    let bytes: usize = parts.iter().map(Vec::len).sum();
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes / 8), Compression::new(GZIP_LEVEL));
    // Writing to memory cannot fail. Each part is given back once it is in.
    let written = parts.into_iter().try_for_each(|part| encoder.write_all(&part));
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}
