//! Heartbeats at a rate of their own: each is meant for a moment that was fixed before, and whatever holds it up counts as its
//! delay, be it the generator itself. So nothing is left out because the one before it was slow (coordinated omission).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::Channel;
use lapin::options::BasicPublishOptions;

use super::backlog::properties;
use super::fleet::{Fleet, now};

/// One heartbeat that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Of which publisher.
    pub publisher: usize,
    /// When it was meant to be sent, in milliseconds of this machine's clock.
    pub meant_ms: f64,
}

/// How much comes how fast.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Heartbeats a second, of all publishers in turn.
    pub rate: u32,
    /// How long.
    pub span: Duration,
    /// One in so many tells of a change.
    pub one_changed_in: usize,
}

/// Sends, beginning with publisher `first`; what was sent.
pub async fn run(
    channel: &Channel,
    (exchange, key): (&str, &str),
    fleet: &mut Fleet,
    first: usize,
    pace: Pace,
) -> Vec<Sent> {
    let begun = Instant::now();
    let begun_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1e3;
    let step = Duration::from_secs(1) / pace.rate;
    let count = pace.span.as_nanos() / step.as_nanos();
    let mut sent = Vec::new();
    for index in 0..u32::try_from(count).unwrap() {
        let due = step * index;
        if begun.elapsed() < due {
            tokio::time::sleep_until((begun + due).into()).await;
        }
        let number = sent.len();
        let publisher = (first + number) % fleet.publishers();
        let body = fleet.message(publisher, now(), number.is_multiple_of(pace.one_changed_in));
        let options = BasicPublishOptions::default();
        channel.basic_publish(exchange.into(), key.into(), options, &body, properties()).await.unwrap();
        sent.push(Sent { publisher, meant_ms: begun_ms + due.as_secs_f64() * 1e3 });
    }
    sent
}
