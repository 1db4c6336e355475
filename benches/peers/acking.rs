//! The least that a consumer can do: lapin takes each message and acknowledges, several at a time, as ours does; nothing is
//! read, decided or stored.

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

/// Deliveries that one acknowledgement covers at most: a small part of the prefetch.
const ACK_MAX: usize = 512;

/// Takes so many messages off a queue.
pub async fn run(uri: &str, queue: &str, messages: usize, prefetch: u16) {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let consumed = channel.basic_consume(queue.into(), "acking".into(), options, FieldTable::default());
    let mut consumer = consumed.await.unwrap();
    let mut taken = 0;
    while taken < messages {
        let mut newest = consumer.next().await.unwrap().unwrap();
        let mut together = 1;
        while together < ACK_MAX
            && let Some(Some(delivery)) = consumer.next().now_or_never()
        {
            newest = delivery.unwrap();
            together += 1;
        }
        taken += together;
        newest.ack(BasicAckOptions { multiple: true }).await.unwrap();
    }
    connection.close(200, "done".into()).await.unwrap();
}
