//! The files that checks name: whether they can be used, before the first check has to find out.

use std::collections::HashMap;
use std::error::Error;

use super::{ProbeTarget, Problem, Targets};
use crate::check::probe::ProbeSpec;
use crate::secret::Secret;
use crate::telemetry::Chain;
use crate::tls::{TlsError, TlsFile, TlsFiles, Trust};

/// What is wrong with them, in the order of the targets.
pub(super) fn unusable(targets: &Targets) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    // Many name the same files.
    let mut sound = Vec::new();
    for ProbeTarget { spec, .. } in &targets.probes {
        // Each entry is a target, or there would be none at all.
        let index = places.entry(spec.kind()).or_default();
        let path = format!("heartbeat.{}[{index}]", spec.kind());
        *index += 1;
        if let Some(files) = spec.secure().map(|secure| &secure.files)
            && !sound.contains(&files)
            && (is_secure(spec) || *files != TlsFiles::default())
        {
            match Trust::new(files.clone()).handshake(&[]) {
                Ok(_) => sound.push(files),
                Err(error) => problems.push(of_tls(&path, &error)),
            }
        }
        if let ProbeSpec::Http(spec) = spec {
            for secret in &spec.secrets {
                if let Err(error) = Secret::in_file(&secret.file) {
                    let key = secret.key();
                    let why = format!(
                        "names {}, of which nothing can be used: {}",
                        secret.file.display(),
                        Chain(&error)
                    );
                    problems.push(Problem {
                        path: format!("{path}.{key}"),
                        value: None,
                        why,
                        example: SECRET,
                    });
                }
            }
        }
    }
    problems
}

/// Whether each check is made with TLS: a page that is asked for in the clear may redirect there, or never.
fn is_secure(spec: &ProbeSpec) -> bool {
    !matches!(spec, ProbeSpec::Http(spec) if spec.url.scheme() == "http")
}

const SECRET: &str = "a file that holds the secret and nothing else";

fn of_tls(path: &str, error: &TlsError) -> Problem {
    let key = match error.file() {
        Some(TlsFile::ClientCert) => "cert_file",
        Some(TlsFile::ClientKey) => "key_file",
        Some(TlsFile::Ca) | None => "ca_file",
    };
    let why = format!("cannot be used: {}", Chain(error as &dyn Error));
    Problem { path: format!("{path}.{key}"), value: None, why, example: r#""/etc/heartbeat/ca.pem""# }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::targets::{Form, parse};

    #[test]
    fn a_page_in_the_clear_needs_no_roots() {
        let read = |entry: serde_json::Value| {
            let file = json!({"heartbeat": {"http": [entry]}}).to_string();
            parse(&file, Form::JsonFirst).unwrap().0.probes.remove(0).spec
        };
        assert!(!is_secure(&read(json!({"url": "http://a/", "follow_redirects": true}))));
        assert!(is_secure(&read(json!({"url": "https://a/"}))));
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
                {"url": "http://c/", "header_files": {"X-Key": path("gone")}},
                {"url": "https://d/", "ca_file": path("ca")},
            ],
            "tls": [
                {"host": "a", "port": 1, "ca_file": path("ca")},
                {"host": "b", "port": 1, "ca_file": path("garbage")},
                {"host": "c", "port": 1, "ca_file": path("ca"), "cert_file": path("ca"), "key_file": path("gone")},
            ],
            "grpc": [{"host": "a", "port": 1, "tls": true, "ca_file": path("gone")}],
        }});
        let (targets, _) = parse(&file.to_string(), Form::JsonFirst).unwrap();
        let problems = unusable(&targets);
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
        assert!(problems[0].why.ends_with("nothing can be used: the file is empty"), "{}", problems[0].why);
        assert!(problems[2].why.ends_with("garbage holds no certificate in PEM form"), "{}", problems[2].why);
    }
}
