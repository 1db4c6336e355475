//! What the management API answers, reduced to what the checks need. Read off RabbitMQ 3.10; other fields
//! are ignored.

use std::collections::HashMap;

use serde::Deserialize;

use super::ManagementFailure;

/// A consumer as the management API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenConsumer {
    /// Its tag.
    pub tag: Box<str>,
    /// Whether the broker gives it messages: `up`, or the one that a queue with a single active consumer
    /// has chosen. Brokers before 3.8 do not say, and know no inactive ones.
    pub active: bool,
}

/// The consumers of a vhost by queue, as far as the user may see them.
pub type ConsumerList = HashMap<Box<str>, Vec<SeenConsumer>>;

/// What the API says of a single queue. Fields are absent where the broker keeps no statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueAnswer {
    /// How many consumers there are.
    pub consumers: Option<u64>,
    /// Which ones.
    pub details: Option<Vec<SeenConsumer>>,
    /// Messages in the queue, ready and unacknowledged.
    pub messages: Option<u64>,
}

/// The form in which the API gives its errors.
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    pub(super) error: String,
    pub(super) reason: String,
}

#[derive(Deserialize)]
struct Row {
    consumer_tag: Box<str>,
    activity_status: Option<Box<str>>,
}

#[derive(Deserialize)]
struct ListRow {
    consumer_tag: Box<str>,
    activity_status: Option<Box<str>>,
    queue: RowQueue,
}

#[derive(Deserialize)]
struct RowQueue {
    name: Box<str>,
}

#[derive(Deserialize)]
struct QueueBody {
    name: Box<str>,
    consumers: Option<u64>,
    messages: Option<u64>,
    consumer_details: Option<Vec<Row>>,
}

impl From<Row> for SeenConsumer {
    fn from(row: Row) -> Self {
        let active = row.activity_status.is_none_or(|status| matches!(&*status, "up" | "single_active"));
        Self { tag: row.consumer_tag, active }
    }
}

/// Reads the answer to `/api/consumers/{vhost}`.
///
/// # Errors
/// Where the body is no such list.
pub fn consumer_list(body: &[u8]) -> Result<ConsumerList, ManagementFailure> {
    let rows: Vec<ListRow> = serde_json::from_slice(body)
        .map_err(|_| ManagementFailure::Invalid("the list of consumers is none"))?;
    let mut list = ConsumerList::new();
    for ListRow { consumer_tag, activity_status, queue } in rows {
        let consumer = SeenConsumer::from(Row { consumer_tag, activity_status });
        list.entry(queue.name).or_default().push(consumer);
    }
    Ok(list)
}

/// Reads the answer to `/api/queues/{vhost}/{queue}`, which has to be about that queue.
///
/// # Errors
/// Where the body is none, or of another queue.
pub fn queue_answer(queue: &str, body: &[u8]) -> Result<QueueAnswer, ManagementFailure> {
    let body: QueueBody =
        serde_json::from_slice(body).map_err(|_| ManagementFailure::Invalid("the queue is none"))?;
    if &*body.name != queue {
        return Err(ManagementFailure::Invalid("the queue is another one"));
    }
    Ok(QueueAnswer {
        consumers: body.consumers,
        details: body.consumer_details.map(|rows| rows.into_iter().map(SeenConsumer::from).collect()),
        messages: body.messages,
    })
}
