//! Fills a queue with heartbeats, for measuring what a subscriber does with a backlog:
//! `drain AMQP_URI EXCHANGE QUEUE KEY MESSAGES PUBLISHERS COMPONENTS`
#![allow(clippy::print_stdout, clippy::unwrap_used, dead_code, unreachable_pub)]

#[path = "../benches/load/mod.rs"]
mod load;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, exchange, queue, key, messages, publishers, components] = &arguments[..] else {
        return Err("usage: drain AMQP_URI EXCHANGE QUEUE KEY MESSAGES PUBLISHERS COMPONENTS".into());
    };
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let table = FieldTable::default;
    channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, table()).await?;
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), table()).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(queue.as_str().into(), exchange.as_str().into(), key.as_str().into(), bind, table())
        .await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (number, count, each) = (messages.parse()?, publishers.parse()?, components.parse()?);
    load::backlog::fill(&channel, exchange, key, number, count, each).await;
    println!("{messages} messages of {publishers} publishers with {components} components");
    connection.close(200, "done".into()).await?;
    Ok(())
}
