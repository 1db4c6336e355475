use std::future::ready;

use http::header::AUTHORIZATION;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::exchange::header_value;
use super::*;
use crate::check::probe::{Files, ProbeSpec, Prober, SharedFiles};
use crate::heartbeat::Outcome;

fn spec(url: &str) -> HttpSpec {
    HttpSpec {
        url: url.parse().unwrap(),
        method: Method::GET,
        headers: Vec::new(),
        secrets: Vec::new(),
        status: StatusCodes::default(),
        body: BodyRules::default(),
        follow_redirects: false,
        duration_max: None,
        secure: SecureSpec::default(),
    }
}

#[test]
fn a_target_holds_nothing_that_may_be_secret() {
    assert_eq!(spec("https://api.example.org/a?token=canary#canary").target(), "https://api.example.org/a");
    assert_eq!(spec("http://[::1]:8080/").target(), "http://[::1]:8080/");
}

#[test]
fn secrets_become_the_headers_that_servers_know() {
    let value = |form: SecretForm, secret| header_value(&form, secret);
    assert_eq!(value(SecretForm::Plain, "x").unwrap(), "x");
    assert_eq!(value(SecretForm::Bearer, "x").unwrap(), "Bearer x");
    // The example of RFC 7617.
    let form = SecretForm::Basic { user: "Aladdin".into() };
    assert_eq!(value(form, "open sesame").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(value(SecretForm::Plain, "a\nb"), None);
}

/// The URL of a server that answers so once, and then ends.
async fn serve(bytes: &'static [u8]) -> String {
    serve_after(Duration::ZERO, bytes).await
}

/// Likewise, after so long.
async fn serve_after(time: Duration, bytes: &'static [u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 1024]).await;
        tokio::time::sleep(time).await;
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
    });
    url
}

/// What comes back from such a server.
async fn answered(bytes: &'static [u8]) -> Result<(), Verdict> {
    let url = serve(bytes).await;
    let pattern = crate::check::pattern::TagPattern::new("never there").unwrap();
    let body = BodyRules { fail_if_matches: vec![pattern], ..BodyRules::default() };
    let spec = HttpSpec { body, ..spec(&url) };
    let end = Instant::now() + std::time::Duration::from_secs(20);
    let files = Files::of(&ProbeSpec::Http(Box::new(spec.clone())), &mut SharedFiles::default());
    let on_hand = files.read(Duration::from_secs(20)).await.unwrap();
    check(&spec, &on_hand, end, &mut Seen::default()).await.map_err(|finding| finding.verdict)
}

#[tokio::test]
async fn which_status_came_is_told() {
    let url = serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\ncanary").await;
    let spec = spec(&format!("{url}?token=canary"));
    let prober = Prober::new(ProbeSpec::Http(Box::new(spec)), &mut SharedFiles::default());
    let checked = prober.check(Duration::from_secs(20), ready(())).await;
    assert_eq!(checked.reason, Some(Reason::Status));
    assert_eq!(checked.detail.as_deref(), Some("it answered 404 Not Found, where 2xx is right"));
}

#[tokio::test]
async fn a_port_that_speaks_in_the_clear_is_told() {
    let url = serve(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let spec = spec(&url.replace("http:", "https:"));
    let prober = Prober::new(ProbeSpec::Http(Box::new(spec)), &mut SharedFiles::default());
    let checked = prober.check(Duration::from_secs(20), ready(())).await;
    assert_eq!(checked.reason, Some(Reason::Tls));
    let detail = checked.detail.unwrap_or_default();
    assert!(detail.ends_with("; does the port speak without TLS?"), "{detail}");
}

/// As one check of the publisher, with what it found.
async fn checked(spec: HttpSpec, deadline: Duration) -> (Outcome, Option<Reason>) {
    checked_in_turn(spec, deadline, ready(())).await
}

async fn checked_in_turn(
    spec: HttpSpec,
    deadline: Duration,
    turn: impl Future<Output = ()>,
) -> (Outcome, Option<Reason>) {
    let prober = Prober::new(ProbeSpec::Http(Box::new(spec)), &mut SharedFiles::default());
    let checked = prober.check(deadline, turn).await;
    (checked.outcome, checked.reason)
}

/// Who opens such a file to read it is kept waiting until somebody writes, as by a mount whose server is gone.
#[tokio::test]
async fn a_secret_that_cannot_be_read_in_time_is_no_fault_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let token = SecretHeader { name: AUTHORIZATION, form: SecretForm::Bearer, file: file.clone() };
    let spec = HttpSpec { secrets: vec![token], ..spec("http://127.0.0.1:1/") };
    let (beside, found) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Instant::now()
        },
        checked(spec, Duration::from_millis(200))
    );
    assert_eq!(found, (Outcome::Unknown, Some(Reason::Local)));
    assert!(beside.elapsed() > Duration::from_millis(100), "others went on meanwhile");
    // Lets the thread go that waits.
    std::fs::write(&file, "sesame").unwrap();
}

/// The token's file takes three quarters of the time that the server has, and the server takes half of it.
#[tokio::test]
async fn a_slow_disk_leaves_the_server_its_time() {
    let deadline = Duration::from_secs(2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let token = SecretHeader { name: AUTHORIZATION, form: SecretForm::Bearer, file: file.clone() };
    let url = serve_after(deadline / 2, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let written = async {
        tokio::time::sleep(deadline * 3 / 4).await;
        tokio::task::spawn_blocking(move || std::fs::write(&file, "sesame")).await.unwrap().unwrap();
    };
    let spec = HttpSpec { secrets: vec![token], ..spec(&url) };
    let begun = Instant::now();
    // It takes no other check's turn while it waits for the disk.
    let turn = async { assert!(begun.elapsed() >= deadline * 3 / 4, "after {:?}", begun.elapsed()) };
    let (found, ()) = tokio::join!(checked_in_turn(spec, deadline, turn), written);
    assert_eq!(found, (Outcome::Up, None));
}

/// It has ceased to redirect to where there is one.
#[tokio::test]
async fn where_days_are_asked_for_an_answer_without_a_certificate_is_none() {
    let url = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let secure = SecureSpec { certificate_days_min: Some(14), ..SecureSpec::default() };
    let found =
        checked(HttpSpec { follow_redirects: true, secure, ..spec(&url) }, Duration::from_secs(20)).await;
    assert_eq!(found, (Outcome::Down, Some(Reason::Certificate)));
}

/// The one thread for what takes long is taken, as by bodies of others.
#[test]
fn a_body_that_is_not_judged_in_time_is_no_fault_of_the_server() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    let (free, taken) = std::sync::mpsc::channel::<()>();
    let busy = runtime.spawn_blocking(move || taken.recv());
    let found = runtime.block_on(async {
        let body: &'static str = String::leak("x".repeat(BODY_BYTES_AT_ONCE + 1));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let pattern = crate::check::pattern::TagPattern::new("never there").unwrap();
        let body = BodyRules { fail_if_matches: vec![pattern], ..BodyRules::default() };
        let spec = HttpSpec { body, ..spec(&serve(answer.leak().as_bytes()).await) };
        checked(spec, Duration::from_secs(3)).await
    });
    assert_eq!(found, (Outcome::Unknown, Some(Reason::Local)));
    drop(free);
    let _ = runtime.block_on(busy);
}

#[tokio::test]
async fn a_body_that_is_none_is_the_servers_fault_by_its_own_reason() {
    let chunked = answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(chunked, Err(Verdict::down(Reason::Protocol)));
    let cut_short = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").await;
    assert_eq!(cut_short, Err(Verdict::down(Reason::Reset)));
    assert_eq!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await, Ok(()));
}
