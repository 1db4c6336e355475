//! What passes between the task that consumes and those whom it serves.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::acks::Acks;
use super::delivery::Delivery;
use crate::heartbeat::Timestamp;

/// What the ingest hears.
#[derive(Debug)]
pub enum Event {
    /// A new channel: deliveries of every earlier one will come again.
    Began {
        /// Its number.
        generation: u64,
        /// Its acks.
        acks: Acks,
    },
    /// A message.
    Delivered(Delivery),
    /// The channel is gone, or was not made; with what it failed by, one of
    /// [`REASONS`](super::REASONS), unless it was told to stop.
    Ended(Option<&'static str>),
}

/// How the consumer is, for readiness, metrics and judgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerState {
    /// There is a connection.
    pub connected: bool,
    /// The consumer stands, what its queues held at its start is taken in, and its window is not full.
    pub listening: bool,
    /// Consumers of each queue, ours included, at the last look.
    pub consumers: Vec<u32>,
    /// Whether our consumer stands, so that it is one of those.
    pub consuming: bool,
    /// Queues from which it is served; with a single active consumer, those where it is the one.
    pub served: u32,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Of which moment it is sure that whatever had been sent until then has come.
    pub confirmed: Confirmed,
}

/// Until when the broker is known to have been there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirmed {
    /// It is not.
    #[default]
    Never,
    /// It answered a question asked then, in the store's clock.
    At(Timestamp),
    /// There is no broker between: the publisher is in this process.
    Always,
}

/// What the ingest tells the consumer.
#[derive(Debug, Default)]
pub struct Window {
    /// Deliveries that the ingest holds unsettled.
    pub open: AtomicUsize,
    /// Deliveries are held for want of the store: the window should grow, and nothing worn be taken again.
    pub store_is_away: AtomicBool,
    /// Give everything back and begin anew: it was held for too long.
    pub give_back: AtomicBool,
    /// Another subscriber has less to do: leave it the queue that was taken last.
    pub give_way: AtomicBool,
}
