//! Looks at queues by passive declarations, on a channel of its own.

use std::collections::HashMap;
use std::sync::Arc;

use lapin::{Channel, Connection};

use super::topology;

/// What a passive declaration told of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// It is not there.
    Missing,
    /// It is there.
    Present {
        /// Messages ready.
        messages: u32,
        /// Consumers.
        consumers: u32,
    },
    /// This user may not look.
    Denied,
}

/// Looks at queues one by one. A queue that is missing closes the channel, so the next one gets
/// another.
pub(super) async fn inspect_all(
    connection: &Connection,
    queues: Vec<Arc<str>>,
) -> HashMap<Arc<str>, QueueState> {
    let mut states = HashMap::with_capacity(queues.len());
    let mut channel: Option<Channel> = None;
    for queue in queues {
        let usable = match channel.take() {
            Some(channel) => channel,
            None => match topology::channel(connection).await {
                Ok(channel) => channel,
                Err(_) => break,
            },
        };
        match topology::inspect(&usable, &queue).await {
            Ok(state) => {
                let present = QueueState::Present {
                    messages: state.message_count(),
                    consumers: state.consumer_count(),
                };
                states.insert(queue, present);
                channel = Some(usable);
            }
            Err(error) if error.is_not_found() => {
                states.insert(queue, QueueState::Missing);
            }
            Err(error) if error.is_denied() => {
                states.insert(queue, QueueState::Denied);
            }
            Err(_) => break,
        }
    }
    states
}
