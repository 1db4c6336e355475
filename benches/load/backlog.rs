//! Many heartbeats at once, as they wait in a queue after an outage.

use std::collections::VecDeque;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel};

use super::fleet::{Fleet, now};

/// Messages on their way to the broker at one time.
const UNCONFIRMED_MAX: usize = 1000;

/// How long the oldest has waited, by its own word.
const AGE_MS: i64 = 3_600_000;

/// A publisher's beat, by its own word.
const INTERVAL: Duration = Duration::from_secs(60);

/// As a publisher sends it.
pub fn properties() -> BasicProperties {
    BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2)
}

/// Puts so many messages into the exchange, of so many publishers in turn, as they have waited for an hour.
pub async fn fill(
    channel: &Channel,
    exchange: &str,
    key: &str,
    messages: usize,
    publishers: usize,
    components: usize,
) {
    let began = now().plus_ms(-AGE_MS);
    let mut fleet = Fleet::new(publishers, components, began, INTERVAL);
    let message = |index: usize| {
        let at = began.plus_ms(i64::try_from(index / publishers + 1).unwrap() * 1000);
        fleet.message(index % publishers, at, false)
    };
    send(channel, exchange, key, (0..messages).map(message)).await;
}

/// Puts one message of each publisher into the exchange, as of now.
pub async fn greet(channel: &Channel, exchange: &str, key: &str, fleet: &mut Fleet) {
    let publishers = fleet.publishers();
    send(channel, exchange, key, (0..publishers).map(|number| fleet.message(number, now(), false))).await;
}

/// Sends and waits until all are confirmed, on a channel with confirms.
async fn send(channel: &Channel, exchange: &str, key: &str, bodies: impl Iterator<Item = Vec<u8>>) {
    let mut unconfirmed = VecDeque::new();
    for body in bodies {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = channel.basic_publish(exchange.into(), key.into(), options, &body, properties());
        unconfirmed.push_back(sent.await.unwrap());
        if unconfirmed.len() == UNCONFIRMED_MAX {
            assert!(unconfirmed.pop_front().unwrap().await.unwrap().is_ack(), "not taken");
        }
    }
    for confirm in unconfirmed {
        assert!(confirm.await.unwrap().is_ack(), "not taken");
    }
}
