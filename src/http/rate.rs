//! How often may be asked: a token bucket, as exporter-toolkit has it, for all clients together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::web::RateLimit;

/// Tokens come one an interval, and as many as the burst are kept.
#[derive(Debug)]
pub(super) struct TokenBucket {
    limit: RateLimit,
    /// When the bucket will be full again: what the generic cell rate algorithm counts instead of tokens. Locked for
    /// a few instructions.
    full: Mutex<Option<Instant>>,
}

impl TokenBucket {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, full: Mutex::new(None) }
    }

    pub(super) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let RateLimit { interval, burst } = self.limit;
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = full.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        let after = missing + interval;
        let room = interval.saturating_mul(burst);
        if after > room {
            return Err(after - room);
        }
        *full = Some(now + after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_let_through_and_then_one_an_interval() {
        let bucket = TokenBucket::new(RateLimit { interval: SECOND, burst: 3 });
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(SECOND));
        assert_eq!(bucket.take(start + SECOND / 4), Err(SECOND * 3 / 4), "a refusal costs nothing");
        assert_eq!(bucket.take(start + SECOND), Ok(()));
        assert_eq!(bucket.take(start + SECOND), Err(SECOND));
        // However long nobody asks, no more than the burst is kept.
        let later = start + 1000 * SECOND;
        assert_eq!((0..10).filter(|_| bucket.take(later).is_ok()).count(), 3);
    }
}
