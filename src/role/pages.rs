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
                Some(make) => {
                    let (replica, ready, links) = (Arc::clone(replica), Arc::clone(&ready), links.clone());
                    let query = Query::parse(&question.query);
                    Answer::ToMake(Box::new(move || make(&replica, &query, &ready(), &links)))
                }
            },
        }
    })
}

type Make = fn(&Replica, &Query, &Result<(), String>, &Links) -> Page;

/// What makes the page of a path from the state.
fn of_state(path: &str) -> Option<Make> {
    match path {
        "" => Some(|replica, query, ready, links| {
            page(StatusCode::OK, HTML, html::fleet(&replica.snapshot(None), query, ready, links))
        }),
        "publisher" => Some(|replica, query, ready, links| {
            let id = query.id.as_deref().unwrap_or_default();
            match one(replica, id).and_then(|one| html::publisher(&one, id, ready, links)) {
                Some(body) => page(StatusCode::OK, HTML, body),
                None => page(StatusCode::NOT_FOUND, HTML, html::nobody(id, ready, links)),
            }
        }),
        "badge.svg" => Some(|replica, query, _, _| {
            let id = query.id.as_deref().unwrap_or_default();
            match one(replica, id).and_then(|one| badge::publisher(&one, id)) {
                Some(body) => page(StatusCode::OK, SVG, body),
                None => page(StatusCode::NOT_FOUND, SVG, badge::nobody()),
            }
        }),
        "api/v1/publishers" => Some(|replica, query, ready, _| {
            page(StatusCode::OK, JSON, json::publishers(&replica.snapshot(None), query, ready))
        }),
        "api/v1/publisher" => Some(|replica, query, ready, _| {
            let Some(id) = query.id.as_deref() else {
                return page(StatusCode::BAD_REQUEST, JSON, json::error("name a publisher: ?id=..."));
            };
            match one(replica, id).and_then(|one| json::publisher(&one, id, ready)) {
                Some(body) => page(StatusCode::OK, JSON, body),
                None => {
                    let error = json::error("there is no publisher of this name");
                    page(StatusCode::NOT_FOUND, JSON, error)
                }
            }
        }),
        _ => None,
    }
}

/// One publisher alone; `None` where the name is none.
fn one(replica: &Replica, id: &str) -> Option<Snapshot> {
    PublisherId::new(id).ok().map(|id| replica.one(&id))
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Page {
    let content_policy = (content_type == HTML).then_some(CONTENT_POLICY);
    Page { status, content_type, content_policy, body: body.into() }
}
