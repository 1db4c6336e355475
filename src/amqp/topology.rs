//! Exchange, queue and binding: used as they are where they stand, created where they are missing.

use std::time::Duration;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind, Queue};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::AmqpError;
use super::connection::{Config, call};
use crate::telemetry::Chain;

/// What a queue is to be that is made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    /// On one node.
    Classic,
    /// On several nodes of a cluster, of which most must be there.
    Quorum,
}

/// How often a quorum queue may deliver a message before it drops it: RabbitMQ 4 has 20 of its own accord. A message is
/// delivered again whenever a connection ends that had it unacked, which is no fault of the message's, and while the
/// store is away each held one is; so this is once every few seconds for more than a month.
const DELIVERY_LIMIT: i32 = 1_000_000;

impl QueueType {
    /// The broker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    fn arguments(self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(self.as_str().into()));
        if self == Self::Quorum {
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        }
        arguments
    }
}

/// Makes sure that exchange, queue and binding are there; what has no name is left out.
///
/// Many users may only read or only write, so nothing is created before a passive declaration has
/// said that it is missing. Each step that the broker may refuse has a channel of its own, since
/// a refusal closes the channel.
///
/// # Errors
/// Where the exchange or the queue is neither there nor can be created.
pub(super) async fn ensure(connection: &Connection, config: &Config) -> Result<(), AmqpError> {
    let mut made = false;
    if !config.exchange.is_empty() {
        let topic = ExchangeKind::Topic;
        made |= ensure_exchange(connection, &config.exchange, topic, FieldTable::default()).await?;
    }
    let arguments = arguments(config);
    for queue in &config.queues {
        made |= ensure_queue(connection, queue, &arguments).await?;
    }
    if let Some(spread) = &config.spread {
        made |= ensure_spread(connection, spread).await?;
    }
    let binding = bind_all(connection, config);
    if made {
        return binding.await;
    }
    timeout(BINDING, binding).await.unwrap_or_else(|_| {
        let queue = &config.queues;
        info!(
            ?queue,
            exchange = config.exchange,
            "No answer to binding what was there already; taken to be bound"
        );
        Ok(())
    })
}

/// What queues are made with here.
fn arguments(config: &Config) -> FieldTable {
    let mut arguments = config.queue_type.map(QueueType::arguments).unwrap_or_default();
    if config.spread.is_some() {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    arguments
}

/// The header by whose hash a heartbeat goes to one of several queues: its publisher, so that all of one
/// publisher go the same way.
pub const PUBLISHER_HEADER: &str = "heartbeat-publisher";

/// How much of the heartbeats a queue gets, by the others: each the same.
const SHARE: &str = "1";

/// The exchange that shares heartbeats out. Says whether it was made.
async fn ensure_spread(connection: &Connection, spread: &str) -> Result<bool, AmqpError> {
    let mut arguments = FieldTable::default();
    arguments.insert("hash-header".into(), AMQPValue::LongString(PUBLISHER_HEADER.into()));
    let kind = ExchangeKind::Custom("x-consistent-hash".into());
    ensure_exchange(connection, spread, kind, arguments).await
}

/// How long is waited until what was there already is bound, which it may well be. All nodes of a cluster agree on each
/// binding, one that stands included, and while one of them hangs none of them says so; meanwhile nobody could connect.
const BINDING: Duration = Duration::from_secs(1);

/// Leads from the topic exchange to all queues; where they share, once the exchange between leads to all.
async fn bind_all(connection: &Connection, config: &Config) -> Result<(), AmqpError> {
    let Config { exchange, routing_key, queues, .. } = config;
    let Some(spread) = config.spread.as_deref() else {
        return bind(connection, queues, exchange, routing_key).await;
    };
    bind(connection, queues, spread, SHARE).await?;
    let channel = channel(connection).await?;
    let bound = channel.exchange_bind(
        spread.into(),
        exchange.as_str().into(),
        routing_key.as_str().into(),
        ExchangeBindOptions::default(),
        FieldTable::default(),
    );
    match call(|| format!("binding exchange {spread:?} to exchange {exchange:?}"), bound).await {
        Err(error) if error.is_denied() => {
            info!(spread, exchange, routing_key, "Not allowed to bind the exchange; taken to be bound");
            Ok(())
        }
        other => other,
    }
}

/// Opens a channel.
pub(super) async fn channel(connection: &Connection) -> Result<Channel, AmqpError> {
    call(|| "opening a channel".into(), connection.create_channel()).await
}

/// Asks for the state of a queue, changing nothing. Closes the channel if there is no such queue.
pub(super) async fn inspect(channel: &Channel, queue: &str) -> Result<Queue, AmqpError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(queue.into(), passive, FieldTable::default());
    call(|| format!("looking at queue {queue:?}"), declared).await
}

/// Says whether the exchange was made.
async fn ensure_exchange(
    connection: &Connection,
    exchange: &str,
    kind: ExchangeKind,
    arguments: FieldTable,
) -> Result<bool, AmqpError> {
    let declare = async |passive: bool| {
        let channel = channel(connection).await?;
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(exchange.into(), kind.clone(), options, arguments.clone());
        let verb = if passive { "looking at" } else { "creating" };
        call(|| format!("{verb} exchange {exchange:?}"), declared).await
    };
    match declare(true).await {
        Err(error) if error.is_not_found() => {
            declare(false).await?;
            info!(exchange, "Exchange created");
            Ok(true)
        }
        // Whoever may not even look may still be allowed to use it.
        Err(error) if error.is_denied() => {
            debug!(exchange, "Not allowed to look at the exchange; taken to be there");
            Ok(false)
        }
        other => other.map(|()| false),
    }
}

/// Says whether the queue was made.
async fn ensure_queue(
    connection: &Connection,
    queue: &str,
    arguments: &FieldTable,
) -> Result<bool, AmqpError> {
    match inspect(&channel(connection).await?, queue).await {
        Ok(_) => Ok(false),
        Err(error) if error.is_not_found() => {
            match declare_queue(connection, queue, arguments).await {
                Ok(_) => {
                    info!(queue, "Queue created");
                    Ok(true)
                }
                // Another was faster, with arguments of its own: used as it is.
                Err(error) if error.is_other_arguments() => {
                    info!(queue, "Queue has other arguments than here; used as it is");
                    Ok(true)
                }
                Err(error) => Err(error),
            }
        }
        Err(error) if error.is_denied() => {
            debug!(queue, "Not allowed to look at the queue; taken to be there");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn declare_queue(
    connection: &Connection,
    queue: &str,
    arguments: &FieldTable,
) -> Result<Queue, AmqpError> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = channel(connection).await?;
    let declared = channel.queue_declare(queue.into(), durable, arguments.clone());
    call(|| format!("creating queue {queue:?}"), declared).await
}

/// Says it where a queue is not as it would be made here, as far as this user may find out. It is used all the same.
/// To be asked once: the broker logs each difference as an error.
pub(super) async fn compare(connection: &Connection, config: &Config) {
    if config.queue_type.is_none() && config.spread.is_none() {
        return;
    }
    let arguments = arguments(config);
    for queue in &config.queues {
        if let Err(error) = declare_queue(connection, queue, &arguments).await
            && error.is_other_arguments()
        {
            warn!(
                queue,
                wanted = ?config.queue_type,
                single_active = config.spread.is_some(),
                error = %Chain(&error),
                "The queue has other arguments than RABBITMQ_QUEUE_TYPE or RABBITMQ_QUEUES gives it; used as it is"
            );
        }
    }
}

/// Binds queues to an exchange.
async fn bind(
    connection: &Connection,
    queues: &[String],
    exchange: &str,
    routing_key: &str,
) -> Result<(), AmqpError> {
    for queue in queues {
        let channel = channel(connection).await?;
        let bound = channel.queue_bind(
            queue.as_str().into(),
            exchange.into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        match call(|| format!("binding queue {queue:?} to exchange {exchange:?}"), bound).await {
            // A binding cannot be looked at. The publisher's mandatory messages tell if it is missing.
            Err(error) if error.is_denied() => {
                info!(queue, exchange, routing_key, "Not allowed to bind the queue; taken to be bound");
            }
            other => other?,
        }
    }
    Ok(())
}
