//! What is where.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use hyper::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::body::Body;
use super::pages::{Made, PageHandler, PageQuestion, Pages};
use super::posts::{Deed, PostHandler, Posts, Said, Undone};
use super::scrapes::{Gathered, MetricsHandler, Question, Refusal, Scrapes};
use super::{Config, Metrics};

/// Says whether the program can do its work; if not, why not.
pub type ReadyHandler = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where the server's answers come from. None of them may wait for a network.
#[derive(Clone)]
pub struct Handlers {
    /// For the telemetry path; `None`: there are none, nor pages, and what is not posted is not found.
    pub metrics: Option<MetricsHandler>,
    /// For `/-/ready`.
    pub ready: ReadyHandler,
    /// For `/` and what it leads to.
    pub pages: PageHandler,
    /// For what can be done here; `None`: nothing.
    pub posts: Option<PostHandler>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

struct Ready(ReadyHandler);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

/// Where a probe of an orchestrator asks.
pub(super) const HEALTH_PATHS: &[&str] = &["/-/healthy", "/-/ready"];

const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers requests.
#[derive(Debug)]
pub(super) struct Routes {
    ready: Ready,
    telemetry_path: String,
    scrapes: Option<Scrapes>,
    pages: Pages,
    posts: Option<Posts>,
    response_timeout: Duration,
    metrics: Metrics,
}

impl Routes {
    pub(super) fn new(config: &Config, handlers: Handlers, metrics: Metrics) -> Self {
        let Handlers { metrics: render, ready, pages, posts } = handlers;
        Self {
            ready: Ready(ready),
            telemetry_path: config.telemetry_path.clone(),
            scrapes: render.map(|render| {
                Scrapes::new(render, config.scrapes_max, config.header_timeout, metrics.clone())
            }),
            pages: Pages::new(pages, config.header_timeout),
            posts: posts.map(Posts::new),
            response_timeout: config.response_timeout,
            metrics,
        }
    }

    /// Answers one request that is let through.
    pub(super) async fn respond(&self, head: &Parts, body: Incoming) -> Response<Body> {
        let (path, query, headers) = (head.uri.path(), head.uri.query(), &head.headers);
        match head.method {
            Method::GET | Method::HEAD => match path {
                _ if path == self.telemetry_path && self.scrapes.is_some() => {
                    self.scrape(query, headers).await
                }
                "/-/healthy" => answer(StatusCode::OK, PLAIN, "OK\n"),
                "/-/ready" => match (self.ready.0)() {
                    Ok(()) => answer(StatusCode::OK, PLAIN, "OK\n"),
                    Err(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{reason}\n")),
                },
                _ if self.deed(path).is_some() => by_post_alone(),
                _ => self.page(path, query, headers).await,
            },
            Method::POST => match (&self.posts, self.deed(path)) {
                (Some(posts), Some(deed)) => self.post(posts.run(deed, headers, body).await),
                // Where there are no metrics, whoever comes has come to post.
                (Some(_), None) if self.scrapes.is_none() && !HEALTH_PATHS.contains(&path) => {
                    let page = self.page(path, query, headers).await;
                    if page.status().is_success() { by_get_alone() } else { page }
                }
                _ => by_get_alone(),
            },
            _ if self.deed(path).is_some() => by_post_alone(),
            _ => by_get_alone(),
        }
    }

    fn deed(&self, path: &str) -> Option<Deed> {
        self.posts.as_ref()?.at(path)
    }

    fn post(&self, done: Result<Said, Undone>) -> Response<Body> {
        match done {
            Ok(said) | Err(Undone::Said(said)) => answer(said.status, PLAIN, format!("{}\n", said.text)),
            Err(Undone::TooMany(wait)) => {
                self.metrics.rejected.inc();
                later(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n", wait)
            }
        }
    }

    async fn page(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let question = PageQuestion {
            path: path.strip_prefix('/').unwrap_or(path).to_owned(),
            query: query.unwrap_or_default().to_owned(),
        };
        let Made { page, gzip, permit } = match self.pages.answer(question, takes_gzip(headers)).await {
            Ok(Some(made)) => made,
            Ok(None) => return not_found(),
            Err(Refusal::Busy) => return self.busy("Too many pages at once\n"),
            Err(_) => {
                return answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "The page could not be made\n");
            }
        };
        let body = Body::new(page.body);
        let body = match permit {
            Some(permit) => body.bounded(Instant::now() + self.response_timeout, permit),
            None => body,
        };
        let mut response = Response::new(body);
        *response.status_mut() = page.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(policy) = page.content_policy {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        response
    }

    /// For one who waited in vain.
    fn busy(&self, text: &'static str) -> Response<Body> {
        self.metrics.rejected.inc();
        later(StatusCode::SERVICE_UNAVAILABLE, text, Duration::from_secs(10))
    }

    async fn scrape(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let question = Question {
            accept: joined(headers, &ACCEPT),
            gzip: takes_gzip(headers),
            query: query.map(str::to_owned),
        };
        let Some(scrapes) = &self.scrapes else { return not_found() };
        match scrapes.answer(question).await {
            Ok(gathered) => metrics(&gathered, Instant::now() + self.response_timeout),
            Err(Refusal::Busy) => self.busy("Too many scrapes at once\n"),
            Err(Refusal::Question(reason)) => answer(StatusCode::BAD_REQUEST, PLAIN, format!("{reason}\n")),
            Err(Refusal::Failed) => {
                answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "The metrics could not be rendered\n")
            }
        }
    }
}

fn metrics(gathered: &Gathered, deadline: Instant) -> Response<Body> {
    let Gathered { exposition, permit } = gathered;
    let body = Body::of(exposition.parts.iter().cloned()).bounded(deadline, Arc::clone(permit));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(exposition.content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if exposition.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A refusal in plain text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    answer(status, PLAIN, text)
}

/// A refusal that says when to come again.
pub(super) fn later(status: StatusCode, text: &'static str, wait: Duration) -> Response<Body> {
    let mut response = plain(status, text);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn not_found() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "Not found\n")
}

fn by_post_alone() -> Response<Body> {
    not_allowed("This endpoint requires a POST request.\n", "POST")
}

fn by_get_alone() -> Response<Body> {
    not_allowed("This endpoint takes GET and HEAD alone.\n", "GET, HEAD")
}

fn not_allowed(text: &'static str, allow: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Adds what every answer has, refusals too.
pub(super) fn dress(headers: &mut HeaderMap) {
    let always = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A page says itself what it needs.
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// All values of a header as one list; `None` if it is not there.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    accepts_gzip(joined(headers, &ACCEPT_ENCODING).as_deref().unwrap_or_default())
}

/// Whether an `Accept-Encoding` allows gzip; without a word on it, only if everything is allowed.
fn accepts_gzip(accept: &str) -> bool {
    let mut everything = false;
    for range in accept.split(',') {
        let (coding, parameters) = range.split_once(';').unwrap_or((range, ""));
        let quality = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
        let wanted = quality.is_none_or(|quality| quality.is_ok_and(|quality| quality > 0.0));
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return wanted,
            "*" => everything = wanted,
            _ => {}
        }
    }
    everything
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_where_it_is_wanted() {
        for yes in ["gzip", "deflate, GZIP;q=0.5", "*", "br;q=1, *;q=0.1", "gzip; q=1"] {
            assert!(accepts_gzip(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "*, gzip;q=0.0", "*;q=0", "gzip;q=x", "gzipped"] {
            assert!(!accepts_gzip(no), "{no}");
        }
    }
}
