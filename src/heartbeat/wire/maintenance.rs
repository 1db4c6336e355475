//! The value of `maintenance` in version 2. What cannot be read of it is left out, and the heartbeat counts without it: a
//! window that is not understood keeps nobody from being called.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::heartbeat::maintenance::{WINDOWS_MAX, Window};
use crate::heartbeat::{Heartbeat, Timestamp};

#[derive(Deserialize, Serialize)]
struct Wire<'a> {
    #[serde(borrow)]
    begins_at: Cow<'a, str>,
    #[serde(borrow)]
    ends_at: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    comment: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    components: Vec<Cow<'a, str>>,
}

/// Writes the windows, if there are any.
pub(super) fn encode(heartbeat: &Heartbeat) -> Option<Box<RawValue>> {
    if heartbeat.maintenance.is_empty() {
        return None;
    }
    let windows: Vec<Wire<'_>> = heartbeat.maintenance.iter().map(Wire::from).collect();
    serde_json::value::to_raw_value(&windows).ok()
}

impl<'a> From<&'a Window> for Wire<'a> {
    fn from(window: &'a Window) -> Self {
        Self {
            begins_at: window.begins_at().to_rfc3339().into(),
            ends_at: window.ends_at().to_rfc3339().into(),
            comment: window.comment().map(Cow::from),
            components: window.components().iter().map(|name| Cow::from(&**name)).collect(),
        }
    }
}

/// Reads the windows that are some.
pub(super) fn decode(raw: &RawValue) -> Vec<Window> {
    let each: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    each.into_iter().filter_map(read).take(WINDOWS_MAX).collect()
}

fn read(raw: &RawValue) -> Option<Window> {
    let wire: Wire<'_> = serde_json::from_str(raw.get()).ok()?;
    let time = |text: &str| Timestamp::parse_rfc3339(text).ok();
    let names: Vec<&str> = wire.components.iter().map(|name| &**name).collect();
    Window::new((time(&wire.begins_at)?, time(&wire.ends_at)?), wire.comment.as_deref(), &names).ok()
}
