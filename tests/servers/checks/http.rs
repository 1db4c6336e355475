use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::{checking, named, wait_all};
use crate::support::certificates::{Authority, Certificates};
use crate::support::field::Shown::{Down, Unknown, Up};
use crate::support::field::{BOUND, Field, host, stop};
use crate::support::nginx::{Nginx, file};
use crate::support::ports::free_port;
use crate::support::process::folder;
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::{Accepting, FakeHttp, Greeting};
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_judged_by_status_body_and_time() {
    let folder = folder("nginx");
    let port = free_port();
    file(&folder, "ready.txt", "all systems ready\n");
    file(&folder, "large.txt", &"all systems ready\n".repeat(10_000));
    // nginx sends it in three seconds.
    file(&folder, "slow.txt", &"x".repeat(3000));
    let servers = format!(
        "server {{ listen 127.0.0.1:{port}; root {};\n\
         location = /slow.txt {{ limit_rate 1000; }}\n\
         location = /gone {{ return 404; }}\n\
         location = /away {{ return 302 /ready.txt; }}\n\
         location = /circle {{ return 302 /circle; }}\n\
         location = /elsewhere {{ return 302 http://localhost:{port}/key; }}\n\
         location = /key {{ if ($http_x_api_key != key-canary) {{ return 403; }} return 200 in; }}\n\
         location = /basic {{ if ($http_authorization != \"Basic bW9uaXRvcjpwYXNzLWNhbmFyeQ==\") {{ return 401; }} return 200 in; }}\n\
         location = /bearer {{ if ($http_authorization != \"Bearer token-canary\") {{ return 401; }} return 200 in; }}\n\
         location = /host {{ if ($http_host != api.example.org) {{ return 421; }} return 200 in; }}\n\
         }}\n",
        folder.display()
    );
    let nginx = Nginx::start(&folder, &servers, &[port]).await;
    let key = file(&folder, "key", "key-canary\n");
    let token = file(&folder, "token", "token-canary");
    let password = file(&folder, "password", "pass-canary");
    let url = |path: &str| json!({"url": format!("http://127.0.0.1:{port}{path}")});
    let silent = FakeHttp::hung();
    let other = Greeting::open();
    let closed = free_port();
    let entries = [
        named("ready", url("/ready.txt"), json!({"fail_if_body_not_matches_regexp": "systems ready"})),
        named(
            "unready",
            url("/ready.txt"),
            json!({"fail_if_body_not_matches_regexp": ["systems", "^error"]}),
        ),
        named("bad word", url("/ready.txt"), json!({"fail_if_body_matches_regexp": "syst.ms"})),
        named("no bad word", url("/ready.txt"), json!({"fail_if_body_matches_regexp": "error"})),
        named(
            "large",
            url("/large.txt"),
            json!({"fail_if_body_matches_regexp": "error", "body_size_limit": 4096}),
        ),
        named(
            "large and found",
            url("/large.txt"),
            json!({"fail_if_body_not_matches_regexp": "ready", "body_size_limit": 4096}),
        ),
        named("head", url("/large.txt"), json!({"method": "HEAD"})),
        named("gone", url("/gone"), json!({})),
        named("gone, rightly", url("/gone"), json!({"valid_status_codes": [404, 410]})),
        named("away", url("/away"), json!({})),
        named(
            "followed",
            url("/away"),
            json!({"follow_redirects": true, "fail_if_body_not_matches_regexp": "ready"}),
        ),
        named("circle", url("/circle"), json!({"follow_redirects": true})),
        named("slow", url("/slow.txt"), json!({"max_duration": "1s", "fail_if_body_matches_regexp": "y"})),
        named("too slow", url("/slow.txt"), json!({"timeout": "1s", "fail_if_body_matches_regexp": "y"})),
        named("key", url("/key"), json!({"header_files": {"X-Api-Key": key}})),
        named("no key", url("/key"), json!({})),
        // 127.0.0.1 and localhost are two hosts to whom a key is given to one.
        named(
            "key kept",
            url("/elsewhere"),
            json!({"header_files": {"X-Api-Key": key}, "follow_redirects": true}),
        ),
        named(
            "basic",
            url("/basic"),
            json!({"basic_auth": {"username": "monitor", "password_file": password}}),
        ),
        named("bearer", url("/bearer"), json!({"bearer_token_file": token})),
        named("host", url("/host"), json!({"headers": {"Host": "api.example.org"}})),
        named("silent", json!({"url": format!("http://{}/", silent.address)}), json!({"timeout": "500ms"})),
        named("no http", json!({"url": format!("http://{}/", other.address)}), json!({})),
        named("refused", json!({"url": format!("http://127.0.0.1:{closed}/")}), json!({})),
        named("nowhere", json!({"url": "http://does-not-exist.invalid/"}), json!({})),
    ];
    let mut program = checking(&json!({"http": entries})).await;
    let expected = [
        ("ready", Up),
        ("unready", Down("content")),
        ("bad word", Down("content")),
        ("no bad word", Up),
        ("large", Unknown("content")),
        ("large and found", Up),
        ("head", Up),
        ("gone", Down("status")),
        ("gone, rightly", Up),
        ("away", Down("status")),
        ("followed", Up),
        ("circle", Down("status")),
        ("slow", Down("slow")),
        ("too slow", Down("timeout")),
        ("key", Up),
        ("no key", Down("status")),
        ("key kept", Down("status")),
        ("basic", Up),
        ("bearer", Up),
        ("host", Up),
        ("silent", Down("timeout")),
        ("no http", Down("protocol")),
        ("refused", Down("refused")),
    ];
    wait_all(&program, "http", &expected).await;
    // Whether a name is nowhere, or no resolver is there to ask, is the machine's matter.
    let scrape = program.metrics().await.unwrap();
    assert_eq!(
        scrape.value("heartbeat_component_up", &[("kind", "http"), ("name", "nowhere")]).unwrap_or(0.0),
        0.0
    );
    // A key that is changed counts from the next check on, and one that is not there is this machine's fault.
    std::fs::write(&key, "another").unwrap();
    wait_all(&program, "http", &[("key", Down("status"))]).await;
    std::fs::remove_file(&key).unwrap();
    wait_all(&program, "http", &[("key", Unknown("local"))]).await;
    program.terminate(crate::support::field::BOUND).await;
    assert!(!program.log().contains("canary"), "a secret is in the log");
    assert!(!nginx.log().contains("[error]"), "{}", nginx.log());
}

/// Where a redirect leads, certificates count as well; who asks is told to the host that is configured alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed_with_open_eyes() {
    let folder = folder("nginx");
    let ours = Authority::make(&folder, "ours");
    let client = Certificates::make(&folder);
    let [plain, lasting, soon, mutual] = std::array::from_fn(|_| free_port());
    let secured = |port: u16, days: i64, more: &str| {
        let (certificate, key) = ours.server("localhost", days);
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; {more} }}\n"
        )
    };
    let asks = format!(
        "ssl_protocols TLSv1.2; ssl_verify_client optional; ssl_client_certificate {}; return 200 client-$ssl_client_verify;",
        client.ca.display()
    );
    let servers = [
        format!(
            "server {{ listen 127.0.0.1:{plain};\n\
             location = /lasting {{ return 302 https://localhost:{lasting}/; }}\n\
             location = /soon {{ return 302 https://localhost:{soon}/; }}\n\
             location = /mutual {{ return 302 https://localhost:{mutual}/; }}\n}}\n"
        ),
        secured(
            lasting,
            90,
            &format!(
                "location = / {{ return 200 ready; }} location = /soon {{ return 302 https://localhost:{soon}/; }}"
            ),
        ),
        secured(soon, 5, "return 200 ready;"),
        secured(mutual, 91, &asks),
    ];
    let _nginx = Nginx::start(&folder, &servers.concat(), &[plain, lasting, soon, mutual]).await;
    let follow = |url: String| json!({"url": url, "ca_file": ours.ca, "follow_redirects": true});
    let days = json!({"min_certificate_days": 14});
    let shown = |verdict: &str| {
        json!({"cert_file": client.client, "key_file": client.client_key,
               "fail_if_body_not_matches_regexp": format!("^client-{verdict}$")})
    };
    let entries = [
        named("lasting", follow(format!("http://127.0.0.1:{plain}/lasting")), days.clone()),
        named("soon", follow(format!("http://127.0.0.1:{plain}/soon")), days.clone()),
        named("soon behind lasting", follow(format!("https://localhost:{lasting}/soon")), days),
        named("the same host", follow(format!("http://localhost:{plain}/mutual")), shown("SUCCESS")),
        named("another host", follow(format!("http://127.0.0.1:{plain}/mutual")), shown("NONE")),
    ];
    let program = checking(&json!({"http": entries})).await;
    let expected = [
        ("lasting", Up),
        ("soon", Down("expiring")),
        ("soon behind lasting", Down("expiring")),
        ("the same host", Up),
        ("another host", Up),
    ];
    wait_all(&program, "http", &expected).await;
    // The earliest of those that were shown.
    let labels = [("kind", "http"), ("name", "soon behind lasting")];
    let metrics = program.metrics().await.unwrap();
    let ends = metrics.value("heartbeat_component_certificate_not_after_timestamp_seconds", &labels).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((ends - now) / 86_400.0 < 6.0, "{ends}");
}

/// Who opens such a file to read it is kept waiting until somebody writes, as by a mount whose server is gone. The publisher has
/// one thread for everything else, and fewer checks at a time than need the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_holds_up_nothing_else() {
    let folder = folder("files");
    let (port, gone) = (Accepting::open(), free_port());
    let token = file(&folder, "token", "sesame");
    let asked = |number: usize| json!({"name": format!("asked {number}"), "url": format!("http://127.0.0.1:{gone}/"), "bearer_token_file": token});
    let http: Vec<_> = (0..100).map(asked).collect();
    let wanted = json!({"heartbeat": {"http": http, "hosts": [host("beside", port.address)]}});
    let field = Field::start(RabbitMq::vhost().await).await;
    let setup = field.publisher("inside", &wanted).env("PROBE_INTERVAL", "1s").env("CHECK_CONCURRENCY", "4");
    let ours = setup.listening().start_ready().await;
    field.wait_shown("inside", "http", "asked 99", Down("refused")).await;

    let (owner, hangs) = (Mode::RUSR | Mode::WUSR, folder.join("hangs"));
    mknodat(CWD, &hangs, FileType::Fifo, owner, 0).unwrap();
    std::fs::rename(&hangs, &token).unwrap();
    field.wait_shown("inside", "http", "asked 99", Unknown("local")).await;
    let checks = async || {
        let metrics = field.subscriber.metrics().await.unwrap();
        metrics.value("heartbeat_component_checks_total", &[("name", "beside")]).unwrap()
    };
    let (before, begun) = (checks().await, Instant::now());
    wait_until("the host is checked as before", BOUND, async || match checks().await {
        now if now >= before + 3.0 => Ok(()),
        now => Err(format!("{before} {now}")),
    })
    .await;
    // Each waiting its two seconds, four at a time, they would take fifty.
    assert!(begun.elapsed() < Duration::from_secs(25), "it took {:?}", begun.elapsed());
    field.wait_shown("inside", "host", "beside", Up).await;
    let threads = std::fs::read_dir(format!("/proc/{}/task", ours.pid())).unwrap().count();
    assert!(threads < 20, "{threads} threads wait for one file");

    // The mount is back.
    std::fs::write(&token, "sesame").unwrap();
    std::fs::write(&hangs, "sesame").unwrap();
    std::fs::rename(&hangs, &token).unwrap();
    field.wait_shown("inside", "http", "asked 99", Down("refused")).await;
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_judged_by_its_certificate_too() {
    let folder = folder("nginx");
    let ours = Authority::make(&folder, "ours");
    let others = Authority::make(&folder, "others");
    let mut servers = String::new();
    let mut ports = Vec::new();
    for (certificate, key) in [
        ours.server("localhost", 90),
        ours.server("localhost", 5),
        ours.server("localhost", -1),
        ours.server("elsewhere.example.org", 90),
        others.server("localhost", 90),
    ] {
        let port = free_port();
        servers.push_str(&format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; return 200 ready; }}\n",
            certificate.display(),
            key.display()
        ));
        ports.push(port);
    }
    let _nginx = Nginx::start(&folder, &servers, &ports).await;
    let [good, soon, expired, elsewhere, untrusted] = ports[..] else { unreachable!() };
    let gone = free_port();
    let url = |port: u16| json!({"url": format!("https://localhost:{port}/"), "ca_file": ours.ca});
    let entries = [
        named("good", url(good), json!({"min_certificate_days": 14})),
        named("soon", url(soon), json!({"min_certificate_days": 14})),
        named("soon enough", url(soon), json!({"min_certificate_days": 4})),
        named("expired", url(expired), json!({})),
        named("elsewhere", url(elsewhere), json!({})),
        named("by its name", url(elsewhere), json!({"server_name": "elsewhere.example.org"})),
        named("untrusted", url(untrusted), json!({})),
        named("gone", url(gone), json!({})),
    ];
    let program = checking(&json!({"http": entries})).await;
    let expected = [
        ("good", Up),
        ("soon", Down("expiring")),
        ("soon enough", Up),
        ("expired", Down("certificate")),
        ("elsewhere", Down("certificate")),
        ("by its name", Up),
        ("untrusted", Down("certificate")),
        ("gone", Down("refused")),
    ];
    wait_all(&program, "http", &expected).await;
}
