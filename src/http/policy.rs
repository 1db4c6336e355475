//! What is asked of clients before they get an answer, and what every answer gets with it.
//!
//! A connection has one policy from its beginning to its end. Where another one comes into force, the connection
//! ends after the answer that is under way.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::auth::{BasicAuth, Verdict};
use super::bearer::Bearer;
use super::body::Body;
use super::metrics::Metrics;
use super::posts;
use super::rate::TokenBucket;
use super::routes::{self, HEALTH_PATHS};
use crate::config::web::WebFile;
use crate::secret::SecretSource;
use crate::tls::server::Served;

/// The policy of a web configuration.
#[derive(Default)]
pub(super) struct Policy {
    file: WebFile,
    tls: Option<TlsAcceptor>,
    auth: Option<Arc<BasicAuth>>,
    bearer: Option<Bearer>,
    bucket: Option<Arc<TokenBucket>>,
    /// `None`: the header is left out.
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    health_without_auth: bool,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Policy {
    /// As a web configuration has it. `before` is the policy that it takes the place of.
    pub(super) fn new(
        file: WebFile,
        served: Option<Served>,
        health_without_auth: bool,
        before: Option<&Self>,
    ) -> Self {
        let kept = before.and_then(|before| before.bucket.clone());
        let bucket = file.rate_limit.map(|limit| match kept {
            // A change elsewhere in the file is no reason for another burst.
            Some(bucket) if bucket.limit() == limit => bucket,
            _ => Arc::new(TokenBucket::new(limit)),
        });
        let headers = file.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok().filter(|value| !value.is_empty())))
        });
        Self {
            headers: headers.collect(),
            tls: served.map(|served| TlsAcceptor::from(served.config)),
            auth: (!file.users.is_empty()).then(|| Arc::new(BasicAuth::new(file.users.clone()))),
            bearer: None,
            bucket,
            health_without_auth,
            file,
        }
    }

    /// Where there is no web configuration: a token, where one is asked for, which cannot be guessed at any rate.
    pub(super) fn asking_for(token: Option<SecretSource>) -> Self {
        let bucket = token.is_some().then(|| Arc::new(TokenBucket::new(posts::RATE)));
        Self { bearer: token.map(Bearer::new), bucket, ..Self::default() }
    }

    pub(super) fn file(&self) -> &WebFile {
        &self.file
    }

    /// `Some`: https alone.
    pub(super) fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// The answer to one who does not get what was asked for; `None` lets the request through.
    pub(super) async fn refuse(
        &self,
        path: &str,
        headers: &HeaderMap,
        metrics: &Metrics,
    ) -> Option<Response<Body>> {
        if let Some(Err(wait)) = self.bucket.as_ref().map(|bucket| bucket.take(Instant::now())) {
            metrics.rejected.inc();
            return Some(routes::later(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n", wait));
        }
        if let Some(bearer) = &self.bearer
            && !bearer.admits(headers).await
        {
            let text =
                "Unauthorized: send the header Authorization: Bearer TOKEN, with the token as it is now\n";
            return Some(unauthorized("Bearer realm=\"Heartbeat\"", text, metrics));
        }
        let auth =
            self.auth.as_ref().filter(|_| !(self.health_without_auth && HEALTH_PATHS.contains(&path)))?;
        match auth.check(headers).await {
            Verdict::Known => None,
            Verdict::Unknown => {
                let challenge = "Basic realm=\"Heartbeat\", charset=\"UTF-8\"";
                Some(unauthorized(challenge, "Unauthorized\n", metrics))
            }
            Verdict::Busy => {
                metrics.rejected.inc();
                let text = "Too many passwords to verify\n";
                Some(routes::later(StatusCode::SERVICE_UNAVAILABLE, text, Duration::from_secs(10)))
            }
        }
    }

    /// Adds the headers of the web configuration, in place of the server's own.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            match value {
                Some(value) => drop(headers.insert(name, value.clone())),
                None => drop(headers.remove(name)),
            }
        }
    }
}

fn unauthorized(challenge: &'static str, text: &'static str, metrics: &Metrics) -> Response<Body> {
    metrics.unauthorized.inc();
    let mut response = routes::plain(StatusCode::UNAUTHORIZED, text);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}
