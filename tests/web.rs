//! The exposition behind a web configuration, with real sockets: for each option, that what it forbids fails, and that
//! the rest goes on working.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heartbeat_bridge::http::{Config, Exposition, Handlers, Metrics, bind};
use heartbeat_bridge::tls::{Expiry, install_provider};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// For what must happen; what must not happen in time has far shorter limits.
const SOON: Duration = Duration::from_secs(20);

/// Of the server's looks at its files.
const LOOK: Duration = Duration::from_millis(50);

/// A CA with what it signed, as PEM.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
struct Pair {
    cert: String,
    key: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For a server, until the new year of `year`.
    fn until(&self, year: i32) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Pair { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    fn sign(&self, names: Vec<SanType>) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Pair { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    fn server(&self) -> Pair {
        self.sign(vec![dns("localhost")])
    }
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(ia5(name))
}

/// The server, with a folder for its files.
struct Site {
    folder: TempDir,
    address: SocketAddr,
    registry: Registry,
    ca: Ca,
    _stop: DropGuard,
}

/// Files for a server's TLS, and the lines that name them.
const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

fn users(all: &[(&str, &str)]) -> String {
    let hashed =
        |(name, password): &(&str, &str)| format!("  {name}: {}\n", bcrypt::hash(password, 4).unwrap());
    format!("basic_auth_users:\n{}", all.iter().map(hashed).collect::<String>())
}

impl Site {
    fn start(web: &str) -> Self {
        Self::start_with(web, |_| {})
    }

    fn start_with(web: &str, change: impl FnOnce(&mut Config)) -> Self {
        install_provider();
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new();
        let server = ca.server();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("server.crt", &server.cert);
        put("server.key", &server.key);
        put("ca.pem", &ca.pem);
        put("web.yml", web);
        let mut config = Config::on(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
        config.web_config = Some(folder.path().join("web.yml"));
        config.web_config_interval = LOOK;
        change(&mut config);
        let handlers = Handlers {
            metrics: Some(Arc::new(|_| {
                let parts = vec!["metric 1\n".into()];
                Ok(Exposition { content_type: "text/plain", gzip: false, parts })
            })),
            ready: Arc::new(|| Ok(())),
            pages: Arc::new(|_| heartbeat_bridge::http::Answer::Nothing),
            posts: None,
        };
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.register_web_config(&mut registry);
        config.expiry = Expiry::register(&mut registry);
        let server = bind(config, handlers, metrics).unwrap();
        let address = server.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        Self { folder, address, registry, ca, _stop: stop.drop_guard() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Over http, on a connection of its own.
    async fn get(&self, path: &str, headers: &str) -> String {
        ask(self.connect().await, path, headers).await.unwrap()
    }

    async fn secure(&self, client: &Client<'_>) -> std::io::Result<TlsStream<TcpStream>> {
        client.connect(self.address).await
    }

    /// Over https, on a connection of its own; the error of one who is not let in.
    async fn get_by(&self, client: &Client<'_>, path: &str, headers: &str) -> std::io::Result<String> {
        ask(self.secure(client).await?, path, headers).await
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    async fn until_metric(&self, name: &str, value: f64) {
        let until = Instant::now() + SOON;
        while self.metric(name) != value {
            assert!(Instant::now() < until, "{name} is {}, not {value}", self.metric(name));
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How one connects.
struct Client<'a> {
    trusts: &'a str,
    shows: Option<&'a Pair>,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> Client<'a> {
    fn of(ca: &'a Ca) -> Self {
        Self { trusts: &ca.pem, shows: None, versions: rustls::ALL_VERSIONS }
    }

    fn showing(ca: &'a Ca, pair: &'a Pair) -> Self {
        Self { shows: Some(pair), ..Self::of(ca) }
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.as_bytes()).unwrap()).unwrap();
        let builder =
            ClientConfig::builder_with_protocol_versions(self.versions).with_root_certificates(roots);
        let config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TcpStream::connect(address).await?;
        within(TlsConnector::from(Arc::new(config)).connect(name, socket)).await
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it takes too long")
}

/// One request; the whole answer with its head in lower case.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    headers: &str,
) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await?;
    if answer.is_empty() {
        return Err(std::io::Error::other("closed without an answer"));
    }
    Ok(String::from_utf8(answer).unwrap().to_lowercase())
}

fn basic(credentials: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(credentials))
}

fn is(answer: &str, status: u16) -> bool {
    answer.starts_with(&format!("http/1.1 {status} "))
}

#[tokio::test]
async fn without_the_password_there_is_no_answer() {
    let site = Site::start(&users(&[("prometheus", "sesame"), ("backup", "other")]));
    let answer = site.get("/metrics", &basic("prometheus:sesame")).await;
    assert!(is(&answer, 200) && answer.ends_with("metric 1\n"), "{answer}");
    for headers in [
        String::new(),
        basic("prometheus:wrong"),
        basic("prometheus:other"),
        basic("nobody:sesame"),
        basic("prometheus"),
        "Authorization: Bearer sesame\r\n".into(),
        basic("prometheus:wrong") + &basic("prometheus:sesame"),
    ] {
        for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/nothing", "/metrics?x=/-/healthy"] {
            let answer = site.get(path, &headers).await;
            assert!(is(&answer, 401), "{path} {headers}: {answer}");
            assert!(answer.contains("www-authenticate: basic realm=\"heartbeat\""), "{answer}");
            assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
            assert!(!answer.contains("metric 1"), "{answer}");
        }
    }
    assert_eq!(site.metric("heartbeat_http_unauthorized_total"), 42.0);
}

#[tokio::test]
async fn health_checks_are_exempt_by_option_and_nothing_else_is() {
    let site = Site::start_with(&users(&[("a", "b")]), |config| config.health_without_auth = true);
    for path in ["/-/healthy", "/-/ready", "/-/ready?verbose"] {
        let answer = site.get(path, "").await;
        assert!(is(&answer, 200), "{path}: {answer}");
    }
    for path in [
        "/metrics",
        "/",
        "/-/",
        "/-/healthy/",
        "//-/healthy",
        "/-/healthy/../metrics",
        "/-/readyx",
        "/%2d/ready",
    ] {
        let answer = site.get(path, "").await;
        assert!(is(&answer, 401), "{path}: {answer}");
    }
}

#[tokio::test]
async fn headers_are_as_configured_on_every_answer() {
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    Content-Security-Policy: ''\n    \
                   Strict-Transport-Security: max-age=60\n";
    let site = Site::start(&(headers.to_owned() + &users(&[("a", "b")])));
    for credentials in ["", &basic("a:b")] {
        let answer = site.get("/", credentials).await;
        assert!(answer.contains("x-frame-options: sameorigin\r\n"), "{answer}");
        assert!(answer.contains("strict-transport-security: max-age=60\r\n"), "{answer}");
        assert!(!answer.contains("content-security-policy") && answer.contains("nosniff"), "{answer}");
    }
}

#[tokio::test]
async fn a_port_with_tls_speaks_nothing_else() {
    let site = Site::start(TLS);
    let answer = site.get_by(&Client::of(&site.ca), "/metrics", "").await.unwrap();
    assert!(is(&answer, 200) && answer.ends_with("metric 1\n"), "{answer}");
    assert_eq!(site.metric("heartbeat_http_tls_handshake_failures_total"), 0.0);
    let answer = site.get("/metrics", "").await;
    assert!(is(&answer, 400) && answer.ends_with("this port speaks https alone\n"), "{answer}");
    // A probe of the port alone is no failure.
    drop(site.connect().await);
    let mut stranger = site.connect().await;
    stranger.write_all(&[0; 64]).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(stranger.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
    site.until_metric("heartbeat_http_connections", 0.0).await;
    assert_eq!(site.metric("heartbeat_http_tls_handshake_failures_total"), 2.0);
    // Who trusts another CA finds a stranger.
    let other = Ca::new();
    site.get_by(&Client::of(&other), "/metrics", "").await.unwrap_err();
}

#[tokio::test]
async fn a_client_needs_a_certificate_of_the_ca() {
    let site = Site::start(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    ));
    let (known, other) = (site.ca.sign(vec![dns("prometheus")]), Ca::new());
    let forged = other.sign(vec![dns("prometheus")]);
    let answer = site.get_by(&Client::showing(&site.ca, &known), "/metrics", "").await.unwrap();
    assert!(is(&answer, 200), "{answer}");
    site.get_by(&Client::of(&site.ca), "/metrics", "").await.unwrap_err();
    site.get_by(&Client::showing(&site.ca, &forged), "/metrics", "").await.unwrap_err();
    // TLS asks, and not the path: health checks have no way around it.
    site.get_by(&Client::of(&site.ca), "/-/healthy", "").await.unwrap_err();
    assert_eq!(site.metric("heartbeat_http_tls_handshake_failures_total"), 3.0);
}

#[tokio::test]
async fn a_certificate_that_need_not_be_shown_is_verified_if_it_is() {
    let site =
        Site::start(&format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n"));
    let (known, forged) = (site.ca.sign(vec![dns("x")]), Ca::new().sign(vec![dns("x")]));
    for client in [Client::of(&site.ca), Client::showing(&site.ca, &known)] {
        assert!(is(&site.get_by(&client, "/metrics", "").await.unwrap(), 200));
    }
    site.get_by(&Client::showing(&site.ca, &forged), "/metrics", "").await.unwrap_err();
}

#[tokio::test]
async fn a_client_needs_one_of_the_names() {
    let site = Site::start(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: \
         [prometheus.example.org, ops@example.org, 'spiffe://example.org/prometheus', 192.0.2.7, '2001:db8:0:0::7']\n"
    ));
    for (name, is_let_in) in [
        (dns("prometheus.example.org"), true),
        (SanType::Rfc822Name(ia5("ops@example.org")), true),
        (SanType::URI(ia5("spiffe://example.org/prometheus")), true),
        (SanType::IpAddress("192.0.2.7".parse().unwrap()), true),
        (SanType::IpAddress("2001:db8::7".parse().unwrap()), true),
        (dns("example.org"), false),
        (dns("prometheus.example.org.evil.example"), false),
        (dns("*.example.org"), false),
        (SanType::IpAddress("192.0.2.8".parse().unwrap()), false),
    ] {
        let pair = site.ca.sign(vec![name.clone()]);
        let answer = site.get_by(&Client::showing(&site.ca, &pair), "/metrics", "").await;
        assert_eq!(answer.as_ref().is_ok_and(|answer| is(answer, 200)), is_let_in, "{name:?}: {answer:?}");
    }
    let (nameless, forged) = (site.ca.sign(Vec::new()), Ca::new().sign(vec![dns("prometheus.example.org")]));
    site.get_by(&Client::showing(&site.ca, &nameless), "/metrics", "").await.unwrap_err();
    site.get_by(&Client::showing(&site.ca, &forged), "/metrics", "").await.unwrap_err();
}

#[tokio::test]
async fn versions_suites_and_curves_are_held_to() {
    const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let both = Site::start(TLS);
    for versions in [TLS12, TLS13] {
        let client = Client { versions, ..Client::of(&both.ca) };
        assert!(is(&both.get_by(&client, "/metrics", "").await.unwrap(), 200));
    }
    for (line, refused, taken) in
        [("  min_version: TLS13\n", TLS12, TLS13), ("  max_version: TLS12\n", TLS13, TLS12)]
    {
        let site = Site::start(&format!("{TLS}{line}"));
        let client = |versions| Client { versions, ..Client::of(&site.ca) };
        site.get_by(&client(refused), "/metrics", "").await.unwrap_err();
        assert!(is(&site.get_by(&client(taken), "/metrics", "").await.unwrap(), 200));
    }
    let site = Site::start(&format!(
        "{TLS}  cipher_suites: [TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  \
         curve_preferences: [CurveP384]\n"
    ));
    for (versions, suite) in
        [(TLS12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), (TLS13, "TLS13_CHACHA20_POLY1305_SHA256")]
    {
        let stream = site.secure(&Client { versions, ..Client::of(&site.ca) }).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(format!("{:?}", session.negotiated_cipher_suite().unwrap().suite()), suite);
        let group = session.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(format!("{group:?}"), "secp384r1");
    }
}

#[tokio::test]
async fn one_request_too_many_is_told_when_to_come_again() {
    let site = Site::start("rate_limit: {interval: 30m, burst: 3}\n");
    for _ in 0..3 {
        assert!(is(&site.get("/metrics", "").await, 200));
    }
    let answer = site.get("/-/healthy", "").await;
    assert!(is(&answer, 429) && answer.contains("retry-after: "), "{answer}");
    let seconds = answer.split("retry-after: ").nth(1).unwrap().lines().next().unwrap();
    assert!((1700..=1800).contains(&seconds.parse::<u32>().unwrap()), "{answer}");
    assert_eq!(site.metric("heartbeat_http_rejected_total"), 1.0);
    // A change elsewhere in the file is no reason for another burst.
    let headers = "http_server_config: {headers: {X-Frame-Options: sameorigin}}";
    site.put("web.yml", &format!("rate_limit: {{interval: 30m, burst: 3}}\n{headers}\n"));
    let until = Instant::now() + SOON;
    loop {
        let answer = site.get("/metrics", "").await;
        assert!(is(&answer, 429), "{answer}");
        if answer.contains("x-frame-options: sameorigin") {
            break;
        }
        assert!(Instant::now() < until, "the change was not read");
        sleep(LOOK).await;
    }
    let refilled = Site::start("rate_limit: {interval: 100ms, burst: 1}\n");
    assert!(is(&refilled.get("/metrics", "").await, 200));
    sleep(Duration::from_millis(150)).await;
    assert!(is(&refilled.get("/metrics", "").await, 200));
}

#[tokio::test]
async fn one_client_leaves_places_for_others() {
    let site = Site::start_with(TLS, |config| config.connections_per_client_max = 3);
    let client = Client::of(&site.ca);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(site.secure(&client).await.unwrap());
    }
    let answer = site.get_by(&client, "/metrics", "").await.unwrap();
    assert!(is(&answer, 429) && answer.contains("retry-after: 10\r\n"), "{answer}");
    // Another address of this machine is another client.
    let other = TcpSocket::new_v4().unwrap();
    other.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let other = within(other.connect(site.address)).await.unwrap();
    let answer = ask(other, "/metrics", "").await.unwrap();
    assert!(is(&answer, 400), "it is let in as far as to TLS: {answer}");
    drop(open);
    site.until_metric("heartbeat_http_connections", 0.0).await;
    assert!(is(&site.get_by(&client, "/metrics", "").await.unwrap(), 200));
}

/// Slow and silent clients over TLS, and as many as will fit: all are gone in time, and one that behaves is answered.
#[tokio::test]
async fn slow_clients_do_not_hold_a_port_with_tls() {
    let site = Site::start_with(TLS, |config| {
        config.header_timeout = Duration::from_millis(500);
        config.connections_per_client_max = 64;
    });
    let client = Client::of(&site.ca);
    let mut held = Vec::new();
    // In front of TLS, in the middle of its first record, and after it in the middle of a request.
    for _ in 0..20 {
        held.push(site.connect().await);
        let mut stream = site.connect().await;
        stream.write_all(&[22, 3, 1]).await.unwrap();
        held.push(stream);
    }
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = site.secure(&client).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    site.until_metric("heartbeat_http_connections", 0.0).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(is(&site.get_by(&client, "/metrics", "").await.unwrap(), 200));
}

/// A thousand at once: each gets its answer or is told that there is no place, no more than there are places are
/// served at a time, and afterwards all is as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_scrapers_at_once_are_answered_or_turned_away() {
    let site = Arc::new(Site::start_with(TLS, |config| config.connections_per_client_max = 64));
    let mut scrapers = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let site = Arc::clone(&site);
        scrapers.spawn(async move { site.get_by(&Client::of(&site.ca), "/metrics", "").await });
    }
    let (mut answered, mut refused, mut closed) = (0, 0, 0);
    while let Some(answer) = within(scrapers.join_next()).await {
        match answer.unwrap() {
            Ok(answer) if is(&answer, 200) => answered += 1,
            Ok(answer) if is(&answer, 503) => refused += 1,
            Ok(answer) => panic!("{answer}"),
            Err(_) => closed += 1,
        }
        let open = site.metric("heartbeat_http_connections");
        assert!(open <= 64.0, "{open} connections");
    }
    let told = format!("{answered} answered, {refused} told that there is no place, {closed} closed");
    assert!(answered >= 64, "{told}");
    // On a slow machine one that has a place may be out of time, too.
    let rejected = site.metric("heartbeat_http_rejected_total") as i32;
    assert!(refused <= rejected && rejected <= refused + closed, "{rejected} rejected, {told}");
    site.until_metric("heartbeat_http_connections", 0.0).await;
    assert!(is(&site.get_by(&Client::of(&site.ca), "/metrics", "").await.unwrap(), 200));
}

#[tokio::test]
async fn another_password_counts_at_once_and_on_open_connections() {
    let site = Site::start(&users(&[("a", "old")]));
    let mut kept = site.connect().await;
    let request = format!("GET /-/healthy HTTP/1.1\r\nHost: test\r\n{}\r\n", basic("a:old"));
    kept.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    within(kept.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    site.put("web.yml", &users(&[("a", "new")]));
    let mut rest = Vec::new();
    within(kept.read_to_end(&mut rest)).await.unwrap();
    assert!(is(&site.get("/metrics", &basic("a:old")).await, 401));
    assert!(is(&site.get("/metrics", &basic("a:new")).await, 200));
}

#[tokio::test]
async fn a_renewed_certificate_counts_without_a_restart() {
    let site = Site::start(TLS);
    let client = Client::of(&site.ca);
    let serial = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let first = serial(&site.secure(&client).await.unwrap());
    let end = "heartbeat_tls_certificate_not_after_timestamp_seconds{peer=\"web\"}";
    assert!(site.metric(end) > 4e9, "rcgen's certificates last for ever: {}", site.metric(end));
    let renewed = site.ca.until(2050);
    // The two files cannot be written at once: in between they do not belong together, and nothing is lost.
    site.put("server.crt", &renewed.cert);
    site.until_metric("heartbeat_web_config_last_reload_successful", 0.0).await;
    assert_eq!(serial(&site.secure(&client).await.unwrap()), first);
    site.put("server.key", &renewed.key);
    site.until_metric("heartbeat_web_config_last_reload_successful", 1.0).await;
    assert_eq!(site.metric(end), 2_524_608_000.0, "the first second of 2050");
    let second = serial(&site.secure(&client).await.unwrap());
    assert_ne!(second, first);
    // Files that are named before they are there count when they come.
    site.put("web.yml", "tls_server_config: {cert_file: later.crt, key_file: later.key}\n");
    site.until_metric("heartbeat_web_config_last_reload_successful", 0.0).await;
    assert_eq!(serial(&site.secure(&client).await.unwrap()), second);
    let later = site.ca.server();
    site.put("later.crt", &later.cert);
    site.put("later.key", &later.key);
    site.until_metric("heartbeat_web_config_last_reload_successful", 1.0).await;
    assert_ne!(serial(&site.secure(&client).await.unwrap()), second);
}

#[tokio::test]
async fn a_broken_file_never_opens_the_door() {
    let whole = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n{}",
        users(&[("a", "b")])
    );
    let site = Site::start(&whole);
    let known = site.ca.sign(vec![dns("x")]);
    let client = Client::showing(&site.ca, &known);
    let only_tls = whole.split("basic_auth").next().unwrap().to_owned();
    for broken in [
        "",
        "{",
        "basic_auth_user: {}\n",
        // Whole, and not what it was: as a file that is being written is for a moment.
        &only_tls,
        TLS,
        &users(&[("a", "b")]),
        &whole.replace("basic_auth_users", "basic_auth_user"),
        &whole.replace("server.key", "nowhere.key"),
    ] {
        site.put("web.yml", broken);
        site.until_metric("heartbeat_web_config_last_reload_successful", 0.0).await;
        assert!(is(&site.get("/metrics", &basic("a:b")).await, 400), "{broken}");
        site.get_by(&Client::of(&site.ca), "/metrics", &basic("a:b")).await.unwrap_err();
        assert!(is(&site.get_by(&client, "/metrics", "").await.unwrap(), 401), "{broken}");
        assert!(is(&site.get_by(&client, "/metrics", &basic("a:b")).await.unwrap(), 200), "{broken}");
        site.put("web.yml", &whole);
        site.until_metric("heartbeat_web_config_last_reload_successful", 1.0).await;
    }
    fs::remove_file(site.path("web.yml")).unwrap();
    site.until_metric("heartbeat_web_config_last_reload_successful", 0.0).await;
    assert!(is(&site.get_by(&client, "/metrics", "").await.unwrap(), 401));
}

#[tokio::test]
async fn a_file_that_is_wrong_from_the_start_binds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.yml"), "basic_auth_user: {}\n").unwrap();
    let mut config = Config::on(vec![(Ipv4Addr::LOCALHOST, 0).into()]);
    config.web_config = Some(folder.path().join("web.yml"));
    let handlers = Handlers {
        metrics: Some(Arc::new(|_| Ok(Exposition::default()))),
        ready: Arc::new(|| Ok(())),
        pages: Arc::new(|_| heartbeat_bridge::http::Answer::Nothing),
        posts: None,
    };
    let metrics = Metrics::register(&mut Registry::default());
    let error = bind(config, handlers, metrics).unwrap_err();
    assert_eq!(error.to_string(), "the web configuration cannot be used");
}
