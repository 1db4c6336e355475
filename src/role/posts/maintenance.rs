//! Windows of maintenance that are begun and ended by whoever is on the machine.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::done;
use crate::clock;
use crate::config::targets;
use crate::heartbeat::Window;
use crate::http::{Deed, Said};
use crate::publisher::Commanded;
use crate::publisher::reload::Wanted;

/// Begins a window, or plans it, as the body says.
pub(super) fn begin(maintenance: Commanded, in_force: watch::Receiver<Wanted>) -> Deed {
    Box::new(move |body| {
        Box::pin(async move {
            let now = clock::wall();
            let window = match targets::begun(&body, now) {
                Ok(window) => window,
                Err(why) => return Said::not(StatusCode::BAD_REQUEST, format!("Not begun: {why}")),
            };
            // What a name that was misspelt would do nothing for, somebody would be called for.
            let strangers = in_force.borrow().targets.strangers(&window);
            if let Some(why) = strangers {
                return Said::not(StatusCode::UNPROCESSABLE_ENTITY, format!("Not begun: {why}"));
            }
            let text = told(&window);
            match maintenance.begin(window, now) {
                Ok(kept) => done(&format!(": {text}"), kept.is_stored().await),
                Err(too_many) => Said::not(StatusCode::CONFLICT, format!("Not begun: {too_many}")),
            }
        })
    })
}

/// A window in words.
fn told(window: &Window) -> String {
    let (begins, ends) = (window.begins_at().to_rfc3339_seconds(), window.ends_at().to_rfc3339_seconds());
    let of = if window.is_whole() { "everything".to_owned() } else { window.components().join(", ") };
    format!("maintenance from {begins} to {ends}, of {of}")
}

/// Windows in the form in which the publisher's file has them, and a body that begins one.
pub(in crate::role) fn as_in_the_file(windows: &[Window]) -> Value {
    windows.iter().map(as_entry).collect()
}

fn as_entry(window: &Window) -> Value {
    let mut entry = Map::new();
    entry.insert("begins".into(), json!(window.begins_at().to_rfc3339()));
    entry.insert("ends".into(), json!(window.ends_at().to_rfc3339()));
    if let Some(comment) = window.comment() {
        entry.insert("comment".into(), json!(comment));
    }
    if !window.is_whole() {
        let names: Vec<&str> = window.components().iter().map(|name| &**name).collect();
        entry.insert("components".into(), json!(names));
    }
    Value::Object(entry)
}

/// Ends all that a command began.
pub(super) fn end(maintenance: Commanded) -> Deed {
    Box::new(move |_| {
        Box::pin(async move {
            let (ended, kept) = maintenance.end(clock::wall());
            let text = match ended {
                0 => "there was no window that a command began".to_owned(),
                1 => "one window is ended".to_owned(),
                more => format!("{more} windows are ended"),
            };
            done(&format!(": {text}"), kept.is_stored().await)
        })
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::targets::{Form, parse};
    use crate::publisher::memory::Memory;

    #[tokio::test]
    async fn what_is_no_window_is_said_and_what_is_begun_can_be_ended() {
        let maintenance = Commanded::recalled(Memory::of_this_process(), clock::wall());
        let file = r#"{"heartbeat": {"hosts": [{"host": "db", "port": 1}]}}"#;
        let (targets, _) = parse(file, Form::JsonFirst).unwrap();
        let (_file, in_force) = watch::channel(Wanted { targets: targets.into(), management: None });
        for (body, status, text) in [
            ("", 400, "Not begun: that is no JSON"),
            ("{}", 400, "needs either `ends` or `lasts`"),
            (r#"{"lasts": "8days"}"#, 400, "longer than 7days"),
            (
                r#"{"lasts": "2h", "components": ["bd"]}"#,
                422,
                "Not begun: no component of this publisher is named \"bd\"",
            ),
            (r#"{"lasts": "2h", "components": ["db"]}"#, 200, "OK: maintenance from 2"),
            (r#"{"begins": "2999-12-06T02:00:00.001Z", "lasts": 90}"#, 200, "02:01:30Z, of everything"),
        ] {
            let said = begin(maintenance.clone(), in_force.clone())(Bytes::from(body)).await;
            assert!(said.status == status && said.text.contains(text), "{body}: {said:?}");
        }
        let windows = as_in_the_file(&maintenance.windows(clock::wall()));
        assert_eq!(windows[0]["components"], json!(["db"]));
        assert_eq!(
            windows[1],
            json!({"begins": "2999-12-06T02:00:00.001Z", "ends": "2999-12-06T02:01:30.001Z"})
        );
        // What is told of a window begins the same again.
        let body = Bytes::from(windows[1].to_string());
        let said = begin(maintenance.clone(), in_force)(body).await;
        assert_eq!(said.status, 200, "{said:?}");
        let said = end(maintenance.clone())(Bytes::new()).await;
        assert_eq!(said.text, "OK: 3 windows are ended");
    }
}
