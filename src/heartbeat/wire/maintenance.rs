//! The value of `maintenance` in version 2, and of what else tells of windows as a heartbeat does. What cannot be read of it is left out, and the heartbeat counts without it: a
//! window that is not understood keeps nobody from being called.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::heartbeat::Timestamp;
use crate::heartbeat::maintenance::{WINDOWS_MAX, Window};

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

/// Writes windows as JSON: a list of objects with `begins_at`, `ends_at` and, where there are any, `comment` and `components`.
pub fn encode_windows(windows: &[Window]) -> Box<RawValue> {
    let written: Vec<Wire<'_>> = windows.iter().map(Wire::from).collect();
    // Texts and lists of texts can always be written.
    serde_json::value::to_raw_value(&written).unwrap_or_default()
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
pub fn decode_windows(raw: &RawValue) -> Vec<Window> {
    let each: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    each.into_iter().filter_map(read).take(WINDOWS_MAX).collect()
}

fn read(raw: &RawValue) -> Option<Window> {
    let wire: Wire<'_> = serde_json::from_str(raw.get()).ok()?;
    let time = |text: &str| Timestamp::parse_rfc3339(text).ok();
    let names: Vec<&str> = wire.components.iter().map(|name| &**name).collect();
    Window::new((time(&wire.begins_at)?, time(&wire.ends_at)?), wire.comment.as_deref(), &names).ok()
}
