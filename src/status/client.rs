//! Asks a subscriber over HTTP.

use std::error::Error;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::secret::SecretSource;
use crate::tls::https::{Connector, Version};
use crate::tls::{self, PeerTls, Refusal};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longest answer. A page of the API has some megabytes at most.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Longest answer of another status that is read for its words.
const WORDS_BYTES_MAX: usize = 1 << 10;

/// Where a subscriber is, and who asks it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its address, `http` or `https`, up to what its paths begin with.
    pub url: Uri,
    /// User and password, where it asks for them.
    pub login: Option<(String, SecretSource)>,
    /// Whom to trust, for `https`.
    pub tls: Option<PeerTls>,
    /// Longest wait for an answer.
    pub limit: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It could not be reached.
    #[error("could not ask the subscriber at {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not, and what to do.
        why: String,
    },
    /// It took too long.
    #[error(
        "the subscriber at {url} did not answer within {limit:?}: is that its address, and is the way there open?"
    )]
    Deadline {
        /// Where.
        url: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It asks for a password.
    #[error(
        "the subscriber at {url} let nobody in with {}: set STATUS_USER and STATUS_PASSWORD (or STATUS_PASSWORD_FILE)",
        if *.with_password { "this user and password" } else { "no password" }
    )]
    Denied {
        /// Where.
        url: String,
        /// Whether one was given.
        with_password: bool,
    },
    /// It speaks TLS, and was spoken to without.
    #[error("{url} speaks https alone: try https:// in --url (STATUS_URL)")]
    HttpsAlone {
        /// Where.
        url: String,
    },
    /// It answered something else.
    #[error("{url} answered with status {status}{said}: is it a subscriber, or standalone?")]
    Status {
        /// Where.
        url: String,
        /// With what.
        status: u16,
        /// In which words, in brackets; empty where it has none for people.
        said: String,
    },
    /// It answered in another form.
    #[error("what answered is no subscriber's API")]
    NotOurs(#[source] serde_json::Error),
    /// The question cannot be sent.
    #[error("the question cannot be sent to {url}")]
    Request {
        /// Where.
        url: String,
        /// Why not.
        source: BoxError,
    },
}

/// Asks one subscriber.
pub struct Client {
    http: HyperClient<Connector, Empty<Bytes>>,
    base: String,
    login: Option<(String, SecretSource)>,
}

impl Client {
    /// Makes one; it connects when first asked.
    pub fn new(config: &Config) -> Self {
        let connector = Connector::new(config.tls.as_ref(), Version::Http1);
        Self {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            base: config.url.to_string().trim_end_matches('/').to_owned(),
            login: config.login.clone(),
        }
    }

    /// Where it asks, for people.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The answer to a query, `?` and what follows.
    pub(super) async fn get(&self, query: &str) -> Result<Value, StatusError> {
        let url = || self.base.clone();
        let mut request = Request::get(format!("{}/api/v1/publishers{query}", self.base))
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| StatusError::Request { url: url(), source: error.into() })?;
        if let Some((user, password)) = &self.login {
            let text = format!(
                "Basic {}",
                BASE64.encode(format!("{user}:{}", password.read_aside().await.expose()))
            );
            let mut value = HeaderValue::from_str(&text)
                .map_err(|error| StatusError::Request { url: url(), source: error.into() })?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let unreachable =
            |error: &(dyn Error + 'static)| StatusError::Unreachable { url: url(), why: told(error) };
        let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(StatusError::Denied { url: url(), with_password: self.login.is_some() });
            }
            // A redirect is not followed: it would carry the password along.
            status => {
                let said = words(response).await;
                if status == StatusCode::BAD_REQUEST && said.contains(HTTPS_ALONE) {
                    return Err(StatusError::HttpsAlone { url: url() });
                }
                return Err(StatusError::Status { url: url(), status: status.as_u16(), said });
            }
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unreachable(&*error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(StatusError::NotOurs)
    }
}

/// The first line of an answer that is for people.
async fn words<B: hyper::body::Body<Data = Bytes>>(response: Response<B>) -> String
where
    B::Error: Into<BoxError>,
{
    let is_text =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let body = Limited::new(response.into_body(), WORDS_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let line = String::from_utf8_lossy(&body).lines().next().unwrap_or_default().to_owned();
    if is_text && !line.is_empty() { format!(" ({line})") } else { String::new() }
}

/// Why a subscriber was not reached, in the innermost words, and what to do.
fn told(error: &(dyn Error + 'static)) -> String {
    if let Some(refusal) = tls::refusal(error) {
        return match refusal {
            Refusal::UnknownIssuer { .. } => {
                format!("{refusal}; set STATUS_CA_CERT_PATH to the file of the CA that signed it")
            }
            _ => refusal.to_string(),
        };
    }
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    let why = causes.clone().last().map(ToString::to_string).unwrap_or_default();
    let refused = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    let to_do = match tls::failure(error) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "that port does not speak TLS: try http:// in --url (STATUS_URL)"
        }
        None if why.starts_with(NO_NAME) => "is there a slip in --url (STATUS_URL)?",
        None if causes.clone().any(refused) => {
            "is the subscriber running, and does --url (STATUS_URL) name its address?"
        }
        _ => return why,
    };
    format!("{why}; {to_do}")
}

/// How a port of https answers one who speaks http.
const HTTPS_ALONE: &str = "speaks https alone";

/// How the library says that a name is nobody's.
const NO_NAME: &str = "failed to lookup address information";
