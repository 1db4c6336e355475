//! What waits to be exported: bounded, and never waited for by those who add to it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::Batch;

/// Adds are a lock and a push; beyond the bound the oldest make room, and are counted.
#[derive(Debug)]
pub(super) struct Queue<T> {
    // A std lock: held to push or to take a batch, never across an await.
    held: Mutex<Held<T>>,
    /// Told when the first item comes, and when there are enough for a request.
    filled: Notify,
    batch: Batch,
    dropped: Counter,
}

#[derive(Debug)]
struct Held<T> {
    /// Each with how many spans or records it is.
    items: VecDeque<(usize, T)>,
    count: usize,
}

impl<T> Queue<T> {
    pub(super) fn new(batch: Batch, dropped: Counter) -> Self {
        let held = Held { items: VecDeque::new(), count: 0 };
        Self { held: Mutex::new(held), filled: Notify::new(), batch, dropped }
    }

    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something that is `count` spans or records. What is larger than the whole queue is dropped by
    /// itself, and throws nobody else out.
    pub(super) fn push(&self, count: usize, item: T) {
        if count > self.batch.queue_max {
            self.dropped.inc_by(count as u64);
            return;
        }
        let mut outlived = Vec::new();
        let mut held = self.lock();
        let before = held.count;
        held.items.push_back((count, item));
        held.count += count;
        while held.count > self.batch.queue_max {
            let Some((count, item)) = held.items.pop_front() else { break };
            held.count -= count;
            self.dropped.inc_by(count as u64);
            outlived.push(item);
        }
        let now = held.count;
        drop(held);
        if before == 0 || (before < self.batch.request_max && now >= self.batch.request_max) {
            self.filled.notify_one();
        }
        // What was dropped is freed without the lock.
        drop(outlived);
    }

    /// Whether as much waits as may.
    pub(super) fn is_full(&self) -> bool {
        // An item of several does not fit into the last places.
        self.lock().count + self.batch.request_max / 8 >= self.batch.queue_max
    }

    fn count(&self) -> usize {
        self.lock().count
    }

    /// The next request's items: as soon as there are enough, or the first has waited for the delay, or
    /// `stop`. `None` only after `stop`, when nothing is left.
    pub(super) async fn next_batch(&self, stop: &CancellationToken) -> Option<Vec<T>> {
        while self.count() == 0 {
            if stop.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.filled.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        let due = Instant::now() + self.batch.delay;
        while self.count() < self.batch.request_max && !stop.is_cancelled() {
            let more = async {
                tokio::select! {
                    () = self.filled.notified() => {}
                    () = stop.cancelled() => {}
                }
            };
            if timeout_at(due, more).await.is_err() {
                break;
            }
        }
        Some(self.take())
    }

    /// As many as fit into one request, and at least one.
    fn take(&self) -> Vec<T> {
        let mut held = self.lock();
        let mut taken = Vec::new();
        let mut count = 0;
        while let Some((of_next, _)) = held.items.front() {
            if !taken.is_empty() && count + of_next > self.batch.request_max {
                break;
            }
            count += of_next;
            taken.extend(held.items.pop_front().map(|(_, item)| item));
        }
        held.count -= count;
        taken
    }

    /// Longest wait between two attempts at a request.
    pub(super) fn retry_max(&self) -> Duration {
        self.batch.delay.clamp(Duration::from_millis(100), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(queue_max: usize, request_max: usize) -> (Queue<u32>, Counter) {
        let dropped = Counter::default();
        let batch = Batch { delay: Duration::from_secs(3600), queue_max, request_max };
        (Queue::new(batch, dropped.clone()), dropped)
    }

    #[tokio::test]
    async fn a_batch_comes_when_there_are_enough_or_at_the_end() {
        let (queue, _) = queue(100, 3);
        let stop = CancellationToken::new();
        for number in 0..4 {
            queue.push(1, number);
        }
        assert_eq!(queue.next_batch(&stop).await, Some(vec![0, 1, 2]));
        stop.cancel();
        assert_eq!(queue.next_batch(&stop).await, Some(vec![3]));
        assert_eq!(queue.next_batch(&stop).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_comes_after_the_delay() {
        let (queue, _) = queue(100, 50);
        queue.push(1, 7);
        let began = Instant::now();
        assert_eq!(queue.next_batch(&CancellationToken::new()).await, Some(vec![7]));
        assert_eq!(began.elapsed(), Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let (queue, _) = queue(100, 2);
        let (queue, stop) = (std::sync::Arc::new(queue), CancellationToken::new());
        let waiting = tokio::spawn({
            let (queue, stop) = (std::sync::Arc::clone(&queue), stop.clone());
            async move { (queue.next_batch(&stop).await, queue.next_batch(&stop).await) }
        });
        for number in 0..3 {
            tokio::task::yield_now().await;
            queue.push(1, number);
        }
        tokio::task::yield_now().await;
        stop.cancel();
        assert_eq!(waiting.await.unwrap(), (Some(vec![0, 1]), Some(vec![2])));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_queue_ends_nothing_and_throws_nobody_out() {
        let (queue, dropped) = queue(10, 5);
        queue.push(3, 1);
        queue.push(11, 2);
        assert_eq!(dropped.get(), 11);
        assert_eq!(queue.next_batch(&CancellationToken::new()).await, Some(vec![1]));
    }

    proptest! {
        /// Nothing is lost without being counted, and the newest stay.
        #[test]
        fn what_does_not_fit_is_counted(counts in proptest::collection::vec(1usize..20, 1..60), max in 1usize..100) {
            let (queue, dropped) = queue(max, 10);
            let counts: Vec<usize> = counts.into_iter().map(|count| count.min(max)).collect();
            let mut pushed = 0;
            for (number, count) in counts.iter().enumerate() {
                queue.push(*count, number as u32);
                pushed += *count as u64;
                prop_assert!(queue.count() <= max);
            }
            let left: Vec<u32> = std::iter::from_fn(|| Some(queue.take()).filter(|taken| !taken.is_empty())).flatten().collect();
            let kept: u64 = left.iter().map(|number| counts[*number as usize] as u64).sum();
            prop_assert_eq!(kept + dropped.get(), pushed);
            let newest: Vec<u32> = (counts.len() - left.len()..counts.len()).map(|number| number as u32).collect();
            prop_assert_eq!(left, newest);
        }
    }
}
