//! The program's own metrics as text.
//!
//! prometheus-client writes OpenMetrics alone; for the classic format its lines are turned here, since a
//! scraper of that format fails on `info`, on exemplars and on a counter that is called otherwise than its
//! samples.

use prometheus_client::encoding::text::encode_registry;

use super::Format;
use crate::exposition::Registry;

/// Appends every metric of the registry, without the end mark.
pub(super) fn write(registry: &Registry, format: Format, out: &mut Vec<u8>) {
    let mut text = String::new();
    if encode_registry(&mut text, registry).is_err() {
        // Half a family would spoil the whole scrape, and the state matters more than we do.
        tracing::error!("Own metrics left out of a scrape: a collector failed");
        return;
    }
    if format.is_open_metrics() {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_classic(&text, out);
    }
}

fn write_classic(text: &str, out: &mut Vec<u8>) {
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // It comes before the type, on which the name depends.
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { continue };
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some(help) = help.take() {
                out.extend_from_slice(format!("# HELP {name}{suffix} {help}\n").as_bytes());
            }
            out.extend_from_slice(format!("# TYPE {name}{suffix} {kind}\n").as_bytes());
        } else if !line.starts_with('#') {
            out.extend_from_slice(without_exemplar(line).as_bytes());
            out.push(b'\n');
        }
    }
}

/// Cuts a sample after its value. Label values may hold the exemplar's mark, so the labels are skipped first.
fn without_exemplar(line: &str) -> &str {
    // A name holds no space, so a brace after the first one is the exemplar's.
    let labelled = line.find(['{', ' ']).is_some_and(|at| line[at..].starts_with('{'));
    let labels_end = if labelled { end_of_labels(line) } else { 0 };
    line[labels_end..].find(" # ").map_or(line, |mark| &line[..labels_end + mark])
}

/// Where the first label block ends: the first brace outside of quotes.
fn end_of_labels(line: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return index + 1,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
pub(super) mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::exemplar::CounterWithExemplar;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    use super::*;

    /// A registry with a family of each sort that we use, for the golden files.
    pub(in crate::exposition) fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.register("heartbeat_build", "Version of the program", Info::new(vec![("version", "0.1.0")]));
        let plain: Counter = Counter::default();
        plain.inc_by(5);
        registry.register("heartbeat_subscriber_received", "Deliveries", plain);
        let labelled = Family::<Vec<(String, String)>, Counter>::default();
        labelled.get_or_create(&vec![("reason".into(), "x # {y=\"1\"} 2".into())]).inc();
        registry.register("heartbeat_subscriber_rejected", "Deliveries that were refused", labelled);
        let traced = CounterWithExemplar::<Vec<(String, String)>>::default();
        traced.inc_by(2, Some(vec![("trace_id".into(), "4bf92f".into())]), None);
        registry.register("heartbeat_traced", "A counter with an exemplar", traced);
        let histogram = Histogram::new([0.01, 0.1]);
        histogram.observe(0.05);
        registry.register_with_unit("heartbeat_delivery", "Time from emission", Unit::Seconds, histogram);
        registry
    }

    #[test]
    fn exemplars_are_cut_and_label_values_are_not() {
        let cases = [
            (r#"a_total 3"#, r#"a_total 3"#),
            (r#"a_total 3 # {trace_id="x"} 1.0 2.0"#, r#"a_total 3"#),
            (r#"a{l="x # {y} \" # \\"} 3 # {t="1"} 1"#, r#"a{l="x # {y} \" # \\"} 3"#),
            (r#"a{l="x # {y}"} 3"#, r#"a{l="x # {y}"} 3"#),
        ];
        for (line, kept) in cases {
            assert_eq!(without_exemplar(line), kept);
        }
    }

    #[test]
    fn classic_names_are_those_of_the_samples() {
        let open = "# HELP a A.\n# TYPE a counter\na_total 1\n# HELP b B.\n# TYPE b info\nb_info{x=\"1\"} 1\n\
                    # HELP c_seconds C.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2\n\
                    # TYPE d unknown\nd 1\n# EOF\n";
        let mut out = Vec::new();
        write_classic(open, &mut out);
        let classic = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# HELP b_info B.\n\
                       # TYPE b_info gauge\nb_info{x=\"1\"} 1\n# HELP c_seconds C.\n# TYPE c_seconds gauge\n\
                       c_seconds 2\n# TYPE d untyped\nd 1\n";
        assert_eq!(String::from_utf8(out).unwrap(), classic);
    }
}
