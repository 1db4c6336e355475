//! Waiting on conditions instead of times.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks: short against what is waited for, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` answers, at most `bound` long.
///
/// Level-triggered: it asks what is, not what happened, so nothing is missed between two looks. When time is up it
/// panics with what was seen last, since "timed out" alone explains nothing.
pub async fn wait_until<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + bound;
    let mut last = String::from("nothing yet");
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(seen)) => return seen,
            Ok(Err(seen)) => last = seen,
            Err(_) => panic!("{what}: the last look did not end within {bound:?}; before it: {last}"),
        }
        assert!(Instant::now() + PAUSE < deadline, "{what}: not within {bound:?}; last seen: {last}");
        sleep(PAUSE).await;
    }
}

/// Asserts that a condition goes on for `span`: for what must not happen.
pub async fn holds_for(what: &str, span: Duration, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Err(seen) = look().await {
            panic!("{what}: broken: {seen}");
        }
        sleep(PAUSE).await;
    }
}
