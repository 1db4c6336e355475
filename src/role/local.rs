//! The local API of a publisher.

use std::sync::Arc;

use ::http::StatusCode;
use tokio::sync::watch;
use tracing::info;

use super::posts::maintenance::listed;
use super::{StartError, web};
use crate::clock;
use crate::config::{LocalAddress, LocalConfig};
use crate::http::ask::NOTHING_HERE;
use crate::http::{self, Answer, Page, PageQuestion, PostHandler, ReadyHandler, Server};
use crate::publisher::Commanded;
use crate::publisher::reload::Wanted;

/// What a local API has.
const PATHS: &str = "\
POST /jobs/NAME/start, /jobs/NAME/success, /jobs/NAME/fail, /jobs/NAME/ping
POST /maintenance/begin, /maintenance/end, /maintenance/end/NUMBER
GET  /maintenance
POST /-/reload
GET  /-/healthy, /-/ready
";

/// The windows of maintenance that it shows.
pub(super) struct Windows {
    /// Those that a command began.
    pub(super) commanded: Commanded,
    /// Those of the file.
    pub(super) in_force: watch::Receiver<Wanted>,
}

/// Takes its socket or port, so that one that is in use ends the start.
pub(super) async fn bind(
    config: &LocalConfig,
    posts: PostHandler,
    windows: Windows,
    ready: ReadyHandler,
    metrics: http::Metrics,
) -> Result<Server, StartError> {
    let (listen, unix) = match &config.listen {
        LocalAddress::Tcp(address) => (web::addresses(std::slice::from_ref(address)).await?, None),
        LocalAddress::Unix(path) => (Vec::new(), Some(path.clone())),
    };
    let http_config = http::Config {
        unix,
        token: config.token.clone(),
        // All of them are one client: this machine.
        connections_per_client_max: http::CONNECTIONS_MAX,
        ..http::Config::on(listen)
    };
    let pages = Arc::new(move |question: PageQuestion| match question.path.as_str() {
        "maintenance" => Answer::Ready(windows.page()),
        _ => Answer::Ready(nothing_here()),
    });
    let handlers = http::Handlers { metrics: None, ready, pages, posts: Some(posts) };
    let server = http::bind(http_config, handlers, metrics).map_err(StartError::Bind)?;
    let token = config.token.is_some();
    match &config.listen {
        LocalAddress::Unix(_) => info!(address = %config.listen, token, "Local API"),
        LocalAddress::Tcp(_) => {
            for address in server.addresses() {
                info!(%address, token, "Local API");
            }
        }
    }
    Ok(server)
}

impl Windows {
    /// Those that are on or planned, as JSON.
    fn page(&self) -> Page {
        let now = clock::wall();
        let planned = self.in_force.borrow().targets.maintenance.clone();
        let windows = listed(&planned, &self.commanded.windows(now), now);
        let (status, content_type) = (StatusCode::OK, "application/json");
        Page { status, content_type, content_policy: None, body: format!("{windows}\n").into() }
    }
}

/// For one who has lost the way.
fn nothing_here() -> Page {
    let (status, content_type) = (StatusCode::NOT_FOUND, "text/plain; charset=utf-8");
    Page { status, content_type, content_policy: None, body: format!("{NOTHING_HERE}\n{PATHS}").into() }
}
