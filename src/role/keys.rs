//! `heartbeat keys`: the private key of a publisher, and the line with which subscribers trust it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::KeysCommand;
use crate::config::KeysConfig;
use crate::signing::{KeyError, SigningKey, trusted_line};
use crate::watched;

/// Only the owner reads a private key.
const MODE: u32 = 0o600;

/// What is to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The line for the file of trusted keys.
    pub line: String,
    /// What was done, and what is to be done, for people.
    pub notes: String,
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key that is there is never written over: heartbeats would go on under one that nobody trusts.
    #[error("{} is there already, and is not written over; move it away, or name another file", .path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the key to {}", .path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the key in {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It can be read, and is none.
    #[error("cannot use the key in {}", .path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// None can be made.
    #[error("no key could be made")]
    Make(#[source] KeyError),
}

/// Does what the command says.
///
/// # Errors
/// Says what could not be done; nothing is half done then.
pub fn run(command: KeysCommand, config: &KeysConfig) -> Result<Said, KeysError> {
    let KeysConfig { publisher, key_file } = config;
    let said = |key: &SigningKey, notes| Said { line: trusted_line(publisher, &key.public()), notes };
    let shown = key_file.display();
    match command {
        KeysCommand::Generate => {
            let key = write_new(key_file)?;
            let notes = format!(
                "Wrote the key {} to {shown}, readable by its owner alone.\n\
                 1. Add the line above to the file of trusted keys of every subscriber.\n\
                 2. Set SIGNING_KEY_FILE={shown} at the publisher {:?}, and start it.",
                key.id(),
                publisher.as_str()
            );
            Ok(said(&key, notes))
        }
        KeysCommand::Show => {
            let key = read(key_file)?;
            let notes = format!("The key {} is in {shown}.", key.id());
            Ok(said(&key, notes))
        }
        KeysCommand::Rotate => {
            let old = read(key_file)?;
            let mut next = key_file.clone().into_os_string();
            next.push(".next");
            let next = PathBuf::from(next);
            let key = write_new(&next)?;
            let old_line = trusted_line(publisher, &old.public());
            let (next, old) = (next.display(), old.id());
            let notes = format!(
                "Wrote the key {} to {next}, readable by its owner alone. {shown} is as it was, with the key {old}.\n\
                 1. Add the line above to the file of trusted keys of every subscriber, and leave that of {old} there.\n\
                 2. When every subscriber has read it (\"File read anew\" in its log): mv {next} {shown}\n\
                 3. When the publisher has read it (\"File read anew\" in its log) and what it sent before is taken in,\n   \
                 remove the line of {old}: {old_line}",
                key.id()
            );
            Ok(said(&key, notes))
        }
    }
}

fn read(path: &Path) -> Result<SigningKey, KeysError> {
    let bytes = watched::read(path).map_err(|source| KeysError::Read { path: path.to_owned(), source })?;
    SigningKey::from_pem(&bytes).map_err(|source| KeysError::Key { path: path.to_owned(), source })
}

/// Writes a new key to a file that must not be there yet.
fn write_new(path: &Path) -> Result<SigningKey, KeysError> {
    let key = SigningKey::generate().map_err(KeysError::Make)?;
    let text = key.to_pem().map_err(KeysError::Make)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists { path: path.to_owned() },
        _ => KeysError::Write { path: path.to_owned(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // What is half written would be taken for a key at the next attempt.
        let _ = std::fs::remove_file(path);
        return Err(failed(source));
    }
    Ok(key)
}
