//! A [`Snapshot`](crate::state::snapshot::Snapshot) of the state, and the program's own metrics, as bytes.
//!
//! [`families`] is the one table of what is told of the state, by what name and from what value; [`text`]
//! writes it as Prometheus reads it, [`otlp`] as OTLP has it. Pure: nothing here waits, reads a clock or
//! knows who asks.

mod families;
mod family;
mod open_metrics;
pub mod otlp;
pub mod text;

pub use prometheus_client::registry::Registry;
