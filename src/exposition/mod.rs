//! What Prometheus reads: a [`Snapshot`] of the state, and the program's own metrics, as text.
//!
//! The state, up to a few million samples, is written by an encoder of our own straight from the
//! snapshot ([`families`]); the program's own few hundred come from prometheus-client ([`own`]).
//! Pure: nothing here waits, reads a clock or knows of HTTP.

mod encoder;
mod families;
mod format;
mod own;
#[cfg(test)]
mod tests;

pub use format::{Format, negotiate};
pub use own::Registry;

use crate::state::snapshot::Snapshot;

/// Appends one whole exposition to `out`: the state, where there is any, then the program's own metrics.
///
/// The two never share a family: names of the state are fixed in `families.rs`, and a registry must not use
/// them.
pub fn render(snapshot: Option<&Snapshot>, registry: &Registry, format: Format, out: &mut Vec<u8>) {
    if let Some(snapshot) = snapshot {
        families::write(snapshot, format, out);
    }
    own::write(registry, format, out);
    if format.is_open_metrics() {
        out.extend_from_slice(b"# EOF\n");
    }
}
