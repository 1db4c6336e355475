//! A canary in each place where a secret can be configured, and none of them anywhere that somebody sees: the list
//! follows from the table of settings, so that a new secret has its canary from its first day.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use heartbeat_bridge::config::{Kind, Setting, settings};
use lapin::BasicProperties;
use serde_json::json;

use crate::otlp::exporting;
use crate::support::bridge::{Bridge, EXCHANGE, KEY, SOON};
use crate::support::certificates::Certificates;
use crate::support::field::{config, listener};
use crate::support::http;
use crate::support::otlp::{Answer, Collector, Options, Transport};
use crate::support::process::folder;
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::encode;
use crate::support::redis;
use crate::support::resp::Reply;
use crate::support::wait::wait_until;

/// The name of the user of the web configuration; its password is a canary too.
const SCRAPER: &str = "scraper";

/// Settings that hold a secret themselves.
fn secrets() -> impl Iterator<Item = &'static Setting> {
    settings::ALL.iter().copied().filter(|setting| setting.is_secret())
}

/// Settings that name a file with a private key.
fn key_files() -> impl Iterator<Item = &'static Setting> {
    let is_key = |setting: &&Setting| matches!(setting.kind, Kind::File) && setting.flag.contains("key");
    settings::ALL.iter().copied().filter(is_key).filter(|setting| setting.flag != "trusted-keys.file")
}

/// Every canary by where it is, and the variables that lead a program to them.
struct Canaries {
    known: BTreeMap<String, String>,
    variables: Vec<(String, String)>,
}

impl Canaries {
    /// One for each place, in variables or in files. In a header it stands behind a name, as it must.
    fn plant(folder: &Path, in_files: bool) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut planted = Self { known: BTreeMap::new(), variables: Vec::new() };
        for setting in secrets() {
            let canary = format!("canary-{}-{in_files}", setting.variable.to_lowercase());
            let value =
                if setting.flag.ends_with("headers") { format!("api-key={canary}") } else { canary.clone() };
            planted.known.insert(setting.variable.to_owned(), canary);
            let file_variable = setting.file_variable().unwrap();
            if in_files {
                let path = folder.join(setting.variable);
                fs::write(&path, value + "\n").unwrap();
                planted.variables.push((file_variable, path.to_str().unwrap().to_owned()));
            } else {
                planted.variables.push((setting.variable.to_owned(), value));
            }
        }
        // A pair for each: its key, in the encoding in which it stands in the file.
        for setting in key_files() {
            let pair = folder.join(format!("pair-{}", setting.variable));
            fs::create_dir_all(&pair).unwrap();
            let (certificates, path) = if setting.variable == "SIGNING_KEY_FILE" {
                (None, write_signing_key(&pair))
            } else {
                let certificates = Certificates::make(&pair);
                (Some(certificates.client.clone()), certificates.client_key)
            };
            planted.known.insert(setting.variable.to_owned(), body_of(&path));
            planted.variables.push((setting.variable.to_owned(), path.to_str().unwrap().to_owned()));
            if let Some(certificate) = certificates {
                let of_pair = setting.variable.replace("CLIENT_KEY", "CLIENT_CERT");
                let of_pair = if of_pair.starts_with("OTEL") { of_pair + "IFICATE" } else { of_pair };
                planted.variables.push((of_pair, certificate.to_str().unwrap().to_owned()));
            }
        }
        planted
    }

    fn of(&self, variable: &str) -> &str {
        &self.known[variable]
    }

    fn more(&mut self, place: &str, canary: String) {
        self.known.insert(place.to_owned(), canary);
    }

    /// Asserts that none of them stands in a text.
    #[track_caller]
    fn absent(&self, place: &str, text: &str) {
        assert!(!text.is_empty(), "{place} is empty: nothing was looked at");
        for (secret, canary) in &self.known {
            assert!(!text.contains(canary.as_str()), "{secret} is in {place}: {text}");
            for encoded in in_base64(canary) {
                assert!(!text.contains(&encoded), "{secret} is in {place}, in base64: {text}");
            }
        }
    }
}

/// A text as it looks within something longer that is written in base64, such as `user:password`: by where it begins
/// in a group of three bytes, without the letters that depend on what stands around it.
fn in_base64(text: &str) -> [String; 3] {
    [0, 1, 2].map(|before| {
        let encoded =
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(format!("{}{text}", &"  "[..before]));
        let whole = encoded.len() - 2;
        encoded[[0, 2, 3][before]..whole].to_owned()
    })
}

/// The private half in base64, past what all keys begin with.
fn body_of(pem: &Path) -> String {
    let text = fs::read_to_string(pem).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("---")).collect();
    body[30..60].to_owned()
}

fn write_signing_key(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("signing.pem");
    let mut made = std::process::Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    made.args(["keys", "generate"]).env_clear().env("SIGNING_KEY_FILE", &path).env("PUBLISHER_ID", "oslo");
    assert!(made.output().unwrap().status.success());
    path
}

/// The most that can be logged.
const ALL_OF_IT: &str = "debug";

/// Whether the servers know the secrets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Peers {
    Take,
    Refuse,
    /// TLS is asked for, with a client's pair that nobody vouches for.
    RefuseCertificates,
}

struct World {
    bridge: Bridge,
    collector: Collector,
    canaries: Canaries,
    hash: String,
    peers: Peers,
    format: &'static str,
    /// The broker's CA, so that it is shown our certificate.
    ca: String,
}

impl World {
    async fn new(in_files: bool, peers: Peers) -> Self {
        let folder = folder("canaries");
        let mut canaries = Canaries::plant(&folder, in_files);
        let vhost = RabbitMq::vhost().await;
        let known = peers != Peers::Refuse;
        let at_redis = if known { canaries.of("REDIS_PASSWORD").to_owned() } else { "another".to_owned() };
        let bridge =
            Bridge::with(vhost, redis::Options { password: Some(at_redis), ..redis::Options::default() })
                .await;
        if known {
            let body = json!({"password": canaries.of("RABBITMQ_PASS"), "tags": "administrator"});
            let path = format!("/api/users/{}", encode(&bridge.vhost.name));
            bridge.vhost.api.must("PUT", &path, &body).await;
        }
        let collector = Collector::start(Options::default());
        if !known {
            collector.answer(Answer::Refused);
        }
        let hash = bcrypt::hash("canary-of-the-scraper", 4).unwrap();
        canaries.more("the scraper's password", "canary-of-the-scraper".to_owned());
        canaries.more("the scraper's hash", hash[7..].to_owned());
        let format = if in_files { "json" } else { "logfmt" };
        let ca = RabbitMq::shared().await.certificates.ca.to_str().unwrap().to_owned();
        Self { bridge, collector, canaries, hash, peers, format, ca }
    }

    fn setup(&self, role: &str) -> Setup {
        let wanted = config(&[], &[listener("gone", "worker", "missing")]).to_string();
        let transport = if self.format == "json" { Transport::Grpc } else { Transport::Http };
        let setup = exporting(self.bridge.role(role), &self.collector, transport)
            // Where a file has it, the variable is empty.
            .env("RABBITMQ_PASS", "")
            .envs(self.canaries.variables.clone())
            .env("LOG_LEVEL", ALL_OF_IT)
            .env("LOG_FORMAT", self.format)
            .env(settings::otel::OTLP_PROGRAM_LOG.variable, "true")
            .env("PUBLISHER_ID", "oslo")
            .env("PUBLISH_INTERVAL", "1s")
            .publisher_config(&wanted)
            .web_config(&format!("basic_auth_users: {{{SCRAPER}: '{}'}}\n", self.hash));
        let setup = if role == "publisher" { setup.listening() } else { setup };
        if self.peers != Peers::RefuseCertificates {
            return setup;
        }
        let broker = self.bridge.vhost.ports;
        setup
            .env("RABBITMQ_HOST", "localhost")
            .env("RABBITMQ_TLS", "true")
            .env("RABBITMQ_CA_CERT_PATH", &self.ca)
            .env("RABBITMQ_TLS_PORT", &broker.amqps.to_string())
            .env("RABBITMQ_MANAGEMENT_PORT", &broker.https.to_string())
            .env("REDIS_TLS", "true")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://localhost:{}", broker.https))
    }

    /// All that a program shows to somebody who looks from outside.
    async fn look_at(&self, program: &Program, role: &str) {
        let of = |what: &str| format!("{what} of {role}, {:?}, {}", self.peers, self.format);
        let basic =
            base64::engine::general_purpose::STANDARD.encode(format!("{SCRAPER}:canary-of-the-scraper"));
        let basic = format!("Basic {basic}");
        for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/config", "/debug/pprof"] {
            for (accept, authorization) in [
                ("text/plain", basic.as_str()),
                ("application/openmetrics-text;version=1.0.0", basic.as_str()),
                ("text/plain", "Basic eDp5"),
            ] {
                let headers = [("accept", accept), ("authorization", authorization)];
                let answer = http::request(program.http(), "GET", path, &headers, "").await.unwrap();
                self.canaries
                    .absent(&of(path), &format!("{} {:?}\n{}", answer.status, answer.headers, answer.text()));
            }
        }
        let process = Path::new("/proc").join(program.pid().to_string());
        self.canaries.absent(&of("the argument list"), &fs::read_to_string(process.join("cmdline")).unwrap());
        self.canaries
            .absent(&of("the health file"), &fs::read_to_string(program.variable("HEALTH_FILE")).unwrap());
        // With the same variables: the help, the check, and a configuration with a problem.
        for args in [
            &[role, "--help"][..],
            &["--help"],
            &["--version"],
            &[role, "--config.check"],
            &[role, "--config.check", "--web.max-connections=x"],
            &[role, "--nonsense"],
            &["healthcheck", role, "--ready"],
            &["keys", "show"],
        ] {
            let output = program.command(args).output().unwrap();
            let said = [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat();
            self.canaries.absent(&of(&args.join(" ")), &said);
        }
    }

    /// What stands in Redis, every kind of value.
    async fn stored(&self) -> String {
        let mut all = String::new();
        for key in self.bridge.redis.keys("*").await {
            let kind = self.bridge.redis.command(&["TYPE", &key]).await.string().unwrap();
            let read: &[&str] = match kind.as_str() {
                "string" => &["GET", &key],
                "hash" => &["HGETALL", &key],
                "list" => &["LRANGE", &key, "0", "-1"],
                "stream" => &["XRANGE", &key, "-", "+"],
                other => panic!("{key} is a {other}"),
            };
            all += &format!("{key}: {}\n", printed(self.bridge.redis.command(read).await));
        }
        all
    }
}

/// An answer of Redis as text.
fn printed(reply: Reply) -> String {
    match reply {
        Reply::Array(items) => items.into_iter().map(printed).collect::<Vec<_>>().join(" "),
        Reply::Bulk(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_seen_where_they_are_taken() {
    for in_files in [false, true] {
        let world = World::new(in_files, Peers::Take).await;
        let World { bridge, collector, canaries, .. } = &world;
        for (exchange, queue) in [(EXCHANGE, "copy"), ("dead", "dead")] {
            bridge.vhost.declare_exchange(exchange).await;
            bridge.vhost.declare_queue(queue, json!({})).await;
            bridge.vhost.bind(exchange, queue, KEY).await;
        }
        let subscriber = world.setup("subscriber").env("RABBITMQ_DEAD_LETTER_EXCHANGE", "dead").start();
        let publisher = world.setup("publisher").start();
        // Before its queue is bound, nothing that is sent reaches it.
        wait_until("a heartbeat is stored", SOON, async || match world.stored().await {
            stored if stored.contains("oslo") => Ok(()),
            stored => Err(format!("{stored}: {}", subscriber.log())),
        })
        .await;
        bridge
            .vhost
            .with_password(canaries.of("RABBITMQ_PASS"))
            .publish(EXCHANGE, KEY, &BasicProperties::default(), ["{"])
            .await;
        let seen = bridge.vhost.with_password(canaries.of("RABBITMQ_PASS"));
        wait_until("all has come to its place", SOON, async || {
            let letters = seen.queue_depth("dead").await.0;
            let copies = seen.queue_depth("copy").await.0;
            let exported = collector.requests();
            if letters > 0 && copies > 2 && exported > 3 {
                Ok(())
            } else {
                Err(format!("{letters}, {copies}, {exported}: {}", subscriber.log()))
            }
        })
        .await;
        for (program, role) in [(&subscriber, "subscriber"), (&publisher, "publisher")] {
            world.look_at(program, role).await;
        }
        canaries.absent("Redis", &world.stored().await);
        for queue in ["copy", "dead"] {
            let (body, properties) = seen.take(queue).await.unwrap();
            canaries.absent(queue, &format!("{} {properties:?}", String::from_utf8_lossy(&body)));
        }
        // Its headers came, which are the one place where they belong; nothing else of any request has them.
        let requests = collector.received();
        for (signal, variable) in [
            ("Traces", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
            ("Metrics", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"),
            ("Logs", "OTEL_EXPORTER_OTLP_LOGS_HEADERS"),
        ] {
            let of_it = || requests.iter().filter(|one| format!("{:?}", one.signal) == signal);
            assert!(of_it().count() > 0, "no {signal} came");
            assert!(of_it().all(|one| one.headers["api-key"] == canaries.of(variable)), "{signal}");
        }
        for request in &requests {
            canaries.absent("what was exported", &format!("{:?}", request.request));
        }
        for (mut program, role) in [(subscriber, "subscriber"), (publisher, "publisher")] {
            program.terminate(SOON).await;
            canaries.absent(&format!("the log of {role}"), &program.log());
        }
        let mut forget = world.setup("forget").arg("oslo").start();
        assert_eq!(forget.exit_code(SOON).await, Some(0), "{}", forget.log());
        canaries.absent("the log of forget", &forget.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_seen_where_they_are_refused() {
    for (in_files, peers) in
        [(false, Peers::Refuse), (true, Peers::Refuse), (false, Peers::RefuseCertificates)]
    {
        let world = World::new(in_files, peers).await;
        let mut programs = Vec::new();
        for role in ["subscriber", "publisher", "standalone", "forget"] {
            let setup = world.setup(role);
            let setup = if role == "forget" { setup.arg("oslo") } else { setup };
            programs.push((setup.start(), role));
        }
        for (program, role) in &programs {
            if matches!(*role, "subscriber" | "forget") {
                program.wait_log(SOON, "No connection to Redis; trying again").await;
            }
            if *role == "publisher" {
                let refused = if peers == Peers::Refuse { "management_denied" } else { "UnknownCA" };
                program.wait_log(SOON, refused).await;
                program.wait_log(SOON, "No connection to RabbitMQ; trying again").await;
            }
            if *role != "forget" {
                program.wait_log(SOON, "Listening").await;
                world.look_at(program, role).await;
            }
        }
        for (mut program, role) in programs {
            program.kill();
            world.canaries.absent(&format!("the log of {role}, {peers:?}"), &program.log());
        }
    }
}

/// What is held against every place would be seen there.
#[test]
fn each_canary_would_be_seen() {
    let folder = folder("canaries");
    for in_files in [false, true] {
        let planted = Canaries::plant(&folder.join(in_files.to_string()), in_files);
        let settings: Vec<&Setting> = secrets().chain(key_files()).collect();
        assert_eq!(planted.known.len(), settings.len());
        for setting in settings {
            let said = format!("before {} after", planted.of(setting.variable));
            let encoded = base64::engine::general_purpose::STANDARD.encode(&said);
            for text in [said, encoded] {
                let seen = std::panic::catch_unwind(|| planted.absent("a text", &text));
                assert!(seen.is_err(), "{} in {text}", setting.variable);
            }
        }
    }
}

/// Where an address is asked for, somebody writes a password into it: that is refused, and not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn none_is_seen_in_an_address() {
    let address = "amqp://me:canary-in-an-address@host:1/";
    let hosts = settings::ALL.iter().filter(|setting| {
        matches!(setting.kind, Kind::Host)
            || setting.flag.ends_with("host")
            || setting.flag.ends_with("endpoint")
            || setting.flag.ends_with("nodes")
    });
    for setting in hosts {
        for role in ["publisher", "subscriber"] {
            let mut program = Setup::new(role).env(setting.variable, address).arg("--config.check").start();
            program.exit_code(SOON).await;
            let said = program.log();
            assert!(!said.is_empty() && !said.contains("canary"), "{}: {said}", setting.variable);
        }
    }
}
