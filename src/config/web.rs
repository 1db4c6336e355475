//! The web configuration: who may see the exposition, and how it is served. The format of Prometheus'
//! exporter-toolkit (`docs/web-configuration.md` there), key by key.
//!
//! What the toolkit would take and this program cannot hold to is a problem, and never passed over: an option
//! that protects nothing is worse than none.

mod reader;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use yaml_serde::{Mapping, Value};

use super::problem::{Problem, Problems};
use super::reader::why_unreadable;
use super::yaml::is_too_deep;
use crate::reading::bounded;
use crate::secret::Secret;
use crate::tls::server::{self, Clients, Part, Pem, Served, ServerTls, ServerTlsError};
use reader::Reader;

/// Longest file, in bytes. One with inline certificates has a few thousand.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The cheapest and the dearest hash that bcrypt and our patience allow. One step more doubles the time: at 16 it
/// takes seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;

/// Longest time between two requests that may be asked for.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Most requests at once that may be asked for.
const BURST_MAX: u64 = 1_000_000;

const FILE_EXAMPLE: &str = "basic_auth_users: {prometheus: $2y$10$...}";
const HASH_EXAMPLE: &str = "the output of: htpasswd -nBC 10 \"\" | tr -d ':\\n'";

const ROOT_KEYS: &[&str] = &["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];
const HTTP_KEYS: &[&str] = &["http2", "headers"];
const RATE_KEYS: &[&str] = &["interval", "burst"];

/// Headers that may be set, with the only values of those that have any.
const HEADERS: &[(&str, &[&str])] = &[
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// A web configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebFile {
    /// `Some`: https alone.
    pub tls: Option<ServerTls>,
    /// Headers of every answer, with their values; an empty one leaves the header out.
    pub headers: Vec<(&'static str, String)>,
    /// Who may ask, by name. None: everybody.
    pub users: BTreeMap<String, PasswordHash>,
    /// How often may be asked.
    pub rate_limit: Option<RateLimit>,
}

/// A password as bcrypt hashed it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Secret,
    cost: u32,
}

/// A token bucket, for all clients together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Time in which one more request becomes possible; above zero.
    pub interval: Duration,
    /// Requests that are possible at once; at least one.
    pub burst: u32,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl PasswordHash {
    /// Takes a hash, as `htpasswd -B` writes it.
    ///
    /// # Errors
    /// Why no password could be held against it: a clause about "it".
    pub fn new(text: &str) -> Result<Self, String> {
        const FORM: &str = "it is no bcrypt hash: those begin with $2a$, $2b$ or $2y$ and have 60 characters";
        let version = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
        if text.len() != 60 || !text.is_ascii() || !version || text.as_bytes()[6] != b'$' {
            return Err(FORM.into());
        }
        let decodes = |part: &str| bcrypt::BASE_64.decode(part).is_ok();
        if !decodes(&text[7..29]) || !decodes(&text[29..]) {
            return Err(FORM.into());
        }
        let cost = text[4..6].parse().map_err(|_| FORM)?;
        if !COSTS.contains(&cost) {
            let (min, max) = (COSTS.start(), COSTS.end());
            return Err(format!("its cost is {cost}; from {min} to {max} would do, where 10 is usual"));
        }
        Ok(Self { text: Secret::new(text), cost })
    }

    /// A hash that costs as much as another one, for those who are not known.
    pub fn decoy(cost: u32) -> Self {
        // Whatever stands for salt and hash: the time is the same, and the outcome is not asked for.
        let text = format!("$2b${cost:02}${}", "abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzabcde");
        Self { text: Secret::new(text), cost }
    }

    /// Powers of two of bcrypt's work.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Whether this is the password. Takes a long time on purpose: not for an async thread.
    pub fn verify(&self, password: &[u8]) -> bool {
        // The form was looked at when it was made; were it wrong all the same, nobody gets in.
        bcrypt::verify(password, self.text.expose()).unwrap_or(false)
    }
}

impl WebFile {
    /// The files that it names.
    pub fn files(&self) -> Vec<&Path> {
        let tls = self.tls.iter();
        let texts =
            tls.flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.clients.as_ref().map(|c| &c.ca)]);
        texts
            .flatten()
            .filter_map(|text| match text {
                Pem::File(path) => Some(path.as_path()),
                Pem::Inline(_) => None,
            })
            .collect()
    }

    /// What it no longer asks of clients, compared with the one before; `None`: nothing less.
    ///
    /// A file that is being written is for a moment a shorter, valid one, and must not open the door.
    pub fn asks_less_than(&self, before: &Self) -> Option<&'static str> {
        let clients = |file: &Self| file.tls.as_ref().and_then(|tls| tls.clients.clone());
        let strictness =
            |clients: &Option<Clients>| clients.as_ref().map_or(0, |c| 1 + i32::from(c.required));
        let has_names = |clients: &Option<Clients>| clients.as_ref().is_some_and(|c| c.names.is_some());
        let (now, then) = (clients(self), clients(before));
        if before.tls.is_some() && self.tls.is_none() {
            Some("TLS")
        } else if strictness(&now) < strictness(&then) {
            Some("a client certificate")
        } else if has_names(&then) && !has_names(&now) {
            Some("a name in the client certificate")
        } else if !before.users.is_empty() && self.users.is_empty() {
            Some("a password")
        } else {
            None
        }
    }
}

/// Reads a web configuration with the files that it names.
///
/// # Errors
/// Every problem that there is, each with the file and the place in it.
pub fn load(path: &Path) -> Result<(WebFile, Option<Served>), Problems> {
    let shown = path.display().to_string();
    let whole = |why: String| {
        let mut problems = Problems::default();
        problems.push(Problem { name: shown.clone(), value: None, why, example: FILE_EXAMPLE.into() });
        problems
    };
    let text = bounded(path, FILE_BYTES_MAX).map_err(|error| whole(why_unreadable(&error)))?;
    let text = String::from_utf8(text).map_err(|_| whole("the file is not UTF-8".into()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let placed = |problems: Problems| {
        let mut all = Problems::default();
        all.extend(problems.iter().cloned().map(|problem| {
            let name = match &*problem.name {
                "" => shown.clone(),
                place => format!("{shown}, {place}"),
            };
            Problem { name, ..problem }
        }));
        all
    };
    let file = parse(&text, folder).map_err(placed)?;
    let served = file.tls.as_ref().map(|tls| (tls, server::server_config(tls)));
    match served {
        None => Ok((file, None)),
        Some((_, Ok(served))) => Ok((file, Some(served))),
        Some((tls, Err(error))) => {
            let mut problems = Problems::default();
            problems.push(blame(tls, &error));
            Err(placed(problems))
        }
    }
}

/// The place in the file that a problem with TLS is about.
fn blame(tls: &ServerTls, error: &ServerTlsError) -> Problem {
    let part = match error {
        ServerTlsError::Read { part, .. } | ServerTlsError::Content { part, .. } => *part,
    };
    let key = |pem: &Pem, key: &str| match pem {
        Pem::File(_) => format!("tls_server_config.{key}_file"),
        Pem::Inline(_) => format!("tls_server_config.{key}"),
    };
    let (name, pem) = match (part, &tls.clients) {
        (Part::Cert, _) => (key(&tls.cert, "cert"), Some(&tls.cert)),
        (Part::Key, _) => (key(&tls.key, "key"), Some(&tls.key)),
        (Part::ClientCa, Some(clients)) => (key(&clients.ca, "client_ca"), Some(&clients.ca)),
        (Part::ClientCa, None) | (Part::Whole, _) => ("tls_server_config".into(), None),
    };
    let value = pem.and_then(|pem| match pem {
        Pem::File(path) => Some(path.display().to_string()),
        Pem::Inline(_) => None,
    });
    let why = match error {
        ServerTlsError::Read { source, .. } => why_unreadable(source),
        ServerTlsError::Content { why, .. } => why.clone(),
    };
    Problem { name, value, why, example: String::new() }
}

/// Reads a web configuration's text; relative paths in it are relative to `folder`. Opens no file.
///
/// # Errors
/// Every problem that there is, named by its place in the file; of the file as a whole, by nothing.
pub fn parse(text: &str, folder: &Path) -> Result<WebFile, Problems> {
    let mut reader = Reader::default();
    let file = read_root(&mut reader, text, folder);
    if reader.problems.is_empty() { Ok(file) } else { Err(reader.problems) }
}

fn read_root(r: &mut Reader, text: &str, folder: &Path) -> WebFile {
    let mut file = WebFile::default();
    if text.len() > FILE_BYTES_MAX {
        r.problem("", None, format!("the file is longer than {FILE_BYTES_MAX} bytes"), FILE_EXAMPLE);
        return file;
    }
    if is_too_deep(text) {
        r.problem("", None, "it is nested too deeply for any that is meant", FILE_EXAMPLE);
        return file;
    }
    let root: Value = match yaml_serde::from_str(text) {
        Ok(root) => root,
        Err(error) => {
            r.problem(
                "",
                None,
                format!("it is no YAML: {}", reader::harmless(&error.to_string())),
                FILE_EXAMPLE,
            );
            return file;
        }
    };
    if root.is_null() {
        let why = "it holds nothing, and protects nothing; unset WEB_CONFIG_FILE if that is meant";
        r.problem("", None, why, FILE_EXAMPLE);
        return file;
    }
    let Some(root) = r.mapping(&root, "", FILE_EXAMPLE) else { return file };
    r.known_keys(root, "", ROOT_KEYS);
    if let Some(section) = r.section(root, "tls_server_config", tls::EXAMPLE) {
        file.tls = tls::read(r, section, folder);
    }
    if let Some(section) = r.section(root, "http_server_config", "http_server_config: {http2: false}") {
        file.headers = read_http(r, section);
    }
    if let Some(section) = r.section(root, "basic_auth_users", FILE_EXAMPLE) {
        file.users = read_users(r, section);
    }
    if let Some(section) = r.section(root, "rate_limit", "rate_limit: {interval: 1s, burst: 20}") {
        file.rate_limit = read_rate_limit(r, section);
    }
    file
}

fn read_http(r: &mut Reader, section: &Mapping) -> Vec<(&'static str, String)> {
    const PATH: &str = "http_server_config";
    r.known_keys(section, PATH, HTTP_KEYS);
    if r.boolean(section, PATH, "http2") == Some(true) {
        let why = "HTTP/2 is not spoken here, only HTTP/1.1; leave it out, or set it to false";
        r.problem("http_server_config.http2", Some("true".into()), why, "false");
    }
    let Some(headers) = r.mapping_of(section, PATH, "headers", "{X-Frame-Options: deny}") else {
        return Vec::new();
    };
    let path = "http_server_config.headers";
    let names: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
    r.known_keys(headers, path, &names);
    let mut found = Vec::new();
    for (name, allowed) in HEADERS {
        let Some(value) = headers.get(*name) else { continue };
        let place = format!("{path}.{name}");
        let example = allowed.first().copied().unwrap_or_default();
        // An empty value is the toolkit's way to leave a header out.
        let Some(value) = value.as_str() else {
            r.problem(&place, None, "it is no text", example);
            continue;
        };
        if !allowed.is_empty() && !allowed.contains(&value) {
            r.problem(&place, Some(value.into()), format!("it is none of {}", allowed.join(", ")), example);
        } else if !value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            r.problem(&place, Some(value.into()), "it has characters that no header can have", example);
        } else {
            found.push((*name, value.to_owned()));
        }
    }
    found
}

fn read_users(r: &mut Reader, section: &Mapping) -> BTreeMap<String, PasswordHash> {
    const PATH: &str = "basic_auth_users";
    let mut users = BTreeMap::new();
    if section.is_empty() {
        r.problem(PATH, None, "it names nobody, so that nobody would be asked for a password", FILE_EXAMPLE);
    }
    for (name, hash) in section {
        let Some(name) = name.as_str() else {
            r.problem(PATH, None, "it has a name that is no text; put it in quotes", FILE_EXAMPLE);
            continue;
        };
        let place = format!("{PATH}.{}", reader::harmless(name));
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            let why = "nobody can give this name: it is empty, or has a colon or a control character";
            r.problem(&place, None, why, FILE_EXAMPLE);
            continue;
        }
        // What stands there may be the password itself, and is not shown.
        match hash.as_str().map(PasswordHash::new) {
            Some(Ok(hash)) => {
                users.insert(name.to_owned(), hash);
            }
            Some(Err(why)) => r.problem(&place, None, why, HASH_EXAMPLE),
            None => r.problem(&place, None, "it is no text, and has to be a bcrypt hash", HASH_EXAMPLE),
        }
    }
    users
}

fn read_rate_limit(r: &mut Reader, section: &Mapping) -> Option<RateLimit> {
    const PATH: &str = "rate_limit";
    r.known_keys(section, PATH, RATE_KEYS);
    let interval = r.duration(section, PATH, "interval", INTERVAL_MAX);
    if interval == Some(Duration::ZERO) {
        // As the toolkit has it: off.
        return None;
    }
    let burst = r.count(section, PATH, "burst", BURST_MAX);
    Some(RateLimit { interval: interval?, burst: burst? })
}

#[cfg(test)]
mod tests;
