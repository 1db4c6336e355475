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

pub use format::{Format, negotiate};
#[cfg(test)]
pub(super) use own::tests::registry as own_registry;

use super::Registry;
use crate::state::snapshot::Snapshot;

/// Appends one whole exposition to `out`: the state, where there is any, then the program's own metrics.
///
/// The two never share a family: names of the state are fixed in `families.rs`, and a registry must not use
/// them.
pub fn render(snapshot: Option<&Snapshot>, registry: &Registry, format: Format, out: &mut Vec<u8>) {
    if let Some(snapshot) = snapshot {
        state::write(snapshot, format, out);
    }
    own::write(registry, format, out);
    if format.is_open_metrics() {
        out.extend_from_slice(b"# EOF\n");
    }
}
