//! Fills a queue with heartbeats, for measuring how fast a subscriber drains it.
//!
//! `drain AMQP_URI EXCHANGE QUEUE KEY MESSAGES PUBLISHERS COMPONENTS`
#![allow(clippy::print_stdout)]

use std::time::Duration;

use heartbeat_bridge::heartbeat::wire::encode;
use heartbeat_bridge::heartbeat::{
    Component, ComponentKey, Epoch, Heartbeat, Outcome, PublisherId, PublisherTotals, Reason, Timestamp,
};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.plus(since)
}

fn heartbeat(
    publisher: usize,
    epoch: &Epoch,
    sequence: u64,
    components: usize,
    began: Timestamp,
) -> Heartbeat {
    let at = began.plus_ms(i64::try_from(sequence).unwrap_or(0) * 1000);
    let components = (0..components)
        .map(|index| {
            let up = index % 7 != 0;
            Component {
                key: ComponentKey::host(&format!("component-{publisher}-{index}")),
                target: Some(format!("host-{index}.example.org:443").into()),
                outcome: if up { Outcome::Up } else { Outcome::Down },
                reason: (!up).then_some(Reason::Refused),
                checked_at: at,
                changed_at: Some(began),
                last_up_at: up.then_some(at),
                last_down_at: (!up).then_some(at),
                last_unknown_at: None,
                duration_seconds: Some(0.001_25),
                checks_total: Some(sequence),
                failures_total: Some(if up { 0 } else { sequence }),
                figures: None,
            }
        })
        .collect();
    Heartbeat {
        publisher: PublisherId::new(&format!("publisher-{publisher}")).expect("a valid name"),
        epoch: epoch.clone(),
        started_at: began,
        uptime: Duration::from_secs(sequence),
        sequence,
        sent_at: at,
        interval: Duration::from_secs(60),
        version: "0.1.0".into(),
        totals: PublisherTotals::default(),
        components,
        trace: None,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, exchange, queue, key, messages, publishers, components] = &arguments[..] else {
        return Err("usage: drain AMQP_URI EXCHANGE QUEUE KEY MESSAGES PUBLISHERS COMPONENTS".into());
    };
    let (messages, publishers, components): (usize, usize, usize) =
        (messages.parse()?, publishers.parse()?, components.parse()?);
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let table = FieldTable::default;
    channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, table()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, table()).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(queue.as_str().into(), exchange.as_str().into(), key.as_str().into(), bind, table())
        .await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let began = now().plus_ms(-3_600_000);
    let epochs: Vec<Epoch> = (0..publishers).map(|_| Epoch::random()).collect();
    let mut confirms = Vec::new();
    for index in 0..messages {
        let publisher = index % publishers;
        let sequence = (index / publishers + 1) as u64;
        let body = encode(&heartbeat(publisher, &epochs[publisher], sequence, components, began));
        let properties =
            BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let confirm = channel
            .basic_publish(
                exchange.as_str().into(),
                key.as_str().into(),
                BasicPublishOptions::default(),
                &body,
                properties,
            )
            .await?;
        confirms.push(confirm);
        if confirms.len() >= 500 {
            for confirm in confirms.drain(..) {
                confirm.await?;
            }
        }
    }
    for confirm in confirms {
        confirm.await?;
    }
    println!("{messages} messages of {publishers} publishers with {components} components");
    connection.close(200, "done".into()).await?;
    Ok(())
}
