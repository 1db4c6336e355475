//! A broker with one queue: strict about acks, as RabbitMQ is, which closes the channel on any that is not exact.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::amqp::acks::Frame;

use super::fleet::Emission;

/// What a message is.
#[derive(Debug)]
pub(super) enum Content {
    /// A heartbeat.
    Heartbeat(Box<Emission>),
    /// Something that nobody can read.
    Poison,
}

/// A message in the broker.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) content: Rc<Content>,
    pub(super) redelivered: bool,
    /// Its place in the queue, to which it goes back.
    place: u64,
}

/// Messages that one consumer has not acknowledged.
#[derive(Debug, Default)]
struct Channel {
    next_tag: u64,
    unacked: BTreeMap<u64, Message>,
}

/// The broker.
#[derive(Debug, Default)]
pub(super) struct Broker {
    ready: BTreeMap<u64, Message>,
    channels: BTreeMap<usize, Channel>,
    next_place: u64,
    /// Given back, a message goes to the end of the queue: a quorum queue without a delivery limit.
    requeues_at_the_end: bool,
}

/// Places between two messages, so that others find room.
const STRIDE: u64 = 1 << 16;

impl Broker {
    pub(super) fn new(requeues_at_the_end: bool) -> Self {
        Self { requeues_at_the_end, ..Self::default() }
    }

    /// Takes a message; `ahead` of so many that wait.
    pub(super) fn publish(&mut self, content: Rc<Content>, ahead: usize) {
        self.next_place += STRIDE;
        let before = self.ready.keys().rev().nth(ahead.saturating_sub(1)).or(self.ready.keys().next());
        let place = match before {
            Some(before) if ahead > 0 => {
                (1..STRIDE).map(|gap| before - gap).find(|at| !self.ready.contains_key(at))
            }
            _ => None,
        };
        let place = place.unwrap_or(self.next_place);
        self.ready.insert(place, Message { content, redelivered: false, place });
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn unacked(&self, consumer: usize) -> impl Iterator<Item = &Message> {
        self.channels.get(&consumer).into_iter().flat_map(|channel| channel.unacked.values())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.channels.values().all(|channel| channel.unacked.is_empty())
    }

    /// Hands the next message to a consumer whose window has room.
    pub(super) fn deliver(&mut self, consumer: usize, prefetch: usize) -> Option<(u64, Message)> {
        let channel = self.channels.entry(consumer).or_default();
        if channel.unacked.len() >= prefetch {
            return None;
        }
        let (_, message) = self.ready.pop_first()?;
        channel.next_tag += 1;
        channel.unacked.insert(channel.next_tag, message.clone());
        Some((channel.next_tag, message))
    }

    /// Acknowledged; returns what that covers.
    pub(super) fn ack(&mut self, consumer: usize, frame: Frame) -> Vec<Message> {
        let channel = self.channels.get_mut(&consumer).expect("an ack on a channel that is not open");
        assert!(channel.unacked.contains_key(&frame.tag), "{frame:?} is not unacked: {channel:?}");
        let covered: Vec<u64> = if frame.multiple {
            channel.unacked.range(..=frame.tag).map(|(tag, _)| *tag).collect()
        } else {
            vec![frame.tag]
        };
        covered.iter().filter_map(|tag| channel.unacked.remove(tag)).collect()
    }

    /// A consumer's connection is gone: what it had not acknowledged goes back.
    pub(super) fn disconnect(&mut self, consumer: usize) -> usize {
        let Some(channel) = self.channels.remove(&consumer) else { return 0 };
        let returned = channel.unacked.len();
        for (_, message) in channel.unacked {
            let mut place = message.place;
            if self.requeues_at_the_end {
                self.next_place += STRIDE;
                place = self.next_place;
            }
            self.ready.insert(place, Message { redelivered: true, place, ..message });
        }
        returned
    }
}
