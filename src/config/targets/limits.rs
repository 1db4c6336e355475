//! Settings that all targets have alike.

use std::time::Duration;

use serde_json::{Map, Value};

use super::reader::Reader;
use super::{TIMEOUT_EXAMPLE, TIMEOUT_MAX};

/// Those of one entry. `None` where the file is silent, so that of two entries of one name the one that speaks
/// is heard.
#[derive(Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) timeout: Option<Duration>,
    pub(super) failure_threshold: Option<u32>,
    pub(super) success_threshold: Option<u32>,
}

/// Reads them.
pub(super) fn read_limits(reader: &mut Reader, entry: &Map<String, Value>, path: &str) -> Limits {
    Limits {
        timeout: reader.duration(entry, "timeout", path, TIMEOUT_MAX, TIMEOUT_EXAMPLE),
        failure_threshold: reader.count(entry, "failure_threshold", path),
        success_threshold: reader.count(entry, "success_threshold", path),
    }
}

/// Of two entries of one name the first that sets a limit is heard.
pub(super) fn merge(reader: &mut Reader, path: &str, first: &mut Limits, second: Limits) {
    keep_first(reader, path, "timeout", &mut first.timeout, second.timeout);
    keep_first(reader, path, "failure_threshold", &mut first.failure_threshold, second.failure_threshold);
    keep_first(reader, path, "success_threshold", &mut first.success_threshold, second.success_threshold);
}

fn keep_first<T: PartialEq>(
    reader: &mut Reader,
    path: &str,
    key: &str,
    first: &mut Option<T>,
    second: Option<T>,
) {
    match (&first, second) {
        (None, second) => *first = second,
        (Some(kept), Some(second)) if *kept != second => {
            let why = "has no effect: an earlier entry of the same name sets another";
            reader.warn(format!("{path}.{key}"), why.into());
        }
        (Some(_), _) => {}
    }
}
