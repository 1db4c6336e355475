//! One entry of a list that is not the contract's. No file of another program has such entries, so what is not known in
//! one is a problem: a check without the rule that somebody wrote would be weaker than they believe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::files::{Named, What};
use super::reader::{Reader, escaped, is_no_host};
use super::{TIMEOUT_EXAMPLE, TIMEOUT_MAX};
use crate::check::pattern::TagPattern;
use crate::check::secure::{SecureSpec, server_name};
use crate::tls::{ClientFiles, TlsFiles};

/// Keys that every entry may have.
pub(super) const COMMON_KEYS: &[&str] = &["name", "timeout", "failure_threshold", "success_threshold"];

/// Keys of TLS.
pub(super) const TLS_KEYS: &[&str] =
    &["server_name", "ca_file", "cert_file", "key_file", "min_certificate_days"];

/// Longest that a certificate may be asked to last: longer than any that is issued.
const DAYS_MAX: u32 = 36_500;

/// The values of a list, or the one that stands for a list of itself.
pub(super) fn one_or_several<'a>(object: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    match object.get(key) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(list)) => list,
        Some(one) => std::slice::from_ref(one),
    }
}

/// One entry and where it stands.
pub(super) struct Entry<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) object: &'a Map<String, Value>,
    pub(super) path: &'a str,
}

impl<'a> Entry<'a> {
    /// Something in the entry that cannot be used.
    pub(super) fn problem(&mut self, key: &str, why: impl Into<String>, example: &'static str) {
        let path = format!("{}.{key}", self.path);
        match self.object.get(key) {
            Some(value) => self.reader.problem(path, value, why, example),
            None => self.reader.amiss(path, why, example),
        }
    }

    /// Says of every key that is none.
    pub(super) fn only(&mut self, keys: &[&[&str]]) {
        let known = keys.concat();
        self.reader.refuse_unknown_keys(self.object, self.path, &known);
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(|value| !value.is_null())
    }

    /// A text that has to be there.
    pub(super) fn text(&mut self, key: &str, example: &'static str) -> Option<&'a str> {
        self.reader
            .text(self.object, key, self.path, example)
            .and_then(|text| self.nonempty(key, text, example))
    }

    /// A text, if it is there.
    pub(super) fn maybe_text(&mut self, key: &str, example: &'static str) -> Option<&'a str> {
        self.has(key).then(|| self.text(key, example)).flatten()
    }

    fn nonempty(&mut self, key: &str, text: &'a str, example: &'static str) -> Option<&'a str> {
        if text.is_empty() || text.chars().any(char::is_control) {
            self.problem(key, "which is empty or holds a control character", example);
            return None;
        }
        Some(text)
    }

    /// One text or several.
    pub(super) fn texts(&mut self, key: &str, example: &'static str) -> Vec<&'a str> {
        let values = one_or_several(self.object, key);
        let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        if texts.len() < values.len() {
            self.problem(key, "which is neither a text nor a list of texts", example);
        }
        texts
    }

    /// Patterns.
    pub(super) fn patterns(&mut self, key: &str) -> Vec<TagPattern> {
        const EXAMPLE: &str = r#""status.{0,5}ok""#;
        let mut patterns = Vec::new();
        for text in self.texts(key, EXAMPLE) {
            match TagPattern::new(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let why = format!("which cannot be searched for: {}", escaped(&error.to_string()));
                    self.problem(key, why, EXAMPLE);
                }
            }
        }
        patterns
    }

    /// A switch, off unless it is set.
    pub(super) fn switch(&mut self, key: &str) -> bool {
        self.maybe_switch(key).unwrap_or_default()
    }

    /// A switch, if it is set.
    pub(super) fn maybe_switch(&mut self, key: &str) -> Option<bool> {
        if !self.has(key) {
            return None;
        }
        let value = self.object.get(key).and_then(Value::as_bool);
        if value.is_none() {
            self.problem(key, "which is neither true nor false", "true");
        }
        value
    }

    /// A whole number within bounds, if it is there.
    pub(super) fn number(&mut self, key: &str, min: u32, max: u32, example: &'static str) -> Option<u32> {
        if !self.has(key) {
            return None;
        }
        let number =
            self.object.get(key).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        let fits = number.filter(|number| (min..=max).contains(number));
        if fits.is_none() {
            self.problem(key, format!("which is no whole number from {min} to {max}"), example);
        }
        fits
    }

    /// A time up to an hour, if it is there.
    pub(super) fn time(&mut self, key: &str) -> Option<Duration> {
        self.reader.duration(self.object, key, self.path, TIMEOUT_MAX, TIMEOUT_EXAMPLE)
    }

    /// A file, if it is there. It is not looked for yet.
    pub(super) fn file(&mut self, key: &str) -> Option<PathBuf> {
        self.maybe_text(key, r#""/etc/heartbeat/ca.pem""#).map(PathBuf::from)
    }

    /// A host that has to be there.
    pub(super) fn host(&mut self, key: &str) -> Option<&'a str> {
        let host = self.reader.host(self.object, key, self.path)?;
        if is_no_host(host) {
            self.problem(
                key,
                "which is no host name or address; the port has a key of its own",
                r#""db.example.org""#,
            );
            return None;
        }
        Some(host)
    }

    /// A port that has to be there.
    pub(super) fn port(&mut self) -> Option<u16> {
        self.reader.port(self.object, self.path)
    }

    /// Its name, or what serves as one where none is given.
    pub(super) fn name(&mut self, otherwise: Option<&str>) -> Option<Arc<str>> {
        if self.has("name") {
            return self.reader.name(self.object, "name", self.path, r#""database""#);
        }
        let otherwise = otherwise?;
        self.reader.name_as(otherwise, &format!("{}.name", self.path))
    }

    /// Notes files that it names, to be looked at once all is read.
    pub(super) fn names(&mut self, what: What) {
        self.reader.files.push(Named { entry: self.path.to_owned(), what });
    }

    /// What its TLS must be.
    pub(super) fn secure(&mut self) -> SecureSpec {
        let name = self.maybe_text("server_name", r#""db.example.org""#).and_then(|text| {
            let name = server_name(text).ok();
            if name.is_none() {
                self.problem("server_name", "which is no host name or address", r#""db.example.org""#);
            }
            name
        });
        let client = match (self.file("cert_file"), self.file("key_file")) {
            (Some(cert), Some(key)) => Some(ClientFiles { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let missing = if cert.is_some() { "key_file" } else { "cert_file" };
                if !self.has(missing) {
                    self.problem(
                        missing,
                        "is missing: certificate and key are a pair",
                        r#""/etc/heartbeat/client.pem""#,
                    );
                }
                None
            }
        };
        SecureSpec {
            files: TlsFiles { ca: self.file("ca_file"), client },
            server_name: name,
            certificate_days_min: self.number("min_certificate_days", 1, DAYS_MAX, "14"),
        }
    }
}
