//! `heartbeat maintenance`, from the command line to what the subscriber shows.

use std::process::Output;

use crate::support::field::{BOUND, Field, config, host};
use crate::support::program::Program;
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
    let (code, said) = run(&publisher, &["maintenance", "end"]);
    assert_eq!((code, said.as_str()), (Some(0), "OK: 2 windows are ended\n"));
    wait_shown(&field, OF_PUBLISHER, &of_publisher, false).await;
    wait_shown(&field, OF_COMPONENT, &of_db, false).await;

    // What cannot be done is said.
    let (code, said) = run(&publisher, &["maintenance", "begin", "--for=8days"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("longer than seven days"), "{said}");
    let nowhere =
        publisher.command(&["maintenance", "end"]).env_remove("LOCAL_LISTEN_ADDRESS").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(64), "{nowhere:?}");
    let (socket, gone) = (publisher.variable("LOCAL_LISTEN_ADDRESS").to_owned(), "is the publisher running");
    publisher.kill();
    let (code, said) = run(&publisher, &["maintenance", "end"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(gone) && said.contains(&socket), "{said}");
}
