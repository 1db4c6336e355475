//! HTTP client of the management API: two requests, each with one deadline for the whole of it.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, DATE, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, timeout_at};

use super::answer::{ApiError, ConsumerList, QueueAnswer, consumer_list, queue_answer};
use super::{ManagementFailure, REQUESTS_MAX};
use crate::secret::SecretSource;
use crate::tls::PeerTls;
use crate::tls::https::{Connector, Version};

/// Default of [`ManagementConfig::body_bytes_max`]: 427 bytes a consumer were measured, so some 39,000.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Body of an error that is read to tell who gave it. The API's own have some tens of bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Connections serve one round of requests and are then closed: one that a failover or a firewall cut
/// in silence would cost the next round its deadline.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Everything but the unreserved characters of RFC 3986, so that a name is one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the management API is and who asks it.
#[derive(Clone)]
pub struct ManagementConfig {
    /// Host names or IP addresses, of each node of a cluster; an IPv6 address with or without brackets.
    pub hosts: Vec<String>,
    /// TCP port.
    pub port: u16,
    /// User name, without a colon.
    pub user: String,
    /// Password, read anew for each request.
    pub password: SecretSource,
    /// The vhost whose queues are checked.
    pub vhost: String,
    /// TLS, where the API is to be asked by https.
    pub tls: Option<PeerTls>,
    /// Bound on the body of an answer, in bytes; [`BODY_BYTES_MAX`] unless there is reason.
    pub body_bytes_max: usize,
}

impl fmt::Debug for ManagementConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagementConfig")
            .field("hosts", &self.hosts)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("vhost", &self.vhost)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Why no client can be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ManagementConfigError {
    /// A host cannot stand in a URL.
    #[error("{0:?} is no host name or address")]
    Host(String),
    /// There is nobody to ask.
    #[error("no host is named")]
    NoHost,
    /// Basic authentication ends the user name at the first colon (RFC 7617).
    #[error("the user name {0:?} holds a colon")]
    User(String),
}

/// A client of one vhost's management API.
#[derive(Clone)]
pub struct ManagementClient {
    http: Client<Connector, Empty<Bytes>>,
    /// `http://host:port`, as in every request, of each node.
    bases: Arc<[String]>,
    /// Who is asked first.
    next: Arc<AtomicUsize>,
    /// The vhost, percent-encoded.
    vhost: String,
    user: String,
    password: SecretSource,
    body_bytes_max: usize,
    /// Who answered last. A std lock: held for a copy, never across an await.
    heard: Arc<Mutex<Heard>>,
}

/// What a response tells besides its answer.
#[derive(Debug, Default)]
struct Heard {
    peer: Option<SocketAddr>,
    /// The header `Date`.
    date: Option<String>,
}

impl ManagementClient {
    /// Makes a client; it connects when first asked.
    ///
    /// # Errors
    /// Where host or user cannot be sent.
    pub fn new(config: ManagementConfig) -> Result<Self, ManagementConfigError> {
        let ManagementConfig { hosts, port, user, password, vhost, tls, body_bytes_max } = config;
        if user.contains(':') {
            return Err(ManagementConfigError::User(user));
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let bases = hosts.into_iter().map(|host| {
            let base = format!("{scheme}://{}:{port}", in_url(&host));
            if is_url_of(&base, &host) { Ok(base) } else { Err(ManagementConfigError::Host(host)) }
        });
        let bases = bases.collect::<Result<Arc<[String]>, _>>()?;
        if bases.is_empty() {
            return Err(ManagementConfigError::NoHost);
        }
        Ok(Self {
            http: http_client(tls.as_ref()),
            bases,
            next: Arc::default(),
            vhost: segment(&vhost),
            user,
            password,
            body_bytes_max,
            heard: Arc::default(),
        })
    }

    /// The consumers of the vhost that the user may see, which may be fewer than there are.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn consumers(&self, end: Instant) -> Result<ConsumerList, ManagementFailure> {
        let path = format!("/api/consumers/{}", self.vhost);
        within(end, async {
            let body = self.get(&path).await?;
            // Some tens of milliseconds for the largest lists, in which this thread serves others.
            let list = tokio::task::spawn_blocking(move || consumer_list(&body)).await;
            list.unwrap_or(Err(ManagementFailure::Invalid("its list of consumers could not be read")))
        })
        .await
    }

    /// One queue with its consumers.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn queue(&self, queue: &str, end: Instant) -> Result<QueueAnswer, ManagementFailure> {
        let path = format!("/api/queues/{}/{}", self.vhost, segment(queue));
        within(end, async { queue_answer(queue, &self.get(&path).await?) }).await
    }

    /// The clock of whoever answered last, as it told.
    pub(super) fn date(&self) -> Option<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).date.clone()
    }

    /// The vhost and a user, as they stand in paths.
    pub(super) fn names(&self) -> (&str, String) {
        (&self.vhost, segment(&self.user))
    }

    /// The address that answered last, if one has.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).peer
    }

    /// Asks one node after the other, until one says what all of them would.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>, ManagementFailure> {
        let mut failed = None;
        for _ in 0..self.bases.len() {
            let first = self.next.load(Ordering::Relaxed) % self.bases.len();
            // Until it has answered: whoever uses up the deadline is not asked first again.
            self.next.store(first + 1, Ordering::Relaxed);
            match self.ask(&self.bases[first], path).await {
                Err(failure) if failure.is_of_one_node() => failed = Some(failure),
                answered => {
                    self.next.store(first, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(failed.unwrap_or(ManagementFailure::Timeout))
    }

    async fn ask(&self, base: &str, path: &str) -> Result<Vec<u8>, ManagementFailure> {
        let request = Request::get(format!("{base}{path}"))
            .header(AUTHORIZATION, basic(&self.user, self.password.read_aside().await.expose()))
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|_| ManagementFailure::Invalid("the request's URL is too long"))?;
        let response = self.http.request(request).await.map_err(ManagementFailure::of_transport)?;
        let peer = response.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr);
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard { peer, date };
        if response.status() == StatusCode::OK {
            read(response, self.body_bytes_max).await
        } else {
            Err(refusal(response).await)
        }
    }
}

impl fmt::Debug for ManagementClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagementClient")
            .field("bases", &self.bases)
            .field("vhost", &self.vhost)
            .finish_non_exhaustive()
    }
}

fn http_client(tls: Option<&PeerTls>) -> Client<Connector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(REQUESTS_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .pool_timer(TokioTimer::new())
        .build(Connector::new(tls, Version::Http1))
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// A host as URLs have it: an IPv6 address in brackets.
fn in_url(host: &str) -> Cow<'_, str> {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]").into() } else { host.into() }
}

/// Whether the URL is read as this host's: `a/b` or `user@a` would be taken for other parts of it.
fn is_url_of(url: &str, host: &str) -> bool {
    let url: Option<Uri> = url.parse().ok();
    url.is_some_and(|url| !host.is_empty() && url.host() == Some(&in_url(host)) && url.path() == "/")
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
    // Base64 holds nothing that a header may not.
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

pub(super) async fn within<T>(
    end: Instant,
    work: impl Future<Output = Result<T, ManagementFailure>>,
) -> Result<T, ManagementFailure> {
    if Instant::now() >= end {
        return Err(ManagementFailure::Timeout);
    }
    timeout_at(end, work).await.unwrap_or(Err(ManagementFailure::Timeout))
}

/// Reads a body, and stops before it takes more memory than it may.
async fn read(response: Response<Incoming>, bytes_max: usize) -> Result<Vec<u8>, ManagementFailure> {
    let mut body = response.into_body();
    let too_large = ManagementFailure::TooLarge { bytes_max };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(too_large);
    }
    let mut read = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(ManagementFailure::of_transport)?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > bytes_max - read.len() {
            return Err(too_large);
        }
        read.extend_from_slice(data);
    }
    Ok(read)
}

/// What an answer other than 200 means. Redirects are not followed: they would carry the password along.
async fn refusal(response: Response<Incoming>) -> ManagementFailure {
    let status = response.status();
    let body = read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let said: Option<ApiError> = serde_json::from_slice(&body).ok();
    let from_api = said.is_some();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let said = said.map(|said| said.reason);
            ManagementFailure::Denied { status: status.as_u16(), from_api, said }
        }
        StatusCode::BAD_REQUEST
            if said
                .as_ref()
                .is_some_and(|said| said.reason.contains("Stats in management UI are disabled")) =>
        {
            ManagementFailure::StatsDisabled
        }
        StatusCode::NOT_FOUND if said.is_some_and(|said| said.error == "Object Not Found") => {
            ManagementFailure::NotFound
        }
        status if status.is_server_error() => ManagementFailure::Server { status: status.as_u16(), from_api },
        status if status.is_redirection() => ManagementFailure::Invalid("it redirects elsewhere"),
        _ => ManagementFailure::Invalid("its status is none that the API gives"),
    }
}
