//! The part of the configuration on whose heartbeats they are: keys, policies, users.

use std::path::PathBuf;
use std::sync::Arc;

use super::model::{ProofsConfig, SigningKeyFile};
use super::parse;
use super::problem::Problem;
use super::reader::{Reader, why_unreadable};
use super::sections::warn_unused;
use super::settings as s;
use crate::signing::{Policy, Rules, SigningKey, Stance, TrustedKeys};
use crate::watched;

/// A line that would be right in the file of trusted keys.
const LINE: &str = "oslo ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Where the private key is, or will be.
pub(super) fn key_file(r: &mut Reader<'_>) -> PathBuf {
    r.path(&s::SIGNING_KEY_FILE).unwrap_or_else(|| {
        r.problem(&s::SIGNING_KEY_FILE, None, "it is not set, and says where the key is");
        PathBuf::new()
    })
}

/// The key that signs, where one is set: read at once, so that a wrong file is found now.
pub(super) fn signing_key(r: &mut Reader<'_>) -> Option<SigningKeyFile> {
    let setting = &s::SIGNING_KEY_FILE;
    let path = r.path(setting)?;
    let shown = path.display().to_string();
    let bytes = match watched::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            r.problem(setting, Some(shown), why_unreadable(&error));
            return None;
        }
    };
    if watched::others_may_read(&path) {
        r.warn(setting, format!("others on this machine may read {shown}; give it the mode 0600"));
    }
    match SigningKey::from_pem(&bytes) {
        Ok(key) => Some(SigningKeyFile { path, key: Arc::new(key) }),
        Err(error) => {
            r.problem(setting, Some(shown), error.to_string());
            None
        }
    }
}

/// What a subscriber asks of heartbeats.
pub(super) fn proofs(r: &mut Reader<'_>) -> ProofsConfig {
    let rules = Rules {
        signatures: r.read(&s::SIGNATURE_POLICY, parse::policy),
        users: r.read(&s::USER_ID_POLICY, parse::policy),
        user_names: r.given(&s::USER_ID_MAP, parse::user_names).unwrap_or_default(),
    };
    let trusted = trusted_keys(r);
    if !rules.user_names.0.is_empty() && rules.users.strictest() == Stance::Accept {
        warn_unused(r, &s::USER_ID_MAP, "USER_ID_POLICY is accept");
    }
    match &trusted {
        Some((_, keys)) if rules.ask_for_signatures() => warn_of_who_cannot_sign(r, &rules.signatures, keys),
        Some(_) => warn_unused(
            r,
            &s::TRUSTED_KEYS_FILE,
            "SIGNATURE_POLICY is accept: nobody's signature is asked for",
        ),
        // A path that cannot be used has its own problem.
        None if r.is_given(&s::TRUSTED_KEYS_FILE) => {}
        None if rules.signatures.strictest() == Stance::Refuse => {
            let why = "it is not set, and SIGNATURE_POLICY refuses what no trusted key has signed";
            r.problem(&s::TRUSTED_KEYS_FILE, None, why);
        }
        None if rules.ask_for_signatures() => {
            r.warn(&s::TRUSTED_KEYS_FILE, "it is not set, so SIGNATURE_POLICY warns of every heartbeat");
        }
        None => {}
    }
    ProofsConfig { rules, trusted }
}

/// Publishers that are named and have no key are most likely a mistake, and silent for ever.
fn warn_of_who_cannot_sign(r: &mut Reader<'_>, policy: &Policy, keys: &TrustedKeys) {
    let refused = policy.by_publisher.iter().filter(|(_, stance)| **stance == Stance::Refuse);
    for (publisher, _) in refused.filter(|(publisher, _)| !keys.names(publisher)) {
        let text = format!(
            "it refuses {:?} unsigned, and TRUSTED_KEYS_FILE has no key of that name",
            publisher.as_str()
        );
        r.warn(&s::SIGNATURE_POLICY, text);
    }
    if policy.everybody == Stance::Refuse && keys.is_empty() {
        r.warn(&s::SIGNATURE_POLICY, "it refuses every heartbeat: TRUSTED_KEYS_FILE holds no key");
    }
}

/// The file of trusted keys, read at once.
fn trusted_keys(r: &mut Reader<'_>) -> Option<(PathBuf, Arc<TrustedKeys>)> {
    let setting = &s::TRUSTED_KEYS_FILE;
    let path = r.path(setting)?;
    let shown = path.display().to_string();
    let text = match watched::read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            r.problem(setting, Some(shown), "the file is not UTF-8");
            return None;
        }
        Err(error) => {
            r.problem(setting, Some(shown), why_unreadable(&error));
            return None;
        }
    };
    match TrustedKeys::parse(&text) {
        Ok(keys) => Some((path, Arc::new(keys))),
        Err(problems) => {
            r.problems.extend(problems.into_iter().map(|problem| Problem {
                name: format!("{shown}, line {}", problem.line),
                value: problem.value,
                why: problem.why,
                example: LINE.to_owned(),
            }));
            None
        }
    }
}
