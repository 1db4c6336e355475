//! A copy of every heartbeat, for whoever looks on. It comes by a queue of its own, which is bounded, is no one else's and is
//! gone with its connection: whatever becomes of who looks on, nobody else is missing anything.

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, Consumer};

use super::connection::{Config, Cutter, Frames, Opened, call, close, open};
use super::delivery::{Delivery, stamp};
use super::{AmqpError, topology};
use crate::clock;

/// Messages that wait for one who looks on and is slow; then the oldest are dropped.
pub const WAITING_MAX: i32 = 1_000;

/// Their bytes.
pub const WAITING_BYTES_MAX: i32 = 64 << 20;

/// How long the queue may be without a consumer, in milliseconds: none is ever meant to be.
const EXPIRES_MS: i32 = 60_000;

/// Messages on their way at one time.
const PREFETCH: u16 = 64;

/// A connection by which copies come.
pub struct Tap {
    connection: Connection,
    consumer: Consumer,
    target: String,
    _cutter: Cutter,
}

impl Tap {
    /// Connects, and begins to listen.
    ///
    /// # Errors
    /// Says what was not possible, or not allowed.
    pub async fn open(config: &Config) -> Result<Self, AmqpError> {
        let Opened { connection, cutter, target } = open(config, Frames::AsProposed).await?;
        let Config { exchange, routing_key, .. } = config;
        let channel = topology::channel(&connection).await?;
        let own =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare("".into(), own, arguments());
        let queue =
            call(|| "creating a queue of its own (which needs configure on amq.gen-*)".into(), declared)
                .await?
                .name()
                .to_owned();
        let bound = channel.queue_bind(
            queue.clone(),
            exchange.as_str().into(),
            routing_key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        call(
            || {
                format!(
                    "binding a queue of its own to exchange {exchange:?} (which needs write on amq.gen-* and read on the \
                     exchange)"
                )
            },
            bound,
        ).await?;
        let prefetch = channel.basic_qos(PREFETCH, BasicQosOptions::default());
        call(|| "bounding what is on its way".into(), prefetch).await?;
        let consuming = channel.basic_consume(
            queue,
            "heartbeat-tap".into(),
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let consumer =
            call(|| "consuming a queue of its own (which needs read on amq.gen-*)".into(), consuming).await?;
        Ok(Self { connection, consumer, target, _cutter: cutter })
    }

    /// The node, for people.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The next copy. It is waited for as long as it takes; a broker that went away ends that.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn next(&mut self) -> Result<Delivery, AmqpError> {
        let delivery = match self.consumer.next().await {
            Some(Ok(delivery)) => delivery,
            Some(Err(source)) => {
                return Err(AmqpError::Call {
                    operation: "waiting for heartbeats".into(),
                    source: source.into(),
                });
            }
            None => return Err(AmqpError::Ended { target: self.target.clone() }),
        };
        let acked = delivery.acker.ack(BasicAckOptions::default());
        call(|| "taking a copy".into(), async { acked.await.map(drop) }).await?;
        let now = clock::wall();
        Ok(stamp(delivery, 0, now, true, now))
    }

    /// Ends it; the queue goes with the connection.
    pub async fn close(self) {
        close(self.connection).await;
    }
}

fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    // Where quorum queues are the rule, one could not be exclusive.
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(WAITING_MAX));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongInt(WAITING_BYTES_MAX));
    arguments.insert("x-expires".into(), AMQPValue::LongInt(EXPIRES_MS));
    arguments
}
