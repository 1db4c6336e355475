//! What a metric is called by OTLP, from what Prometheus calls it.

/// Metrics of the process, by the names of the semantic conventions where these have one.
const PROCESS: &[(&str, &str)] = &[
    ("process_cpu", "process.cpu.time"),
    ("process_start_time", "process.start_time"),
    ("process_threads", "process.thread.count"),
    ("process_virtual_memory", "process.memory.virtual"),
    ("process_resident_memory", "process.memory.usage"),
    ("process_open_fds", "process.unix.file_descriptor.count"),
    ("process_max_fds", "process.unix.file_descriptor.limit"),
];

/// Units by the words that end Prometheus' names, as UCUM writes them.
const UNITS: &[(&str, &str)] = &[("seconds", "s"), ("bytes", "By")];

/// The OTLP name and unit of a family, given without the suffix of its type.
///
/// There are dots after `heartbeat` and after the next word, and the unit is not in the name.
pub(super) fn of(family: &str, unit: Option<&str>) -> (String, &'static str) {
    let written = unit.and_then(|unit| UNITS.iter().find(|(word, _)| *word == unit));
    let bare = written.and_then(|(word, _)| family.strip_suffix(word)?.strip_suffix('_')).unwrap_or(family);
    let unit = written.map_or("", |(_, unit)| unit);
    if let Some((_, name)) = PROCESS.iter().find(|(known, _)| *known == bare) {
        return ((*name).to_owned(), unit);
    }
    (bare.replacen('_', ".", 2), unit)
}

/// An info's name gets back what the text format adds to it.
pub(super) fn of_info(family: &str) -> String {
    of(&format!("{family}_info"), None).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_rule_has_them() {
        let cases = [
            ("heartbeat_publisher_up", None, "heartbeat.publisher.up", ""),
            (
                "heartbeat_component_last_change_timestamp_seconds",
                Some("seconds"),
                "heartbeat.component.last_change_timestamp",
                "s",
            ),
            ("heartbeat_delivery_seconds", Some("seconds"), "heartbeat.delivery", "s"),
            ("heartbeat_publisher_blocked_seconds", Some("seconds"), "heartbeat.publisher.blocked", "s"),
            ("process_cpu_seconds", Some("seconds"), "process.cpu.time", "s"),
            ("process_resident_memory_bytes", Some("bytes"), "process.memory.usage", "By"),
            ("process_open_fds", None, "process.unix.file_descriptor.count", ""),
        ];
        for (family, unit, name, ucum) in cases {
            assert_eq!(of(family, unit), (name.to_owned(), ucum), "{family}");
        }
        assert_eq!(of_info("heartbeat_build"), "heartbeat.build.info");
    }
}
