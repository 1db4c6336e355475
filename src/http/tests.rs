//! Real sockets, since every rule here is about what a client does with one.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use hyper::StatusCode;

use super::*;

/// For what must happen; what must not happen in time has far shorter limits.
const SOON: Duration = Duration::from_secs(10);

struct Running {
    addresses: Vec<SocketAddr>,
    ready: Arc<AtomicBool>,
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn local(config: impl FnOnce(&mut Config)) -> Config {
    let mut all = Config::on(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
    config(&mut all);
    all
}

/// A server whose metrics are `body`, and are not ready before they are said to be.
fn start(config: Config, body: Vec<u8>) -> Running {
    start_with(
        config,
        Arc::new(move |question| match question.accept.as_deref() {
            Some("panic") => panic!("asked to"),
            Some("nonsense") => Err("that is no question".to_owned()),
            _ if question.gzip => Ok(plain(gzipped(&body), true)),
            _ => Ok(plain(body.clone(), false)),
        }),
    )
}

/// One page, and one that is large.
fn page(question: PageQuestion) -> Answer {
    let page = |text: String| Page {
        status: StatusCode::OK,
        content_type: "text/html",
        content_policy: Some("default-src 'self'"),
        body: text.into(),
    };
    match question.path.as_str() {
        "" => Answer::Ready(page(format!("asked for {}", question.query))),
        "large" => Answer::ToMake(Box::new(move || page("text ".repeat(10_000)))),
        "huge" => Answer::ToMake(Box::new(move || page("text ".repeat(10_000_000)))),
        "panic" => Answer::ToMake(Box::new(|| panic!("asked to"))),
        _ => Answer::Nothing,
    }
}

fn plain(body: Vec<u8>, gzip: bool) -> Exposition {
    Exposition { content_type: "text/plain", gzip, parts: vec![body.into()] }
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn start_with(config: Config, render: MetricsHandler) -> Running {
    let ready = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&ready);
    let handlers = Handlers {
        metrics: Some(render),
        ready: Arc::new(move || {
            says.load(Ordering::Relaxed).then_some(()).ok_or("view is not in step".to_owned())
        }),
        pages: Arc::new(page),
        posts: None,
    };
    let metrics = Metrics::unseen();
    let server = bind(config, handlers, metrics.clone()).unwrap();
    let stop = CancellationToken::new();
    let addresses = server.addresses().to_vec();
    Running { addresses, ready, metrics, stop: stop.clone(), task: tokio::spawn(server.serve(stop)) }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    /// One request on a connection of its own: the head and the body of the answer.
    async fn ask(&self, request_line: &str, headers: &str) -> (String, Vec<u8>) {
        let mut stream = self.connect().await;
        let request = format!("{request_line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        let head = answer.windows(4).position(|at| at == b"\r\n\r\n").expect("an answer") + 4;
        (String::from_utf8(answer[..head].to_vec()).unwrap().to_lowercase(), answer[head..].to_vec())
    }

    async fn until_connections(&self, count: i64) {
        let until = Instant::now() + SOON;
        while self.metrics.connections.get() != count {
            assert!(Instant::now() < until, "{} connections, not {count}", self.metrics.connections.get());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    timeout(limit, future).await.expect("it takes too long")
}

/// Reads one answer with a `Content-Length` and leaves the connection open.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split_once("content-length: ").unwrap().1.lines().next().unwrap().to_owned();
            if body.len() >= length.parse::<usize>().unwrap() {
                return text;
            }
        }
        let read = within(SOON, stream.read(&mut buffer)).await.unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

#[tokio::test]
async fn every_path_answers() {
    let server = start(local(|_| {}), b"metric 1\n".to_vec());
    let (head, body) = server.ask("GET /metrics?x=1", "").await;
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: text/plain\r\n") && head.contains("vary: accept"), "{head}");
    assert_eq!(body, b"metric 1\n");
    for header in [
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(head.contains(header), "{head}");
    }
    let (head, body) = server.ask("GET /-/healthy", "").await;
    assert!(head.starts_with("http/1.1 200") && body == b"OK\n", "{head}");
    let (head, body) = server.ask("GET /-/ready", "").await;
    assert!(head.starts_with("http/1.1 503") && body == b"view is not in step\n", "{head}");
    server.ready.store(true, Ordering::Relaxed);
    let (head, _) = server.ask("GET /-/ready", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, body) = server.ask("GET /?a=b", "").await;
    assert!(head.contains("content-type: text/html"), "{head}");
    assert_eq!(body, b"asked for a=b");
    for path in ["/nothing", "/metrics/", "/-/", "/../etc/passwd", "/%6detrics"] {
        let (head, _) = server.ask(&format!("GET {path}"), "").await;
        assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
    }
}

#[tokio::test]
async fn a_page_says_what_it_may_load_and_is_packed_for_those_who_can_unpack() {
    let server = start(local(|_| {}), Vec::new());
    let (head, body) = server.ask("GET /large", "Accept-Encoding: gzip\r\n").await;
    assert!(
        head.contains("content-encoding: gzip\r\n") && head.contains("vary: accept-encoding\r\n"),
        "{head}"
    );
    assert!(head.contains("content-security-policy: default-src 'self'\r\n"), "{head}");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, "text ".repeat(10_000));
    for (path, headers) in [("/", "Accept-Encoding: gzip\r\n"), ("/large", "")] {
        let (head, _) = server.ask(&format!("GET {path}"), headers).await;
        assert!(head.starts_with("http/1.1 200") && !head.contains("content-encoding"), "{path}: {head}");
    }
}

#[tokio::test]
async fn a_page_that_panics_leaves_the_next_its_turn() {
    let server = start(local(|_| {}), Vec::new());
    for _ in 0..2 {
        let (head, _) = server.ask("GET /panic", "").await;
        assert!(head.starts_with("http/1.1 500"), "{head}");
    }
    let (head, _) = server.ask("GET /", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let server = start(local(|_| {}), b"metric 1\n".to_vec());
    let (head, body) = server.ask("HEAD /metrics", "").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 9\r\n"), "{head}");
    assert!(body.is_empty());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"] {
        let (head, _) = server.ask(&format!("{method} /metrics"), "Content-Length: 0\r\n").await;
        assert!(
            head.starts_with("http/1.1 405") && head.contains("allow: get, head\r\n"),
            "{method}: {head}"
        );
    }
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let server = start(local(|_| {}), b"metric 1\n".to_vec());
    let (head, _) = server.ask("GET /metrics", "Content-Length: 1000000000\r\n").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, _) = server.ask("POST /metrics", "Transfer-Encoding: chunked\r\n").await;
    assert!(head.starts_with("http/1.1 405"), "{head}");
}

#[tokio::test]
async fn large_metrics_are_packed_for_those_who_can_unpack() {
    let text = "metric{label=\"value\"} 1\n".repeat(10_000).into_bytes();
    let server = start(local(|_| {}), text.clone());
    let (head, body) = server.ask("GET /metrics", "Accept-Encoding: gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip\r\n") && body.len() < text.len() / 10, "{head}");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*body).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == text);
    let (head, body) = server.ask("GET /metrics", "").await;
    assert!(!head.contains("content-encoding") && body == text, "{head}");
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server =
        start(local(|config| config.header_timeout = Duration::from_millis(100)), b"metric 1\n".to_vec());
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.ends_with("\r\n\r\nmetric 1\n"), "{answer}");
        // Longer than the time for the first request: one who has asked may be idle.
        sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(server.metrics.connections.get(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let server =
        start(local(|config| config.idle_timeout = Duration::from_millis(100)), b"metric 1\n".to_vec());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\nGET /me").await.unwrap();
    let mut answer = Vec::new();
    within(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    server.until_connections(0).await;
}

#[tokio::test]
async fn a_head_that_drips_in_is_cut() {
    let server = start(local(|config| config.header_timeout = Duration::from_millis(200)), Vec::new());
    let (mut silent, slow) = (server.connect().await, server.connect().await);
    let (mut read, mut write) = slow.into_split();
    let dripping = tokio::spawn(async move {
        for byte in b"GET /metrics HTTP/1.1\r\nX-Long: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    let began = Instant::now();
    let mut rest = Vec::new();
    assert_eq!(within(SOON, silent.read_to_end(&mut rest)).await.unwrap(), 0);
    let _ = within(SOON, read.read_to_end(&mut rest)).await;
    assert!(rest.is_empty() && began.elapsed() >= Duration::from_millis(150));
    server.until_connections(0).await;
    within(SOON, dripping).await.unwrap();
}

/// More than any socket buffer on the way holds.
fn huge() -> Vec<u8> {
    vec![b'x'; 64 << 20]
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let server = start(local(|config| config.write_timeout = Duration::from_millis(200)), huge());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    server.until_connections(1).await;
    server.until_connections(0).await;
    let mut taken = Vec::new();
    let _ = within(SOON, stream.read_to_end(&mut taken)).await;
    assert!(taken.len() < huge().len());
}

#[tokio::test]
async fn a_client_that_takes_drops_is_cut() {
    let server = start(local(|config| config.response_timeout = Duration::from_millis(300)), huge());
    for (path, whole) in [("/metrics", huge().len()), ("/huge", 50_000_000)] {
        let mut stream = server.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
        let (mut buffer, mut taken) = (vec![0; 256 * 1024], 0);
        let began = Instant::now();
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            taken += read;
            assert!(began.elapsed() < SOON, "{path}: {taken} bytes taken");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(taken < whole, "{path}");
        server.until_connections(0).await;
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_the_others_go_on() {
    let server =
        start(local(|config| config.connections_per_client_max = CONNECTIONS_MAX), b"metric 1\n".to_vec());
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        open.push(server.connect().await);
    }
    server.until_connections(64).await;
    let (head, body) = server.ask("GET /metrics", "").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("connection: close"), "{head}");
    assert_eq!(body, b"Too many connections\n");
    assert_eq!(server.metrics.rejected.get(), 1);
    for stream in &mut open {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let answer = read_answer(stream).await;
        assert!(answer.ends_with("metric 1\n"), "{answer}");
    }
    // In a crowd connections are not kept, so that places come free by themselves.
    let until = Instant::now() + SOON;
    while server.metrics.connections.get() > 32 {
        assert!(Instant::now() < until, "{} connections are kept", server.metrics.connections.get());
        sleep(Duration::from_millis(5)).await;
    }
    let (head, _) = server.ask("GET /metrics", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn scrapes_wait_for_their_turn_and_not_for_ever() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let config = local(|config| {
        config.scrapes_max = 1;
        config.header_timeout = Duration::from_millis(200);
    });
    let render: MetricsHandler = Arc::new(move |_| {
        while !open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(plain(b"metric 1\n".to_vec(), false))
    });
    let server = start_with(config, render);
    let mut first = server.connect().await;
    first.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    server.until_connections(1).await;
    sleep(Duration::from_millis(50)).await;
    let (head, _) = server.ask("GET /metrics", "").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after"), "{head}");
    let (head, _) = server.ask("GET /-/healthy", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    gate.store(true, Ordering::Relaxed);
    assert!(read_answer(&mut first).await.ends_with("metric 1\n"));
    let (head, _) = server.ask("GET /metrics", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_scraper_that_leaves_gives_its_turn_to_nobody_before_its_gather_ends() {
    let gathers = Arc::new(AtomicUsize::new(0));
    let (counted, gate) = (Arc::clone(&gathers), Arc::new(AtomicBool::new(false)));
    let open = Arc::clone(&gate);
    let render: MetricsHandler = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        while !open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(plain(b"metric 1\n".to_vec(), false))
    });
    let server = start_with(local(|config| config.header_timeout = Duration::from_millis(200)), render);
    let mut leaves = server.connect().await;
    leaves.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let until = Instant::now() + SOON;
    while gathers.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < until, "no gather has begun");
        sleep(Duration::from_millis(5)).await;
    }
    drop(leaves);
    server.until_connections(0).await;
    let (head, _) = server.ask("GET /metrics", "").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(gathers.load(Ordering::Relaxed), 1, "a second one has begun beside it");
    gate.store(true, Ordering::Relaxed);
    while !server.ask("GET /metrics", "").await.0.starts_with("http/1.1 200") {
        assert!(Instant::now() < until, "its turn never came back");
    }
}

/// Each is told what was gathered after it asked, and all who came meanwhile are told the same.
#[tokio::test]
async fn scrapes_that_come_together_share_a_gather() {
    let gathers = Arc::new(AtomicUsize::new(0));
    let (counted, gate) = (Arc::clone(&gathers), Arc::new(AtomicBool::new(false)));
    let open = Arc::clone(&gate);
    let render: MetricsHandler = Arc::new(move |_| {
        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
        while !open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(plain(format!("gather {number}\n").into_bytes(), false))
    });
    let server = Arc::new(start_with(local(|_| {}), render));
    let ask = || {
        let server = Arc::clone(&server);
        tokio::spawn(async move { String::from_utf8(server.ask("GET /metrics", "").await.1).unwrap() })
    };
    let first = ask();
    let until = Instant::now() + SOON;
    while gathers.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < until, "no gather has begun");
        sleep(Duration::from_millis(5)).await;
    }
    let crowd: Vec<_> = (0..10).map(|_| ask()).collect();
    server.until_connections(11).await;
    // They are connected; that all have asked is not seen from outside, so they are given a moment.
    sleep(Duration::from_millis(100)).await;
    gate.store(true, Ordering::Relaxed);
    assert_eq!(within(SOON, first).await.unwrap(), "gather 1\n");
    for asked in crowd {
        assert_eq!(within(SOON, asked).await.unwrap(), "gather 2\n");
    }
    // Another question is another gather.
    let (_, body) = server.ask("GET /metrics?shard=1/2", "").await;
    assert_eq!(body, b"gather 3\n");
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_told_so() {
    let server = start(local(|_| {}), Vec::new());
    let (head, body) = server.ask("GET /metrics", "Accept: nonsense\r\n").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert_eq!(body, b"that is no question\n");
}

#[tokio::test]
async fn a_failing_handler_fails_its_own_answer_only() {
    let server = start(local(|config| config.scrapes_max = 1), b"metric 1\n".to_vec());
    for _ in 0..2 {
        let (head, _) = server.ask("GET /metrics", "Accept: panic\r\n").await;
        assert!(head.starts_with("http/1.1 500"), "{head}");
    }
    let (head, _) = server.ask("GET /metrics", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_lets_answers_through() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let render: MetricsHandler = Arc::new(move |_| {
        while !open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(plain(b"metric 1\n".to_vec(), false))
    });
    let server = start_with(local(|_| {}), render);
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    busy.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    read_answer(&mut idle).await;
    server.stop.cancel();
    let mut rest = Vec::new();
    assert_eq!(within(SOON, idle.read_to_end(&mut rest)).await.unwrap(), 0);
    assert!(TcpStream::connect(server.addresses[0]).await.is_err(), "nothing listens any more");
    gate.store(true, Ordering::Relaxed);
    assert!(read_answer(&mut busy).await.ends_with("metric 1\n"));
    within(SOON, server.task).await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let config = local(|config| config.close_timeout = Duration::from_millis(100));
    let server = start(config, huge());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    server.until_connections(1).await;
    server.stop.cancel();
    within(SOON, server.task).await.unwrap();
    assert_eq!(server.metrics.connections.get(), 0);
}

#[tokio::test]
async fn both_families_share_a_port_and_a_taken_one_is_named() {
    let free = start(local(|_| {}), Vec::new());
    let taken = free.addresses[0];
    let handlers = || Handlers {
        metrics: Some(Arc::new(|_| Ok(Exposition::default()))),
        ready: Arc::new(|| Ok(())),
        pages: Arc::new(|_| Answer::Nothing),
        posts: None,
    };
    let bind = |listen| bind(Config::on(listen), handlers(), Metrics::unseen());
    let error = bind(vec![taken]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
    assert_eq!(bind(Vec::new()).unwrap_err().to_string(), "no address to listen on");
    let port = {
        let chosen = bind(vec![(Ipv4Addr::UNSPECIFIED, 0).into()]).unwrap();
        chosen.addresses()[0].port()
    };
    let both = bind(vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]);
    assert_eq!(both.unwrap().addresses().len(), 2);
}
