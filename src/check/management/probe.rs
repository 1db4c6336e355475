//! What the management API tells beside what checks ask for, to whoever looks for what is wrong: it changes nothing.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::client::{segment, within};
use super::{ManagementClient, ManagementFailure};

/// Who a user is to the management API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whoami {
    /// Its tags, such as `monitoring`.
    pub tags: Vec<String>,
    /// The server's clock, as HTTP tells it.
    pub date: Option<String>,
}

/// The broker at a glance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// RabbitMQ's version.
    pub rabbitmq_version: String,
    /// Whether the API shows no statistics.
    pub disable_stats: bool,
}

/// An exchange as it stands.
#[derive(Clone, Debug, Deserialize)]
pub struct ExchangeAnswer {
    /// Its type, such as `topic`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A queue as it stands.
#[derive(Clone, Debug, Deserialize)]
pub struct QueueShape {
    /// Its arguments.
    #[serde(default)]
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// `classic` or `quorum`; brokers before 3.8 do not say.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// What a user may do in a vhost: patterns of names.
#[derive(Clone, Debug, Deserialize)]
pub struct Permissions {
    /// What may be made.
    pub configure: String,
    /// What may be written to.
    pub write: String,
    /// What may be read from.
    pub read: String,
}

/// Both ends of bindings.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// From an exchange to a queue.
    Queue(&'a str),
    /// From an exchange to another.
    Exchange(&'a str),
}

#[derive(Deserialize)]
struct Binding {
    routing_key: String,
}

#[derive(Deserialize)]
struct WhoamiBody {
    tags: Tags,
}

/// Brokers before 3.8.10 join them by commas.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tags {
    List(Vec<String>),
    Joined(String),
}

impl ManagementClient {
    /// Who the user is here.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn whoami(&self, end: Instant) -> Result<Whoami, ManagementFailure> {
        let WhoamiBody { tags } = self.ask_for("/api/whoami", end).await?;
        let tags = match tags {
            Tags::List(tags) => tags,
            Tags::Joined(tags) => tags.split(',').map(|tag| tag.trim().to_owned()).collect(),
        };
        Ok(Whoami { tags, date: self.date() })
    }

    /// The broker at a glance.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn overview(&self, end: Instant) -> Result<Overview, ManagementFailure> {
        self.ask_for("/api/overview", end).await
    }

    /// An exchange.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn exchange(&self, exchange: &str, end: Instant) -> Result<ExchangeAnswer, ManagementFailure> {
        let (vhost, _) = self.names();
        self.ask_for(&format!("/api/exchanges/{vhost}/{}", segment(exchange)), end).await
    }

    /// How a queue was made.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn queue_shape(&self, queue: &str, end: Instant) -> Result<QueueShape, ManagementFailure> {
        let (vhost, _) = self.names();
        self.ask_for(&format!("/api/queues/{vhost}/{}", segment(queue)), end).await
    }

    /// What the user may do in the vhost, which only an administrator is told.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn permissions(&self, end: Instant) -> Result<Permissions, ManagementFailure> {
        let (vhost, user) = self.names();
        self.ask_for(&format!("/api/permissions/{vhost}/{user}"), end).await
    }

    /// The routing keys of the bindings from an exchange to something.
    ///
    /// # Errors
    /// Where there is no answer by `end`.
    pub async fn bindings(
        &self,
        exchange: &str,
        to: Destination<'_>,
        end: Instant,
    ) -> Result<Vec<String>, ManagementFailure> {
        let (vhost, _) = self.names();
        let to = match to {
            Destination::Queue(queue) => format!("q/{}", segment(queue)),
            Destination::Exchange(exchange) => format!("e/{}", segment(exchange)),
        };
        let path = format!("/api/bindings/{vhost}/e/{}/{to}", segment(exchange));
        let bindings: Vec<Binding> = self.ask_for(&path, end).await?;
        Ok(bindings.into_iter().map(|binding| binding.routing_key).collect())
    }

    async fn ask_for<T: DeserializeOwned>(&self, path: &str, end: Instant) -> Result<T, ManagementFailure> {
        within(end, async {
            let body = self.get(path).await?;
            serde_json::from_slice(&body)
                .map_err(|_| ManagementFailure::Invalid("what it tells is not as the API has it"))
        })
        .await
    }
}
