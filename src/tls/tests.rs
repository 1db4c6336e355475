use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::files::private_key;
use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, with its key.
fn leaf(ca: &Issuer, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.signed_by(&key, ca).unwrap(), key)
}

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn client_config(files: &TlsFiles) -> Result<PeerTls, TlsError> {
    let config = TlsConfig { files: files.clone(), server_name: None };
    PeerTls::new(config, Peer::Redis, Expiry::default())
}

fn only_ca(path: PathBuf) -> TlsFiles {
    TlsFiles { ca: Some(path), client: None }
}

/// Accepts one connection with a certificate for `names`; asks for a client's when `clients` is set.
async fn serve(ca: &Issuer, names: &[&str], clients: Option<&Issuer>) -> std::net::SocketAddr {
    serve_pair(leaf(ca, names), clients).await
}

/// Likewise with this certificate.
async fn serve_pair(
    (cert, key): (rcgen::Certificate, KeyPair),
    clients: Option<&Issuer>,
) -> std::net::SocketAddr {
    install_provider();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (socket, _) = listener.accept().await.unwrap();
        if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(socket).await {
            let _ = stream.write_all(b"x").await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// Shakes hands and reads a byte: in TLS 1.3 a client learns only then that it was refused.
async fn connect(files: &TlsFiles, address: std::net::SocketAddr, name: &str) -> Result<(), String> {
    let tls = client_config(files).map_err(|error| error.to_string())?;
    connect_by(&tls, address, name).await
}

/// Likewise, once more with the same.
async fn connect_by(tls: &PeerTls, address: std::net::SocketAddr, name: &str) -> Result<(), String> {
    use tokio::io::AsyncReadExt;
    tls.renew().await;
    let config = tls.client_config();
    let socket = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let attempt = async {
        let mut stream = TlsConnector::from(config).connect(name, socket).await?;
        stream.read_exact(&mut [0]).await
    };
    let deadline = std::time::Duration::from_secs(10);
    let done = tokio::time::timeout(deadline, attempt).await.expect("a handshake within the deadline");
    done.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_right_ca_and_name_are_trusted() {
    let (dir, ca) = (TempDir::new().unwrap(), ca());
    let files = only_ca(file(&dir, "ca.pem", &ca.pem()));
    for (names, name) in [(["localhost"], "localhost"), (["127.0.0.1"], "127.0.0.1")] {
        let address = serve(&ca, &names, None).await;
        assert_eq!(connect(&files, address, name).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn another_ca_is_not_trusted() {
    let (dir, right) = (TempDir::new().unwrap(), ca());
    let files = only_ca(file(&dir, "ca.pem", &ca().pem()));
    let error = connect(&files, serve(&right, &["localhost"], None).await, "localhost").await.unwrap_err();
    assert!(error.contains("vouched for by no CA in "), "{error}");
}

#[tokio::test]
async fn another_name_is_not_trusted() {
    let (dir, ca) = (TempDir::new().unwrap(), ca());
    let files = only_ca(file(&dir, "ca.pem", &ca.pem()));
    let error = connect(&files, serve(&ca, &["elsewhere"], None).await, "localhost").await.unwrap_err();
    assert!(error.contains("certificate is for elsewhere, and not for localhost"), "{error}");
}

/// As `openssl req -x509` makes it, unless it is told not to.
fn signed_by_itself(is_ca: IsCa) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = is_ca;
    (params.self_signed(&key).unwrap(), key)
}

#[tokio::test]
async fn a_certificate_that_signed_itself_may_be_shown_unless_it_is_one_of_a_ca() {
    let dir = TempDir::new().unwrap();
    let plain = signed_by_itself(IsCa::ExplicitNoCa);
    let files = only_ca(file(&dir, "plain.pem", &plain.0.pem()));
    assert_eq!(connect(&files, serve_pair(plain, None).await, "localhost").await, Ok(()));

    let authority = signed_by_itself(IsCa::Ca(BasicConstraints::Unconstrained));
    let files = only_ca(file(&dir, "ca.pem", &authority.0.pem()));
    let error = connect(&files, serve_pair(authority, None).await, "localhost").await.unwrap_err();
    assert!(error.contains("is one of a CA") && error.contains("CA:FALSE"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (dir, server_ca, client_ca) = (TempDir::new().unwrap(), ca(), ca());
    let mut files = only_ca(file(&dir, "ca.pem", &server_ca.pem()));
    let address = serve(&server_ca, &["localhost"], Some(&client_ca)).await;
    connect(&files, address, "localhost").await.expect_err("the server wants a certificate");

    let (cert, key) = leaf(&client_ca, &["me"]);
    files.client = Some(ClientFiles {
        cert: file(&dir, "client.pem", &cert.pem()),
        key: file(&dir, "client.key", &key.serialize_pem()),
    });
    let address = serve(&server_ca, &["localhost"], Some(&client_ca)).await;
    assert_eq!(connect(&files, address, "localhost").await, Ok(()));
}

#[test]
fn errors_say_which_file_and_why() {
    let (dir, ca) = (TempDir::new().unwrap(), ca());
    let (cert, key) = leaf(&ca, &["me"]);
    let good = file(&dir, "good.pem", &ca.pem());
    let cert = file(&dir, "cert.pem", &cert.pem());
    let other_key = file(&dir, "other.key", &KeyPair::generate().unwrap().serialize_pem());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let with_key = |key: PathBuf| TlsFiles {
        ca: Some(good.clone()),
        client: Some(ClientFiles { cert: cert.clone(), key }),
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (only_ca(dir.path().join("none")), TlsFile::Ca, "cannot read"),
        (only_ca(file(&dir, "text", "hello")), TlsFile::Ca, "holds no certificate in PEM form"),
        (only_ca(file(&dir, "key", &key.serialize_pem())), TlsFile::Ca, "holds no certificate"),
        (only_ca(file(&dir, "broken", broken)), TlsFile::Ca, "cannot be used as a root"),
        (only_ca(file(&dir, "cut", &ca.pem()[..200])), TlsFile::Ca, "is not well-formed PEM"),
        (with_key(good.clone()), TlsFile::ClientKey, "holds no private key in PEM form"),
        (with_key(file(&dir, "encrypted", encrypted)), TlsFile::ClientKey, "encrypted key"),
        (with_key(other_key), TlsFile::ClientKey, "cannot be used with the key"),
    ];
    for (files, blamed, text) in cases {
        let error = client_config(&files).unwrap_err();
        assert_eq!(error.file(), Some(blamed), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// The label alone decides; what stands inside is for the provider.
#[test]
fn keys_are_read_in_all_three_forms() {
    let dir = TempDir::new().unwrap();
    let forms = [("PRIVATE KEY", "Pkcs8"), ("RSA PRIVATE KEY", "Pkcs1"), ("EC PRIVATE KEY", "Sec1")];
    for (label, form) in forms {
        let pem = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let key = private_key(&dir.path().join(form), pem.as_bytes()).unwrap();
        let found = match key {
            PrivateKeyDer::Pkcs1(_) => "Pkcs1",
            PrivateKeyDer::Sec1(_) => "Sec1",
            PrivateKeyDer::Pkcs8(_) => "Pkcs8",
            _ => "another",
        };
        assert_eq!(found, form);
    }
}

/// As [`leaf`], valid from and to these days of `(year, month, day)`.
fn leaf_within(
    ca: &Issuer,
    names: &[&str],
    from: (i32, u8, u8),
    to: (i32, u8, u8),
) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.signed_by(&key, ca).unwrap(), key)
}

#[tokio::test]
async fn times_are_told_as_people_have_them() {
    let (dir, ca) = (TempDir::new().unwrap(), ca());
    let files = only_ca(file(&dir, "ca.pem", &ca.pem()));
    let expired = leaf_within(&ca, &["localhost"], (2019, 1, 1), (2020, 2, 29));
    let error = connect(&files, serve_pair(expired, None).await, "localhost").await.unwrap_err();
    assert!(error.contains("expired on 2020-02-29T00:00:00Z; here it is 20"), "{error}");
    let early = leaf_within(&ca, &["localhost"], (2100, 1, 1), (2101, 1, 1));
    let error = connect(&files, serve_pair(early, None).await, "localhost").await.unwrap_err();
    assert!(error.contains("is valid only from 2100-01-01T00:00:00Z; here it is 20"), "{error}");
}

fn peer_tls(files: &TlsFiles, name: Option<&str>, expiry: &Expiry) -> PeerTls {
    let server_name = name.map(|name| ServerName::try_from(name.to_owned()).unwrap());
    PeerTls::new(TlsConfig { files: files.clone(), server_name }, Peer::Redis, expiry.clone()).unwrap()
}

#[tokio::test]
async fn another_name_than_the_hosts_can_be_asked_for() {
    let (dir, ca) = (TempDir::new().unwrap(), ca());
    let files = only_ca(file(&dir, "ca.pem", &ca.pem()));
    let tls = peer_tls(&files, Some("redis.example.org"), &Expiry::default());
    let address = serve(&ca, &["redis.example.org"], None).await;
    assert_eq!(connect_by(&tls, address, "127.0.0.1").await, Ok(()));
    // The host's own name does not do any more.
    let address = serve(&ca, &["127.0.0.1"], None).await;
    let error = connect_by(&tls, address, "127.0.0.1").await.unwrap_err();
    assert!(error.contains("is for 127.0.0.1, and not for redis.example.org"), "{error}");
}

#[tokio::test]
async fn renewed_files_count_at_the_next_handshake_and_broken_ones_do_not() {
    let (dir, old, new) = (TempDir::new().unwrap(), ca(), ca());
    let path = file(&dir, "ca.pem", &old.pem());
    let (cert, key) = leaf(&old, &["me"]);
    let client = ClientFiles {
        cert: file(&dir, "client.pem", &cert.pem()),
        key: file(&dir, "client.key", &key.serialize_pem()),
    };
    let files = TlsFiles { ca: Some(path.clone()), client: Some(client.clone()) };
    let tls = peer_tls(&files, None, &Expiry::default());
    let by = async |issuer: &Issuer| {
        connect_by(&tls, serve(issuer, &["localhost"], Some(issuer)).await, "localhost").await
    };
    assert_eq!(by(&old).await, Ok(()));
    by(&new).await.expect_err("not trusted yet");
    // The certificate is written, and its key is not yet: what was read before goes on to count.
    let (cert, key) = leaf(&new, &["me"]);
    fs::write(&client.cert, cert.pem()).unwrap();
    fs::write(&path, new.pem()).unwrap();
    assert_eq!(by(&old).await, Ok(()));
    by(&new).await.expect_err("no pair yet");
    fs::write(&client.key, key.serialize_pem()).unwrap();
    assert_eq!(by(&new).await, Ok(()));
    by(&old).await.expect_err("not trusted any more");
    fs::remove_file(&path).unwrap();
    assert_eq!(by(&new).await, Ok(()));
}

/// Who opens such a file to read it is kept waiting until somebody writes, as by a mount whose server is gone.
#[tokio::test]
async fn a_disk_that_hangs_holds_up_nobody_else_and_counts_when_it_answers() {
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::time::{Instant, sleep};

    let (dir, old, new) = (TempDir::new().unwrap(), ca(), ca());
    let path = file(&dir, "ca.pem", &old.pem());
    let tls = peer_tls(&only_ca(path.clone()), None, &Expiry::default());
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::rename(&pipe, &path).unwrap();
    let address = serve(&old, &["localhost"], None).await;
    let beside = async {
        sleep(Duration::from_millis(20)).await;
        Instant::now()
    };
    let (connected, beside) = tokio::join!(connect_by(&tls, address, "localhost"), beside);
    assert_eq!(connected, Ok(()), "by what the file held");
    assert!(beside.elapsed() > Duration::from_millis(200), "others went on meanwhile");
    let began = Instant::now();
    for _ in 0..100 {
        tls.renew().await;
    }
    assert!(began.elapsed() < Duration::from_secs(20), "that it hangs is known");

    // Nobody waits any more for what is read now.
    let text = new.pem();
    let written = path.clone();
    tokio::task::spawn_blocking(move || fs::write(&written, text)).await.unwrap().unwrap();
    let mut last = Ok(());
    for _ in 0..20 {
        last = connect_by(&tls, serve(&new, &["localhost"], None).await, "localhost").await;
        if last.is_ok() {
            break;
        }
    }
    assert_eq!(last, Ok(()));
    // Lets the thread go that waits, if one does.
    drop(fs::File::options().read(true).write(true).open(&path).unwrap());
}

#[tokio::test]
async fn a_handshake_tells_when_the_peers_certificate_expires() {
    let (dir, ca) = (TempDir::new().unwrap(), ca());
    let files = only_ca(file(&dir, "ca.pem", &ca.pem()));
    let mut registry = prometheus_client::registry::Registry::default();
    let expiry = Expiry::register(&mut registry);
    let tls = peer_tls(&files, None, &expiry);
    let text = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    // A stranger's certificate says nothing of the peer.
    let stranger = self::ca();
    connect_by(&tls, serve(&stranger, &["localhost"], None).await, "localhost")
        .await
        .expect_err("a stranger");
    assert!(!text().contains("redis"), "{}", text());
    let pair = leaf_within(&ca, &["localhost"], (2020, 1, 1), (2090, 1, 1));
    assert_eq!(connect_by(&tls, serve_pair(pair, None).await, "localhost").await, Ok(()));
    assert!(text().contains("{peer=\"redis\"} 3786912000\n"), "{}", text());
}
