//! Fleets that are made up, behind the program's own server: for pictures, and for more publishers than a test can start.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_bridge::heartbeat::{Component, ComponentKey, Outcome, PublisherId, Reason, Timestamp};
use heartbeat_bridge::http::{Answer, Config, Exposition, Handlers, Metrics, Page, PageQuestion, bind};
use heartbeat_bridge::page::{Query, html};
use heartbeat_bridge::state::Snapshot;
use heartbeat_bridge::state::components::{ComponentState, Components};
use heartbeat_bridge::state::hearing::Spans;
use heartbeat_bridge::state::snapshot::PublisherView;
use heartbeat_bridge::state::verdict::{Ages, Verdict};
use hyper::StatusCode;
use prometheus_client::registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};

fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_795_600_000_000)
}

fn ago(seconds: i64) -> Timestamp {
    now().plus_ms(-seconds * 1000)
}

/// A component that has been so for some seconds.
pub(crate) fn component(
    key: ComponentKey,
    target: &str,
    found: Result<(), Reason>,
    since: i64,
) -> ComponentState {
    let outcome = if found.is_ok() { Outcome::Up } else { Outcome::Down };
    ComponentState {
        component: Component {
            key,
            target: (!target.is_empty()).then(|| target.into()),
            outcome,
            reason: found.err(),
            checked_at: ago(4),
            changed_at: Some(ago(since)),
            last_up_at: Some(ago(if found.is_ok() { 4 } else { since + 15 })),
            last_down_at: None,
            last_unknown_at: None,
            duration_seconds: Some(0.002),
            checks_total: Some(100),
            failures_total: Some(0),
            figures: None,
            certificate_not_after: None,
        },
        seen: Some(ago(4)),
    }
}

/// A publisher that was heard so many seconds ago.
pub(crate) fn publisher(id: &str, seen: i64, states: &[ComponentState]) -> PublisherView {
    let silent = seen > 180;
    let ages = Ages {
        now: now(),
        grace: Duration::from_secs(180),
        heard: Some(ago(seen)),
        hearing: Arc::new(Spans::default()),
    };
    let never = PublisherView::never_seen(&PublisherId::new(id).unwrap(), true);
    PublisherView {
        up: Some(!silent),
        first_received: Some(ago(900_000)),
        last_seen: Some(ago(seen)),
        deadline: Some(ago(seen - 180)),
        interval: Some(Duration::from_secs(60)),
        clock_offset_ms: Some(0),
        version: Some("0.1.0".into()),
        told: Components::from(states),
        verdict: if silent { Verdict::Unknown(Reason::Stale) } else { Verdict::Each(ages) },
        ..never
    }
}

/// Serves the page of a fleet; its address.
pub(crate) fn serve(publishers: Vec<PublisherView>) -> (String, DropGuard) {
    let snapshot =
        Snapshot { now: now(), shard: None, view_synced: true, view_lag: Duration::ZERO, publishers };
    let links = html::Links { metrics: "metrics".into() };
    let pages = move |question: PageQuestion| {
        let asset = html::ASSETS.iter().find(|(path, ..)| *path == question.path);
        let (content_type, body) = match asset {
            Some((_, content_type, text)) => (*content_type, (*text).to_owned()),
            None => {
                let query = Query::parse(&question.query);
                ("text/html; charset=utf-8", html::fleet(&snapshot, &query, &Ok(()), &links))
            }
        };
        let content_policy = Some(html::CONTENT_POLICY);
        Answer::Ready(Page { status: StatusCode::OK, content_type, content_policy, body: body.into() })
    };
    let handlers = Handlers {
        metrics: Some(Arc::new(|_| Ok(Exposition::default()))),
        ready: Arc::new(|| Ok(())),
        pages: Arc::new(pages),
        posts: None,
    };
    let metrics = Metrics::register(&mut Registry::default());
    let server = bind(Config::on(vec![(Ipv4Addr::LOCALHOST, 0).into()]), handlers, metrics).unwrap();
    let address = server.addresses()[0];
    let stop = CancellationToken::new();
    tokio::spawn(server.serve(stop.clone()));
    (format!("http://{address}/"), stop.drop_guard())
}
