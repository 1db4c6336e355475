//! `heartbeat maintenance`, from the command line to what the subscriber shows.

use std::process::{Command, Output};

use crate::support::field::{BOUND, Field, config, host};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::Accepting;
use crate::support::wait::wait_until;

const ID: &str = "worked-on";
const OF_PUBLISHER: &str = "heartbeat_publisher_maintenance_end_timestamp_seconds";
const OF_COMPONENT: &str = "heartbeat_component_maintenance_end_timestamp_seconds";

fn run(publisher: &Program, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = publisher.command(arguments).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

async fn wait_shown(field: &Field, metric: &str, labels: &[(&str, &str)], there: bool) {
    wait_until(&format!("{metric}{labels:?} is there: {there}"), BOUND, async || {
        let seen = field.subscriber.metrics().await?.value(metric, labels);
        if seen.is_some() == there { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_begun_remembered_and_ended_by_command() {
    let field = Field::start(RabbitMq::vhost().await).await;
    let db = Accepting::open();
    let setup = field.publisher(ID, &config(&[host("db", db.address)], &[]));
    let (socket, state) = (setup.folder().join("api.sock"), setup.folder().join("state.json"));
    let setup = setup
        .env("LOCAL_LISTEN_ADDRESS", &format!("unix:{}", socket.display()))
        .env("PUBLISHER_STATE_FILE", state.to_str().unwrap())
        // What is begun is told at once, and not with the next beat.
        .env("PUBLISH_INTERVAL", "1h");
    let mut publisher = setup.start();
    publisher.wait_log(BOUND, "Local API").await;
    let (of_publisher, of_db) = ([("publisher", ID)], [("publisher", ID), ("name", "db")]);
    wait_shown(&field, "heartbeat_component_up", &of_db, true).await;

    let begin = ["maintenance", "begin", "--for=2h", "--comment=new disks", "--component=db"];
    let (code, said) = run(&publisher, &begin);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("OK: maintenance from 2"), "{said}");
    wait_shown(&field, OF_COMPONENT, &of_db, true).await;
    wait_shown(&field, OF_PUBLISHER, &of_publisher, false).await;
    let (code, said) = run(&publisher, &["maintenance", "list"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("new disks") && said.contains("db"), "{said}");
    let (code, said) = run(&publisher, &["maintenance", "end", "7"]);
    assert!(code == Some(1) && said.contains("with the number 7"), "{said}");

    // It outlives its process.
    publisher.kill();
    publisher.start_again();
    publisher.wait_log(BOUND, "Local API").await;
    wait_until("the window is remembered", BOUND, async || {
        let (_, said) = run(&publisher, &["maintenance", "list"]);
        if said.contains("new disks") { Ok(()) } else { Err(said) }
    })
    .await;
    let (code, said) = run(&publisher, &["maintenance", "begin", "--for=1h"]);
    assert_eq!(code, Some(0), "{said}");
    wait_shown(&field, OF_PUBLISHER, &of_publisher, true).await;
    let (code, said) = run(&publisher, &["maintenance", "end", "2"]);
    assert!(code == Some(0) && said.starts_with("OK: ended maintenance from 2"), "{said}");
    wait_shown(&field, OF_PUBLISHER, &of_publisher, false).await;
    wait_shown(&field, OF_COMPONENT, &of_db, true).await;
    for (arguments, why) in
        [(&[][..], "<NUMBER|--all>"), (&[""], "invalid value"), (&["3", "--all"], "cannot be used")]
    {
        let (code, said) = run(&publisher, &[&["maintenance", "end"], arguments].concat());
        assert!(code == Some(64) && said.contains(why), "{arguments:?}: {code:?} {said}");
    }
    wait_shown(&field, OF_COMPONENT, &of_db, true).await;
    let (code, said) = run(&publisher, &["maintenance", "end", "--all"]);
    assert_eq!((code, said.as_str()), (Some(0), "OK: one window is ended\n"));
    wait_shown(&field, OF_PUBLISHER, &of_publisher, false).await;
    wait_shown(&field, OF_COMPONENT, &of_db, false).await;

    // What cannot be done is said.
    let (code, said) = run(&publisher, &["maintenance", "begin", "--for=1h", "--component=bd"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said, "heartbeat: Not begun: no component of this publisher is named \"bd\"; there are: \"db\"\n",
        "a name that was misspelt keeps nobody from being called"
    );
    for (argument, why) in [
        ("--for=8days", "it is not from 1s to 7days"),
        ("--for=soon", "it is not a duration"),
        ("--begins=tomorrow", "it is no time with its zone"),
        ("--begins=2026-01-01T00:00:00Z", "the window would be over already"),
        ("--component=", "it is empty"),
        ("--comment=a\nb", "control character"),
    ] {
        let mut arguments = vec!["maintenance", "begin", argument];
        if !argument.starts_with("--for") {
            arguments.push("--for=1h");
        }
        let (code, said) = run(&publisher, &arguments);
        assert!(code == Some(64) && said.contains(why), "{argument}: {code:?} {said}");
    }
    let nowhere = publisher
        .command(&["maintenance", "end", "--all"])
        .env_remove("LOCAL_LISTEN_ADDRESS")
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(64), "{nowhere:?}");
    let by_port = [("LOCAL_LISTEN_ADDRESS", "127.0.0.1:1")];
    let without = publisher.command(&["maintenance", "list"]).envs(by_port).output().unwrap();
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(without.status.code() == Some(64) && said.contains("set it to what the publisher has"), "{said}");
    let elsewhere = field.subscriber.http().to_string();
    let variables = [("LOCAL_LISTEN_ADDRESS", &*elsewhere), ("LOCAL_TOKEN", "sesame")];
    let elsewhere = publisher.command(&["maintenance", "list"]).envs(variables).output().unwrap();
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(elsewhere.status.code() == Some(1) && said.contains("is no publisher's local API"), "{said}");
    let (socket, gone) = (publisher.variable("LOCAL_LISTEN_ADDRESS").to_owned(), "is the publisher running");
    publisher.kill();
    let (code, said) = run(&publisher, &["maintenance", "end", "--all"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(gone) && said.contains(&socket), "{said}");
}

/// The local API has the keys of the file, both ways; without its token it says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_window_begins_it_again() {
    let setup = Setup::new("standalone").env("LOCAL_TOKEN", "sesame");
    let socket = setup.folder().join("api.sock");
    let program = setup.env("LOCAL_LISTEN_ADDRESS", &format!("unix:{}", socket.display())).start();
    program.wait_log(BOUND, "Local API").await;
    let (code, said) = run(&program, &["maintenance", "begin", "--for=1h", "--component=heartbeat"]);
    assert_eq!(code, Some(0), "{said}");
    let curl = |more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "10", "-H", "Authorization: Bearer sesame", "--unix-socket"]);
        let output = command.arg(&socket).args(more).output().expect("curl is there");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = curl(&["http://localhost/maintenance"]);
    let windows: serde_json::Value = serde_json::from_str(&told).unwrap();
    let keys: Vec<&String> = windows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["begins", "components", "ends", "from", "number"],
        "as in the publisher's file, and more"
    );
    let again = curl(&["-d", &windows[0].to_string(), "http://localhost/maintenance/begin"]);
    assert!(again.starts_with("OK: maintenance from "), "{told}{again}");
    for (token, why) in [(None, "asks for its token"), (Some("open"), "does not take this token")] {
        let mut command = program.command(&["maintenance", "list"]);
        command.env_remove("LOCAL_TOKEN").envs(token.map(|token| ("LOCAL_TOKEN", token)));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(why), "{said}");
        assert!(said.contains("set LOCAL_TOKEN_FILE"), "{said}");
    }
}
