//! The files that checks name: whether they can be used, before the first check has to find out.

use std::collections::HashMap;
use std::error::Error;

use super::{ProbeTarget, Problem, Targets};
use crate::check::probe::ProbeSpec;
use crate::secret::Secret;
use crate::telemetry::Chain;
use crate::tls::{TlsError, TlsFile, Trust};

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
