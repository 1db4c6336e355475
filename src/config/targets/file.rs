//! The publisher's file as it lies on the disk.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use super::form::{FILE_BYTES_MAX, Form};
use super::reader::Reader;
use super::{Problem, Targets, Warning, files, maintenance, read};
use crate::clock;
use crate::config::reader::why_unreadable;

/// Why a file does not say what to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It cannot be read: why, in words for the operator.
    Unreadable(String),
    /// What it holds cannot be used: why, and what is odd about it besides, which may be the reason.
    Problems(Vec<Problem>, Vec<Warning>),
}

impl fmt::Display for Unusable {
    /// Each problem on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => f.write_str(why),
            Self::Problems(problems, _) => {
                let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("\n"))
            }
        }
    }
}

/// Reads a file, and those that it names.
///
/// # Errors
/// All problems at once, of its own text and of those files.
pub fn load(path: &Path) -> Result<(Targets, Vec<Warning>), Unusable> {
    let text = text_of(path).map_err(|error| {
        Unusable::Unreadable(match error.kind() {
            io::ErrorKind::InvalidData => "the file is not UTF-8".into(),
            _ => why_unreadable(&error),
        })
    })?;
    let (targets, Reader { mut problems, mut warnings, files, once }) = read(&text, Form::of(path));
    problems.extend(files::unusable(&files));
    warnings.extend(maintenance::over(&once, clock::wall()));
    if problems.is_empty() { Ok((targets, warnings)) } else { Err(Unusable::Problems(problems, warnings)) }
}

/// No more of it than a file may have, and a byte to tell a longer one by.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
