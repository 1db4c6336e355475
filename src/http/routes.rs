//! What is where.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Response, StatusCode, Uri};
use tokio::time::Instant;

use super::body::Body;
use super::scrapes::{Gathered, MetricsHandler, Question, Refusal, Scrapes};
use super::{Config, Metrics};

/// Says whether the program can do its work; if not, why not.
pub type ReadyHandler = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Says in a paragraph of plain text how things are, for the landing page.
pub type StatusHandler = Arc<dyn Fn() -> String + Send + Sync>;

/// Where the server's answers come from. None of them may wait for a network.
#[derive(Clone)]
pub struct Handlers {
    /// For the telemetry path.
    pub metrics: MetricsHandler,
    /// For `/-/ready`.
    pub ready: ReadyHandler,
    /// For `/`.
    pub landing: StatusHandler,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

/// Where a probe of an orchestrator asks.
pub(super) const HEALTH_PATHS: &[&str] = &["/-/healthy", "/-/ready"];

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Answers requests.
#[derive(Debug)]
pub(super) struct Routes {
    handlers: Handlers,
    telemetry_path: String,
    scrapes: Scrapes,
    response_timeout: Duration,
    metrics: Metrics,
}

impl Routes {
    pub(super) fn new(config: &Config, handlers: Handlers, metrics: Metrics) -> Self {
        let render = Arc::clone(&handlers.metrics);
        Self {
            handlers,
            telemetry_path: config.telemetry_path.clone(),
            scrapes: Scrapes::new(render, config.scrapes_max, config.header_timeout, metrics.clone()),
            response_timeout: config.response_timeout,
            metrics,
        }
    }

    /// Answers one request that is let through.
    pub(super) async fn respond(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        let path = uri.path();
        match *method {
            Method::GET | Method::HEAD if path == self.telemetry_path => {
                self.scrape(uri.query(), headers).await
            }
            Method::GET | Method::HEAD => self.page(path),
            _ => {
                let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Only GET and HEAD\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        }
    }

    fn page(&self, path: &str) -> Response<Body> {
        match path {
            "/-/healthy" => answer(StatusCode::OK, PLAIN, "OK\n"),
            "/-/ready" => match (self.handlers.ready)() {
                Ok(()) => answer(StatusCode::OK, PLAIN, "OK\n"),
                Err(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{reason}\n")),
            },
            "/" => {
                let status = (self.handlers.landing)();
                answer(StatusCode::OK, HTML, landing_page(&status, &self.telemetry_path))
            }
            _ => answer(StatusCode::NOT_FOUND, PLAIN, "Not found\n"),
        }
    }

    async fn scrape(&self, query: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let question = Question {
            accept: joined(headers, &ACCEPT),
            gzip: accepts_gzip(joined(headers, &ACCEPT_ENCODING).as_deref().unwrap_or_default()),
            query: query.map(str::to_owned),
        };
        match self.scrapes.answer(question).await {
            Ok(gathered) => metrics(&gathered, Instant::now() + self.response_timeout),
            Err(Refusal::Busy) => {
                self.metrics.rejected.inc();
                let mut response =
                    answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "Too many scrapes at once\n");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
                response
            }
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

/// Adds what every answer has, refusals too.
pub(super) fn dress(headers: &mut HeaderMap) {
    let always = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
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

/// Plain HTML without style or script, which the content policy would forbid.
fn landing_page(status: &str, telemetry_path: &str) -> String {
    let (status, path) = (escaped(status), escaped(telemetry_path));
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Heartbeat</title>\n<style>{LANDING_STYLE}</style>\n</head>\n\
         <body>\n<header>Heartbeat</header>\n<main>\n<p>{status}</p>\n<ul>\n\
         <li><a href=\"{path}\">Metrics</a></li>\n\
         <li><a href=\"/-/healthy\">Health</a></li>\n\
         <li><a href=\"/-/ready\">Readiness</a></li>\n</ul>\n\
         <p><small>Version {version}</small></p>\n</main>\n</body>\n</html>\n"
    )
}

/// As the landing pages of other exporters look, in light and dark.
const LANDING_STYLE: &str = "\
    :root{color-scheme:light dark}\
    body{margin:0;font:16px/1.5 system-ui,sans-serif}\
    header{padding:.8rem 1.5rem;background:#e6522c;color:#fff;font-size:1.5rem;font-weight:600}\
    main{padding:.5rem 1.5rem}ul{padding-left:1.2rem}small{opacity:.7}";

/// Text for HTML, in quotes or out of them.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
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

    #[test]
    fn the_landing_page_shows_names_as_they_are() {
        let page = landing_page("<script>alert('1')</script> & \"x\"", "/a\"b");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;"),
            "{page}"
        );
        assert!(page.contains("href=\"/a&quot;b\""), "{page}");
    }
}
