//! Questions to a broker that change nothing there, for whoever looks for what is wrong.

use lapin::options::{ExchangeDeclareOptions, ExchangeUnbindOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ExchangeKind};

use super::connection::{Config, Cutter, Frames, Opened, call, close, open};
use super::{AmqpError, topology};

/// An exchange that every vhost has, and its stand-in where it is itself in question.
const ALWAYS_THERE: [&str; 2] = ["amq.topic", "amq.fanout"];

/// How far an attempt to connect came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No TCP connection.
    Tcp,
    /// No TLS.
    Tls,
    /// No greeting as AMQP has it.
    Greeting,
    /// The user was not let in.
    Login,
    /// The user was let in, and not into the vhost.
    Vhost,
}

/// What is seen of something at the broker.
#[derive(Debug)]
pub enum Sight<T> {
    /// It is there.
    There(T),
    /// It is not.
    Missing,
    /// This user may not look.
    Denied,
    /// The broker gave no answer to that.
    Failed(AmqpError),
}

/// Whether a user may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// It may.
    Given,
    /// It may not, in the broker's words.
    Refused(String),
    /// The broker did not say.
    Untold,
}

/// A queue as a passive declaration shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages ready.
    pub messages: u32,
    /// Consumers.
    pub consumers: u32,
}

/// A connection to ask on. What the broker refuses closes a channel, so each question has its own.
pub struct Probe {
    connection: Connection,
    _cutter: Cutter,
}

impl Probe {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Says how far it came, and why not further.
    pub async fn open(config: &Config) -> Result<Self, (Stage, AmqpError)> {
        match open(config, Frames::Usual).await {
            Ok(Opened { connection, cutter, .. }) => Ok(Self { connection, _cutter: cutter }),
            Err(error) => Err((error.stage(), error)),
        }
    }

    /// Looks at an exchange.
    pub async fn exchange(&self, exchange: &str) -> Sight<()> {
        sight(self.look_at_exchange(exchange).await)
    }

    async fn look_at_exchange(&self, exchange: &str) -> Result<(), AmqpError> {
        let channel = topology::channel(&self.connection).await?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        // Of one that is only looked at, the broker does not compare the type.
        let looked =
            channel.exchange_declare(exchange.into(), ExchangeKind::Topic, passive, FieldTable::default());
        call(|| format!("looking at exchange {exchange:?}"), looked).await
    }

    /// Looks at a queue.
    pub async fn queue(&self, queue: &str) -> Sight<QueueCounts> {
        let looked = async {
            let channel = topology::channel(&self.connection).await?;
            topology::inspect(&channel, queue).await
        };
        sight(
            looked.await.map(|state| QueueCounts {
                messages: state.message_count(),
                consumers: state.consumer_count(),
            }),
        )
    }

    /// Whether this user may write to an exchange that is there: taking away a binding to it that nobody has needs that,
    /// and takes away nothing.
    pub async fn may_write(&self, exchange: &str) -> Right {
        let other = ALWAYS_THERE.into_iter().find(|other| *other != exchange).unwrap_or_default();
        let asked = async {
            let channel = topology::channel(&self.connection).await?;
            let unbound = channel.exchange_unbind(
                exchange.into(),
                other.into(),
                nobodys_key().into(),
                ExchangeUnbindOptions::default(),
                FieldTable::default(),
            );
            call(|| format!("asking for the right to write to exchange {exchange:?}"), unbound).await
        };
        // Writing is asked for before the right to read where the binding would come from.
        right(asked.await, Some(&format!("exchange '{other}'")))
    }

    /// Whether this user may bind a queue that is there to an exchange that is there.
    pub async fn may_bind(&self, queue: &str, exchange: &str) -> Right {
        let asked = async {
            let channel = topology::channel(&self.connection).await?;
            let unbound = channel.queue_unbind(
                queue.into(),
                exchange.into(),
                nobodys_key().into(),
                FieldTable::default(),
            );
            call(|| format!("asking for the right to bind queue {queue:?}"), unbound).await
        };
        right(asked.await, None)
    }

    /// Says goodbye.
    pub async fn close(self) {
        close(self.connection).await;
    }
}

/// A routing key that no binding has.
fn nobodys_key() -> String {
    format!("heartbeat-doctor-{:032x}", rand::random::<u128>())
}

fn sight<T>(looked: Result<T, AmqpError>) -> Sight<T> {
    match looked {
        Ok(seen) => Sight::There(seen),
        Err(error) if error.is_not_found() => Sight::Missing,
        Err(error) if error.is_denied() => Sight::Denied,
        Err(error) => Sight::Failed(error),
    }
}

/// What an answer says of a right. A refusal that speaks of `later`, or of topics, is of a right that is asked for after it.
fn right(answer: Result<(), AmqpError>, later: Option<&str>) -> Right {
    match answer {
        Ok(()) => Right::Given,
        Err(error) if error.is_denied_topic() => Right::Given,
        Err(error) if error.is_denied() => {
            let said = error.said().unwrap_or_default();
            if later.is_some_and(|later| said.contains(later)) { Right::Given } else { Right::Refused(said) }
        }
        Err(_) => Right::Untold,
    }
}
