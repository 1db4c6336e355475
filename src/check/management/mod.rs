//! Whether the expected listeners consume their queues, asked of RabbitMQ's management API.
//!
//! [`client`](ManagementClient) asks, [`decide`] judges what was answered, and [`check_queues`] asks no more
//! than the judgement needs: the list of all consumers once, and a single queue where the list leaves
//! something open. What the API cannot or will not show is unknown; that it fails says nothing of a queue.

mod answer;
mod client;
mod failure;
pub mod probe;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;

pub use answer::{ConsumerList, QueueAnswer, SeenConsumer, consumer_list, queue_answer};
pub use client::{BODY_BYTES_MAX, ManagementClient, ManagementConfig, ManagementConfigError};
pub use failure::ManagementFailure;
pub use verdict::{
    Evidence, ListenerChecked, ListenerSpec, Passive, QueueChecked, QueueSpec, Single, decide, needs_list,
    needs_single,
};

/// Requests for single queues that are under way at once: one takes a broker 3 to 5 ms.
const REQUESTS_MAX: usize = 8;

/// What one round of checks found.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueRound {
    /// Every queue asked for, in the order asked.
    pub queues: Vec<QueueChecked>,
    /// How long the round took.
    pub took: Duration,
}

/// Checks queues and their listeners, all within one deadline.
///
/// `passive` is what a passive declaration over AMQP found of each queue; of those that are not in it,
/// nothing is known ([`Passive::NotAsked`]).
pub async fn check_queues(
    client: &ManagementClient,
    specs: &[QueueSpec],
    passive: &HashMap<Arc<str>, Passive>,
    deadline: Duration,
) -> QueueRound {
    let start = Instant::now();
    let end = start + deadline;
    let passive_of = |spec: &QueueSpec| passive.get(&spec.queue).copied().unwrap_or(Passive::NotAsked);
    let mut list = None;
    if specs.iter().any(|spec| needs_list(spec, passive_of(spec))) {
        let answer = client.consumers(end).await;
        if let Err(failure) = &answer {
            tracing::debug!(error = failure as &dyn Error, "Management API did not list the consumers");
        }
        list = Some(answer);
    }
    let seen_of = |spec: &QueueSpec| {
        let list = list.as_ref()?.as_ref();
        Some(list.map(|list| list.get(&*spec.queue).map_or(&[][..], Vec::as_slice)))
    };
    // Made first and run afterwards: a closure that borrows its argument cannot be spawned.
    let requests: Vec<_> = specs
        .iter()
        .map(|spec| {
            let wanted = seen_of(spec).is_some_and(|seen| needs_single(spec, seen, passive_of(spec)));
            let queue = Arc::clone(&spec.queue);
            async move { if wanted { ask_single(client, &queue, end).await } else { Single::NotAsked } }
        })
        .collect();
    let singles: Vec<Single> = stream::iter(requests).buffered(REQUESTS_MAX).collect().await;
    let genuine = match &list {
        Some(Ok(_)) => true,
        Some(Err(failure)) => failure.is_from_api() || singles.iter().any(Single::is_from_api),
        None => false,
    };
    let judge = |(spec, single)| {
        decide(spec, &Evidence { seen: seen_of(spec), single, passive: passive_of(spec), genuine })
    };
    QueueRound { queues: specs.iter().zip(&singles).map(judge).collect(), took: start.elapsed() }
}

async fn ask_single(client: &ManagementClient, queue: &str, end: Instant) -> Single {
    match client.queue(queue, end).await {
        Ok(answer) => Single::Answered(answer),
        Err(failure) => {
            tracing::debug!(queue, error = &failure as &dyn Error, "Management API did not show the queue");
            Single::Failed(failure)
        }
    }
}
