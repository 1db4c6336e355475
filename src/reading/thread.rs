//! The threads that read, and the bounds of those that were given up: these wait for a disk that may never answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that were given up, of all files, of some 33 KiB each, from which on no other begins beside one that hangs. A
/// file that has no thread may always begin one, and waits for nobody: of these, one for each file, there are no more than
/// the configuration names files. (And, of one that was replaced, those of its files that hang still.)
pub const GIVEN_UP_MAX: usize = 128;

/// Likewise, of one file. As one is given up for its time alone, they last for two days and a half.
const GIVEN_UP_OF_ONE_MAX: usize = 96;

/// Of both, those that are kept for when there is a cause to ask anew, however long a disk has hung before.
const KEPT_FOR_CAUSE: usize = 32;

/// How many threads of one file, and of all, were given up, and wait still.
#[derive(Clone, Debug)]
pub(super) struct Threads {
    of_one: Arc<AtomicUsize>,
    of_all: &'static AtomicUsize,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    given_up: Threads,
    /// A std lock: held for a look.
    stage: Arc<Mutex<Stage>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reads,
    GivenUp,
    Over,
}

/// Why a thread is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It takes long.
    Time,
    /// It takes long, and something has changed since it began.
    Cause,
}

/// Held by a thread as long as it reads.
pub(super) struct AtWork(Thread);

impl Default for Threads {
    fn default() -> Self {
        static OF_ALL: AtomicUsize = AtomicUsize::new(0);
        Self { of_one: Arc::default(), of_all: &OF_ALL }
    }
}

impl Threads {
    /// One that is about to read.
    pub(super) fn another(&self) -> (Thread, AtWork) {
        let thread = Thread { given_up: self.clone(), stage: Arc::new(Mutex::new(Stage::Reads)) };
        (thread.clone(), AtWork(thread))
    }

    /// One more, unless there are too many.
    fn count(&self, kept: usize) -> bool {
        if !is_counted(&self.of_one, GIVEN_UP_OF_ONE_MAX - kept) {
            return false;
        }
        let is_counted = is_counted(self.of_all, GIVEN_UP_MAX - kept);
        if !is_counted {
            self.of_one.fetch_sub(1, Ordering::Relaxed);
        }
        is_counted
    }

    fn uncount(&self) {
        self.of_one.fetch_sub(1, Ordering::Relaxed);
        self.of_all.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn given_up(&self) -> usize {
        self.of_one.load(Ordering::SeqCst)
    }
}

impl Thread {
    /// Whether it is given up now, or was before. It is not where there are too many of them.
    pub(super) fn give_up(&self, why: Why) -> bool {
        let mut stage = self.stage();
        if *stage == Stage::Reads {
            let kept = if why == Why::Cause { 0 } else { KEPT_FOR_CAUSE };
            if !self.given_up.count(kept) {
                return false;
            }
            *stage = Stage::GivenUp;
        }
        true
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let Self(thread) = self;
        if std::mem::replace(&mut *thread.stage(), Stage::Over) == Stage::GivenUp {
            thread.given_up.uncount();
        }
    }
}

fn is_counted(given_up: &AtomicUsize, max: usize) -> bool {
    let more = |count| (count < max).then_some(count + 1);
    given_up.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives up so many threads that wait, and tells of how many it could.
    fn give_up(threads: &Threads, why: Why, waiting: &mut Vec<AtWork>) -> usize {
        let given_up = (0..2 * GIVEN_UP_MAX).filter(|_| {
            let (thread, at_work) = threads.another();
            waiting.push(at_work);
            let is_given_up = thread.give_up(why);
            assert_eq!(thread.give_up(why), is_given_up, "twice is once");
            is_given_up
        });
        given_up.count()
    }

    #[test]
    fn those_that_were_given_up_are_bounded_and_some_are_kept_for_a_cause() {
        static OF_ALL: AtomicUsize = AtomicUsize::new(0);
        let [one, other] = [(); 2].map(|()| Threads { of_one: Arc::default(), of_all: &OF_ALL });
        let mut waiting = Vec::new();
        assert_eq!(give_up(&one, Why::Time, &mut waiting), GIVEN_UP_OF_ONE_MAX - KEPT_FOR_CAUSE);
        assert_eq!(give_up(&one, Why::Cause, &mut waiting), KEPT_FOR_CAUSE);
        assert_eq!(give_up(&other, Why::Time, &mut waiting), 0, "what is left is kept");
        assert_eq!(give_up(&other, Why::Cause, &mut waiting), GIVEN_UP_MAX - GIVEN_UP_OF_ONE_MAX);
        assert_eq!(OF_ALL.load(Ordering::SeqCst), GIVEN_UP_MAX);
        drop(waiting);
        assert_eq!([one.given_up(), other.given_up(), OF_ALL.load(Ordering::SeqCst)], [0; 3]);
    }
}
