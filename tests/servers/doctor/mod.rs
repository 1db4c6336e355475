//! `heartbeat doctor` against set-ups that are broken in one way each: what it says is held by golden files, as a newcomer
//! would read it; the first that it calls failed is the cause; and it changes nothing.

mod rabbitmq;
mod redis;
mod unfolded;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use unfolded::unfolded;

use crate::support::rabbitmq::Ports;
use crate::support::rabbitmq_api::encode;
use crate::support::redis::Redis;
use crate::support::vhost::Vhost;

/// Set to 1, the golden files are written anew instead of compared.
const UPDATE: &str = "UPDATE_GOLDEN";

/// A role with its variables, to be looked after.
#[derive(Clone)]
struct Patient {
    role: &'static str,
    variables: Vec<(String, String)>,
    /// What is another at each run, and what stands in its place.
    names: Vec<(String, String)>,
}

/// What the doctor said, with what is another at each run replaced, and each paragraph on one line.
struct Told {
    code: Option<i32>,
    text: String,
}

impl Patient {
    fn new(role: &'static str) -> Self {
        Self { role, variables: Vec::new(), names: Vec::new() }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Shows `shown` for a value that no two runs have alike.
    fn called(mut self, value: &str, shown: &str) -> Self {
        self.names.push((value.to_owned(), shown.to_owned()));
        self
    }

    /// At a broker's vhost, as a user whose password is its name.
    fn at(self, ports: Ports, vhost: &str, user: &str) -> Self {
        self.env("RABBITMQ_HOST", "127.0.0.1")
            .env("RABBITMQ_PORT", &ports.amqp.to_string())
            .env("RABBITMQ_TLS_PORT", &ports.amqps.to_string())
            .env("RABBITMQ_MANAGEMENT_PORT", &ports.http.to_string())
            .env("RABBITMQ_VHOST", vhost)
            .env("RABBITMQ_USER", user)
            .env("RABBITMQ_PASS", user)
            .env("RABBITMQ_EXCHANGE", "sda")
            .env("RABBITMQ_QUEUE", "heartbeat")
            .called(&ports.amqp.to_string(), "5672")
            .called(&ports.amqps.to_string(), "5671")
            .called(&ports.http.to_string(), "15672")
            .called(&ports.https.to_string(), "15671")
            .called(vhost, "enclave")
    }

    async fn examine(&self) -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.args(["doctor", self.role]).env_clear().stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (text, errors) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(errors, "", "{text}");
        let mut text = settled(&text);
        for (value, shown) in &self.names {
            text = text.replace(value, shown);
        }
        Told { code: output.status.code(), text }
    }
}

/// Without what differs from machine to machine and from day to day.
fn settled(text: &str) -> String {
    without_days(&without_resolver(&unfolded(text)))
}

/// How the resolver says that it has no such name depends on the machine's.
fn without_resolver(text: &str) -> String {
    let (mark, mut kept) = ("failed to lookup address information: ", String::new());
    for line in text.lines() {
        let end = line.find(mark).map_or(line.len(), |at| at + mark.len());
        kept.push_str(&line[..end]);
        kept.push_str(if end < line.len() { "...\n" } else { "\n" });
    }
    kept
}

fn without_days(text: &str) -> String {
    let Some((before, after)) = text.split_once("is good for ") else { return text.to_owned() };
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}is good for MANY{}", without_days(after))
}

impl Told {
    /// The step that was the first to fail or, where none did, to be warned of.
    fn first(&self) -> Option<&str> {
        let of = |word: &str| {
            let line = self.text.lines().find(|line| line.trim_start().starts_with(word));
            line.map(|line| line.trim_start()[word.len()..].trim_start())
        };
        let line = of("failed ").or_else(|| of("warning "))?;
        line.split("  ").next()
    }

    /// Names the cause first, ends with the code, and says what was read.
    #[track_caller]
    fn is(&self, name: &str, code: i32, first: Option<&str>) {
        let Self { text, .. } = self;
        hold(name, text);
        assert_eq!((self.code, self.first()), (Some(code), first), "{text}");
    }
}

#[track_caller]
fn hold(name: &str, text: &str) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/doctor").join(format!("{name}.txt"));
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(&path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} differs; set {UPDATE}=1 to take this text:\n{text}");
}

/// All that stands in a vhost, and how it is set.
async fn definitions(vhost: &Vhost) -> Value {
    let name = encode(&vhost.name);
    let mut all = serde_json::Map::new();
    for what in ["exchanges", "bindings"] {
        let found = vhost.api.must("GET", &format!("/api/{what}/{name}"), &Value::Null).await;
        all.insert(what.to_owned(), found.as_array().map(|all| only_names(all)).unwrap_or_default());
    }
    let path = format!("/api/queues/{name}?columns=name,arguments,durable");
    all.insert("queues".to_owned(), vhost.api.must("GET", &path, &Value::Null).await);
    Value::Object(all)
}

/// Statistics come and go.
fn only_names(all: &[Value]) -> Value {
    let keys = ["name", "type", "source", "destination", "routing_key", "arguments"];
    let kept = all.iter().map(|one| {
        let kept = keys.iter().filter_map(|key| Some(((*key).to_owned(), one.get(*key)?.clone())));
        Value::Object(kept.collect())
    });
    Value::Array(kept.collect())
}

/// The keys of a Redis.
async fn keys(redis: &Redis) -> Vec<String> {
    redis.keys("*").await
}

/// A publisher's file that checks one queue.
fn checks_a_queue(folder: &Path) -> String {
    let path = folder.join("publisher.json");
    let listener = r#"{"name": "ingest", "tag": "^ingest$"}"#;
    let text =
        format!(r#"{{"heartbeat": {{"rmq_consumers": [{{"queue": "inbox", "listeners": [{listener}]}}]}}}}"#);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
