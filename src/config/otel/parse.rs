//! What the texts of OpenTelemetry's settings mean, or why they mean nothing. Pure.
//!
//! Words count in any case, as the specification asks.

use std::net::Ipv6Addr;

use http::{HeaderName, Uri};
use percent_encoding::percent_decode_str;

use super::super::parse::{self, Why, list};
use super::super::problem::shown;
use crate::otlp::config::{Compression, Protocol, Root, Sampler};
use crate::secret::Secret;

/// Whether a signal is exported: `otlp`, or `none` alone.
///
/// # Errors
/// Another exporter, or `none` beside one.
pub(super) fn exporter(text: &str) -> Result<bool, Why> {
    let words: Vec<String> = list(text).map(str::to_ascii_lowercase).collect();
    if let Some(other) = words.iter().find(|word| !matches!(word.as_str(), "otlp" | "none")) {
        return Err(format!("{} is not supported; otlp and none are", shown(other)));
    }
    match words.iter().filter(|word| *word == "none").count() {
        0 if !words.is_empty() => Ok(true),
        1 if words.len() == 1 => Ok(false),
        _ => Err("it is neither otlp, nor none alone".into()),
    }
}

/// How an endpoint is spoken to.
///
/// # Errors
/// Not one of the two that are supported.
pub(super) fn protocol(text: &str) -> Result<Protocol, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        _ => Err("it is neither http/protobuf nor grpc".into()),
    }
}

/// Whether requests are compressed.
///
/// # Errors
/// Not one of the two that are supported.
pub(super) fn compression(text: &str) -> Result<Compression, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        _ => Err("it is neither none nor gzip".into()),
    }
}

/// Which traces are recorded; the share is a setting of its own, and all of them until it is read.
///
/// # Errors
/// Not one of the words.
pub(super) fn sampler(text: &str) -> Result<Sampler, Why> {
    let word = text.trim().to_ascii_lowercase();
    let (name, parent_based) = match word.strip_prefix("parentbased_") {
        Some(name) => (name, true),
        None => (word.as_str(), false),
    };
    let root = match name {
        "always_on" => Root::AlwaysOn,
        "always_off" => Root::AlwaysOff,
        "traceidratio" => Root::Ratio(1.0),
        _ => {
            return Err(
                "it is none of always_on, always_off, traceidratio, bare or after parentbased_".into()
            );
        }
    };
    Ok(Sampler { root, parent_based })
}

/// A share, from none of them to all.
///
/// # Errors
/// Not a number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, Why> {
    let share = text.trim().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it is not a number from 0 to 1".into())
}

/// Whether samples name traces.
///
/// # Errors
/// A filter that is not supported: what was measured outside of a trace has none to name.
pub(super) fn exemplars(text: &str) -> Result<bool, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "trace_based" => Ok(true),
        "always_off" => Ok(false),
        _ => Err("it is neither trace_based nor always_off".into()),
    }
}

/// A word that is the only one supported.
///
/// # Errors
/// Any other.
pub(super) fn only(word: &str, text: &str) -> Result<(), Why> {
    let same = text.trim().eq_ignore_ascii_case(word);
    if same { Ok(()) } else { Err(format!("it is not supported: only {word} is")) }
}

/// The propagators that have no effect.
///
/// # Errors
/// Neither `tracecontext` is among them, nor `none` alone.
pub(super) fn propagators(text: &str) -> Result<Vec<String>, Why> {
    let mut words: Vec<String> = list(text).map(str::to_ascii_lowercase).collect();
    let none = words.len() == 1 && words[0] == "none";
    if !none && !words.iter().any(|word| word == "tracecontext") {
        return Err("tracecontext is not among them, and nothing else is supported".into());
    }
    words.retain(|word| !matches!(word.as_str(), "tracecontext" | "baggage"));
    Ok(words)
}

/// What the operator says of this process: `key=value` entries, percent-encoded, separated by commas.
///
/// # Errors
/// An entry of another form, or one key twice.
pub(super) fn resource(text: &str) -> Result<Vec<(String, String)>, Why> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for item in list(text) {
        let (key, value) =
            item.split_once('=').ok_or_else(|| format!("{} is not of the form key=value", shown(item)))?;
        let (key, value) = decoded(key.trim())
            .zip(decoded(value.trim()))
            .ok_or_else(|| format!("{} is not percent-encoded UTF-8", shown(item)))?;
        if key.is_empty() {
            return Err(format!("{} is not of the form key=value", shown(item)));
        }
        if attributes.iter().any(|(known, _)| *known == key) {
            return Err(format!("{} is given twice", shown(&key)));
        }
        attributes.push((key, value));
    }
    Ok(attributes)
}

/// Headers of requests: `name=value` entries, values percent-encoded, separated by commas.
///
/// # Errors
/// An entry of another form, or one name twice. They are told by their number alone: with a comma
/// in the wrong place, what looks like a name may be half of a key.
pub(super) fn headers(text: &str) -> Result<Vec<(String, Secret)>, Why> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    for (entry, item) in (1..).zip(list(text)) {
        let (name, value) =
            item.split_once('=').ok_or_else(|| format!("entry {entry} is not of the form name=value"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| format!("entry {entry} does not begin with a header's name"))?;
        if is_ours(name.as_str()) {
            return Err(format!("entry {entry} names {name}, which this program sets itself"));
        }
        let printable = |value: &String| value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let value = decoded(value.trim()).filter(printable).ok_or_else(|| {
            format!("the value of entry {entry} is not percent-encoded, or not of printable ASCII characters")
        })?;
        if headers.iter().any(|(known, _)| known == name.as_str()) {
            return Err(format!("entry {entry} names a header that an entry before it names"));
        }
        headers.push((name.as_str().to_owned(), Secret::new(value)));
    }
    Ok(headers)
}

/// Whether a header is the protocol's, or of a form that gRPC has for bytes.
fn is_ours(name: &str) -> bool {
    const PROTOCOL: &[&str] = &[
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "te",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    PROTOCOL.contains(&name) || name.starts_with("grpc-") || name.ends_with("-bin")
}

/// Without its percent-encoding; `None` for a `%` that begins no escape, and for what is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    // The decoder lets a `%` that begins no escape stand, and with it a value that was never encoded.
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// An endpoint as its setting names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Where requests go.
    pub(super) uri: Uri,
    /// Whether it was written with its scheme.
    pub(super) has_scheme: bool,
    /// Whether a path was written that is not used.
    pub(super) path_ignored: bool,
}

/// An endpoint that is spoken to in HTTP. `added`: what goes behind its path.
///
/// # Errors
/// Not an address of http or https.
pub(super) fn http_endpoint(text: &str, added: Option<&str>) -> Result<Address, Why> {
    let Parts { scheme, authority, path, query } = parts(text)?;
    let scheme = scheme.ok_or("it has no scheme: http:// or https:// goes before the host")?;
    let path = match (added, path) {
        (Some(added), path) => format!("{}{added}", path.trim_end_matches('/')),
        (None, "") => "/".into(),
        (None, path) => path.to_owned(),
    };
    let uri = uri(&format!("{scheme}://{authority}{path}{query}"))?;
    Ok(Address { uri, has_scheme: true, path_ignored: false })
}

/// An endpoint that is spoken to in gRPC, which has paths of its own. `insecure`: what is written
/// without a scheme is http.
///
/// # Errors
/// Not an address of http or https.
pub(super) fn grpc_endpoint(text: &str, insecure: bool) -> Result<Address, Why> {
    let Parts { scheme, authority, path, query } = parts(text)?;
    let by_default = if insecure { "http" } else { "https" };
    let uri = uri(&format!("{}://{authority}", scheme.unwrap_or(by_default)))?;
    let path_ignored = !matches!(path, "" | "/") || !query.is_empty();
    Ok(Address { uri, has_scheme: scheme.is_some(), path_ignored })
}

fn uri(text: &str) -> Result<Uri, Why> {
    text.parse().map_err(|_| "it is not a URL".into())
}

/// The parts of an endpoint's text.
struct Parts<'a> {
    scheme: Option<&'static str>,
    authority: &'a str,
    path: &'a str,
    /// With its question mark, or empty.
    query: &'a str,
}

fn parts(text: &str) -> Result<Parts<'_>, Why> {
    let text = text.trim();
    if !text.chars().all(|c| c.is_ascii_graphic() && c != '#') {
        return Err("it is not a URL".into());
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(known_scheme(scheme)?), rest),
        // gRPC's own way to name a socket, unix:/path; of a host and a port, no port begins so.
        None if text.contains(":/") => return Err(OTHER_SCHEME.into()),
        None => (None, text),
    };
    let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    check_authority(authority)?;
    Ok(Parts { scheme, authority, path, query })
}

const OTHER_SCHEME: &str = "its scheme is neither http nor https";

fn known_scheme(text: &str) -> Result<&'static str, Why> {
    let known = ["http", "https"].into_iter().find(|known| text.eq_ignore_ascii_case(known));
    known.ok_or_else(|| OTHER_SCHEME.into())
}

/// A host, and a port unless it is the scheme's.
fn check_authority(text: &str) -> Result<(), Why> {
    if text.contains('@') {
        return Err(
            "it holds a user; what the receiver asks for belongs in OTEL_EXPORTER_OTLP_HEADERS".into()
        );
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.is_empty() {
        return Err("it names no host".into());
    }
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => {}
        Some(_) => return Err("its host is not an IPv6 address, and stands in brackets".into()),
        None if host.contains(':') => {
            return Err("its host holds a colon; an IPv6 address is written as [::1]".into());
        }
        None => drop(parse::host(host).map_err(|_| "its host is not a name or an address")?),
    }
    let has_digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        Some(port) if !has_digits(port) || !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Err("its port is not from 1 to 65535".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
