//! Windows of maintenance that are begun and ended by whoever is on the machine.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::done;
use crate::clock;
use crate::config::targets::{self, PlannedWindow};
use crate::heartbeat::{Timestamp, Window};
use crate::http::{Deed, Said};
use crate::publisher::reload::Wanted;
use crate::publisher::{Begun, Commanded};

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
                Ok((number, kept)) => {
                    done(&format!(": {text}; its number is {number}"), kept.is_stored().await)
                }
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

/// All windows that are on or planned, those that begin first first: in the form in which the publisher's file has them, and a
/// body that begins one, with where each is from, and of one that a command began its number.
pub(in crate::role) fn listed(planned: &[PlannedWindow], begun: &[Begun], now: Timestamp) -> Value {
    let planned = planned.iter().flat_map(|planned| planned.near(now));
    let planned = planned.filter(|window| now < window.ends_at()).map(|window| (window, None));
    let begun = begun.iter().map(|begun| (begun.window.clone(), Some(begun.number)));
    let mut windows: Vec<(Window, Option<u32>)> = planned.chain(begun).collect();
    windows.sort_by_key(|(window, number)| (window.begins_at(), window.ends_at(), *number));
    windows.iter().map(|(window, number)| as_entry(window, *number)).collect()
}

fn as_entry(window: &Window, number: Option<u32>) -> Value {
    let mut entry = Map::new();
    entry.insert("from".into(), json!(if number.is_some() { "command" } else { "file" }));
    if let Some(number) = number {
        entry.insert("number".into(), json!(number));
    }
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
pub(super) fn end_all(maintenance: Commanded) -> Deed {
    Box::new(move |body| {
        Box::pin(async move {
            // One who names a window does not mean all of them.
            if !body.trim_ascii().is_empty() {
                let why =
                    "there is a body, and the number of a window stands in the path: /maintenance/end/NUMBER";
                return Said::not(StatusCode::BAD_REQUEST, format!("Not ended: {why}"));
            }
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

/// Ends the one of this number, as it stands in the path.
pub(super) fn end_one(maintenance: Commanded, number: &str) -> Deed {
    let number: Result<u32, _> = number.parse();
    Box::new(move |_| {
        Box::pin(async move {
            let Ok(number) = number else {
                let why =
                    "Not ended: what stands in the path behind /maintenance/end/ is no number of a window";
                return Said::not(StatusCode::BAD_REQUEST, why);
            };
            match maintenance.end_one(number, clock::wall()) {
                Some((window, kept)) => done(&format!(": ended {}", told(&window)), kept.is_stored().await),
                None => {
                    let why = "`heartbeat maintenance list` has those that there are";
                    let said =
                        format!("Not ended: there is no window of a command with the number {number}; {why}");
                    Said::not(StatusCode::UNPROCESSABLE_ENTITY, said)
                }
            }
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
        let maintenance = Commanded::new(Memory::of_this_process());
        let file = r#"{"heartbeat": {"hosts": [{"host": "db", "port": 1}]}}"#;
        let (targets, _) = parse(file, Form::JsonFirst).unwrap();
        let (_file, in_force) = watch::channel(Wanted { targets: targets.into(), management: None });
        for (body, status, text) in [
            ("", 400, "Not begun: that is no JSON"),
            ("{}", 400, "needs either `ends` or `lasts`"),
            (r#"{"lasts": "soon", "till": 1}"#, 400, "components\nwindow.lasts is"),
            (r#"{"lasts": "8days"}"#, 400, "longer than 7days"),
            (
                r#"{"lasts": "2h", "components": ["bd"]}"#,
                422,
                "Not begun: no component of this publisher is named \"bd\"",
            ),
            (r#"{"lasts": "2h", "components": ["db"]}"#, 200, "OK: maintenance from 2"),
            (
                r#"{"begins": "2999-12-06T02:00:00.001Z", "lasts": 90}"#,
                200,
                "02:01:30Z, of everything; its number is 2",
            ),
        ] {
            let said = begin(maintenance.clone(), in_force.clone())(Bytes::from(body)).await;
            assert!(said.status == status && said.text.contains(text), "{body}: {said:?}");
        }
        let plan = r#"{"heartbeat": {"hosts": [{"host": "db", "port": 1}], "maintenance": [
            {"begins": "2998-01-01T00:00:00Z", "lasts": "1h"}, {"begins": "1998-01-01T00:00:00Z", "lasts": "1h"}]}}"#;
        let planned = parse(plan, Form::JsonFirst).unwrap().0.maintenance;
        let windows = listed(&planned, &maintenance.windows(clock::wall()), clock::wall());
        assert_eq!(
            windows[1],
            json!({"from": "file", "begins": "2998-01-01T00:00:00.000Z", "ends": "2998-01-01T01:00:00.000Z"}),
            "and none that is over"
        );
        assert_eq!(windows[0]["components"], json!(["db"]));
        assert_eq!(
            windows[2],
            json!({
                "from": "command", "number": 2,
                "begins": "2999-12-06T02:00:00.001Z", "ends": "2999-12-06T02:01:30.001Z"
            })
        );
        // What is told of a window begins the same again.
        let body = Bytes::from(windows[2].to_string());
        let said = begin(maintenance.clone(), in_force)(body).await;
        assert_eq!(said.status, 200, "{said:?}");
        for (number, status, text) in [
            ("2", 200, "OK: ended maintenance from 2999-12-06T02:00:00Z"),
            ("2", 422, "no window of a command with the number 2"),
            ("all", 400, "is no number of a window"),
            ("", 400, "is no number of a window"),
        ] {
            let said = end_one(maintenance.clone(), number)(Bytes::new()).await;
            assert!(said.status == status && said.text.contains(text), "{number}: {said:?}");
        }
        let said = end_all(maintenance.clone())(Bytes::from("3")).await;
        assert!(said.status == 400 && said.text.contains("/maintenance/end/NUMBER"), "{said:?}");
        let said = end_all(maintenance.clone())(Bytes::new()).await;
        assert_eq!(said.text, "OK: 2 windows are ended");
    }
}
