//! `heartbeat drill` where nothing can be played; what is played, `alerting` sees.

use std::time::{Duration, Instant};

use crate::support::bridge::{SOON, role};
use crate::support::field::{BOUND, config};
use crate::support::ports::free_port;
use crate::support::program::Setup;
use crate::support::rabbitmq::RabbitMq;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_waited_for_is_said_and_why_it_was_in_vain() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut drill = Setup::new("drill")
        .publisher_config(&config(&[], &[]).to_string())
        .env("PUBLISHER_ID", "oslo")
        .env("RABBITMQ_HOST", &nobody)
        .start();
    drill.wait_log(SOON, &format!("Connecting to RabbitMQ at {nobody}, for up to 15 s")).await;
    assert_eq!(drill.exit_code(BOUND).await, Some(1), "{}", drill.log());
    let log = drill.log();
    for told in ["Nothing was played: ", &nobody, "refused", "`heartbeat doctor publisher` says what to do"] {
        assert!(log.contains(told), "{told}: {log}");
    }
}

/// A user whom the broker does not let in is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_at_once() {
    let vhost = RabbitMq::vhost().await;
    let mut drill = role("drill", &vhost)
        .publisher_config(&config(&[], &[]).to_string())
        .env("PUBLISHER_ID", "oslo")
        .env("RABBITMQ_PASS", "canary-wrong")
        .start();
    let began = Instant::now();
    assert_eq!(drill.exit_code(BOUND).await, Some(1), "{}", drill.log());
    let (log, took) = (drill.log(), began.elapsed());
    assert!(log.contains("Nothing was played: ") && log.contains(": ACCESS_REFUSED - "), "{log}");
    assert!(took < Duration::from_secs(10), "it waited for {took:?}: {log}");
}
