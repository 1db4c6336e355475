//! Whether something answers over HTTP/1.1 as it should: with the right status, in time, and with a body that holds what it
//! must and nothing that it must not.
//!
//! Each check has a connection of its own, so that it finds what a new client would find.

mod exchange;
mod judge;

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::probe::OnHand;
use super::secure::{SecureSpec, lasts};
use super::{Finding, Seen, Verdict};
use crate::heartbeat::Reason;
use exchange::{Body, exchange};

pub use judge::{BodyRules, StatusCodes};

/// Redirects that one check follows at most, as blackbox_exporter and browsers have it within a factor of two.
pub const REDIRECTS_MAX: usize = 10;

/// Length of a body that is judged within a fraction of a millisecond.
const BODY_BYTES_AT_ONCE: usize = 64 << 10;

/// What is asked over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSpec {
    /// What is asked for: by `http` or `https`, without a user.
    pub url: Url,
    /// How it is asked for.
    pub method: Method,
    /// What is sent along.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent along and secret; to the origin of `url` alone, wherever that may redirect to.
    pub secrets: Vec<SecretHeader>,
    /// The right statuses.
    pub status: StatusCodes,
    /// What the body must hold, and must not.
    pub body: BodyRules,
    /// Whether a redirect is followed, and not taken for the answer.
    pub follow_redirects: bool,
    /// The longest that an answer may take, the lookup of the name included.
    pub duration_max: Option<Duration>,
    /// What its TLS must be.
    pub secure: SecureSpec,
}

/// A header whose value is in a file, which is read anew for each check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHeader {
    /// Which header.
    pub name: HeaderName,
    /// What is made of the file's text.
    pub form: SecretForm,
    /// The file.
    pub file: PathBuf,
}

impl SecretHeader {
    /// The key of the file by which it is configured.
    pub fn key(&self) -> &'static str {
        match self.form {
            SecretForm::Plain => "header_files",
            SecretForm::Bearer => "bearer_token_file",
            SecretForm::Basic { .. } => "basic_auth",
        }
    }
}

/// What a header makes of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// The secret itself.
    Plain,
    /// A token, with `Bearer` before it.
    Bearer,
    /// A password, with its user.
    Basic {
        /// Who has the password.
        user: Box<str>,
    },
}

impl HttpSpec {
    /// The URL without what may hold secrets.
    pub fn target(&self) -> String {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        shown.into()
    }
}

pub(super) async fn check(
    spec: &HttpSpec,
    on_hand: &OnHand,
    end: Instant,
    seen: &mut Seen,
) -> Result<(), Finding> {
    let start = Instant::now();
    let mut answer = exchange(spec, &spec.url, on_hand, end, seen).await?;
    let mut at = spec.url.clone();
    let mut followed = 0;
    while let Some(next) = answer.redirect.as_deref().filter(|_| spec.follow_redirects) {
        followed += 1;
        // Neither a circle nor a place that is none is an answer.
        let nowhere = || Verdict::down(Reason::Protocol).because("it redirects to what is no URL");
        at = at.join(next).map_err(|_| nowhere())?;
        if followed > REDIRECTS_MAX {
            let detail = format!("it redirects more than {REDIRECTS_MAX} times");
            return Err(Verdict::down(Reason::Status).because(detail));
        }
        if !matches!(at.scheme(), "http" | "https") {
            let detail = "it redirects to a URL that is none of http or https";
            return Err(Verdict::down(Reason::Status).because(detail));
        }
        answer = exchange(spec, &at, on_hand, end, seen).await?;
    }
    let took = start.elapsed().saturating_sub(seen.here);
    if !spec.status.contains(answer.status) {
        let detail = format!("it answered {}, where {} is right", answer.status, spec.status);
        return Err(Verdict::down(Reason::Status).because(detail));
    }
    seen.here(judge_body(&spec.body, answer.body)).await?;
    if let Some(max) = spec.duration_max.filter(|max| took > *max) {
        let detail = format!("it took {} ms, of {} ms that it may", took.as_millis(), max.as_millis());
        return Err(Verdict::down(Reason::Slow).because(detail));
    }
    lasts(seen.certificate_not_after, &spec.secure)
}

/// Judges a long body on a thread of its own: the publisher has one for everything else.
async fn judge_body(rules: &BodyRules, body: Body) -> Result<(), Finding> {
    let judge =
        |rules: &BodyRules, body: &Body| rules.judge(&String::from_utf8_lossy(&body.bytes), body.is_whole);
    if body.bytes.len() <= BODY_BYTES_AT_ONCE {
        return judge(rules, &body);
    }
    let rules = rules.clone();
    let judged = tokio::task::spawn_blocking(move || judge(&rules, &body)).await;
    judged.unwrap_or_else(|_| Err(Verdict::unknown(Reason::Local).into()))
}

/// Whether a status leads elsewhere: the others of its hundred have no place to go to, or mean what the asker holds.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests;
