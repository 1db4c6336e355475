//! What dashboards, rules and runbooks ask for is there: each metric and label in a live scrape, data for each query, and
//! a machine on which each command works. A metric that is renamed breaks this.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use fancy_regex::Regex;
use serde_json::{Value, json};

use crate::support::alertmanager::{Alertmanager, Webhook};
use crate::support::bridge::{Bridge, QUEUE, SOON};
use crate::support::field::{config, host, listener};
use crate::support::process;
use crate::support::program::{Program, Setup};
use crate::support::prometheus::Prometheus;
use crate::support::promql::Asked;
use crate::support::rabbitmq::RabbitMq;
use crate::support::shipped::{Pace, file};
use crate::support::tcp::Accepting;
use crate::support::v1;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// How far the panels look back here.
const RANGE: Duration = Duration::from_secs(60);

/// A query, and where it was found.
#[derive(Clone, Debug)]
struct Question {
    place: String,
    query: String,
    /// Asked for a moment, and not over a range.
    instant: bool,
    /// How its series are called.
    legend: String,
}

/// Something of everything: what is up, down, unknown, stale, never seen, refused, and the original.
struct Scenario {
    bridge: Bridge,
    publisher: Program,
    subscribers: [Program; 2],
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    _webhook: Webhook,
    _kept: (Accepting, lapin::Connection, Program),
}

impl Scenario {
    async fn play() -> Self {
        let bridge = Bridge::new().await;
        let db = Accepting::open();
        let mut closed = Accepting::open();
        closed.close().await;
        let consumer = bridge.vhost.consume("files", "ingest-1").await;
        bridge.vhost.wait_consumer("files", "ingest-1").await;
        let subscriber = async || {
            let setup = bridge.subscriber().env("EXPECTED_PUBLISHERS", "oslo,tromsø");
            // So that there are certificates to be told of.
            let broker = RabbitMq::shared().await;
            let setup = setup.env("RABBITMQ_TLS", "true");
            let setup = setup.env("RABBITMQ_TLS_PORT", &broker.ports.amqps.to_string());
            let setup = setup.env("RABBITMQ_CA_CERT_PATH", broker.certificates.ca.to_str().unwrap());
            // Nobody is there: exports fail, and are counted.
            let setup = setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
            // One that changes nothing: what is told of it is told all the same.
            let setup = setup.web_config("http_server_config: {http2: false}\n");
            setup.env("PUBLISHER_GRACE", "bergen=2s,*=10m").start_ready().await
        };
        let subscribers = [subscriber().await, subscriber().await];
        let hosts = [host("db", db.address), host("s3", closed.address)];
        let queues = [listener("files", "^ingest", "ingest"), listener(QUEUE, "^nobody", "verify")];
        let broker = RabbitMq::shared().await;
        let mut checked = config(&hosts, &queues);
        checked["heartbeat"]["tls"] = json!([{
            "name": "broker", "host": "localhost", "port": broker.ports.amqps,
            "ca_file": broker.certificates.ca.to_str().unwrap(),
        }]);
        let begins = jiff::Timestamp::now().to_string();
        let window = json!([{"begins": begins, "lasts": "1h", "components": ["db"]}]);
        checked["heartbeat"]["maintenance"] = window.clone();
        let publisher: Setup = bridge.publisher("oslo", &checked.to_string());
        let publisher = publisher.listening().start_ready().await;
        // One that is worked on as a whole.
        let mut worked_on = json!({"heartbeat": {"maintenance": window}});
        worked_on["heartbeat"]["maintenance"][0]["components"] = json!([]);
        let worked_on = bridge.publisher("hamar", &worked_on.to_string()).start();
        let mut unknown = Simulated::new("trondheim");
        unknown.components[1].outcome = "unknown";
        let mut silent = Simulated::new("bergen");
        bridge.send([unknown.beat(), silent.beat(), b"not JSON".to_vec()]).await;
        let original = v1::Publisher::new();
        let original = original.message(&[("db", true)], &[("inbox", false)], &[("ingest", false)]);
        bridge.send([original]).await;
        bridge.drained(&subscribers[0], SOON).await;
        let (webhook, pace) = (Webhook::listen().await, Pace::Short);
        let alertmanager = pace.start_alertmanager(Alertmanager::address(), &webhook).await;
        let emitter = format!(
            "\n  - job_name: heartbeat-publisher\n    static_configs:\n      - targets: ['{}']\n",
            publisher.http()
        );
        let prometheus = pace.start_prometheus(&subscribers, alertmanager.address, &emitter).await;
        let kept = (db, consumer, worked_on);
        Self { bridge, publisher, subscribers, prometheus, alertmanager, _webhook: webhook, _kept: kept }
    }

    /// Waits until the worst has been told, and rates can be computed of everything.
    async fn settled(&self) {
        wait_until("Prometheus has seen everything", SOON, async || {
            let firing = self.prometheus.firing().await?;
            let fire = |name: &str| firing.iter().any(|firing| firing == name);
            let wanted =
                ["HeartbeatPublisherStale", "HeartbeatComponentDown", "HeartbeatQueueWithoutConsumer"];
            let scrapes = self.prometheus.query("min(count_over_time(up[1m]))").await?;
            let scrapes = scrapes.first().map_or(0.0, |one| one.value);
            if wanted.into_iter().all(fire) && scrapes > 10.0 {
                return Ok(());
            }
            Err(format!("{firing:?}, {scrapes} scrapes"))
        })
        .await;
    }

    /// The names of all series that there are, with the labels of each.
    async fn series(&self) -> BTreeMap<String, BTreeSet<String>> {
        let all = self.prometheus.api("series", &[("match[]", "{__name__=~\".+\"}")]).await.unwrap();
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for series in all.as_array().unwrap() {
            let labels = series.as_object().unwrap().keys().cloned();
            known.entry(series["__name__"].as_str().unwrap().to_owned()).or_default().extend(labels);
        }
        // What is recorded only in an outage has the labels by which it is made.
        for (name, query) in recorded() {
            known.entry(name).or_default().extend(Asked::of(&query).unwrap().labels);
        }
        known
    }
}

/// Fills in the variables as Grafana does.
fn filled(text: &str) -> String {
    let range = format!("{}s", RANGE.as_secs());
    let mut text = text.to_owned();
    let values = [
        ("__rate_interval", "10s"),
        ("__range", &range),
        ("__interval", "1s"),
        ("job", "(heartbeat|heartbeat-publisher)"),
        ("instance", ".+"),
        ("publisher", "oslo"),
    ];
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    assert!(!text.contains('$'), "a variable is not known: {text}");
    text
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Every query of the panels, also of those in collapsed rows.
fn of_the_dashboards() -> Vec<Question> {
    let mut questions = Vec::new();
    for name in ["fleet", "publisher", "bridge"] {
        let dashboard: Value = serde_json::from_str(&file(&format!("dashboards/{name}.json"))).unwrap();
        let panels = list(&dashboard["panels"]);
        for panel in panels.iter().flat_map(|panel| [vec![panel.clone()], list(&panel["panels"])].concat()) {
            for target in list(&panel["targets"]) {
                questions.push(Question {
                    place: format!("{name}: {}", string(&panel["title"])),
                    query: filled(&string(&target["expr"])),
                    instant: target["instant"] == true,
                    legend: string(&target["legendFormat"]),
                });
            }
        }
        for variable in list(&dashboard["templating"]["list"]) {
            let query = string(&variable["query"]["query"]);
            if variable["type"] == "query" {
                // label_values(selector, label).
                let inner = query.trim_start_matches("label_values(").trim_end_matches(')');
                let (selector, label) = inner.rsplit_once(", ").unwrap_or_else(|| panic!("{query}"));
                questions.push(Question {
                    place: format!("{name}: variable {}", string(&variable["name"])),
                    query: format!("count by ({label}) ({})", filled(selector)),
                    instant: true,
                    legend: format!("{{{{{label}}}}}"),
                });
            }
        }
    }
    assert!(questions.len() > 100, "the dashboards were not read: {}", questions.len());
    questions
}

fn rules() -> Vec<yaml_serde::Value> {
    let rules: yaml_serde::Value = yaml_serde::from_str(&file("alerts/heartbeat.rules.yml")).unwrap();
    let groups = rules["groups"].as_sequence().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
}

/// Names of recording rules, and what each records.
fn recorded() -> Vec<(String, String)> {
    let recorded = rules().into_iter().filter_map(|rule| {
        Some((rule["record"].as_str()?.to_owned(), rule["expr"].as_str().unwrap().to_owned()))
    });
    recorded.collect()
}

/// The queries within annotations, with their labels filled in as they are there.
fn of_the_annotations() -> Vec<Question> {
    let printed = Regex::new(r#"printf "((?:[^"\\]|\\.)*)"#).unwrap();
    let mut questions = Vec::new();
    for rule in rules() {
        for (_, annotation) in rule["annotations"].as_mapping().into_iter().flatten() {
            for found in printed.captures_iter(annotation.as_str().unwrap()) {
                let query = found.unwrap()[1].replace("%q", "\"x\"").replace("\\\"", "\"");
                // A number's format is printed, too.
                if !query.starts_with('%') {
                    let place = format!("annotation of {}", rule["alert"].as_str().unwrap());
                    questions.push(Question { place, query, instant: true, legend: String::new() });
                }
            }
        }
    }
    assert!(questions.len() > 5, "the annotations were not read: {questions:?}");
    questions
}

fn of_the_rules() -> Vec<Question> {
    let labels = Regex::new(r"\$labels\.(\w+)").unwrap();
    let questions: Vec<Question> = rules()
        .into_iter()
        .map(|rule| {
            let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
            let said = yaml_serde::to_string(&rule["annotations"]).unwrap();
            // What the annotations say of the labels is asked as a legend is.
            let labels = labels.captures_iter(&*said).map(|found| found.unwrap()[1].to_owned());
            Question {
                place: format!("rule {name}"),
                query: rule["expr"].as_str().unwrap().to_owned(),
                instant: true,
                legend: labels.map(|label| format!("{{{{{label}}}}}")).collect(),
            }
        })
        .collect();
    assert!(questions.len() > 20, "the rules were not read");
    questions
}

/// The fenced blocks of one language in the runbooks, each with its section.
fn blocks(language: &str) -> Vec<(String, String)> {
    let page = file("docs/runbooks.md");
    let mut found = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        for block in section.split(&format!("```{language}\n")).skip(1) {
            let text = block.split("```").next().unwrap();
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            found.push((title.to_owned(), lines.join("\n")));
        }
    }
    assert!(found.len() > 10, "the runbooks were not read: {found:?}");
    found
}

fn of_the_runbooks() -> Vec<Question> {
    let blocks = blocks("promql").into_iter();
    blocks
        .map(|(title, query)| Question {
            place: format!("runbook {title}"),
            query,
            instant: true,
            legend: String::new(),
        })
        .collect()
}

/// The labels that a legend names.
fn named(legend: &str) -> Vec<String> {
    let labels = Regex::new(r"\{\{\s*(\w+)\s*\}\}").unwrap();
    labels.captures_iter(legend).map(|found| found.unwrap()[1].to_owned()).collect()
}

/// What is asked for and is not there.
fn missing(question: &Question, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let asked = match Asked::of(&question.query) {
        Ok(asked) => asked,
        Err(error) => return vec![error],
    };
    let mut missing = Vec::new();
    let mut labels = asked.made.clone();
    for (metric, matched) in &asked.metrics {
        let Some(has) = known.get(metric) else {
            missing.push(format!("{}: there is no {metric}", question.place));
            continue;
        };
        labels.extend(has.iter().cloned());
        let absent = matched.iter().filter(|label| !has.contains(*label));
        missing.extend(absent.map(|label| format!("{}: {metric} has no {label}", question.place)));
    }
    for label in asked.labels.iter().cloned().chain(named(&question.legend)) {
        if !labels.contains(&label) {
            missing.push(format!("{}: no metric of it has {label}", question.place));
        }
    }
    missing
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ships_asks_for_what_there_is() {
    let mut scenario = Scenario::play().await;
    scenario.settled().await;
    let (panels, runbooks) = (of_the_dashboards(), of_the_runbooks());
    let all = [panels.clone(), of_the_rules(), of_the_annotations(), runbooks.clone()].concat();

    let known = scenario.series().await;
    let missing: Vec<String> = all.iter().flat_map(|question| missing(question, &known)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));

    // Some rates want a few more samples, so each is asked until it answers.
    let mut silent = panels.into_iter().chain(runbooks).collect::<Vec<_>>();
    wait_until("every query has an answer", SOON, async || {
        let mut left = Vec::new();
        for question in silent.drain(..) {
            let answer = if question.instant {
                scenario.prometheus.query(&question.query).await?
            } else {
                scenario.prometheus.query_range(&question.query, RANGE, Duration::from_secs(1)).await?
            };
            let labels: BTreeSet<&String> = answer.iter().flat_map(|series| series.labels.keys()).collect();
            if answer.is_empty() || named(&question.legend).iter().any(|label| !labels.contains(label)) {
                left.push(question);
            }
        }
        silent = left;
        if silent.is_empty() { Ok(()) } else { Err(format!("without an answer: {silent:#?}")) }
    })
    .await;

    // The page at night: every command works as it stands there.
    let mut commands: Vec<String> = blocks("sh").into_iter().map(|(_, command)| command).collect();
    commands.sort();
    commands.dedup();
    // What forgets comes last.
    commands.sort_by_key(|command| command.contains("forget"));
    for command in commands {
        run(&mut scenario, &command).await;
    }
}

/// Runs a command of the runbooks against the scenario's servers.
async fn run(scenario: &mut Scenario, command: &str) {
    let vhost = scenario.bridge.vhost.name.clone();
    let words: Vec<&str> = command.split_whitespace().collect();
    let subscriber = &scenario.subscribers[0];
    let redis = scenario.bridge.redis.port.to_string();
    let (program, arguments) = (words[0], &words[1..]);
    let mut process = match program {
        "rabbitmqctl" => {
            let of_a_vhost = ["list_queues", "list_bindings", "list_consumers"].contains(&arguments[0]);
            let vhost: &[&str] = if of_a_vhost { &["-p", &vhost] } else { &[] };
            return RabbitMq::shared().await.control(&[arguments, vhost].concat()).await;
        }
        "heartbeat" => {
            let role = if arguments.contains(&"publisher") { &scenario.publisher } else { subscriber };
            role.command(arguments)
        }
        "curl" => {
            let mut curl = Command::new("curl");
            let address = subscriber.http().to_string();
            curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]);
            curl.args(arguments.iter().map(|word| word.replace("subscriber:11911", &address)));
            curl
        }
        "redis-cli" => {
            let mut redis_cli = Command::new("redis-cli");
            redis_cli.args(["-p", &redis]).args(arguments);
            redis_cli
        }
        "amtool" => {
            let mut amtool = Command::new("amtool");
            let address = scenario.alertmanager.address.to_string();
            amtool.args(arguments.iter().map(|word| word.replace("localhost:9093", &address)));
            amtool
        }
        other => panic!("the test does not know how to run {other}: {command}"),
    };
    let output = tokio::task::spawn_blocking(move || process.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command}: {}\n{}", output.status, process::tail(&text));
    // Each is asked for something that the scenario has.
    let says_nothing = ["slowlog", "healthcheck"].iter().any(|word| command.contains(word));
    assert!(says_nothing || !text.trim().is_empty(), "{command} says nothing");
}
