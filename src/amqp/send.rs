//! One message on its way: what it is, what became of it, and whether the session can go on.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::AmqpError;
use super::connection::Config;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The encoded heartbeat.
    pub body: Vec<u8>,
    /// Routing key; `None` for the configured one.
    pub routing_key: Option<String>,
    /// `message_id`.
    pub message_id: String,
    /// `type`.
    pub message_type: &'static str,
    /// `app_id`.
    pub app_id: &'static str,
    /// `timestamp`, in seconds since the epoch.
    pub timestamp: u64,
    /// String headers.
    pub headers: Vec<(&'static str, String)>,
}

/// Why a message was not delivered, as the counter has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFailure {
    /// There is no connection; the message was not handed over.
    Disconnected,
    /// The broker has blocked publishers; the message was not handed over.
    Blocked,
    /// No queue is bound: the broker took it and threw it away.
    Unroutable,
    /// The broker refused it.
    Nacked,
    /// No confirm in time: it may have arrived or not.
    Unconfirmed,
}

impl PublishFailure {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Blocked => "blocked",
            Self::Unroutable => "unroutable",
            Self::Nacked => "nacked",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// Whether the message left this process, so that its number is used up.
    pub fn was_sent(self) -> bool {
        !matches!(self, Self::Disconnected | Self::Blocked)
    }
}

/// What became of a message, to whoever sent it.
pub(super) type Reply = oneshot::Sender<Result<(), PublishFailure>>;

/// A failure, and what spoilt the session, if anything did.
pub(super) type Sent = Result<(), (PublishFailure, Option<AmqpError>)>;

/// Sends messages over one session.
pub(super) struct Sender<'a> {
    pub(super) config: &'a Config,
    pub(super) confirm_timeout: Duration,
}

impl Sender<'_> {
    /// Publishes one message, and waits for its confirm. An error beside the failure means that the
    /// session is spoilt: an unconfirmed message may still lie in the library's queue, and would be
    /// sent as if it were news when the link recovers. A channel that is told no may go on being told
    /// no: one that was opened while a quorum queue had no leader looks for the dead one until that
    /// is back (RabbitMQ 3.10).
    pub(super) async fn publish(&self, channel: &Channel, message: Outgoing) -> Sent {
        let sending = async {
            let routing_key = message.routing_key.as_ref().unwrap_or(&self.config.routing_key);
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let exchange = self.config.exchange.as_str().into();
            let properties = properties(&message, self.config);
            let confirm = channel
                .basic_publish(exchange, routing_key.as_str().into(), options, &message.body, properties)
                .await?;
            confirm.await
        };
        let operation = || format!("publishing to exchange {:?}", self.config.exchange);
        match timeout(self.confirm_timeout, sending).await {
            Ok(Ok(Confirmation::Ack(None) | Confirmation::NotRequested)) => Ok(()),
            Ok(Ok(Confirmation::Ack(Some(_)))) => Err((PublishFailure::Unroutable, None)),
            Ok(Ok(Confirmation::Nack(_))) => {
                let error = AmqpError::Nacked { exchange: self.config.exchange.clone() };
                Err((PublishFailure::Nacked, Some(error)))
            }
            Ok(Err(source)) => {
                let error = AmqpError::Call { operation: operation(), source: source.into() };
                Err((PublishFailure::Unconfirmed, Some(error)))
            }
            Err(_) => {
                let error = AmqpError::Deadline { operation: operation(), limit: self.confirm_timeout };
                Err((PublishFailure::Unconfirmed, Some(error)))
            }
        }
    }

    /// Tells the sender what became of its message, and returns what spoilt the session.
    ///
    /// A blocked broker has the message and will take it when it goes on. Each new connection would
    /// leave one more there, all to be delivered then; so this one is kept, and sends no other.
    pub(super) fn settle(&self, (sent, reply): (Sent, Reply), blocked: bool) -> Result<(), AmqpError> {
        let (answer, spoilt) = match sent {
            Ok(()) => (Ok(()), None),
            Err((failure, error)) => (Err(failure), error),
        };
        let _ = reply.send(answer);
        match spoilt {
            Some(AmqpError::Deadline { .. }) if blocked => Ok(()),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn properties(message: &Outgoing, config: &Config) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        headers.insert(ShortString::from(*name), AMQPValue::LongString(value.as_str().into()));
    }
    let user = config.send_user_id.then(|| config.user.as_str().into());
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_message_id(message.message_id.as_str().into())
        .with_timestamp(message.timestamp)
        .with_app_id(message.app_id.into())
        .with_type(message.message_type.into())
        .with_headers(headers);
    match user {
        Some(user) => properties.with_user_id(user),
        None => properties,
    }
}
