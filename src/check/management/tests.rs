//! The client and whole rounds against small servers of the tests' own.

use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::check::pattern::TagPattern;
use crate::heartbeat::{Outcome, Reason};
use crate::secret::{Secret, SecretSource};
use crate::tls::{Expiry, Peer, PeerTls, TlsConfig, TlsFiles};

const LONG: Duration = Duration::from_secs(20);
const NOT_FOUND: &str = r#"{"error":"Object Not Found","reason":"Not Found"}"#;
const DENIED: &str = r#"{"error":"not_authorized","reason":"Not management user"}"#;
const NO_STATS: &str =
    r#"{"error":"bad_request","reason":"Stats in management UI are disabled on this node"}"#;

/// What the server sends, and how.
#[derive(Clone)]
enum Reply {
    Whole(u16, &'static str),
    Raw(&'static str),
    Silence,
    /// A byte of the body every 20 ms, for ever.
    Drip,
    /// A body without end, as fast as it goes.
    Endless,
}

type Requests = Arc<Mutex<Vec<String>>>;

/// Serves until the test ends; returns the port and every request with its authorization.
async fn serve(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Requests::default();
    let (reply, seen) = (Arc::new(reply), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (reply, seen) = (Arc::clone(&reply), Arc::clone(&seen));
            tokio::spawn(async move { converse(stream, &*reply, &seen).await });
        }
    });
    (port, requests)
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    reply: &(impl Fn(&str) -> Reply + Sync),
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut path, mut authorization) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.trim_end_matches(" HTTP/1.1").to_owned();
        }
        if let Some(rest) = line.strip_prefix("authorization: ") {
            authorization = rest.to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    seen.lock().unwrap().push(format!("{path} {authorization}"));
    match reply(&path) {
        Reply::Whole(status, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Reply::Raw(text) => stream.write_all(text.as_bytes()).await?,
        Reply::Silence => tokio::time::sleep(LONG).await,
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
    }
    stream.flush().await?;
    stream.shutdown().await
}

fn secret(text: &str) -> SecretSource {
    SecretSource::given(Secret::new(text))
}

fn config(port: u16) -> ManagementConfig {
    ManagementConfig {
        hosts: vec!["127.0.0.1".into()],
        port,
        user: "guest".into(),
        password: secret("guest"),
        vhost: "/".into(),
        tls: None,
        body_bytes_max: 1 << 20,
    }
}

fn client(port: u16) -> ManagementClient {
    ManagementClient::new(config(port)).unwrap()
}

fn spec(queue: &str, listeners: &[&str]) -> QueueSpec {
    let listener =
        |name: &&str| ListenerSpec { name: (*name).into(), patterns: vec![TagPattern::new(name).unwrap()] };
    QueueSpec { queue: queue.into(), listeners: listeners.iter().map(listener).collect() }
}

async fn list_failure(reply: Reply) -> ManagementFailure {
    let (port, _) = serve(move |_| reply.clone()).await;
    client(port).consumers(Instant::now() + LONG).await.unwrap_err()
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    for (reply, reason, from_api) in [
        (Reply::Whole(401, DENIED), Reason::ManagementDenied, true),
        (Reply::Whole(403, "no"), Reason::ManagementDenied, false),
        (Reply::Whole(500, "oops"), Reason::ManagementError, false),
        (Reply::Whole(503, r#"{"error":"x","reason":"y"}"#), Reason::ManagementError, true),
        (Reply::Whole(400, NO_STATS), Reason::StatsDisabled, true),
        (Reply::Whole(400, "bad"), Reason::ManagementInvalid, false),
        (Reply::Whole(404, "<html>"), Reason::ManagementInvalid, false),
        (Reply::Whole(404, NOT_FOUND), Reason::ManagementInvalid, false),
        (Reply::Whole(200, "<html>"), Reason::ManagementInvalid, false),
        (Reply::Whole(200, "{}"), Reason::ManagementInvalid, false),
        (Reply::Whole(200, r#"[{"a":1}]"#), Reason::ManagementInvalid, false),
        (Reply::Raw("AMQP\0\0\u{9}\u{1}"), Reason::ManagementInvalid, false),
        (Reply::Raw(""), Reason::ManagementUnreachable, false),
        (Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n["), Reason::ManagementUnreachable, false),
    ] {
        let failure = list_failure(reply).await;
        assert_eq!(failure.reason(), reason, "{failure:?}");
        assert_eq!(failure.is_from_api(), from_api, "{failure:?}");
    }
}

#[tokio::test]
async fn a_queue_of_another_name_is_no_answer() {
    let (port, _) = serve(|_| Reply::Whole(200, r#"{"name":"other"}"#)).await;
    let failure = client(port).queue("inbox", Instant::now() + LONG).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::ManagementInvalid);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = client(port).consumers(Instant::now() + LONG).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::ManagementUnreachable, "{failure:?}");
}

#[tokio::test]
async fn another_node_is_asked_where_one_is_dead_and_next_time_where_one_is_silent() {
    let (port, requests) = serve(|_| Reply::Whole(200, "[]")).await;
    let hosts = vec!["127.0.0.2".into(), "127.0.0.1".into()];
    let client = ManagementClient::new(ManagementConfig { hosts, ..config(port) }).unwrap();
    client.consumers(Instant::now() + LONG).await.unwrap();
    // Who answered stays the first.
    client.consumers(Instant::now() + LONG).await.unwrap();
    assert_eq!(requests.lock().unwrap().len(), 2);

    let _silent = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let hosts = vec!["127.0.0.2".into(), "127.0.0.1".into()];
    let client = ManagementClient::new(ManagementConfig { hosts, ..config(port) }).unwrap();
    let failure = client.consumers(Instant::now() + Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::ManagementTimeout);
    client.consumers(Instant::now() + LONG).await.unwrap();
    assert_eq!(requests.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn silence_and_slowness_end_at_the_deadline() {
    for reply in [Reply::Silence, Reply::Drip] {
        let (port, _) = serve(move |_| reply.clone()).await;
        let (start, deadline) = (Instant::now(), Duration::from_millis(400));
        let failure = client(port).consumers(start + deadline).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::ManagementTimeout);
        let took = start.elapsed();
        assert!(took >= deadline && took < deadline + Duration::from_millis(400), "{took:?}");
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound() {
    let endless = list_failure(Reply::Endless).await;
    assert!(matches!(endless, ManagementFailure::TooLarge { bytes_max: 1_048_576 }), "{endless:?}");
    // An announced length is believed before a byte of it has come.
    let announced = list_failure(Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")).await;
    assert!(matches!(announced, ManagementFailure::TooLarge { .. }), "{announced:?}");
    assert_eq!(announced.reason(), Reason::ManagementInvalid);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, requests) = serve(|_| Reply::Whole(200, "[]")).await;
    let head =
        format!("HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let failure = list_failure(Reply::Raw(head.leak())).await;
    assert_eq!(failure.reason(), Reason::ManagementInvalid);
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn names_are_encoded_once_and_the_user_is_told() {
    let (port, requests) = serve(|_| Reply::Whole(404, NOT_FOUND)).await;
    let config = ManagementConfig { vhost: "hb/x".into(), password: secret("p:ø"), ..config(port) };
    let client = ManagementClient::new(config).unwrap();
    let end = Instant::now() + LONG;
    let _ = client.consumers(end).await;
    let _ = client.queue("a/b c%2Fæ?#", end).await;
    // printf 'guest:p:ø' | base64
    let basic = "Basic Z3Vlc3Q6cDrDuA==";
    assert_eq!(
        *requests.lock().unwrap(),
        [
            format!("/api/consumers/hb%2Fx {basic}"),
            format!("/api/queues/hb%2Fx/a%2Fb%20c%252F%C3%A6%3F%23 {basic}")
        ]
    );
}

#[test]
fn hosts_stand_in_urls_or_are_refused() {
    let with = |host: &str| ManagementClient::new(ManagementConfig { hosts: vec![host.into()], ..config(1) });
    assert!(format!("{:?}", with("::1").unwrap()).contains("http://[::1]:1"));
    assert!(format!("{:?}", with("[::1]").unwrap()).contains("http://[::1]:1"));
    assert!(matches!(with("a b"), Err(ManagementConfigError::Host(_))));
    assert!(matches!(with(""), Err(ManagementConfigError::Host(_))));
    for path in ["a/b", "a?b", "a#b", "u@h"] {
        assert!(matches!(with(path), Err(ManagementConfigError::Host(_))), "{path}");
    }
    let colon = ManagementConfig { user: "a:b".into(), ..config(1) };
    assert!(matches!(ManagementClient::new(colon), Err(ManagementConfigError::User(_))));
}

#[test]
fn no_debug_output_holds_the_password() {
    let config = ManagementConfig { password: secret("s3cret"), ..config(1) };
    let text = format!("{config:?} {:?}", ManagementClient::new(config.clone()).unwrap());
    assert!(!text.contains("s3cret") && !text.contains("Basic"), "{text}");
}

/// A TLS server with a certificate made for `name`, and the root that vouches for it.
async fn serve_tls(name: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = converse(stream, &|_: &str| Reply::Whole(200, "[]"), &Mutex::default()).await;
            }
        }
    });
    (port, made.cert.pem())
}

/// A client that trusts this root alone, until the folder goes.
fn tls_client(port: u16, root: &str) -> (ManagementClient, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, root).unwrap();
    let files = TlsFiles { ca: Some(ca), client: None };
    let tls = TlsConfig { files, server_name: None };
    let tls = PeerTls::new(tls, Peer::Management, Expiry::default()).unwrap();
    (ManagementClient::new(ManagementConfig { tls: Some(tls), ..config(port) }).unwrap(), folder)
}

#[tokio::test]
async fn https_works_and_its_failures_are_told() {
    let end = Instant::now() + LONG;
    let (port, root) = serve_tls("127.0.0.1").await;
    assert_eq!(tls_client(port, &root).0.consumers(end).await.unwrap(), ConsumerList::new());
    let (wrong, root) = serve_tls("elsewhere.example").await;
    let (plain, _) = serve(|_| Reply::Raw("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = closing.local_addr().unwrap().port();
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    for port in [wrong, closed] {
        let failure = tls_client(port, &root).0.consumers(end).await.unwrap_err();
        assert!(matches!(failure.reason(), Reason::Tls | Reason::ManagementUnreachable), "{failure:?}");
    }
    let failure = tls_client(wrong, &root).0.consumers(end).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Tls, "{failure:?}");
    // A port that speaks plain HTTP waits for the end of a line that never comes.
    let failure = tls_client(plain, &root).0.consumers(Instant::now() + LONG / 40).await.unwrap_err();
    assert!(matches!(failure.reason(), Reason::Tls | Reason::ManagementTimeout), "{failure:?}");
}

const LIST: &str = r#"[
 {"consumer_tag":"a-1","activity_status":"up","active":true,"queue":{"name":"inbox","vhost":"/"},"arguments":[]},
 {"consumer_tag":"s-1","activity_status":"single_active","queue":{"name":"sac","vhost":"/"}},
 {"consumer_tag":"s-2","activity_status":"waiting","queue":{"name":"sac","vhost":"/"}},
 {"consumer_tag":"old-1","queue":{"name":"old","vhost":"/"}}]"#;

fn present(consumers: u32) -> Passive {
    Passive::Present { messages: 0, consumers }
}

fn outcomes(round: &QueueRound) -> Vec<(Outcome, Option<Reason>, &'static str)> {
    round.queues.iter().map(|queue| (queue.outcome, queue.reason, queue.source)).collect()
}

#[tokio::test]
async fn a_round_asks_once_where_the_list_says_all() {
    let (port, requests) = serve(|_| Reply::Whole(200, LIST)).await;
    let specs = [spec("inbox", &["a"]), spec("sac", &["s"]), spec("old", &["old"]), spec("gone", &["x"])];
    let passive = HashMap::from([("gone".into(), Passive::Missing), ("sac".into(), present(2))]);
    let round = check_queues(&client(port), &specs, &passive, LONG).await;
    let up = (Outcome::Up, None, "consumers");
    assert_eq!(outcomes(&round), [up, up, up, (Outcome::Down, Some(Reason::NoQueue), "amqp")]);
    assert_eq!(requests.lock().unwrap().len(), 1);
    assert!(round.took < LONG);
}

#[tokio::test]
async fn a_round_asks_for_single_queues_where_the_list_does_not_say() {
    let (port, requests) = serve(|path| match path {
        "/api/consumers/%2F" => Reply::Whole(200, "[]"),
        "/api/queues/%2F/inbox" => Reply::Whole(
            200,
            r#"{"name":"inbox","vhost":"/","messages":4,"consumers":1,
                "consumer_details":[{"consumer_tag":"a-1","activity_status":"up"}]}"#,
        ),
        "/api/queues/%2F/gone" => Reply::Whole(404, NOT_FOUND),
        "/api/queues/%2F/bare" => Reply::Whole(200, r#"{"name":"bare"}"#),
        _ => Reply::Whole(401, DENIED),
    })
    .await;
    let specs = [
        spec("inbox", &["a"]),
        spec("gone", &["a"]),
        spec("bare", &["a"]),
        spec("secret", &["a"]),
        spec("quiet", &["a"]),
    ];
    let passive = HashMap::from([("quiet".into(), present(0))]);
    let round = check_queues(&client(port), &specs, &passive, LONG).await;
    assert_eq!(
        outcomes(&round),
        [
            (Outcome::Up, None, "queue"),
            (Outcome::Down, Some(Reason::NoQueue), "queue"),
            (Outcome::Unknown, Some(Reason::StatsDisabled), "consumers"),
            (Outcome::Unknown, Some(Reason::ManagementDenied), "consumers"),
            (Outcome::Down, Some(Reason::Listener), "consumers"),
        ]
    );
    assert_eq!(round.queues[0].figures.unwrap().messages, Some(4));
    assert_eq!(requests.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_missing_queue_needs_proof_that_the_api_is_one() {
    let round = async |list: Reply| {
        let (port, _) = serve(move |path| match path {
            "/api/consumers/%2F" => list.clone(),
            _ => Reply::Whole(404, NOT_FOUND),
        })
        .await;
        let round = check_queues(&client(port), &[spec("gone", &["a"])], &HashMap::new(), LONG).await;
        (round.queues[0].outcome, round.queues[0].reason)
    };
    let down = (Outcome::Down, Some(Reason::NoQueue));
    assert_eq!(round(Reply::Whole(401, DENIED)).await, down);
    assert_eq!(round(Reply::Whole(400, NO_STATS)).await, down);
    assert_eq!(round(Reply::Whole(403, "no")).await, (Outcome::Unknown, Some(Reason::ManagementDenied)));
    assert_eq!(round(Reply::Whole(502, "no")).await, (Outcome::Unknown, Some(Reason::ManagementError)));
}

#[tokio::test]
async fn a_round_ends_at_its_deadline_with_every_queue_told() {
    let (port, requests) = serve(|path| match path {
        "/api/consumers/%2F" => Reply::Whole(200, "[]"),
        _ => Reply::Silence,
    })
    .await;
    let specs: Vec<QueueSpec> = (0..20).map(|number| spec(&format!("q{number}"), &["a"])).collect();
    let deadline = Duration::from_millis(500);
    let round = check_queues(&client(port), &specs, &HashMap::new(), deadline).await;
    let timeout = (Outcome::Unknown, Some(Reason::ManagementTimeout), "consumers");
    assert_eq!(outcomes(&round), [timeout; 20]);
    assert!(round.took < deadline + Duration::from_millis(400), "{:?}", round.took);
    assert!(requests.lock().unwrap().len() <= 1 + REQUESTS_MAX);
}

#[tokio::test]
async fn nothing_is_asked_for_nothing() {
    let (port, requests) = serve(|_| Reply::Whole(200, "[]")).await;
    let passive = HashMap::from([("gone".into(), Passive::Missing), ("there".into(), present(1))]);
    let specs = [spec("gone", &["a"]), spec("there", &[])];
    let round = check_queues(&client(port), &specs, &passive, LONG).await;
    assert_eq!(
        outcomes(&round),
        [(Outcome::Down, Some(Reason::NoQueue), "amqp"), (Outcome::Up, None, "amqp")]
    );
    assert!(check_queues(&client(port), &[], &passive, LONG).await.queues.is_empty());
    assert!(requests.lock().unwrap().is_empty());
}
