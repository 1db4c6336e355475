//! Waits between retries: exponential, jittered, capped.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The least wait after a refusal.
const REFUSED: Duration = Duration::from_secs(1);

/// Doubles up to a cap; each wait is drawn between half and all of its step, so that a fleet that
/// was cut off together does not return together.
#[derive(Clone, Debug)]
pub struct Backoff {
    step: Duration,
    cap: Duration,
}

impl Backoff {
    /// A backoff that waits at most `cap`, and begins with [`FIRST`] or less.
    pub fn new(cap: Duration) -> Self {
        let cap = cap.max(Duration::from_millis(1));
        Self { step: FIRST.min(cap), cap }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.step.mul_f64(rand::random_range(0.5..=1.0));
        self.step = self.step.saturating_mul(2).min(self.cap);
        wait
    }

    /// The next wait; a second at least where a peer `refused` who this is, or what it may not do: an operator
    /// has to change something, and brokers log each attempt.
    pub fn next_wait_after(&mut self, refused: bool) -> Duration {
        let wait = self.next_wait();
        if refused { wait.max(REFUSED.mul_f64(rand::random_range(1.0..=1.5))) } else { wait }
    }

    /// Begins again: something worked.
    pub fn reset(&mut self) {
        *self = Self::new(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_the_cap(cap_ms in 1u64..100_000, steps in 1usize..40) {
            let cap = Duration::from_millis(cap_ms);
            let mut backoff = Backoff::new(cap);
            prop_assert!(backoff.next_wait() <= FIRST);
            for _ in 0..steps {
                let wait = backoff.next_wait();
                prop_assert!(wait <= cap && !wait.is_zero());
            }
            prop_assert!(backoff.next_wait_after(true) >= REFUSED);
            backoff.reset();
            prop_assert!(backoff.next_wait() <= FIRST);
        }
    }
}
