//! The part of the configuration on whose heartbeats they are: keys, policies, users.

use std::path::PathBuf;
use std::sync::Arc;

use super::model::SigningKeyFile;
use super::reader::{Reader, why_unreadable};
use super::settings as s;
use crate::signing::{SigningKey, watched};

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
