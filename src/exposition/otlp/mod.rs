//! Metrics as an OTLP receiver takes them: requests of protobuf.
//!
//! The state, up to a few million points, is written by an encoder of our own straight from the snapshot
//! ([`state`]), in requests that a receiver's limit lets through ([`chunk`]), and what is gone is withdrawn
//! ([`shown`]). The program's own few hundred are read off the same registry that `/metrics` shows ([`own`]).

mod chunk;
mod name;
pub mod origin;
mod own;
mod protobuf;
mod shown;
mod state;
#[cfg(test)]
mod tests;

pub use chunk::Chunk;
pub use origin::Origin;
pub use own::own_metrics;
pub use state::{StateExport, StateMetrics};
