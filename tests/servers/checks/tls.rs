use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{checking, named, wait_all};
use crate::support::certificates::{Authority, Certificates};
use crate::support::field::Shown::{Down, Unknown, Up};
use crate::support::nginx::Nginx;
use crate::support::ports::free_port;
use crate::support::process::folder;
use crate::support::tcp::{FakeHttp, Greeting};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_to_be_trusted_for_its_name_and_to_last() {
    let folder = folder("nginx");
    let ours = Authority::make(&folder, "ours");
    let others = Authority::make(&folder, "others");
    let client = Certificates::make(&folder);
    let mut servers = String::new();
    let mut ports = Vec::new();
    for ((certificate, key), more) in [
        (ours.server("localhost", 90), String::new()),
        (ours.server("localhost", 5), String::new()),
        (ours.server("localhost", -1), String::new()),
        (ours.server("elsewhere.example.org", 90), String::new()),
        (others.server("localhost", 90), String::new()),
        (ours.server("localhost", 91), "ssl_protocols TLSv1.1;".into()),
        (
            ours.server("localhost", 92),
            format!(
                "ssl_protocols TLSv1.2; ssl_verify_client on; ssl_client_certificate {};",
                client.ca.display()
            ),
        ),
    ] {
        let port = free_port();
        servers.push_str(&format!(
            "server {{ listen 127.0.0.1:{port} ssl; {more} ssl_certificate {}; ssl_certificate_key {}; }}\n",
            certificate.display(),
            key.display()
        ));
        ports.push(port);
    }
    let nginx = Nginx::start(&folder, &servers, &ports).await;
    let [good, soon, expired, elsewhere, untrusted, old, mutual] = ports[..] else { unreachable!() };
    let (silent, other) = (FakeHttp::hung(), Greeting::open());
    let at = |port: u16| json!({"host": "localhost", "port": port, "ca_file": ours.ca});
    let entries = [
        named("good", at(good), json!({"min_certificate_days": 30})),
        named("soon", at(soon), json!({"min_certificate_days": 30})),
        named("expired", at(expired), json!({})),
        named("elsewhere", at(elsewhere), json!({})),
        named("by its name", at(elsewhere), json!({"server_name": "elsewhere.example.org"})),
        named("untrusted", at(untrusted), json!({})),
        named("too old", at(old), json!({})),
        named("mutual", at(mutual), json!({"cert_file": client.client, "key_file": client.client_key})),
        named("silent", at(silent.address.port()), json!({"timeout": "500ms"})),
        named("no tls", at(other.address.port()), json!({})),
        named("refused", at(free_port()), json!({})),
    ];
    let program = checking(&json!({"tls": entries})).await;
    let expected = [
        ("good", Up),
        ("soon", Down("expiring")),
        ("expired", Down("certificate")),
        ("elsewhere", Down("certificate")),
        ("by its name", Up),
        ("untrusted", Down("certificate")),
        ("too old", Down("tls")),
        ("mutual", Up),
        ("silent", Down("timeout")),
        ("no tls", Down("tls")),
        ("refused", Down("refused")),
    ];
    wait_all(&program, "tls", &expected).await;
    let scrape = program.metrics().await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for (name, days) in
        [("good", Some(90.0)), ("soon", Some(5.0)), ("expired", Some(-1.0)), ("elsewhere", Some(90.0))]
    {
        let ends = scrape.value(
            "heartbeat_component_certificate_not_after_timestamp_seconds",
            &[("kind", "tls"), ("name", name)],
        );
        let left = ends.map(|ends| ((ends - now) / 86_400.0).round());
        assert_eq!(left, days, "{name}");
    }
    // Of what nobody vouches for, and of what was not seen, nothing is told.
    for name in ["untrusted", "no tls", "refused"] {
        let labels = [("kind", "tls"), ("name", name)];
        let ends = scrape.value("heartbeat_component_certificate_not_after_timestamp_seconds", &labels);
        assert_eq!(ends, None, "{name}");
    }
    // What this machine lacks says nothing of the others.
    std::fs::rename(&ours.ca, folder.join("away")).unwrap();
    wait_all(&program, "tls", &[("good", Unknown("local")), ("refused", Down("refused"))]).await;
    std::fs::rename(folder.join("away"), &ours.ca).unwrap();
    wait_all(&program, "tls", &[("good", Up)]).await;
    assert!(!nginx.log().contains("[error]"), "{}", nginx.log());
}
