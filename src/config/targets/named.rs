//! The names that entries have, whatever else is wrong with these.

use serde_json::{Map, Value};
use url::Url;

use super::HEARTBEAT_KEYS;

/// Keys of which the first that is there names an entry.
const KEYS: &[&str] = &["name", "queue", "url", "query_name", "host"];

/// The names of all entries of all lists; `None` where an entry's own cannot be told.
pub(super) fn names(heartbeat: &Map<String, Value>) -> Option<Vec<String>> {
    let lists = HEARTBEAT_KEYS.iter().filter(|list| **list != "maintenance");
    let mut names = Vec::new();
    for entry in lists.filter_map(|list| heartbeat.get(*list)).flat_map(entries) {
        names.push(name(entry)?);
        for listener in entry.get("listeners").map(entries).unwrap_or_default() {
            names.push(name(listener)?);
        }
    }
    Some(names)
}

fn entries(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn name(entry: &Value) -> Option<String> {
    let key = KEYS.iter().find(|key| entry.get(**key).is_some_and(|value| !value.is_null()))?;
    let name = entry.get(*key)?.as_str()?;
    if *key != "url" {
        return Some(name.to_owned());
    }
    // As it is shown.
    let mut url = Url::parse(name).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}
