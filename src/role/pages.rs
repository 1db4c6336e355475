//! Which page is where.

use std::sync::Arc;

use http::StatusCode;

use crate::http::{Page, PageHandler, PageQuestion, ReadyHandler};
use crate::page::html::{ASSETS, CONTENT_POLICY, Links};
use crate::page::{Query, badge, html, json};
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
    let links = Links { metrics: telemetry_path.trim_start_matches('/').to_owned() };
    Arc::new(move |question: &PageQuestion| {
        let asset = ASSETS.iter().find(|(path, ..)| *path == question.path);
        if let Some((_, content_type, text)) = asset {
            return Some(page(StatusCode::OK, content_type, *text));
        }
        match &replica {
            Some(replica) => of_state(replica, &ready, &links, question),
            None => (question.path.is_empty())
                .then(|| page(StatusCode::OK, HTML, html::publishers_own(&ready(), &links))),
        }
    })
}

fn of_state(replica: &Replica, ready: &ReadyHandler, links: &Links, question: &PageQuestion) -> Option<Page> {
    let query = Query::parse(&question.query);
    let id = query.id.as_deref().unwrap_or_default();
    let snapshot = || replica.snapshot(None);
    let found = |body: Option<Page>, otherwise: Page| Some(body.unwrap_or(otherwise));
    match question.path.as_str() {
        "" => Some(page(StatusCode::OK, HTML, html::fleet(&snapshot(), &query, &ready(), links))),
        "publisher" => {
            let made = html::publisher(&snapshot(), id, &ready(), links);
            let none = page(StatusCode::NOT_FOUND, HTML, html::nobody(id, &ready(), links));
            found(made.map(|body| page(StatusCode::OK, HTML, body)), none)
        }
        "badge.svg" => {
            let made = badge::publisher(&snapshot(), id);
            found(
                made.map(|body| page(StatusCode::OK, SVG, body)),
                page(StatusCode::NOT_FOUND, SVG, badge::nobody(id)),
            )
        }
        "api/v1/publishers" => {
            Some(page(StatusCode::OK, JSON, json::publishers(&snapshot(), &query, &ready())))
        }
        "api/v1/publisher" if query.id.is_none() => {
            Some(page(StatusCode::BAD_REQUEST, JSON, json::error("name a publisher: ?id=...")))
        }
        "api/v1/publisher" => {
            let made = json::publisher(&snapshot(), id, &ready());
            let none = page(StatusCode::NOT_FOUND, JSON, json::error("there is no publisher of this name"));
            found(made.map(|body| page(StatusCode::OK, JSON, body)), none)
        }
        "api/v1/openapi.json" => Some(page(StatusCode::OK, JSON, json::OPENAPI)),
        _ => None,
    }
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Page {
    let content_policy = (content_type == HTML).then_some(CONTENT_POLICY);
    Page { status, content_type, content_policy, body: body.into() }
}
