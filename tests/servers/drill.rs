//! `heartbeat drill` where nothing can be played; what is played, `alerting` sees.

use crate::support::bridge::SOON;
use crate::support::field::{BOUND, config};
use crate::support::ports::free_port;
use crate::support::program::Setup;

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
