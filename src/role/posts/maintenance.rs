//! Windows of maintenance that are begun and ended by whoever is on the machine.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::clock;
use crate::heartbeat::{Timestamp, Window};
use crate::http::{Deed, Said};
use crate::publisher::Commanded;

/// A window that somebody begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    lasts: String,
    #[serde(default)]
    begins_at: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    components: Vec<String>,
}

impl Begun {
    fn window(&self, now: Timestamp) -> Result<Window, String> {
        let begins = match &self.begins_at {
            None => now,
            Some(text) => Timestamp::parse_rfc3339(text)
                .map_err(|_| format!("begins_at is {text:?}, which is no time with its zone"))?,
        };
        let seconds = self.lasts.parse::<u64>().map(Duration::from_secs);
        let lasts = seconds.or_else(|_| humantime::parse_duration(&self.lasts));
        let lasts =
            lasts.map_err(|_| format!("lasts is {:?}, which is no duration such as 2h", self.lasts))?;
        let names: Vec<&str> = self.components.iter().map(String::as_str).collect();
        let window = Window::new((begins, begins.plus(lasts)), self.comment.as_deref(), &names);
        let window = window.map_err(|error| format!("it is no window: {error}"))?;
        if window.ends_at() <= now { Err("it would be over already".into()) } else { Ok(window) }
    }
}

const BEGIN_EXAMPLE: &str = r#"{"lasts": "2h", "comment": "new disks", "components": ["database"]}"#;

/// Begins a window, or plans it, as the body says.
pub(super) fn begin(maintenance: Commanded) -> Deed {
    Box::new(move |body| {
        Box::pin(async move {
            let now = clock::wall();
            let begun = serde_json::from_slice::<Begun>(&body).map_err(|error| error.to_string());
            let window = match begun.and_then(|begun| begun.window(now)) {
                Ok(window) => window,
                Err(why) => {
                    let text = format!("Not begun: {why}; example: {BEGIN_EXAMPLE}");
                    return Said::not(StatusCode::BAD_REQUEST, text);
                }
            };
            let (begins, ends) = (window.begins_at().to_rfc3339(), window.ends_at().to_rfc3339());
            match maintenance.begin(window, now) {
                Ok(kept) => {
                    Said::done(remembered(&format!("maintenance from {begins} to {ends}"), kept).await)
                }
                Err(too_many) => Said::not(StatusCode::CONFLICT, format!("Not begun: {too_many}")),
            }
        })
    })
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
            Said::done(remembered(&text, kept).await)
        })
    })
}

async fn remembered(text: &str, kept: JoinHandle<bool>) -> String {
    match kept.await {
        Ok(true) => format!("OK: {text}"),
        _ => format!("OK: {text}, though the state file could not be written"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::heartbeat::PublisherId;
    use crate::publisher::memory::Memory;

    #[tokio::test]
    async fn what_is_no_window_is_said_and_what_is_begun_can_be_ended() {
        let publisher = PublisherId::new("oslo").unwrap();
        let memory = Memory::read(None, publisher, &mut Registry::default());
        let maintenance = Commanded::recalled(memory, clock::wall());
        for (body, status, text) in [
            ("", 400, "Not begun: EOF"),
            ("{}", 400, "missing field `lasts`"),
            (r#"{"lasts": "2h", "until": 1}"#, 400, "unknown field `until`"),
            (r#"{"lasts": "soon"}"#, 400, "no duration such as 2h"),
            (r#"{"lasts": "8days"}"#, 400, "longer than seven days"),
            (r#"{"lasts": "0"}"#, 400, "ends before it begins"),
            (r#"{"lasts": "2h", "begins_at": "2026-01-01T00:00:00Z"}"#, 400, "over already"),
            (r#"{"lasts": "2h", "begins_at": "tomorrow"}"#, 400, "no time with its zone"),
            (r#"{"lasts": "2h", "components": ["db"]}"#, 200, "OK: maintenance from 2"),
            (r#"{"lasts": "90"}"#, 200, "OK: maintenance from 2"),
        ] {
            let said = begin(maintenance.clone())(Bytes::from(body)).await;
            assert!(said.status == status && said.text.contains(text), "{body}: {said:?}");
        }
        assert_eq!(maintenance.windows(clock::wall()).len(), 2);
        let said = end(maintenance.clone())(Bytes::new()).await;
        assert_eq!(said.text, "OK: 2 windows are ended");
    }
}
