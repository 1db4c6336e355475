//! OTLP: metrics, traces and logs to a collector.

pub mod config;

pub use config::Config;
