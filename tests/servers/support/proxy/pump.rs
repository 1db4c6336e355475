//! One direction of one connection: what is read, when, and what of it is written on.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::counts::{Tally, add};
use super::toxics::{Direction, Ending, Latency, Toxics};
use crate::support::v2::Chance;

/// Bytes read at once.
const CHUNK: usize = 4096;

/// Chunks under way: enough for some latency at speed, and so few that a stall is felt soon.
const UNDER_WAY: usize = 64;

/// A slow line hands on at most what it carries in this time, so that a change of its rate is felt soon.
const STEP: Duration = Duration::from_millis(100);

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its sender has closed, and the other side was told, or shall not be.
    Closed,
    /// The whole connection ends with it.
    Whole(Ending),
}

enum Item {
    Bytes(Vec<u8>),
    /// The sender closed in order.
    Close,
    /// The sender reset.
    Reset,
}

/// The state of one direction.
pub(super) struct Pump {
    direction: Direction,
    toxics: watch::Receiver<Toxics>,
    /// The other direction's: news of a write that failed travel there.
    opposite: watch::Receiver<Toxics>,
    tally: Arc<Tally>,
    chance: Chance,
    /// What was armed, and how many bytes are left until then.
    limit: Countdown,
    flip: Countdown,
    /// A byte was swallowed, so nothing may follow.
    forgotten: bool,
}

/// Bytes until something happens, counted anew whenever it is set otherwise.
#[derive(Default)]
struct Countdown {
    set: Option<u64>,
    left: Option<u64>,
}

impl Countdown {
    fn arm(&mut self, set: Option<u64>) {
        if self.set != set {
            (self.set, self.left) = (set, set);
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
    }
}

impl Pump {
    pub(super) fn new(
        direction: Direction,
        toxics: watch::Receiver<Toxics>,
        opposite: watch::Receiver<Toxics>,
        tally: Arc<Tally>,
        chance: Chance,
    ) -> Self {
        let (limit, flip) = (Countdown::default(), Countdown::default());
        Self { direction, toxics, opposite, tally, chance, limit, flip, forgotten: false }
    }

    /// Carries until the end.
    pub(super) async fn run(mut self, source: ReadHalf<'_>, sink: WriteHalf<'_>) -> End {
        let (sender, queue) = mpsc::channel(UNDER_WAY);
        let reading = async {
            read(source, sender).await;
            pending::<End>().await
        };
        tokio::select! {
            end = reading => end,
            end = self.write(queue, sink) => end,
        }
    }

    async fn write(&mut self, mut queue: mpsc::Receiver<(Instant, Item)>, mut sink: WriteHalf<'_>) -> End {
        while let Some((read_at, item)) = queue.recv().await {
            self.wait_latency(read_at).await;
            self.wait_stall().await;
            if self.swallows() {
                if let Item::Bytes(bytes) = item {
                    add(&self.tally.swallowed, bytes.len());
                }
                continue;
            }
            match item {
                Item::Bytes(mut bytes) => {
                    if let Err(end) = self.pass(&mut bytes, &mut sink).await {
                        return end;
                    }
                }
                Item::Close => {
                    if let Some(delay) = self.now().slow_close {
                        self.pause(delay).await;
                    }
                    let _ = sink.shutdown().await;
                    return End::Closed;
                }
                Item::Reset => return End::Whole(Ending::Reset),
            }
        }
        End::Closed
    }

    /// Writes a chunk in as many steps as the toxics want.
    async fn pass(&mut self, bytes: &mut [u8], sink: &mut WriteHalf<'_>) -> Result<(), End> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.wait_stall().await;
            if self.swallows() {
                add(&self.tally.swallowed, rest.len());
                return Ok(());
            }
            let toxics = self.now();
            let step = self.step(&toxics, rest.len());
            let (now, later) = rest.split_at_mut(step);
            rest = later;
            if let Some(turned) = self.flip.left.and_then(|left| now.get_mut(usize::try_from(left).ok()?)) {
                *turned = !*turned;
                add(&self.tally.flipped, 1);
                self.flip.left = None;
            }
            if sink.write_all(now).await.is_err() {
                return Err(self.tell_broken().await);
            }
            add(self.tally.passed(self.direction), step);
            self.flip.pass(step);
            self.limit.pass(step);
            if let (Some(0), Some(limit)) = (self.limit.left, toxics.limit_data) {
                add(&self.tally.cut, 1);
                return Err(End::Whole(limit.how));
            }
            self.wait_step(&toxics, step).await;
        }
        Ok(())
    }

    /// How many bytes are written next.
    fn step(&mut self, toxics: &Toxics, available: usize) -> usize {
        self.limit.arm(toxics.limit_data.map(|limit| limit.bytes));
        self.flip.arm(toxics.flip);
        let mut step = available;
        if let Some(slicer) = toxics.slicer {
            step = step.min(slicer.bytes.max(1));
        }
        if let Some(rate) = toxics.bandwidth {
            step = step.min((rate as usize * STEP.as_millis() as usize / 1000).max(1));
        }
        if let Some(left) = self.limit.left {
            step = step.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        step
    }

    async fn wait_step(&mut self, toxics: &Toxics, step: usize) {
        if let Some(slicer) = toxics.slicer {
            add(&self.tally.sliced, 1);
            if slicer.delay.is_zero() {
                tokio::task::yield_now().await;
            } else {
                self.pause(slicer.delay).await;
            }
        }
        if let Some(rate) = toxics.bandwidth {
            self.pause(Duration::from_secs(step as u64) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX))
                .await;
        }
    }

    /// Waits until a chunk that was read then is due.
    async fn wait_latency(&mut self, read_at: Instant) {
        let Some(Latency { base, jitter }) = self.now().latency else {
            return;
        };
        let spread = u64::try_from(jitter.as_micros()).unwrap() * 2 + 1;
        let due = read_at + (base + Duration::from_micros(self.chance.below(spread))).saturating_sub(jitter);
        add(&self.tally.delayed, 1);
        while self.now().latency.is_some() && Instant::now() < due {
            self.changed_or(due).await;
        }
    }

    async fn wait_stall(&mut self) {
        if self.now().stall {
            add(&self.tally.stalled, 1);
            // The sender of toxics lives as long as the connection.
            let _ = self.toxics.wait_for(|toxics| !toxics.stall).await;
        }
    }

    /// A write failed: the writer's peer is gone, and whether the sender learns so is the other direction's matter.
    async fn tell_broken(&mut self) -> End {
        let _ = self.opposite.wait_for(|toxics| !toxics.blocks()).await;
        End::Whole(Ending::Reset)
    }

    /// Waits, but not longer than the toxics stay as they are.
    async fn pause(&mut self, delay: Duration) {
        self.changed_or(Instant::now() + delay).await;
    }

    async fn changed_or(&mut self, until: Instant) {
        tokio::select! {
            () = sleep_until(until) => {}
            _ = self.toxics.changed() => {}
        }
    }

    fn swallows(&mut self) -> bool {
        self.forgotten |= self.now().swallow;
        self.forgotten
    }

    fn now(&mut self) -> Toxics {
        self.toxics.borrow_and_update().clone()
    }
}

/// Reads until the end, and says it.
async fn read(mut source: ReadHalf<'_>, queue: mpsc::Sender<(Instant, Item)>) {
    loop {
        let mut bytes = vec![0; CHUNK];
        let (item, last) = match source.read(&mut bytes).await {
            Ok(0) => (Item::Close, true),
            Ok(length) => {
                bytes.truncate(length);
                (Item::Bytes(bytes), false)
            }
            Err(_) => (Item::Reset, true),
        };
        if queue.send((Instant::now(), item)).await.is_err() || last {
            return;
        }
    }
}
