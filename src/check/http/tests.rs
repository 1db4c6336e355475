use super::exchange::header_value;
use super::*;

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

/// What comes back from a server that answers so, and then ends.
async fn answered(bytes: &'static [u8]) -> Result<(), Verdict> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 1024]).await;
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
    });
    let pattern = crate::check::pattern::TagPattern::new("never there").unwrap();
    let body = BodyRules { fail_if_matches: vec![pattern], ..BodyRules::default() };
    let spec = HttpSpec { body, ..spec(&url) };
    let end = Instant::now() + std::time::Duration::from_secs(20);
    check(&spec, &Trust::new(crate::tls::TlsFiles::default()), end, &mut Seen::default()).await
}

#[tokio::test]
async fn a_body_that_is_none_is_the_servers_fault_by_its_own_reason() {
    let chunked = answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(chunked, Err(Verdict::down(Reason::Protocol)));
    let cut_short = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").await;
    assert_eq!(cut_short, Err(Verdict::down(Reason::Reset)));
    assert_eq!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await, Ok(()));
}
