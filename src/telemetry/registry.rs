//! The registry of the program's own metrics.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::process::Figures;
use crate::build_info::{REVISION, RUST_VERSION, VERSION};

/// A registry with `heartbeat_build_info`, `heartbeat_log_dropped_total` and `process_*`; components add their own to it.
pub fn root() -> Registry {
    let mut registry = Registry::default();
    let build = vec![("version", VERSION), ("revision", REVISION), ("rustversion", RUST_VERSION)];
    // The encoder adds `_info`, and the full stop.
    registry.register(
        "heartbeat_build",
        "Version of the program and of what it was built with",
        Info::new(build),
    );
    registry.register(
        "heartbeat_log_dropped",
        "Lines of the log that were not written: nobody took those before them",
        super::stderr::dropped(),
    );
    registry.register_collector(Box::new(Process));
    registry
}

/// `process_*`, under the names that every exporter has; what cannot be read is left out.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Figures { cpu, started, threads, virtual_bytes, resident_bytes, open_fds, max_fds } =
            Figures::read();
        let (seconds, bytes) = (Some(Unit::Seconds), Some(Unit::Bytes));
        let counter = |value: f64| Box::new(ConstCounter::new(value)) as Box<dyn EncodeMetric>;
        let real = |value: f64| Box::new(ConstGauge::new(value)) as Box<dyn EncodeMetric>;
        let whole = |value: u64| Box::new(ConstGauge::new(value)) as Box<dyn EncodeMetric>;
        // Names get their unit, and counters their `_total`, from the encoder.
        let families = [
            ("process_cpu", "Total user and system CPU time spent in seconds.", &seconds, cpu.map(counter)),
            (
                "process_start_time",
                "Start time since the Unix epoch in seconds.",
                &seconds,
                started.map(real),
            ),
            ("process_threads", "Number of OS threads.", &None, threads.map(whole)),
            ("process_virtual_memory", "Virtual memory size in bytes.", &bytes, virtual_bytes.map(whole)),
            ("process_resident_memory", "Resident memory size in bytes.", &bytes, resident_bytes.map(whole)),
            ("process_open_fds", "Number of open file descriptors.", &None, open_fds.map(whole)),
            ("process_max_fds", "Maximum number of open file descriptors.", &None, max_fds.map(whole)),
        ];
        for (name, help, unit, metric) in families {
            if let Some(metric) = metric {
                let family = encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?;
                metric.encode(family)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_every_exporter_has() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &root()).unwrap();
        let samples: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let names = [
            "heartbeat_build_info",
            "heartbeat_log_dropped_total",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_threads",
            "process_virtual_memory_bytes",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ];
        assert_eq!(samples, names);
        assert!(
            text.contains(&format!("version=\"{VERSION}\",revision=\"{REVISION}\",rustversion=\"1.")),
            "{text}"
        );
    }
}
