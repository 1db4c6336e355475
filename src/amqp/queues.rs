//! The queues that one channel consumes, heard as one: what came next, from which of them, and how each fares.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::{Channel, Consumer};

use super::{AmqpError, topology};
use crate::clock::StoreClock;
use crate::heartbeat::Timestamp;
use crate::state::live::LiveGate;

/// Looks in a row that find messages waiting, and no delivery between, before the consumer is
/// taken to be dead.
const SILENT_LOOKS: u32 = 10;

/// Looks in a row that do not find our consumer before it is taken to be lost.
const LOST_LOOKS: u32 = 3;

/// What a look at a queue showed.
pub(super) struct Look {
    pub(super) asked: Timestamp,
    pub(super) ready: u64,
    pub(super) consumers: u32,
}

/// One queue and our consumer of it.
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) consumer: Consumer,
    /// Tells the consumer from those that the same channel had before.
    pub(super) number: u32,
    pub(super) gate: LiveGate,
    /// So many deliveries the session had had when this consumer had its first.
    pub(super) served_since: Option<u64>,
    pub(super) confirmed_at: Option<Timestamp>,
    pub(super) consumers: u32,
    deliveries_since_look: u64,
    silent_looks: u32,
    lost_looks: u32,
}

/// What a consumer said next; `None` is its end.
pub(super) type Said = Option<lapin::Result<Delivery>>;

/// All of them.
pub(super) struct Queues {
    all: Vec<Queue>,
    turn: usize,
}

impl Queue {
    /// A queue as `found`, whose consumer begins at `now`.
    pub(super) fn new(name: String, consumer: Consumer, number: u32, found: &Look, now: Timestamp) -> Self {
        Self {
            name,
            consumer,
            number,
            gate: LiveGate::begin(now, found.ready),
            served_since: None,
            confirmed_at: None,
            consumers: found.consumers,
            deliveries_since_look: 0,
            silent_looks: 0,
            lost_looks: 0,
        }
    }

    /// A delivery came at `now`, the first of the session after `before` others. Says whether it is live.
    pub(super) fn delivered(&mut self, now: Timestamp, redelivered: bool, before: u64) -> bool {
        self.deliveries_since_look += 1;
        self.served_since.get_or_insert(before);
        self.gate.delivered(now, redelivered)
    }

    /// Takes in what a look showed: is it empty, who consumes it, are we one of them. Where a `single` consumer
    /// is active at a time, another that waits for its turn is not served, and well.
    pub(super) fn looked(
        &mut self,
        look: &Look,
        now: Timestamp,
        full: bool,
        single: bool,
    ) -> Result<(), AmqpError> {
        let Look { asked, ready, consumers } = *look;
        // In a stream without a pause something is always on its way. By the rate since the last
        // look, so much of it waits for less than a fifth of a second, which is no backlog.
        let on_its_way = self.deliveries_since_look / 5;
        // One that counts no consumer has forgotten this one, or answers for a queue whose leader it does not reach:
        // it calls empty what is not.
        let waits = (consumers > 0).then(|| ready.saturating_sub(on_its_way));
        self.gate.looked(asked, now, waits);

        let our_turn = !single || self.served_since.is_some() || consumers <= 1;
        let silent = ready > 0 && self.deliveries_since_look == 0 && !full && our_turn;
        self.silent_looks = if silent { self.silent_looks + 1 } else { 0 };
        self.deliveries_since_look = 0;
        if self.silent_looks >= SILENT_LOOKS {
            return Err(AmqpError::Silent { queue: self.name.clone(), ready });
        }
        self.lost_looks = if consumers == 0 { self.lost_looks + 1 } else { 0 };
        if self.lost_looks >= LOST_LOOKS {
            return Err(AmqpError::Lost { queue: self.name.clone() });
        }
        self.consumers = consumers;
        Ok(())
    }
}

impl Queues {
    /// Queues in the order of the configuration.
    pub(super) fn new(all: Vec<Queue>) -> Self {
        Self { all, turn: 0 }
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.all.iter()
    }

    /// Each of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.all.iter_mut()
    }

    /// The queue at a place in the order.
    pub(super) fn at(&mut self, at: usize) -> &mut Queue {
        &mut self.all[at]
    }

    /// So many.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// What comes next, and from which queue. Whoever was heard comes last the next time.
    pub(super) async fn next(&mut self) -> (usize, Said) {
        poll_fn(|context| self.poll(context)).await
    }

    /// What has come and was not taken; `None` if that is nothing at all.
    pub(super) fn next_now(&mut self) -> Option<(usize, Said)> {
        self.next().now_or_never()
    }

    // Each of them is asked before it answers that nothing has come: on that rests what counts as heard.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Said)> {
        let count = self.all.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if let Poll::Ready(said) = self.all[at].consumer.poll_next_unpin(context) {
                self.turn = at + 1;
                return Poll::Ready((at, said));
            }
        }
        Poll::Pending
    }

    /// What comes next may have waited, wherever it comes from.
    pub(super) fn something_waits(&mut self, now: Timestamp) {
        self.all.iter_mut().for_each(|queue| queue.gate.something_waits(now));
    }

    /// Nothing that was delivered waits to be taken in. Returns the latest moment of which it is certain that
    /// whatever had been sent before has come, through each of them.
    pub(super) fn caught_up(&mut self, now: Timestamp) -> Option<Timestamp> {
        for queue in &mut self.all {
            queue.confirmed_at = queue.gate.caught_up(now).or(queue.confirmed_at);
        }
        self.all.iter().map(|queue| queue.confirmed_at).min().flatten()
    }

    /// Whether what they held at the beginning has been taken in.
    pub(super) fn are_drained(&self) -> bool {
        self.all.iter().all(|queue| queue.gate.is_drained())
    }

    /// From how many of them this consumer is served.
    pub(super) fn served(&self) -> u32 {
        u32::try_from(self.all.iter().filter(|queue| queue.served_since.is_some()).count())
            .unwrap_or(u32::MAX)
    }

    /// That of them which is served for the shortest time.
    pub(super) fn served_last(&self) -> Option<usize> {
        let served = self.all.iter().enumerate().filter(|(_, queue)| queue.served_since.is_some());
        served.max_by_key(|(_, queue)| queue.served_since).map(|(at, _)| at)
    }
}

/// Asks the broker about queues, all at once, each on a channel of its own.
pub(super) async fn look(queues: &[(Channel, String)], clock: &StoreClock) -> Result<Vec<Look>, AmqpError> {
    try_join_all(queues.iter().map(async |(channel, queue)| {
        let asked = clock.now();
        let found = topology::inspect(channel, queue).await?;
        Ok(Look { asked, ready: u64::from(found.message_count()), consumers: found.consumer_count() })
    }))
    .await
}

/// Names for people.
pub(super) fn names(queues: &[String]) -> Arc<str> {
    queues.join(",").into()
}
