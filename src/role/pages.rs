//! Which page is where.

use std::sync::Arc;

use http::StatusCode;

use crate::heartbeat::PublisherId;
use crate::http::{Answer, Page, PageHandler, PageQuestion, ReadyHandler};
use crate::page::html::{ASSETS, CONTENT_POLICY, Links};
use crate::page::{Query, badge, html, json};
use crate::state::Snapshot;
use crate::subscriber::replica::Replica;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";

/// The pages of a role that shows the state of `replica`; where there is none, of one that shows itself alone.
pub(super) fn handler(
    replica: Option<Arc<Replica>>,
    ready: ReadyHandler,
    telemetry_path: &str,
) -> PageHandler {
    // Relative, so that they lead on from behind a proxy, too.
    let links = Links { metrics: format!(".{telemetry_path}") };
    Arc::new(move |question: PageQuestion| {
        let asset = ASSETS.iter().find(|(path, ..)| *path == question.path);
        if let Some((_, content_type, text)) = asset {
            return Answer::Ready(page(StatusCode::OK, content_type, *text));
        }
        match (&replica, question.path.as_str()) {
            (None, "") => Answer::Ready(page(StatusCode::OK, HTML, html::publishers_own(&ready(), &links))),
            (None, _) => Answer::Nothing,
            (Some(_), "api/v1/openapi.json") => Answer::Ready(page(StatusCode::OK, JSON, json::OPENAPI)),
            (Some(replica), path) => match of_state(path) {
                None => Answer::Nothing,
                Some((read, make)) => match read(&question.query) {
                    Ok(query) => {
                        let (replica, ready, links) =
                            (Arc::clone(replica), Arc::clone(&ready), links.clone());
                        Answer::ToMake(Box::new(move || make(&replica, &query, &ready(), &links)))
                    }
                    Err(why) => Answer::Ready(page(StatusCode::BAD_REQUEST, JSON, json::error(&why))),
                },
            },
        }
    })
}

/// Reads what is asked for; the error is what to answer.
type Read = fn(&str) -> Result<Query, String>;

type Make = fn(&Replica, &Query, &Result<(), String>, &Links) -> Page;

/// What makes the page of a path from the state, and how it is asked.
fn of_state(path: &str) -> Option<(Read, Make)> {
    let by_people: Read = |text| Ok(Query::parse(text));
    Some(match path {
        "" => (by_people, |replica, query, ready, links| {
            // What is asked for there is not; that it is not says the page.
            let status = if query.strangers.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            page(status, HTML, html::fleet(&replica.snapshot(None), query, ready, links))
        }),
        "publisher" => (by_people, |replica, query, ready, links| {
            let id = query.id.as_deref().unwrap_or_default();
            match one(replica, id).and_then(|one| html::publisher(&one, id, ready, links)) {
                Some(body) => page(StatusCode::OK, HTML, body),
                None => page(StatusCode::NOT_FOUND, HTML, html::nobody(id, ready, links)),
            }
        }),
        "badge.svg" => (by_people, |replica, query, _, _| {
            let id = query.id.as_deref().unwrap_or_default();
            match one(replica, id).and_then(|one| badge::publisher(&one, id)) {
                Some(body) => page(StatusCode::OK, SVG, body),
                None => page(StatusCode::NOT_FOUND, SVG, badge::nobody()),
            }
        }),
        "api/v1/publishers" => (
            |text| Query::parse_strictly(text, &json::OF_FLEET),
            |replica, query, ready, _| {
                page(StatusCode::OK, JSON, json::publishers(&replica.snapshot(None), query, ready))
            },
        ),
        "api/v1/publisher" => (
            |text| {
                let query = Query::parse_strictly(text, &json::OF_ONE)?;
                query.id.as_ref().ok_or("name a publisher: ?id=...")?;
                Ok(query)
            },
            |replica, query, ready, _| {
                let id = query.id.as_deref().unwrap_or_default();
                match one(replica, id).and_then(|one| json::publisher(&one, id, ready)) {
                    Some(body) => page(StatusCode::OK, JSON, body),
                    None => {
                        let error = json::error("there is no publisher of this name");
                        page(StatusCode::NOT_FOUND, JSON, error)
                    }
                }
            },
        ),
        _ => return None,
    })
}

/// One publisher alone; `None` where the name is none.
fn one(replica: &Replica, id: &str) -> Option<Snapshot> {
    PublisherId::new(id).ok().map(|id| replica.one(&id))
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Page {
    let content_policy = (content_type == HTML).then_some(CONTENT_POLICY);
    Page { status, content_type, content_policy, body: body.into() }
}
