//! What a client may have done, by `POST`: a bounded number a second, with a short body, in bounded time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, ORIGIN};
use tokio::time::{Instant, timeout};

use super::rate::TokenBucket;
use crate::config::web::RateLimit;

/// Longest body, in bytes: what is to be done stands in the path, and a body is a remark at most.
pub const BODY_BYTES_MAX: usize = 16 << 10;

/// For the body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// For what is asked to be done.
const DEED_TIMEOUT: Duration = Duration::from_secs(30);

/// Twenty a second for long, and as many at once as a machine's timers may start on the full hour.
pub(super) const RATE: RateLimit = RateLimit { interval: Duration::from_millis(50), burst: 200 };

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it was done.
    pub status: StatusCode,
    /// In plain words, without the end of the line.
    pub text: String,
}

impl Said {
    /// It was done.
    pub fn done(text: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, text: text.into() }
    }

    /// It counts, though not all that is to come of it is known to be done.
    pub fn taken(text: impl Into<String>) -> Self {
        Self { status: StatusCode::ACCEPTED, text: text.into() }
    }

    /// It was not.
    pub fn not(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// What is done for one who posts a body, and what is said of it.
pub type Deed = Box<dyn FnOnce(Bytes) -> Pin<Box<dyn Future<Output = Said> + Send>> + Send>;

/// Finds what is done at a path, as it stands in the request; `None`: nothing can be posted there.
pub type PostHandler = Arc<dyn Fn(&str) -> Option<Deed> + Send + Sync>;

/// What one server does.
pub(super) struct Posts {
    find: PostHandler,
    bucket: TokenBucket,
}

impl fmt::Debug for Posts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posts").finish_non_exhaustive()
    }
}

/// Why nothing is done.
#[derive(Debug)]
pub(super) enum Undone {
    /// For other reasons than the server's bounds.
    Said(Said),
    /// Too much is asked for; so long it takes until more may be.
    TooMany(Duration),
}

impl Posts {
    pub(super) fn new(find: PostHandler) -> Self {
        Self { find, bucket: TokenBucket::new(RATE) }
    }

    pub(super) fn at(&self, path: &str) -> Option<Deed> {
        (self.find)(path)
    }

    /// Does it.
    pub(super) async fn run(&self, deed: Deed, headers: &HeaderMap, body: Incoming) -> Result<Said, Undone> {
        self.bucket.take(Instant::now()).map_err(Undone::TooMany)?;
        // A page from elsewhere can make a browser post; scripts and programs say nothing of an origin.
        if headers.contains_key(ORIGIN) {
            return Err(not(
                StatusCode::FORBIDDEN,
                "Nothing is done for a page in a browser, which sends Origin",
            ));
        }
        let body = match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(not(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("The body has more than {BODY_BYTES_MAX} bytes"),
                ));
            }
            Ok(Err(_)) => return Err(not(StatusCode::BAD_REQUEST, "The body did not come whole")),
            Err(_) => return Err(not(StatusCode::REQUEST_TIMEOUT, "The body did not come in time")),
        };
        let done = timeout(DEED_TIMEOUT, deed(body)).await;
        done.map_err(|_| {
            let seconds = DEED_TIMEOUT.as_secs();
            not(StatusCode::GATEWAY_TIMEOUT, format!("Not done within {seconds} s; it may be done yet"))
        })
    }
}

fn not(status: StatusCode, text: impl Into<String>) -> Undone {
    Undone::Said(Said::not(status, text))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio_util::sync::{CancellationToken, DropGuard};

    use crate::http::{Answer, Config, Deed, Handlers, Metrics, Page, PageQuestion, Said, bind};
    use crate::secret::{Secret, SecretSource};

    const SOON: std::time::Duration = std::time::Duration::from_secs(10);

    /// A server on a Unix socket that echoes what is posted to one path.
    fn serve(socket: &Path, token: Option<&str>) -> DropGuard {
        let token = token.map(|token| SecretSource::given(Secret::new(token)));
        let config = Config { unix: Some(socket.to_owned()), token, ..Config::on(Vec::new()) };
        let echo = |body: Bytes| async move { Said::done(String::from_utf8_lossy(&body)) };
        let find = move |path: &str| {
            let deed: Deed = Box::new(move |body| Box::pin(echo(body)));
            (path == "/echo").then_some(deed)
        };
        let handlers = Handlers {
            metrics: None,
            ready: std::sync::Arc::new(|| Ok(())),
            pages: std::sync::Arc::new(page),
            posts: Some(std::sync::Arc::new(find)),
        };
        let server = bind(config, handlers, Metrics::unseen()).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        stop.drop_guard()
    }

    /// One that is there, and one that says what there is.
    fn page(question: PageQuestion) -> Answer {
        let (status, body) = match question.path.as_str() {
            "there" => (StatusCode::OK, "a page\n"),
            _ => (StatusCode::NOT_FOUND, "Nothing is here\n"),
        };
        Answer::Ready(Page { status, content_type: "text/plain", content_policy: None, body: body.into() })
    }

    /// One request on a connection of its own, and the answer.
    async fn ask(socket: &Path, request_line: &str, headers: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let length = body.len();
        let request = format!(
            "{request_line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[track_caller]
    fn is(answer: &str, status: &str, end: &str) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end), "{answer}");
    }

    #[tokio::test]
    async fn what_can_be_done_is_done_by_posting_alone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let _server = serve(&socket, None);
        is(&ask(&socket, "POST /echo", "", "a word").await, "200", "\r\n\r\na word\n");
        let get = ask(&socket, "GET /echo", "", "").await;
        is(&get, "405", "This endpoint requires a POST request.\n");
        assert!(get.contains("allow: POST\r\n"), "{get}");
        let put = ask(&socket, "PUT /echo", "", "").await;
        is(&put, "405", "This endpoint requires a POST request.\n");
        for path in ["/there", "/-/healthy", "/-/ready"] {
            let post = ask(&socket, &format!("POST {path}"), "", "").await;
            is(&post, "405", "This endpoint takes GET and HEAD alone.\n");
            assert!(post.contains("allow: GET, HEAD\r\n"), "{post}");
        }
        is(&ask(&socket, "POST /other", "", "").await, "404", "\r\n\r\nNothing is here\n");
        is(&ask(&socket, "GET /metrics", "", "").await, "404", "\r\n\r\nNothing is here\n");
        is(&ask(&socket, "GET /-/ready", "", "").await, "200", "OK\n");
        is(&ask(&socket, "POST /echo", "Origin: http://a.example\r\n", "").await, "403", "sends Origin\n");
        let long = "x".repeat(super::BODY_BYTES_MAX + 1);
        is(&ask(&socket, "POST /echo", "", &long).await, "413", "The body has more than 16384 bytes\n");
        is(&ask(&socket, "POST /echo", "", &long[1..]).await, "200", "x\n");
    }

    #[tokio::test]
    async fn without_the_token_nothing_is_told_or_done() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let _server = serve(&socket, Some("sesame"));
        for request in ["POST /echo", "GET /-/healthy", "POST /other", "GET /"] {
            for headers in ["", "Authorization: Bearer sesam\r\n", "Authorization: Basic sesame\r\n"] {
                let answer = ask(&socket, request, headers, "").await;
                is(&answer, "401", "Authorization: Bearer TOKEN, with the token as it is now\n");
                assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
            }
        }
        let right = "Authorization: Bearer sesame\r\n";
        is(&ask(&socket, "POST /echo", right, "in").await, "200", "in\n");
    }

    #[tokio::test]
    async fn a_flood_is_told_to_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let _server = serve(&socket, None);
        let mut refused = 0;
        for _ in 0..super::RATE.burst * 2 {
            let answer = ask(&socket, "POST /echo", "", "").await;
            if answer.starts_with("HTTP/1.1 429 ") {
                assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
                refused += 1;
            }
        }
        assert!(refused > 0, "all of them were done");
        is(&ask(&socket, "GET /-/ready", "", "").await, "200", "OK\n");
    }
}
