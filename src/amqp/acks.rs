//! Which deliveries may be acknowledged, and with how few frames.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::time::timeout;
use tracing::debug;

/// Longest wait for an ack to be written.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Settles deliveries of one channel, in order, from one task. What is settled is due, and goes out
/// with the next [`Acks::write`]. lapin spawns each ack, so two that are not awaited one after the
/// other may overtake each other, which closes the channel.
#[derive(Debug, Default)]
pub struct Acks {
    channel: Option<Channel>,
    ledger: Ledger,
    due: Vec<Frame>,
}

impl Acks {
    /// For the deliveries of one channel; `None` where nothing is to be acknowledged.
    pub(super) fn new(channel: Option<Channel>) -> Self {
        Self { channel, ..Self::default() }
    }

    /// For a link that needs no acks.
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes note of a delivery.
    pub fn delivered(&mut self, tag: u64) {
        self.ledger.delivered(tag);
    }

    /// Deliveries that are not settled.
    pub fn open(&self) -> usize {
        self.ledger.unsettled
    }

    /// Notes that deliveries are to be acknowledged.
    pub fn settle(&mut self, tags: impl IntoIterator<Item = u64>) {
        self.due.extend(self.ledger.settle(tags));
    }

    /// What is due from now on; it counts as written.
    pub(crate) fn take_due(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.due)
    }

    /// Writes what is due. Failure means that the channel is gone, and its deliveries come again on
    /// another: nothing is to be done about it here.
    pub async fn write(&mut self) {
        let frames = self.take_due();
        let Some(channel) = &self.channel else { return };
        for Frame { tag, multiple } in frames {
            let acked = channel.basic_ack(tag, BasicAckOptions { multiple });
            match timeout(ACK_TIMEOUT, acked).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(tag, %error, "Ack failed");
                    return;
                }
                Err(_) => {
                    debug!(tag, "Ack not written in time");
                    return;
                }
            }
        }
    }
}

/// One ack on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// A delivery.
    pub(crate) tag: u64,
    /// And all those before it.
    pub(crate) multiple: bool,
}

/// Deliveries of one channel by tag; `true` once settled but not yet acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    open: BTreeMap<u64, bool>,
    unsettled: usize,
    /// All deliveries up to here have been taken note of. With several consumers on the channel one may be heard
    /// before another whose delivery came first.
    noted_to: u64,
    noted_early: BTreeSet<u64>,
}

impl Ledger {
    fn delivered(&mut self, tag: u64) {
        if self.open.insert(tag, false).is_none() {
            self.unsettled += 1;
        }
        if tag != self.noted_to + 1 {
            self.noted_early.insert(tag);
            return;
        }
        self.noted_to = tag;
        while self.noted_early.first() == Some(&(self.noted_to + 1)) {
            self.noted_early.pop_first();
            self.noted_to += 1;
        }
    }

    /// Settles tags: the settled ones before the first open one go in one frame, the rest singly.
    /// No frame ever covers a delivery that is still open or still to be noted, nor one that was acknowledged
    /// before.
    fn settle(&mut self, tags: impl IntoIterator<Item = u64>) -> Vec<Frame> {
        let mut settled = Vec::new();
        for tag in tags {
            if let Some(state) = self.open.get_mut(&tag)
                && !*state
            {
                *state = true;
                self.unsettled -= 1;
                settled.push(tag);
            }
        }
        let first_open = self.open.iter().find(|(_, settled)| !**settled).map(|(tag, _)| *tag);
        let known_to = self.noted_to.saturating_add(1);
        let ends_before = first_open.map_or(known_to, |first_open| first_open.min(known_to));
        let prefix_end = self.open.range(..ends_before).next_back().map(|(tag, _)| *tag);
        let mut frames = Vec::new();
        if let Some(end) = prefix_end {
            let several = self.open.range(..=end).nth(1).is_some();
            frames.push(Frame { tag: end, multiple: several });
            self.open = self.open.split_off(&(end + 1));
        }
        settled.sort_unstable();
        for tag in settled {
            if self.open.remove(&tag).is_some() {
                frames.push(Frame { tag, multiple: false });
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_goes_in_one_frame_and_the_rest_singly() {
        let mut ledger = Ledger::default();
        (1..=6).for_each(|tag| ledger.delivered(tag));
        assert_eq!(
            ledger.settle([2, 1, 3, 5]),
            [Frame { tag: 3, multiple: true }, Frame { tag: 5, multiple: false }]
        );
        assert_eq!(ledger.settle([5, 3]), []);
        assert_eq!(ledger.settle([4]), [Frame { tag: 4, multiple: false }]);
        assert_eq!(ledger.settle([6]), [Frame { tag: 6, multiple: false }]);
    }

    #[test]
    fn what_is_on_its_way_through_another_consumer_is_not_acked_with_the_rest() {
        let mut ledger = Ledger::default();
        [1, 2, 4, 5].into_iter().for_each(|tag| ledger.delivered(tag));
        assert_eq!(
            ledger.settle([1, 2, 4, 5]),
            [
                Frame { tag: 2, multiple: true },
                Frame { tag: 4, multiple: false },
                Frame { tag: 5, multiple: false }
            ]
        );
        [3, 6, 7].into_iter().for_each(|tag| ledger.delivered(tag));
        assert_eq!(ledger.settle([6, 3, 7]), [Frame { tag: 7, multiple: true }]);
    }

    proptest! {
        /// A broker that closes the channel on any ack that is not exact.
        #[test]
        fn a_strict_broker_is_content(settlements in prop::collection::vec(
            prop::collection::vec(1u64..60, 0..12), 0..30)) {
            let mut ledger = Ledger::default();
            let mut unacked: BTreeSet<u64> = (1..60).collect();
            let mut settled = BTreeSet::new();
            unacked.iter().for_each(|tag| ledger.delivered(*tag));
            for tags in settlements {
                settled.extend(tags.iter().copied());
                for Frame { tag, multiple } in ledger.settle(tags) {
                    prop_assert!(unacked.contains(&tag), "{tag} acked twice");
                    let covered: Vec<u64> = if multiple {
                        unacked.range(..=tag).copied().collect()
                    } else {
                        vec![tag]
                    };
                    for tag in covered {
                        prop_assert!(settled.contains(&tag), "{tag} acked unsettled");
                        unacked.remove(&tag);
                    }
                }
                prop_assert!(unacked.is_disjoint(&settled));
            }
        }
    }
}
