//! Entries of `http`.

use std::ops::RangeInclusive;

use http::{HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use url::Url;

use super::entry::{Entry, TLS_KEYS, one_or_several};
use super::files::What;
use crate::check::http::{BodyRules, HttpSpec, SecretForm, SecretHeader, StatusCodes};
use crate::check::probe::ProbeSpec;
use crate::check::secure::server_name;
use crate::tls::TlsFiles;

pub(super) const KEYS: &[&[&str]] = &[
    &[
        "url",
        "method",
        "headers",
        "header_files",
        "basic_auth",
        "bearer_token_file",
        "valid_status_codes",
        "fail_if_body_matches_regexp",
        "fail_if_body_not_matches_regexp",
        "body_size_limit",
        "follow_redirects",
        "max_duration",
    ],
    TLS_KEYS,
];

pub(super) const EXAMPLE: &str = r#"{"url": "https://api.example.org/health", "name": "api"}"#;

const HEADERS_EXAMPLE: &str = r#"{"Accept-Language": "en"}"#;
const HEADER_FILES_EXAMPLE: &str = r#"{"X-Api-Key": "/run/secrets/api-key"}"#;
const BASIC_AUTH_EXAMPLE: &str = r#"{"username": "monitor", "password_file": "/run/secrets/api"}"#;
const STATUS_EXAMPLE: &str = r#"[200, "3xx"]"#;

/// Headers whose values are secrets, and none of a file that many may read.
const SECRET_HEADERS: &[HeaderName] = &[header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// Longest body that may be looked at: it is held in memory while it is.
const BODY_BYTES_MAX: u32 = 16 << 20;

pub(super) fn read(entry: &mut Entry<'_>) -> Option<(ProbeSpec, String)> {
    let url = url(entry);
    let method = method(entry);
    let (headers, secrets) = (headers(entry), secrets(entry));
    let status = status_codes(entry);
    let body = BodyRules {
        fail_if_matches: entry.patterns("fail_if_body_matches_regexp"),
        fail_if_not_matches: entry.patterns("fail_if_body_not_matches_regexp"),
        bytes_max: entry
            .number("body_size_limit", 1, BODY_BYTES_MAX, "65536")
            .map_or(BodyRules::default().bytes_max, |bytes| bytes as usize),
    };
    let follow_redirects = entry.switch("follow_redirects");
    let duration_max = entry.time("max_duration");
    let secure = entry.secure();
    let is_in_clear = url.as_ref().is_some_and(|url| url.scheme() == "http");
    // A page that is asked for in the clear may redirect to where roots are needed, or never.
    if !is_in_clear || (follow_redirects && secure.files != TlsFiles::default()) {
        entry.names(What::Tls(secure.files.clone()));
    }
    for secret in &secrets {
        entry.names(What::Secret(secret.key(), secret.file.clone()));
    }
    let url = url?;
    if is_in_clear {
        // Where a redirect leads to https, the others count there; the name is this URL's alone.
        let idle = TLS_KEYS.iter().filter(|key| !follow_redirects || **key == "server_name");
        for key in idle.copied().filter(|key| entry.has(key)).collect::<Vec<_>>() {
            entry.problem(key, "which has no effect: the URL is one of http", "");
        }
    }
    if url.scheme() == "https"
        && secure.server_name.is_none()
        && url.host_str().is_none_or(|host| server_name(host).is_err())
    {
        let path = format!("{}.url", entry.path);
        let why = "has a host that is no name for a certificate; a `server_name` beside it would do";
        entry.reader.amiss(path, why, EXAMPLE);
    }
    if method == Method::HEAD && !body.is_empty() {
        entry.problem("method", "which brings no body that could be judged", r#""GET""#);
    }
    let spec =
        HttpSpec { url, method, headers, secrets, status, body, follow_redirects, duration_max, secure };
    let name = spec.target();
    Some((ProbeSpec::Http(Box::new(spec)), name))
}

fn url(entry: &mut Entry<'_>) -> Option<Url> {
    const URL: &str = r#""https://api.example.org/health""#;
    let text = entry.text("url", URL)?;
    // What is wrong with it is told without it, where it may hold a password.
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            let path = format!("{}.url", entry.path);
            entry.reader.amiss(path, format!("is no URL: {error}"), URL);
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let path = format!("{}.url", entry.path);
        let why = "names a user, which belongs in `basic_auth`";
        entry.reader.amiss(path, why, BASIC_AUTH_EXAMPLE);
        return None;
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        let path = format!("{}.url", entry.path);
        entry.reader.amiss(path, "is no URL of http or https with a host", URL);
        return None;
    }
    Some(url)
}

fn method(entry: &mut Entry<'_>) -> Method {
    match entry.maybe_text("method", r#""HEAD""#) {
        None | Some("GET") => Method::GET,
        Some("HEAD") => Method::HEAD,
        Some("OPTIONS") => Method::OPTIONS,
        Some(_) => {
            // A check must change nothing, however often it is made.
            entry.problem("method", "which is none of GET, HEAD and OPTIONS", r#""HEAD""#);
            Method::GET
        }
    }
}

/// The pairs of an object whose values are texts.
fn pairs<'a>(entry: &mut Entry<'a>, key: &str, example: &'static str) -> Vec<(HeaderName, &'a str)> {
    if !entry.has(key) {
        return Vec::new();
    }
    let Some(object) = entry.object.get(key).and_then(Value::as_object) else {
        entry.problem(key, "which is no object of texts", example);
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for (name, value) in object {
        match (HeaderName::from_bytes(name.as_bytes()), value.as_str()) {
            (Ok(name), Some(value)) => pairs.push((name, value)),
            // Without the value, which may be secret wherever it was put.
            _ => {
                let path = format!("{}.{key}", entry.path);
                let why = "holds a header whose name is none, or whose value is no text";
                entry.reader.amiss(path, why, example);
            }
        }
    }
    pairs
}

fn headers(entry: &mut Entry<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, value) in pairs(entry, "headers", HEADERS_EXAMPLE) {
        let path = format!("{}.headers", entry.path);
        match HeaderValue::from_str(value) {
            _ if SECRET_HEADERS.contains(&name) => {
                let why = format!(
                    "holds `{name}`, whose value is secret and belongs in a file: see `header_files`"
                );
                entry.reader.amiss(path, why, HEADER_FILES_EXAMPLE);
            }
            Ok(value) => headers.push((name, value)),
            Err(_) => {
                entry.reader.amiss(
                    path,
                    format!("holds a value of `{name}` that cannot be sent"),
                    HEADERS_EXAMPLE,
                );
            }
        }
    }
    headers
}

fn secrets(entry: &mut Entry<'_>) -> Vec<SecretHeader> {
    let mut secrets = Vec::new();
    for (name, file) in pairs(entry, "header_files", HEADER_FILES_EXAMPLE) {
        secrets.push(SecretHeader { name, form: SecretForm::Plain, file: file.into() });
    }
    if let Some(file) = entry.file("bearer_token_file") {
        secrets.push(SecretHeader { name: header::AUTHORIZATION, form: SecretForm::Bearer, file });
    }
    if entry.has("basic_auth") {
        secrets.extend(basic_auth(entry));
    }
    if secrets.iter().filter(|secret| secret.name == header::AUTHORIZATION).count() > 1 {
        let key = if entry.has("basic_auth") { "basic_auth" } else { "bearer_token_file" };
        entry.problem(key, "but there is another `Authorization` beside it", "one of them");
    }
    secrets
}

fn basic_auth(entry: &mut Entry<'_>) -> Option<SecretHeader> {
    let path = format!("{}.basic_auth", entry.path);
    let Some(object) = entry.object.get("basic_auth").and_then(Value::as_object) else {
        // Without the value: it may be the password.
        entry.reader.amiss(path, "is no object", BASIC_AUTH_EXAMPLE);
        return None;
    };
    if object.contains_key("password") {
        entry.reader.amiss(
            path,
            "holds a password, which belongs in a file: see `password_file`",
            BASIC_AUTH_EXAMPLE,
        );
        return None;
    }
    let mut inner = Entry { reader: &mut *entry.reader, object, path: &path };
    inner.only(&[&["username", "password_file"]]);
    let user = inner.text("username", r#""monitor""#);
    let file = inner.text("password_file", r#""/run/secrets/api""#);
    let user = user.filter(|user| {
        // Basic authentication ends the user name at the first colon (RFC 7617).
        let is_sendable = !user.contains(':');
        if !is_sendable {
            inner.problem("username", "which holds a colon", r#""monitor""#);
        }
        is_sendable
    });
    let form = SecretForm::Basic { user: user?.into() };
    Some(SecretHeader { name: header::AUTHORIZATION, form, file: file?.into() })
}

fn status_codes(entry: &mut Entry<'_>) -> StatusCodes {
    if !entry.has("valid_status_codes") {
        return StatusCodes::default();
    }
    let list = one_or_several(entry.object, "valid_status_codes");
    let ranges: Option<Vec<_>> = list.iter().map(statuses).collect();
    match ranges.filter(|ranges| !ranges.is_empty()) {
        Some(ranges) => StatusCodes::new(ranges),
        None => {
            let why = "which is neither a status from 100 to 599, nor a hundred such as \"2xx\", nor a list of them";
            entry.problem("valid_status_codes", why, STATUS_EXAMPLE);
            StatusCodes::default()
        }
    }
}

/// A status, as a number or a text, or all of a hundred.
fn statuses(value: &Value) -> Option<RangeInclusive<u16>> {
    if let Some(hundred) = value.as_str().and_then(|text| text.strip_suffix("xx")) {
        let hundred: u16 = hundred.parse().ok().filter(|hundred| (1..=5).contains(hundred))?;
        return Some(hundred * 100..=hundred * 100 + 99);
    }
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
    };
    number.filter(|number| (100..=599).contains(number)).map(|number| number..=number)
}
