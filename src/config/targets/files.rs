//! The files that checks name: whether they can be used, before the first check has to find out.

use std::path::{Path, PathBuf};

use super::Problem;
use crate::config::reader::{why_no_secret, why_no_tls};
use crate::secret::Secret;
use crate::tls::{TlsError, TlsFile, TlsFiles, Trust};

/// Files that an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where the entry stands: `heartbeat.http[3]`.
    pub(super) entry: String,
    pub(super) what: What,
}

/// What the files are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// TLS, by these or by the system's roots.
    Tls(TlsFiles),
    /// A secret, under this key.
    Secret(&'static str, PathBuf),
}

/// What is wrong with them, in the order of the entries.
pub(super) fn unusable(named: &[Named]) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Many name the same files.
    let mut sound = Vec::new();
    for Named { entry, what } in named {
        match what {
            What::Tls(files) if sound.contains(&files) => {}
            What::Tls(files) => match Trust::new(files.clone()).try_now() {
                Ok(_) => sound.push(files),
                Err(error) => problems.push(of_tls(entry, &error)),
            },
            What::Secret(key, file) => {
                if let Err(error) = Secret::in_file(file) {
                    let (path, why) = (format!("{entry}.{key}"), names(file, &why_no_secret(&error)));
                    problems.push(Problem { path, value: None, why, example: SECRET });
                }
            }
        }
    }
    problems
}

const SECRET: &str = "a file that holds the secret and nothing else";

fn names(file: &Path, why: &str) -> String {
    format!("names {}, which cannot be used: {why}", file.display())
}

fn of_tls(path: &str, error: &TlsError) -> Problem {
    let key = match error.file() {
        Some(TlsFile::ClientCert) => "cert_file",
        Some(TlsFile::ClientKey) => "key_file",
        Some(TlsFile::Ca) | None => "ca_file",
    };
    let why = match why_no_tls(error) {
        (Some(path), why) => names(path, &why),
        (None, why) => format!("cannot be done without: {why}"),
    };
    Problem { path: format!("{path}.{key}"), value: None, why, example: r#""/etc/heartbeat/ca.pem""# }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::targets::{Form, read};

    fn named(file: &serde_json::Value) -> Vec<Named> {
        read(&file.to_string(), Form::JsonFirst).1.files
    }

    #[test]
    fn a_page_in_the_clear_needs_no_roots() {
        let named = |entry: serde_json::Value| named(&json!({"heartbeat": {"http": [entry]}}));
        assert_eq!(named(json!({"url": "http://a/", "follow_redirects": true})), []);
        assert_eq!(named(json!({"url": "https://a/"})).len(), 1);
        assert_eq!(named(json!({"url": "http://a/", "follow_redirects": true, "ca_file": "b"})).len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_by_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("empty"), "").unwrap();
        std::fs::write(path("garbage"), "canary").unwrap();
        let params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        let ca = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(path("ca"), ca.pem()).unwrap();
        let file = json!({"heartbeat": {
            "http": [
                {"url": "http://a/", "bearer_token_file": path("garbage")},
                {"url": "http://b/", "bearer_token_file": path("empty")},
                {"url": "none", "header_files": {"X-Key": path("gone")}},
                {"url": "https://d/", "ca_file": path("ca")},
            ],
            "tls": [
                {"host": "a", "port": 1, "ca_file": path("ca")},
                {"host": "b", "port": 1, "ca_file": path("garbage")},
                {"host": "c", "port": 1, "ca_file": path("ca"), "cert_file": path("ca"), "key_file": path("gone")},
            ],
            "grpc": [{"host": "a", "port": 1, "tls": true, "ca_file": path("gone")}],
        }});
        let problems = unusable(&named(&file));
        let said: Vec<(&str, bool)> = problems
            .iter()
            .map(|problem| (problem.path.as_str(), problem.to_string().contains("canary")))
            .collect();
        let expected = [
            "heartbeat.http[1].bearer_token_file",
            "heartbeat.http[2].header_files",
            "heartbeat.tls[1].ca_file",
            "heartbeat.tls[2].key_file",
            "heartbeat.grpc[0].ca_file",
        ];
        assert_eq!(said, expected.map(|path| (path, false)));
        for (at, why) in [
            (0, "empty, which cannot be used: the file is empty"),
            (1, "gone, which cannot be used: there is no such file"),
            (2, "garbage, which cannot be used: the file holds no certificate in PEM form"),
        ] {
            assert!(problems[at].why.ends_with(why), "{}", problems[at].why);
        }
    }
}
