//! From text to values. Pure: what a setting's text means, or why it means nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{GraceRules, LegacyId, LegacyMatch, ListenAddress, LogFormat, LogLevel};
use super::problem::shown;
use crate::amqp::{Node, QueueType};
use crate::heartbeat::PublisherId;
use crate::signing::{Policy, Stance, UserNames};

/// Why a text cannot be taken: a clause about "it", for [`super::Problem::why`].
pub type Why = String;

/// Longest name that AMQP 0-9-1 can carry (its "short string"), in bytes.
const AMQP_NAME_BYTES_MAX: usize = 255;

/// Paths that the server keeps for itself: what is below these, and these themselves.
const RESERVED_FOLDERS: [&str; 3] = ["/-/", "/api/", "/assets/"];
const RESERVED_PATHS: [&str; 3] = ["/", "/publisher", "/badge.svg"];

/// A whole number from `min` to `max`.
///
/// # Errors
/// Not a number, or out of the range.
pub fn whole_number(text: &str, min: u64, max: u64) -> Result<u64, Why> {
    let text = text.trim();
    if let Some(why) = service_link(text) {
        return Err(why);
    }
    let out_of_range = || format!("it is not from {min} to {max}");
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("it is not a whole number from {min} to {max}"));
    }
    // What is left to fail is the sign and the width, and both are a matter of range.
    let number = text.parse::<u64>().map_err(|_| out_of_range())?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(out_of_range()) }
}

/// Kubernetes gives every pod `REDIS_PORT=tcp://10.0.0.7:6379` for a service named `redis`, which
/// takes the place of the setting of that name. The operator cannot guess that.
fn service_link(text: &str) -> Option<Why> {
    text.starts_with("tcp://").then(|| {
        "it is what Kubernetes sets for a service of this name; set it in the pod, or enableServiceLinks: false"
            .to_owned()
    })
}

/// A duration from `min` to `max`: a bare number counts seconds (as the original has it), anything
/// else is read as people write it, `500ms`, `90s`, `7days`.
///
/// # Errors
/// Not a duration, or out of the range.
pub fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, Why> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("it is negative".into());
    }
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let parsed = if bare {
        text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    } else {
        humantime::parse_duration(text).ok()
    };
    let value = parsed.ok_or("it is not a duration: a number of seconds, or a number and a unit")?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(format!("it is not from {} to {}", shown_time(min), shown_time(max)))
}

/// A time as people say it: whole days as days, where the library would make years and hours of them.
pub(super) fn shown_time(time: Duration) -> String {
    const DAY: u64 = 86_400;
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds, 0) if seconds > DAY && seconds % DAY == 0 => format!("{}days", seconds / DAY),
        _ => humantime::format_duration(time).to_string(),
    }
}

/// A number of bytes from `min` to `max`, bare or with `kB`, `KiB`, `MB` or `MiB`.
///
/// # Errors
/// Not a number, or out of the range.
pub fn bytes(text: &str, min: u64, max: u64) -> Result<u64, Why> {
    let text = text.trim();
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("kB", 1_000), ("MB", 1_000_000), ("B", 1)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
        .unwrap_or((text, 1));
    let number = whole_number(number, 0, u64::MAX)
        .map_err(|_| "it is not a number of bytes, bare or with kB, KiB, MB or MiB")?;
    number
        .checked_mul(factor)
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("it is not from {min} to {max} bytes"))
}

/// Yes or no, in the spellings that people use, in any case.
///
/// # Errors
/// Anything else. (The original takes anything else for "no", which hides a misspelt `true`.)
pub fn boolean(text: &str) -> Result<bool, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("it is neither true nor false (1, 0, yes, no, on, off)".into()),
    }
}

/// A host name or address, without a port. IPv6 may stand in brackets, which are taken off.
///
/// # Errors
/// A URL, a port, or characters that no host has.
pub fn host(text: &str) -> Result<String, Why> {
    let text = text.trim();
    if text.contains("://") {
        return Err("it is a URL, and only the host belongs here".into());
    }
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if inner.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(inner.to_owned());
    }
    if text.contains(':') {
        return Err("it holds a colon: a port has a setting of its own".into());
    }
    let printable = |c: char| !c.is_whitespace() && !c.is_control() && !"/@[]?#,\"'".contains(c);
    if text.is_empty() || !text.chars().all(printable) {
        return Err("it is not a host name or an address".into());
    }
    Ok(text.to_owned())
}

/// A name that AMQP can carry: an exchange, a queue, a routing key, a vhost.
///
/// # Errors
/// Too long, or with control characters.
pub fn amqp_name(text: &str) -> Result<String, Why> {
    if text.len() > AMQP_NAME_BYTES_MAX {
        return Err(format!("it is longer than {AMQP_NAME_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("it holds a control character".into());
    }
    Ok(text.to_owned())
}

/// Most queues that one subscriber consumes.
const QUEUES_MAX: usize = 32;

/// Names of queues, separated by commas.
///
/// # Errors
/// None, too many, one twice, or one that is no name.
pub fn queues(text: &str) -> Result<Vec<String>, Why> {
    let mut queues = Vec::new();
    for item in list(text) {
        let queue = amqp_name(item)?;
        if queues.contains(&queue) {
            return Err(format!("it holds {queue:?} twice"));
        }
        queues.push(queue);
    }
    match queues.len() {
        0 => Err("it holds no queue".into()),
        1..=QUEUES_MAX => Ok(queues),
        _ => Err(format!("it holds more than {QUEUES_MAX} queues")),
    }
}

/// The path of the exposition.
///
/// # Errors
/// Not a plain absolute path, or one that the server keeps for itself.
pub fn url_path(text: &str) -> Result<String, Why> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_graphic() && !"?#%\"<>\\".contains(c);
    if !text.starts_with('/') || !text.chars().all(plain) {
        return Err("it is not a path that begins with / and has no ?, # or %".into());
    }
    if RESERVED_PATHS.contains(&text) || RESERVED_FOLDERS.iter().any(|folder| text.starts_with(folder)) {
        let (paths, folders) = (RESERVED_PATHS.join(", "), RESERVED_FOLDERS.join(", "));
        return Err(format!("it is taken, as are {paths} and what is below {folders}"));
    }
    Ok(text.to_owned())
}

/// One address to listen on: `:port` (every address of the machine), `host:port`, `[ipv6]:port`.
///
/// # Errors
/// Another form, or a port that is none. Port 0 lets the system choose.
pub fn listen_address(text: &str) -> Result<ListenAddress, Why> {
    let text = text.trim();
    let (name, port) = text.rsplit_once(':').ok_or_else(|| match text.parse::<u16>() {
        Ok(port) => format!("{} is a port alone; write it as :{port}", shown(text)),
        Err(_) => format!("{} has no port; write it as host:port", shown(text)),
    })?;
    let port = port.parse::<u16>().map_err(|_| format!("{} has no port from 0 to 65535", shown(text)))?;
    if name.contains(':') && !name.starts_with('[') {
        return Err(format!("{} is an IPv6 address without brackets; write it as [::1]:port", shown(text)));
    }
    let name = if name.is_empty() {
        None
    } else {
        Some(host(name).map_err(|why| format!("{}: {why}", shown(text)))?)
    };
    Ok(ListenAddress { host: name, port })
}

/// Addresses to listen on, separated by commas; each once.
///
/// # Errors
/// As [`listen_address`], for the first that is wrong.
pub fn listen_addresses(text: &str) -> Result<Vec<ListenAddress>, Why> {
    let mut addresses = Vec::new();
    for item in list(text) {
        let address = listen_address(item)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The entries of a comma-separated list, trimmed, empty ones left out.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `host:port` entries, separated by commas.
///
/// # Errors
/// An entry without a host or without a port from 1.
pub fn nodes(text: &str) -> Result<Vec<(String, u16)>, Why> {
    list(text)
        .map(|item| match listen_address(item)? {
            ListenAddress { host: Some(host), port } if port > 0 => Ok((host, port)),
            _ => Err(format!("{} is not host:port", shown(item))),
        })
        .collect()
}

/// Nodes of one broker, each a host with or without a port of its own, separated by commas; each once. What is wrong is
/// not repeated: an address with a password in it may have a comma there.
///
/// # Errors
/// None, or the first that is no host, or has a port that is none.
pub fn broker_nodes(text: &str, port: u16) -> Result<Vec<Node>, Why> {
    let mut nodes = Vec::new();
    for item in list(text) {
        let node = match (host(item), listen_address(item)) {
            (Ok(host), _) => Node { host, port },
            (_, Ok(ListenAddress { host: Some(host), port })) if port > 0 => Node { host, port },
            (Err(why), _) if item.contains("://") || !item.contains(':') => return Err(why),
            _ => {
                return Err(
                    "it is neither a host nor host:port, nor several of these with commas between".into()
                );
            }
        };
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    if nodes.is_empty() { Err("it names no host".into()) } else { Ok(nodes) }
}

/// Hosts without ports, separated by commas; each once.
///
/// # Errors
/// None, or as [`host`], for the first that is wrong.
pub fn hosts(text: &str) -> Result<Vec<String>, Why> {
    let mut hosts = Vec::new();
    for item in list(text) {
        let host = host(item)?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() { Err("it names no host".into()) } else { Ok(hosts) }
}

/// What a queue is to be that is made here.
///
/// # Errors
/// Another word.
pub fn queue_type(text: &str) -> Result<QueueType, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "classic" => Ok(QueueType::Classic),
        "quorum" => Ok(QueueType::Quorum),
        _ => Err("it is neither classic nor quorum".into()),
    }
}

/// A publisher's id.
///
/// # Errors
/// Says which rule of names it breaks.
pub fn publisher_id(text: &str) -> Result<PublisherId, Why> {
    PublisherId::new(text).map_err(|error| error.to_string())
}

/// The id of a publisher of this configuration, which is no drill.
///
/// # Errors
/// As [`publisher_id`].
pub fn own_publisher_id(text: &str) -> Result<PublisherId, Why> {
    let id = publisher_id(text)?;
    if id.is_drill() {
        Err("it begins as the ids of drills do, and would be forgotten as one".into())
    } else {
        Ok(id)
    }
}

/// Publisher ids, separated by commas; each once.
///
/// # Errors
/// As [`publisher_id`], for the first that is wrong.
pub fn publisher_ids(text: &str) -> Result<Vec<PublisherId>, Why> {
    let mut ids = Vec::new();
    for item in list(text) {
        let id = publisher_id(item).map_err(|why| format!("{}: {why}", shown(item)))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Splits `left=right` at the last `=`: a routing key may hold one, a duration cannot.
fn pair<'a>(item: &'a str, form: &str) -> Result<(&'a str, &'a str), Why> {
    match item.rsplit_once('=') {
        Some((left, right)) if !left.trim().is_empty() && !right.trim().is_empty() => {
            Ok((left.trim(), right.trim()))
        }
        _ => Err(format!("{} is not of the form {form}", shown(item))),
    }
}

/// Ids for the messages of the original: `routing-key=id` or `queue:NAME=id`, separated by commas.
///
/// # Errors
/// An entry of another form, or one key given two ids.
pub fn legacy_ids(text: &str) -> Result<Vec<LegacyId>, Why> {
    let mut ids: Vec<LegacyId> = Vec::new();
    for item in list(text) {
        let (left, right) = pair(item, "ROUTING-KEY=ID or queue:QUEUE=ID")?;
        let matches = match left.strip_prefix("queue:") {
            Some(queue) => LegacyMatch::Queue(amqp_name(queue)?),
            None => LegacyMatch::RoutingKey(amqp_name(left)?),
        };
        let id = publisher_id(right).map_err(|why| format!("{}: {why}", shown(item)))?;
        if ids.iter().any(|known| known.matches == matches && known.id != id) {
            return Err(format!("{} is given two ids", shown(left)));
        }
        ids.push(LegacyId { matches, id });
    }
    Ok(ids)
}

/// Grace periods: `id=duration`, and `*=duration` for everybody else, separated by commas.
///
/// # Errors
/// An entry of another form, a duration that is none, or one id twice.
pub fn grace_rules(text: &str) -> Result<GraceRules, Why> {
    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(366 * 24 * 3600);
    let mut rules = GraceRules { everybody: None, by_publisher: BTreeMap::new() };
    for item in list(text) {
        let (left, right) = pair(item, "ID=TIME")?;
        let grace = duration(right, MIN, MAX).map_err(|why| format!("{}: {why}", shown(item)))?;
        let before = if left == "*" {
            rules.everybody.replace(grace)
        } else {
            let id = publisher_id(left).map_err(|why| format!("{}: {why}", shown(item)))?;
            rules.by_publisher.insert(id, grace)
        };
        if before.is_some() {
            return Err(format!("{} is given twice", shown(left)));
        }
    }
    Ok(rules)
}

/// A policy: `accept`, `warn` or `refuse` for everybody (also as `*=warn`), and `id=policy` for single publishers,
/// separated by commas.
///
/// # Errors
/// A word that is none of the three, or one publisher given two.
pub fn policy(text: &str) -> Result<Policy, Why> {
    let (mut everybody, mut by_publisher) = (None, BTreeMap::new());
    for item in list(text) {
        let (left, right) = if item.contains('=') { pair(item, "ID=POLICY")? } else { ("*", item) };
        let stance = match right.to_ascii_lowercase().as_str() {
            "accept" => Stance::Accept,
            "warn" => Stance::Warn,
            "refuse" => Stance::Refuse,
            _ => return Err(format!("{} is none of accept, warn, refuse", shown(right))),
        };
        let before = if left == "*" {
            everybody.replace(stance)
        } else {
            let id = publisher_id(left).map_err(|why| format!("{}: {why}", shown(item)))?;
            by_publisher.insert(id, stance)
        };
        if before.is_some() {
            return Err(format!("{} is given twice", shown(left)));
        }
    }
    Ok(Policy { everybody: everybody.unwrap_or_default(), by_publisher })
}

/// Users of publishers: `id=user`, separated by commas.
///
/// # Errors
/// An entry of another form, or one publisher given two users.
pub fn user_names(text: &str) -> Result<UserNames, Why> {
    let mut names = UserNames::default();
    for item in list(text) {
        let (left, right) = pair(item, "ID=USER")?;
        let id = publisher_id(left).map_err(|why| format!("{}: {why}", shown(item)))?;
        if names.0.insert(id, amqp_name(right)?).is_some() {
            return Err(format!("{} is given twice", shown(left)));
        }
    }
    Ok(names)
}

/// The least severity that is logged.
///
/// # Errors
/// Not one of the words.
pub fn log_level(text: &str) -> Result<LogLevel, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        _ => Err("it is none of debug, info, warn, error".into()),
    }
}

/// The form of a log line.
///
/// # Errors
/// Not one of the words.
pub fn log_format(text: &str) -> Result<LogFormat, Why> {
    match text.trim().to_ascii_lowercase().as_str() {
        "logfmt" => Ok(LogFormat::Logfmt),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is neither logfmt nor json".into()),
    }
}

#[cfg(test)]
mod tests;
