//! What each fuzz target does with its input. `fuzz_targets` hands it what the fuzzer makes up,
//! and `tests/fuzz_seeds.rs` the inputs that are kept, so that no target rots.
//!
//! A target panics where something read from outside breaks a promise.

pub mod configuration;
pub mod exposition;
pub mod headers;
pub mod management;
pub mod message;
pub mod pattern;
pub mod record;
mod shown;
mod state;
pub mod web_config;
