//! Jobs that tell of themselves by the local API, from curl to what the subscriber shows.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::field::{BOUND, Field, Shown, stop};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::wait::wait_until;

const ID: &str = "jobs";

/// Far longer than a test takes.
pub(crate) const LONG: &str = "1h";

pub(crate) fn job(name: &str, period: &str, grace: &str, max_runtime: &str) -> Value {
    json!({"name": name, "period": period, "grace": grace, "max_runtime": max_runtime})
}

pub(crate) fn with_jobs(jobs: &[Value]) -> Value {
    json!({"heartbeat": {"jobs": jobs}})
}

/// A publisher with a socket and a state file in a folder of its own.
fn publisher(field: &Field, jobs: &[Value]) -> Setup {
    let setup = field.publisher(ID, &with_jobs(jobs));
    let (socket, state) = (setup.folder().join("api.sock"), setup.folder().join("state.json"));
    setup
        .env("LOCAL_LISTEN_ADDRESS", &format!("unix:{}", socket.display()))
        .env("PUBLISHER_STATE_FILE", state.to_str().unwrap())
        .env("PUBLISH_INTERVAL", "10s")
}

pub(crate) fn socket(publisher: &Program) -> PathBuf {
    publisher.variable("LOCAL_LISTEN_ADDRESS").strip_prefix("unix:").unwrap().into()
}

/// As a crontab has it; what it prints, and whether it calls that a success.
pub(crate) fn curl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("curl").args(["-sS", "-m", "10", "--fail-with-body"]).args(arguments).output();
    let output = output.expect("curl is there");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn post(publisher: &Program, path: &str, body: &str) -> (bool, String) {
    let socket = socket(publisher);
    let url = format!("http://localhost{path}");
    curl(&["--unix-socket", socket.to_str().unwrap(), "-X", "POST", "-d", body, &url])
}

/// Tells something that is heard.
#[track_caller]
fn say(publisher: &Program, name: &str, word: &str) {
    assert_eq!(post(publisher, &format!("/jobs/{name}/{word}"), ""), (true, "OK\n".into()));
}

pub(crate) async fn wait_socket(publisher: &Program) {
    publisher.wait_log(BOUND, "Local API").await;
}

async fn figure(field: &Field, metric: &str, name: &str) -> Option<f64> {
    field.subscriber.metrics().await.unwrap().value(metric, &[("kind", "job"), ("name", name)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_shown_late_failed_and_overrunning() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let jobs = [
        job("nightly backup/db", LONG, LONG, LONG),
        job("silent", "1s", "1s", LONG),
        job("slow", LONG, LONG, "1s"),
        job("later", LONG, LONG, LONG),
    ];
    let ours = publisher(&field, &jobs).start();
    field.wait_shown(ID, "job", "later", Shown::Unknown("waiting")).await;
    field.wait_shown(ID, "job", "silent", Shown::Down("late")).await;

    say(&ours, "slow", "start");
    field.wait_shown(ID, "job", "slow", Shown::Down("overrunning")).await;
    say(&ours, "slow", "success");
    field.wait_shown(ID, "job", "slow", Shown::Up).await;
    let took = figure(&field, "heartbeat_component_check_duration_seconds", "slow").await;
    assert!(took > Some(1.0), "{took:?}");

    // A name with what a path has otherwise.
    let name = "nightly backup/db";
    let failed = post(&ours, "/jobs/nightly%20backup%2Fdb/fail", "no space left on device\n");
    assert_eq!(failed, (true, "OK\n".into()));
    field.wait_shown(ID, "job", name, Shown::Down("failed")).await;
    assert!(ours.log().contains("no space left on device"), "{}", ours.log());
    say(&ours, "nightly%20backup%2Fdb", "start");
    say(&ours, "nightly%20backup%2Fdb", "success");
    field.wait_shown(ID, "job", name, Shown::Up).await;
    assert_eq!(figure(&field, "heartbeat_component_checks_total", name).await, Some(2.0));
    assert_eq!(figure(&field, "heartbeat_component_check_failures_total", name).await, Some(1.0));

    say(&ours, "silent", "ping");
    ours.wait_log(BOUND, r#"name=silent queue="" was=up was_reason="" outcome=down reason=late"#).await;
    field.wait_shown(ID, "job", "silent", Shown::Down("late")).await;

    let (heard, said) = post(&ours, "/jobs/nightly/ping", "");
    let known = "No such job: the publisher's file has later, nightly backup/db, silent, slow\n";
    assert!(!heard && said.starts_with(known), "{said}");
    let (heard, said) = post(&ours, "/jobs/slow/finish", "");
    assert!(!heard && said.starts_with("A job says start, success, fail or ping\n"), "{said}");
    for path in ["/jobs/slow", "/job/slow/ping", "/"] {
        let (heard, said) = post(&ours, path, "");
        assert!(!heard && said.starts_with("Nothing is here. There are:\nPOST /jobs/NAME/start"), "{said}");
    }

    // The original program and the contract's keys know nothing of jobs.
    let told = field.reader.heartbeats(ID);
    let last = &told.last().unwrap().1;
    assert_eq!(last["components"].as_array().unwrap().len(), 4, "{last}");
    stop([ours]).await;
    field.reader.assert_alive().await;
    assert_eq!(field.reader.keys(), Default::default());
    assert_eq!(field.redis.keys("service:*").await, Vec::<String>::new());
    assert_eq!(field.redis.keys("queue:*").await, Vec::<String>::new());
}

/// Moves every moment of the boot clock in a state file.
fn shift(file: &mut Value, by: i64) {
    for (key, value) in file.as_object_mut().unwrap() {
        match (key.as_str(), value.as_i64()) {
            ("boot_ms" | "since" | "heard" | "running", Some(moment)) => *value = json!(moment + by),
            _ if value.is_object() => shift(value, by),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_reload_forget_nothing() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let jobs =
        [job("failed", LONG, LONG, LONG), job("good", LONG, LONG, LONG), job("runs", LONG, LONG, "2s")];
    let mut ours = publisher(&field, &jobs).start();
    field.wait_shown(ID, "job", "runs", Shown::Unknown("waiting")).await;
    say(&ours, "failed", "fail");
    say(&ours, "good", "success");
    say(&ours, "runs", "start");
    // At once, as a machine that loses its power.
    ours.kill();
    ours.exit_code(BOUND).await;
    assert!(socket(&ours).exists(), "left behind");
    let state = PathBuf::from(ours.variable("PUBLISHER_STATE_FILE"));
    assert!(
        serde_json::from_slice::<Value>(&std::fs::read(&state).unwrap()).unwrap()["jobs"]["runs"].is_object()
    );
    ours.start_again();
    field.wait_shown(ID, "job", "runs", Shown::Down("overrunning")).await;
    field.wait_shown(ID, "job", "good", Shown::Up).await;
    field.wait_shown(ID, "job", "failed", Shown::Down("failed")).await;
    assert!(!ours.log().contains("level=warn"), "{}", ours.log());

    let file = PathBuf::from(ours.variable("PUBLISHER_CONFIG_PATH"));
    let jobs = [job("good", LONG, LONG, LONG), job("new", LONG, LONG, LONG), job("failed", LONG, LONG, LONG)];
    std::fs::write(file, with_jobs(&jobs).to_string()).unwrap();
    let (reloaded, said) = post(&ours, "/-/reload", "");
    assert!(reloaded, "{said}");
    field.wait_shown(ID, "job", "new", Shown::Unknown("waiting")).await;
    field.wait_shown(ID, "job", "good", Shown::Up).await;
    field.wait_shown(ID, "job", "failed", Shown::Down("failed")).await;
    let gone = [("kind", "job"), ("name", "runs")];
    field.subscriber.wait_absent(BOUND, "heartbeat_component_checks_total", &gone).await;

    assert_eq!(ours.terminate(BOUND).await, Some(0));
    assert!(!socket(&ours).exists(), "taken away in order");
    // As it would be if the machine had run for eleven days and been started anew since.
    let mut file: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    shift(&mut file, 1_000_000_000);
    file["clock"]["boot_id"] = json!("another run of the machine");
    std::fs::write(&state, file.to_string()).unwrap();
    let waited = ours.log().matches("reason=waiting").count();
    ours.start_again();
    field.wait_shown(ID, "job", "failed", Shown::Down("failed")).await;
    field.wait_shown(ID, "job", "good", Shown::Up).await;
    wait_until("the new process hears", BOUND, async || match post(&ours, "/jobs/failed/success", "") {
        (true, _) => Ok(()),
        (_, said) => Err(said),
    })
    .await;
    field.wait_shown(ID, "job", "failed", Shown::Up).await;
    // That of `new`, which was never heard of.
    assert_eq!(ours.log().matches("reason=waiting").count(), waited + 1, "{}", ours.log());

    // A file that is none costs the memory, and not the start.
    assert_eq!(ours.terminate(BOUND).await, Some(0));
    std::fs::write(&state, "{\"jobs\": ").unwrap();
    ours.start_again();
    ours.wait_log(BOUND, "The state file cannot be used").await;
    field.wait_shown(ID, "job", "failed", Shown::Unknown("waiting")).await;
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_asks_for_the_token_as_it_is_now() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let setup = field.publisher(ID, &with_jobs(&[job("sync", LONG, LONG, LONG)]));
    let token = setup.folder().join("token");
    std::fs::write(&token, "first-token\n").unwrap();
    let port = crate::support::ports::free_port();
    let ours = setup
        .env("LOCAL_LISTEN_ADDRESS", &format!("127.0.0.1:{port}"))
        .env("LOCAL_TOKEN_FILE", token.to_str().unwrap())
        .start();
    field.wait_shown(ID, "job", "sync", Shown::Unknown("waiting")).await;
    let url = format!("http://127.0.0.1:{port}/jobs/sync/ping");
    let with = |token: &str| curl(&["-X", "POST", "-H", &format!("Authorization: Bearer {token}"), &url]);
    for (refused, said) in [curl(&["-X", "POST", &url]), with("second-token"), with("")] {
        assert!(!refused && said.starts_with("Unauthorized: send the header "), "{said}");
    }
    field.wait_shown(ID, "job", "sync", Shown::Unknown("waiting")).await;
    assert_eq!(with("first-token"), (true, "OK\n".into()));
    field.wait_shown(ID, "job", "sync", Shown::Up).await;
    std::fs::write(&token, "second-token\n").unwrap();
    assert_eq!(with("second-token"), (true, "OK\n".into()));
    assert!(!with("first-token").0);
    assert!(!ours.log().contains("-token"), "{}", ours.log());
    stop([ours]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_in_use_ends_the_start() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let ours = publisher(&field, &[job("sync", LONG, LONG, LONG)]).start();
    wait_socket(&ours).await;
    let address = ours.variable("LOCAL_LISTEN_ADDRESS").to_owned();
    let mut second = publisher(&field, &[]).env("LOCAL_LISTEN_ADDRESS", &address).start();
    assert_eq!(second.exit_code(BOUND).await, Some(1));
    let log = second.log();
    assert!(log.contains("cannot listen on unix:") && log.contains("another process listens"), "{log}");
    say(&ours, "sync", "ping");
    // Paused, it is alive all the same.
    ours.signal(Signal::STOP);
    second.start_again();
    assert_eq!(second.exit_code(BOUND).await, Some(1));
    ours.signal(Signal::CONT);
    wait_until("it answers again", BOUND, async || match post(&ours, "/jobs/sync/ping", "") {
        (true, _) => Ok(()),
        (_, said) => Err(said),
    })
    .await;
    stop([ours]).await;
}
