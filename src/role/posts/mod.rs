//! What can be posted where: the routing tables.

pub(super) mod maintenance;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use crate::http::{Deed, PostHandler, Said};
use crate::publisher::Commanded;
use crate::publisher::jobs::{JobLine, Unheard, Word};
use crate::publisher::reload::{Reloads, Wanted};

/// Longest remark that the log repeats, in characters.
const REMARK_CHARS_MAX: usize = 200;

/// What a publisher does for whoever sees its exposition.
pub(super) fn exposed(reloads: Reloads) -> PostHandler {
    Arc::new(move |path: &str| match path {
        "/-/reload" => Some(reload(reloads.clone())),
        _ => None,
    })
}

/// What it does for those on its machine, besides.
pub(super) fn local(
    reloads: Reloads,
    in_force: watch::Receiver<Wanted>,
    jobs: JobLine,
    commanded: Commanded,
) -> PostHandler {
    Arc::new(move |path: &str| {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            ["-", "reload"] => Some(reload(reloads.clone())),
            ["jobs", name, word] => Some(job(jobs.clone(), name, word)),
            ["maintenance", "begin"] => Some(maintenance::begin(commanded.clone(), in_force.clone())),
            ["maintenance", "end"] => Some(maintenance::end_all(commanded.clone())),
            ["maintenance", "end", number] => Some(maintenance::end_one(commanded.clone(), number)),
            _ => None,
        }
    })
}

fn reload(reloads: Reloads) -> Deed {
    Box::new(move |_| {
        Box::pin(async move {
            match reloads.ask().await {
                Ok(outcome) => Said::done(format!("OK: {outcome}")),
                Err(why) => Said::not(StatusCode::INTERNAL_SERVER_ERROR, format!("Not reloaded: {why}")),
            }
        })
    })
}

/// `name` and `word` as they stand in the path.
fn job(jobs: JobLine, name: &str, word: &str) -> Deed {
    let name = percent_decode_str(name).decode_utf8().map(|name| name.into_owned());
    let word = Word::parse(word);
    Box::new(move |body| {
        Box::pin(async move {
            let Some(word) = word else {
                return Said::not(StatusCode::NOT_FOUND, "A job says start, success, fail or ping");
            };
            let Ok(name) = name else {
                return Said::not(StatusCode::BAD_REQUEST, "The name is not UTF-8");
            };
            match jobs.tell(&name, word, &remark(&body)).await {
                Ok(is_stored) => done("", is_stored),
                // Whoever may ask here may know the names: by the mode of the socket, or the token.
                Err(Unheard::Unknown(known)) => {
                    Said::not(StatusCode::NOT_FOUND, format!("No such job: {known}"))
                }
                Err(Unheard::Busy) => Said::not(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Not heard: the publisher is busy or stopping; say it again",
                ),
            }
        })
    })
}

/// That it was done, `what` in words, and whether a restart is known to remember it.
fn done(what: &str, is_stored: bool) -> Said {
    if is_stored {
        Said::done(format!("OK{what}"))
    } else {
        let doubt = "it is not known to be in the state file: a restart may forget it";
        Said::taken(format!("OK{what}, though {doubt}"))
    }
}

/// The first line of a body, shortened.
fn remark(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.trim().lines().next().unwrap_or_default().trim_end();
    line.chars().take(REMARK_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::memory::Memory;

    #[tokio::test]
    async fn each_path_has_its_deed_and_others_have_none() {
        let (jobs, heard) = JobLine::new();
        drop(heard);
        let maintenance = Commanded::new(Memory::of_this_process());
        let targets = Arc::default();
        let (_file, in_force) = watch::channel(Wanted { targets, management: None });
        let find = local(Reloads::to_nobody(), in_force, jobs, maintenance);
        for path in [
            "/",
            "/jobs",
            "/jobs/backup",
            "/jobs/backup/ping/",
            "/jobs/backup/ping/x",
            "jobs/backup/ping",
            "/-/quit",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
        for (path, status) in [
            ("/jobs/backup/ping", 503),
            ("/jobs/a%2Fb/success", 503),
            ("/jobs/%ff/success", 400),
            ("/jobs/backup/finish", 404),
            ("/-/reload", 500),
            ("/maintenance/begin", 400),
            ("/maintenance/end", 200),
            ("/maintenance/end/7", 422),
            ("/maintenance/end/", 400),
        ] {
            let said = find(path).unwrap()(Bytes::new()).await;
            assert_eq!(said.status.as_u16(), status, "{path}: {said:?}");
        }
    }

    #[test]
    fn a_remark_is_one_short_line() {
        assert_eq!(remark(&Bytes::from_static(b"")), "");
        assert_eq!(remark(&Bytes::from_static(b"\n disk full \nand more")), "disk full");
        assert_eq!(remark(&Bytes::from("ø".repeat(1000))), "ø".repeat(200));
        assert_eq!(remark(&Bytes::from_static(b"\xff")), "\u{fffd}");
    }
}
