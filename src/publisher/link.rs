//! The way out of a publisher: the broker, or a subscriber in the same process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::amqp::consume::{Confirmed, ConsumerState, Delivery, Event};
use crate::amqp::publish::{LinkState, Outgoing, PublishFailure, Publisher, QueueState};
use crate::clock::StoreClock;
use crate::signing::Proof;
use crate::trace::{TRACEPARENT, TraceContext};

/// Heartbeats on their way within the process.
const IN_PROCESS_MAX: usize = 16;

/// Where heartbeats go.
#[derive(Clone, Debug)]
pub enum Link {
    /// To RabbitMQ.
    Amqp(Publisher),
    /// To a subscriber in this process. Queues are looked at through the broker, where one is used.
    InProcess(InProcess),
}

/// The publisher's end of an in-process link.
#[derive(Clone, Debug)]
pub struct InProcess {
    events: mpsc::Sender<Event>,
    state: watch::Receiver<LinkState>,
    _state: Arc<watch::Sender<LinkState>>,
    _consumer: Arc<watch::Sender<ConsumerState>>,
    tag: Arc<AtomicU64>,
    inspector: Option<Publisher>,
    clock: Arc<StoreClock>,
}

/// The subscriber's end: what it would hear of a broker.
pub type InProcessEnd = (mpsc::Receiver<Event>, watch::Receiver<ConsumerState>);

impl Link {
    /// Both ends of a link within the process; queues are looked at through `inspector`, and
    /// `clock` is the subscriber's.
    pub fn in_process(inspector: Option<Publisher>, clock: Arc<StoreClock>) -> (Self, InProcessEnd) {
        let (events, received) = mpsc::channel(IN_PROCESS_MAX);
        let up = LinkState { connected: true, ..LinkState::default() };
        let (state_out, state) = watch::channel(up);
        let consuming = ConsumerState {
            connected: true,
            listening: true,
            consuming: true,
            consumers: Vec::new(),
            served: 0,
            reconnects: 0,
            confirmed: Confirmed::Always,
        };
        let (consumer_out, consumer) = watch::channel(consuming);
        let link = InProcess {
            events,
            state,
            _state: Arc::new(state_out),
            _consumer: Arc::new(consumer_out),
            tag: Arc::new(AtomicU64::new(0)),
            inspector,
            clock,
        };
        (Self::InProcess(link), (received, consumer))
    }

    /// Sends one heartbeat.
    ///
    /// # Errors
    /// Says what became of it.
    pub(super) async fn publish(&self, message: Outgoing) -> Result<(), PublishFailure> {
        match self {
            Self::Amqp(publisher) => publisher.publish(message).await,
            Self::InProcess(link) => link.publish(message).await,
        }
    }

    /// Looks at queues, as far as that is possible within `limit`.
    pub(super) async fn inspect(
        &self,
        queues: Vec<Arc<str>>,
        limit: Duration,
    ) -> HashMap<Arc<str>, QueueState> {
        let publisher = match self {
            Self::Amqp(publisher) => Some(publisher),
            Self::InProcess(link) => link.inspector.as_ref(),
        };
        match publisher {
            Some(publisher) => publisher.inspect(queues, limit).await,
            None => HashMap::new(),
        }
    }

    /// How the link is.
    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        match self {
            Self::Amqp(publisher) => publisher.state(),
            Self::InProcess(link) => link.state.clone(),
        }
    }
}

impl InProcess {
    async fn publish(&self, message: Outgoing) -> Result<(), PublishFailure> {
        let at = self.clock.now();
        let header = |name| message.headers.iter().find(|(held, _)| *held == name).map(|(_, text)| text);
        let delivery = Delivery {
            generation: 0,
            tag: self.tag.fetch_add(1, Ordering::Relaxed) + 1,
            body: message.body,
            routing_key: "".into(),
            redelivered: false,
            durable: false,
            worn: false,
            at,
            live: true,
            live_since: crate::heartbeat::Timestamp::EPOCH,
            broker_at: None,
            trace: header(TRACEPARENT).and_then(|text| TraceContext::parse(text)),
            proof: Proof::default(),
        };
        let sent = self.events.send(Event::Delivered(delivery)).await;
        sent.map_err(|_| PublishFailure::Disconnected)
    }
}
