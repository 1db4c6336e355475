//! The lists beside the contract's: `http`, `tls`, `dns` and `grpc`, each read in a file of its own.

use serde_json::{Map, Value};

use super::entry::{COMMON_KEYS, Entry};
use super::limits::read_limits;
use super::reader::Reader;
use super::{ProbeTarget, dns, grpc, http, tls};
use crate::check::probe::ProbeSpec;

/// One of the lists.
pub(super) struct List {
    /// Its key, which is its components' kind.
    pub(super) kind: &'static str,
    /// Keys that its entries may have, beside [`COMMON_KEYS`].
    pub(super) keys: &'static [&'static [&'static str]],
    /// An entry of it.
    pub(super) example: &'static str,
    /// Reads one entry: what is asked, and what serves as a name where none is given.
    read: fn(&mut Entry<'_>) -> Option<(ProbeSpec, String)>,
}

/// All of them.
pub(super) const LISTS: &[List] = &[
    List { kind: "http", keys: http::KEYS, example: http::EXAMPLE, read: http::read },
    List { kind: "tls", keys: tls::KEYS, example: tls::EXAMPLE, read: tls::read },
    List { kind: "dns", keys: dns::KEYS, example: dns::EXAMPLE, read: dns::read },
    List { kind: "grpc", keys: grpc::KEYS, example: grpc::EXAMPLE, read: grpc::read },
];

/// Reads all lists, in their order.
pub(super) fn probes(reader: &mut Reader, heartbeat: &Map<String, Value>) -> Vec<ProbeTarget> {
    let mut probes: Vec<ProbeTarget> = Vec::new();
    for list in LISTS {
        for (index, entry) in reader.list(heartbeat, list.kind, "heartbeat", "[]").iter().enumerate() {
            let path = format!("heartbeat.{}[{index}]", list.kind);
            let Some(probe) = read_entry(reader, list, entry, &path) else { continue };
            if probes.iter().any(|known| known.spec.kind() == list.kind && known.name == probe.name) {
                let why =
                    format!("which another entry of `{}` has; give each a `name` of its own", list.kind);
                reader.problem(format!("{path}.name"), &Value::from(&*probe.name), why, r#""database""#);
            }
            probes.push(probe);
        }
    }
    probes
}

fn read_entry(reader: &mut Reader, list: &List, entry: &Value, path: &str) -> Option<ProbeTarget> {
    let object = reader.object(entry, path, list.example)?;
    let mut entry = Entry { reader, object, path };
    entry.only(&[&[COMMON_KEYS], list.keys].concat());
    let read = (list.read)(&mut entry);
    let name = entry.name(read.as_ref().map(|(_, name)| name.as_str()));
    let limits = read_limits(reader, object, path);
    let ((spec, _), name) = (read?, name?);
    Some(ProbeTarget {
        name,
        spec,
        timeout: limits.timeout,
        failure_threshold: limits.failure_threshold.unwrap_or(1),
        success_threshold: limits.success_threshold.unwrap_or(1),
    })
}

#[cfg(test)]
mod tests;
