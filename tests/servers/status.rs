//! `heartbeat status`: the fleet at a terminal, as a subscriber tells it, and what a script makes of it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::bridge::{Bridge, SOON};
use crate::support::certificates::Certificates;
use crate::support::ports::free_port;
use crate::support::program::{Program, Setup};
use crate::support::tcp::FakeHttp;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// What a run printed, and how it ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn status(args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    command.arg("status").args(args).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn url(program: &Program) -> String {
    format!("http://{}", program.http())
}

/// How long ago something was is another at each run; columns stay where they are.
fn without_ago(text: &str) -> String {
    const AGO: &str = " s ago";
    let mut lines = String::new();
    for line in text.lines() {
        match line.split_once(AGO) {
            Some((before, after)) => {
                let kept = before.trim_end_matches(|c: char| c.is_ascii_digit());
                let more = " ".repeat(before.len() - kept.len() - 1);
                lines.push_str(format!("{kept}1{AGO}{more}{after}").trim_end());
            }
            None => lines.push_str(line),
        }
        lines.push('\n');
    }
    lines
}

/// A publisher that found this.
fn found(id: &str, components: Value) -> impl FnMut() -> Vec<u8> {
    let mut simulated = Simulated::small(id);
    move || {
        let mut message: Value = serde_json::from_slice(&simulated.beat()).unwrap();
        let at = message["v2"]["sent_at"].clone();
        let mut components = components.clone();
        for component in components.as_array_mut().unwrap() {
            component["checked_at"] = at.clone();
        }
        message["v2"]["components"] = components;
        message.to_string().into_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_told_worst_first_and_by_the_exit_code() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().env("EXPECTED_PUBLISHERS", "trondheim").start_ready().await;
    let url = url(&subscriber);
    let mut publishers = [
        found(
            "oslo",
            json!([
                {"kind": "host", "name": "database", "target": "db:5432", "outcome": "down", "reason": "refused"},
                {"kind": "consumer", "name": "ingest", "queue": "inbox", "outcome": "down", "reason": "no_consumer"},
                {"kind": "queue", "name": "inbox", "outcome": "down", "reason": "listener"},
                {"kind": "host", "name": "files", "target": "files:22", "outcome": "unknown", "reason": "dns"},
                {"kind": "host", "name": "web", "target": "web:80", "outcome": "up"},
            ]),
        ),
        found(
            "bergen",
            json!([{"kind": "host", "name": "odd\u{202e}name", "target": "x:1", "outcome": "unknown", "reason": "dns"}]),
        ),
        found("bod\u{f8}", json!([{"kind": "host", "name": "web", "target": "web:80", "outcome": "up"}])),
    ];
    for _ in 0..2 {
        bridge.send(publishers.iter_mut().map(|next| next())).await;
    }
    let told = wait_until("all are shown", SOON, async || {
        let ran = status(&["--url", &url], &[]).await;
        let all = ran.stdout.contains("4 publishers:") && !ran.stdout.contains("unjudged");
        if all { Ok(ran) } else { Err(format!("{}{}", ran.stdout, ran.stderr)) }
    })
    .await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(2), ""));
    hold("fleet", &without_ago(&told.stdout));

    for (args, code, held) in [
        (&["--state=up"][..], 0, "bod\u{f8}"),
        (&["--state=unknown,up"], 1, "bergen"),
        (&["--state=silent"], 2, "trondheim"),
        (&["--search=database"], 2, "oslo"),
        (&["--search=nobody"], 0, "No publisher is found."),
    ] {
        let ran = status(args, &[("STATUS_URL", &url)]).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{args:?}: {}", ran.stdout);
        assert!(ran.stdout.contains(held), "{args:?}: {}", ran.stdout);
        assert_eq!(ran.stdout.contains("oslo"), held == "oslo", "{args:?}: {}", ran.stdout);
    }

    let ran = status(&["--json", "--state=down", "--url", &url], &[]).await;
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(2), 1));
    assert_eq!((&json["publishers"][0]["id"], &json["publishers"][1]), (&json!("oslo"), &Value::Null));
    assert_eq!(json["publishers"][0]["components"][0]["reason"], "refused");
}

/// What is down in a window of its own is shown with the window, and calls nobody by the exit code.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_maintenance_is_shown_and_does_not_count() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().start_ready().await;
    let url = url(&subscriber);
    let host = |name: &str, outcome: &str| {
        let reason = (outcome != "up").then_some("refused");
        json!({"kind": "host", "name": name, "target": "x:1", "outcome": outcome, "reason": reason})
    };
    let mut publishers = [
        worked_on("oslo", json!([host("database", "down"), host("web", "up")]), &["database", "databse"]),
        worked_on("bergen", json!([host("database", "down"), host("web", "down")]), &["web"]),
        worked_on("tromsø", json!([host("database", "down")]), &[]),
    ];
    for _ in 0..2 {
        bridge.send(publishers.iter_mut().map(|next| next())).await;
    }
    let told = wait_until("all are shown", SOON, async || {
        let ran = status(&["--url", &url], &[]).await;
        let all = ran.stdout.contains("3 publishers:") && !ran.stdout.contains("unjudged");
        if all { Ok(ran) } else { Err(format!("{}{}", ran.stdout, ran.stderr)) }
    })
    .await;
    assert_eq!((told.code, told.stderr.as_str()), (Some(2), ""));
    let until = fancy_regex::Regex::new(r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").unwrap();
    let text = until.replace_all(&told.stdout, "until 2026-12-06T04:30:00Z");
    hold("maintenance", &without_ago(&text));
    for (one, code) in [("oslo", 0), ("bergen", 2), ("tromsø", 0)] {
        let ran = status(&["--url", &url, "--search", one], &[]).await;
        assert_eq!(ran.code, Some(code), "{one}: {}", ran.stdout);
    }
}

/// A publisher that found this, with a window that is on for these names.
fn worked_on(id: &str, components: Value, names: &'static [&str]) -> impl FnMut() -> Vec<u8> {
    let mut next = found(id, components);
    move || {
        let mut message: Value = serde_json::from_slice(&next()).unwrap();
        let sent: jiff::Timestamp = message["v2"]["sent_at"].as_str().unwrap().parse().unwrap();
        let ends = sent + jiff::SignedDuration::from_hours(2);
        let (begins, ends) = (format!("{sent:.3}"), format!("{ends:.3}"));
        message["v2"]["maintenance"] = json!([{"begins_at": begins, "ends_at": ends, "components": names}]);
        message.to_string().into_bytes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_one() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().start_ready().await;
    let mut fleet: Vec<Simulated> =
        (0..250).map(|number| Simulated::small(&format!("p-{number:03}"))).collect();
    for _ in 0..2 {
        bridge.send(fleet.iter_mut().map(Simulated::beat)).await;
    }
    let url = url(&subscriber);
    let json = wait_until("all are shown", SOON, async || {
        let ran = status(&["--json", "--url", &url], &[]).await;
        let json: Value = serde_json::from_str(&ran.stdout).map_err(|error| error.to_string())?;
        let count = json["publishers"].as_array().map(Vec::len);
        if count == Some(250) { Ok(json) } else { Err(format!("{count:?} of them")) }
    })
    .await;
    let mut ids: Vec<&str> =
        json["publishers"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), &json["found"], &json["pages"]), (250, &json!(250), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_behind_tls_and_a_password_is_asked_and_refuses() {
    let setup = Setup::new("standalone");
    let files = Certificates::make(setup.folder());
    let hash = bcrypt::hash("sesame", 4).unwrap();
    let program = setup
        .web_config(&format!(
            "tls_server_config: {{cert_file: server.pem, key_file: server.key}}\nbasic_auth_users: {{me: {hash}}}\n"
        ))
        .start();
    program.wait_log(SOON, "msg=Listening").await;
    let url = format!("https://{}", program.http());
    let ca = files.ca.to_str().unwrap();
    let ask = async |more: &[(&str, &str)]| {
        let known = [("STATUS_URL", url.as_str()), ("STATUS_CA_CERT_PATH", ca)];
        let ran = status(&[], &[&known[..], more].concat()).await;
        (ran.code, ran.stdout, ran.stderr.replace(&program.http().port().to_string(), "11911"))
    };
    wait_until("its own port is found up", SOON, async || {
        let (code, stdout, stderr) = ask(&[("STATUS_USER", "me"), ("STATUS_PASSWORD", "sesame")]).await;
        if code == Some(0) && stdout.contains("1 of 1") {
            Ok(())
        } else {
            Err(format!("{code:?} {stdout}{stderr}"))
        }
    })
    .await;
    let refusals = [
        ("no password", ask(&[]).await),
        ("another password", ask(&[("STATUS_USER", "me"), ("STATUS_PASSWORD", "canary")]).await),
        ("another CA", ask(&[("STATUS_CA_CERT_PATH", other_ca(&setup_folder()).as_str())]).await),
    ];
    let mut text = String::new();
    for (what, (code, stdout, stderr)) in refusals {
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{what}: {stderr}");
        assert!(!stderr.contains("canary"));
        text.push_str(&format!("{what}:\n{stderr}"));
    }
    let plain = status(&["--url", &url.replace("https", "http")], &[]).await;
    assert_eq!(plain.code, Some(3), "{}", plain.stderr);
    text.push_str(&format!("http to a port of https:\n{}", plain.stderr));
    let other = Bridge::new().await;
    let plain = other.subscriber().start_ready().await;
    let secure = status(&["--url", &self::url(&plain).replace("http", "https")], &[]).await;
    assert_eq!(secure.code, Some(3), "{}", secure.stderr);
    text.push_str(&format!("https to a port of http:\n{}", secure.stderr));
    let nobody = status(&["--url", &format!("http://127.0.0.1:{}", free_port())], &[]).await;
    assert_eq!(nobody.code, Some(3));
    text.push_str("nobody there:\n");
    text.push_str(&nobody.stderr);
    hold("refusals", &without_port(&text));
    // How the resolver says so depends on the machine's.
    let slip = status(&["--url", "http://no-such-host.invalid:11911"], &[]).await;
    assert!(slip.code == Some(3) && slip.stderr.contains("is there a slip in --url"), "{}", slip.stderr);
}

/// What another server says is no command to the terminal.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_strangers_steers_no_terminal() {
    let stranger = FakeHttp::answering("500 Broken", "text/plain", "\u{1b}]0;title\u{7}broken");
    let ran = status(&["--url", &format!("http://{}", stranger.address)], &[]).await;
    assert!(ran.code == Some(3) && ran.stderr.contains("broken"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", ran.stderr);

    let stranger = FakeHttp::answering("500 Broken", "text/plain", "\u{9b}2J\u{202e}broken");
    let url = format!("http://{}", stranger.address);
    let ran = first_line_of_watch(&["--json", "--url", &url]).await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(told["error"].as_str().unwrap().contains("\u{9b}2J\u{202e}broken"), "{told}");
    assert!(!ran.stdout.contains(['\u{9b}', '\u{202e}']), "{:?}", ran.stdout);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""));
}

/// What `status --watch ... | head -n 1` shows, and how the former ends.
async fn first_line_of_watch(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    command.arg("status").arg("--watch=1s").args(args).env_clear().stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        out.read_line(&mut line).map(|_| line)
    });
    let stdout = timeout(SOON, read).await;
    let ended = wait_until("it notices that nobody looks", SOON, async || {
        child.try_wait().unwrap().ok_or_else(|| "it goes on".to_owned())
    });
    let code = ended.await.code();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Ran { code, stdout: stdout.unwrap().unwrap().unwrap(), stderr }
}

/// Whoever stops looking has been told how it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_looks_at_ends_by_its_last_answer() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().env("EXPECTED_PUBLISHERS", "trondheim").start_ready().await;
    let url = url(&subscriber);
    wait_until("the absent is silent", SOON, async || {
        let ran = status(&["--url", &url], &[]).await;
        if ran.code == Some(2) {
            Ok(())
        } else {
            Err(format!("{:?}: {}{}", ran.code, ran.stdout, ran.stderr))
        }
    })
    .await;
    let ran = first_line_of_watch(&["--url", &url]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""), "{}", ran.stdout);
    let nobody = first_line_of_watch(&["--search=nobody", "--json", "--url", &url]).await;
    assert_eq!((nobody.code, nobody.stderr.as_str()), (Some(0), ""), "{}", nobody.stdout);
}

fn setup_folder() -> std::path::PathBuf {
    crate::support::process::folder("status")
}

fn other_ca(folder: &std::path::Path) -> String {
    Certificates::make(folder).ca.to_str().unwrap().to_owned()
}

/// Ports, and folders of this run, are others at each.
fn without_port(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let line = match line.split_once("127.0.0.1:") {
            Some((before, after)) => {
                let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{before}127.0.0.1:11911{after}")
            }
            None => line.to_owned(),
        };
        let end = line.find(" by no CA in ").map_or(line.len(), |at| at + " by no CA in ".len());
        lines.push_str(&line[..end]);
        lines.push_str(if end < line.len() { "/etc/heartbeat/ca.pem\n" } else { "\n" });
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_watched_while_the_subscriber_goes_and_comes_back() {
    let bridge = Bridge::new().await;
    let mut subscriber = bridge.subscriber().start_ready().await;
    let watch = Setup::new("status").env("STATUS_URL", &url(&subscriber)).arg("--watch=1s").start();
    watch.wait_log(SOON, "No publisher is found.").await;
    subscriber.kill();
    watch.wait_log(SOON, "could not ask the subscriber").await;
    subscriber.exit_code(Duration::from_secs(10)).await;
    subscriber.start_again();
    let mut oslo = Simulated::small("oslo");
    wait_until("it is asked again", SOON, async || {
        bridge.send([oslo.beat()]).await;
        let log = watch.log();
        if log.contains("1 publisher: 1 up.") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(!watch.log().contains('\u{1b}'), "no terminal, no control characters");
    let log = watch.log();
    let times = log.lines().filter(|line| line.parse::<jiff::Timestamp>().is_ok()).count();
    let tables = log.lines().filter(|line| line.contains("No publisher is found.")).count();
    assert!(tables > 0 && times > tables, "{times} times and {tables} tables: {log}");
}

#[track_caller]
fn hold(name: &str, text: &str) {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/status")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} differs; set UPDATE_GOLDEN=1 to take this text:\n{text}");
}
