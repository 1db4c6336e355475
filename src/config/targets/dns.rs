//! Entries of `dns`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use super::entry::Entry;
use crate::check::dns::{DnsSpec, RCODES, Transport};
use crate::check::probe::ProbeSpec;

pub(super) const KEYS: &[&[&str]] = &[&[
    "server",
    "port",
    "query_name",
    "query_type",
    "transport_protocol",
    "recursion_desired",
    "valid_rcodes",
    "expected_answers",
]];

pub(super) const EXAMPLE: &str = r#"{"server": "10.0.0.2", "query_name": "db.example.org"}"#;

const PORT: u16 = 53;

/// Types that are questions about a name. The others are parts of the protocol, or transfers of whole zones.
const TYPES: &[&str] = &[
    "A", "AAAA", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SSHFP",
    "SVCB", "TLSA", "TXT",
];

pub(super) fn read(entry: &mut Entry<'_>) -> Option<(ProbeSpec, String)> {
    let server = entry.host("server");
    let port = if entry.has("port") { entry.port() } else { Some(PORT) };
    let name = name(entry);
    let record_type = record_type(entry);
    let transport = match entry.maybe_text("transport_protocol", r#""tcp""#) {
        Some("tcp") => Transport::Tcp,
        None | Some("udp") => Transport::Udp,
        Some(_) => {
            entry.problem("transport_protocol", "which is neither udp nor tcp", r#""tcp""#);
            Transport::Udp
        }
    };
    let recursion_desired = entry.maybe_switch("recursion_desired").unwrap_or(true);
    let rcodes = rcodes(entry);
    let answers = answers(entry, record_type);
    let ((name, called), server, port) = (name?, server?.into(), port?);
    let spec = DnsSpec { server, port, name, record_type, transport, recursion_desired, rcodes, answers };
    Some((ProbeSpec::Dns(Box::new(spec)), called.to_owned()))
}

/// The name that is asked for, and as it is written.
fn name<'a>(entry: &mut Entry<'a>) -> Option<(Name, &'a str)> {
    const NAME: &str = r#""db.example.org""#;
    let text = entry.text("query_name", NAME)?;
    match Name::from_utf8(text) {
        Ok(mut name) => {
            // Whoever asks a server by its address means the whole name.
            name.set_fqdn(true);
            Some((name, text))
        }
        Err(_) => {
            entry.problem("query_name", "which is no name of DNS", NAME);
            None
        }
    }
}

fn record_type(entry: &mut Entry<'_>) -> RecordType {
    let Some(text) = entry.maybe_text("query_type", r#""AAAA""#) else { return RecordType::A };
    match RecordType::from_str(text) {
        Ok(record_type) if TYPES.contains(&text) => record_type,
        _ => {
            entry.problem("query_type", format!("which is none of {}", TYPES.join(", ")), r#""AAAA""#);
            RecordType::A
        }
    }
}

fn rcodes(entry: &mut Entry<'_>) -> Vec<ResponseCode> {
    const EXAMPLE: &str = r#"["NXDOMAIN"]"#;
    let texts = entry.texts("valid_rcodes", EXAMPLE);
    if texts.is_empty() {
        return vec![ResponseCode::NoError];
    }
    let code = |text: &&str| RCODES.iter().find(|(known, _)| known == text).map(|(_, code)| *code);
    let codes: Vec<_> = texts.iter().filter_map(code).collect();
    if codes.len() < texts.len() {
        let known: Vec<_> = RCODES.iter().map(|(known, _)| *known).collect();
        entry.problem("valid_rcodes", format!("which holds another than {}", known.join(", ")), EXAMPLE);
    }
    codes
}

fn answers(entry: &mut Entry<'_>, record_type: RecordType) -> Vec<Box<str>> {
    const EXAMPLE: &str = r#"["192.0.2.1"]"#;
    let texts = entry.texts("expected_answers", EXAMPLE);
    let is_right = |text: &&str| match record_type {
        RecordType::A => text.parse::<Ipv4Addr>().is_ok(),
        RecordType::AAAA => text.parse::<Ipv6Addr>().is_ok(),
        _ => !text.is_empty(),
    };
    if !texts.iter().all(is_right) {
        entry.problem(
            "expected_answers",
            format!("which holds what is no record of type {record_type}"),
            EXAMPLE,
        );
    }
    texts.into_iter().map(Box::from).collect()
}
