//! A file that is read whenever it is needed. While it cannot be used, as in the middle of a rotation, or its disk does not
//! answer, what it held before counts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{READ_TIME, Reading, Unread};

/// Reads the file. May wait for its disk. It is given what is held, of which the same may be made again.
type Read<T> = Box<dyn Fn(&T) -> Result<T, String> + Send + Sync>;

/// Is told of what counts from now on.
type Tell<T> = Box<dyn Fn(&T) + Send + Sync>;

/// What a file gives now, or else what it gave when it could last be used.
pub struct LastGood<T> {
    /// What the file is for, in the log.
    what: String,
    path: String,
    read: Read<T>,
    tell: Tell<T>,
    /// A std lock: never held while a disk is waited for.
    held: Mutex<Held<T>>,
    reading: Reading<()>,
}

struct Held<T> {
    value: T,
    /// When the reading began that is known last, whether it gave this or an error.
    begun: Instant,
    /// What was last said of a file that cannot be used, so that it is said once.
    complaint: Option<String>,
}

impl<T: Clone + PartialEq + Send + Sync + 'static> LastGood<T> {
    /// Of a file that gave `value` a moment ago, which `tell` is told of, as of each other that counts after it.
    pub fn new(
        what: impl Into<String>,
        path: impl fmt::Display,
        value: T,
        read: impl Fn(&T) -> Result<T, String> + Send + Sync + 'static,
        tell: impl Fn(&T) + Send + Sync + 'static,
    ) -> Arc<Self> {
        tell(&value);
        let held = Mutex::new(Held { value, begun: Instant::now(), complaint: None });
        let (what, path) = (what.into(), path.to_string());
        let (read, tell) = (Box::new(read), Box::new(tell));
        Arc::new(Self { what, path, read, tell, held, reading: Reading::default() })
    }

    /// What it gives now. A disk that does not answer is waited for [shortly](READ_TIME), and not at all once that is known.
    pub async fn now(self: &Arc<Self>) -> T {
        let this = Arc::clone(self);
        match self.reading.within(READ_TIME, move || this.read_here()).await {
            Ok(()) => {}
            Err(Unread::Late { since }) => self.complain_of_late(since),
            Err(error) => self.complain(&mut self.held(), error.to_string()),
        }
        self.last()
    }

    /// What it gave last.
    pub fn last(&self) -> T {
        self.held().value.clone()
    }

    /// Reads it on this thread, which may wait for its disk.
    pub fn read_here(&self) {
        let begun = Instant::now();
        self.take(begun, (self.read)(&self.last()));
    }

    fn take(&self, begun: Instant, read: Result<T, String>) {
        let mut held = self.held();
        if held.begun > begun {
            // One that was given up ends at last, and knows less than one that was begun after it.
            return;
        }
        held.begun = begun;
        match read {
            Ok(value) => {
                let (what, path) = (&self.what, &self.path);
                if value != held.value {
                    info!(path, what, "File read anew");
                    (self.tell)(&value);
                } else if held.complaint.is_some() {
                    info!(path, what, "File can be used again");
                }
                *held = Held { value, begun, complaint: None };
            }
            Err(why) => self.complain(&mut held, why),
        }
    }

    fn complain_of_late(&self, since: Instant) {
        let mut held = self.held();
        // It may have come at the very moment at which it was late.
        if held.begun < since {
            self.complain(&mut held, Unread::Late { since }.to_string());
        }
    }

    fn complain(&self, held: &mut Held<T>, why: String) {
        if held.complaint.as_ref() != Some(&why) {
            let (what, path) = (&self.what, &self.path);
            warn!(path, what, why, "File cannot be used; what it held before still counts");
            held.complaint = Some(why);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for LastGood<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood").field("what", &self.what).field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A file that holds a number, or nothing that can be used: 0.
    fn file() -> (Arc<LastGood<u32>>, Arc<AtomicU32>) {
        let holds = Arc::new(AtomicU32::new(1));
        let file = Arc::clone(&holds);
        let read = move |_: &u32| match file.load(Ordering::SeqCst) {
            0 => Err("it is empty".into()),
            number => Ok(number),
        };
        (LastGood::new("number", "/number", 1, read, |_| {}), holds)
    }

    fn complaint(file: &LastGood<u32>) -> Option<String> {
        file.held().complaint.clone()
    }

    #[tokio::test]
    async fn what_it_held_before_counts_while_it_cannot_be_used() {
        let (file, holds) = file();
        for (now, wanted, why) in [(2, 2, None), (0, 2, Some("it is empty")), (2, 2, None), (3, 3, None)] {
            holds.store(now, Ordering::SeqCst);
            assert_eq!((file.now().await, complaint(&file).as_deref()), (wanted, why), "{now}");
        }
    }

    /// Such a reading was given up when its disk hung, and a mended one was read meanwhile.
    #[test]
    fn what_was_begun_before_does_not_undo_what_is_newer() {
        let (file, holds) = file();
        let before = Instant::now();
        holds.store(2, Ordering::SeqCst);
        file.read_here();
        file.take(before, Ok(1));
        assert_eq!(file.last(), 2);
        file.take(before, Err("it failed".into()));
        assert_eq!(complaint(&file), None);
    }

    #[test]
    fn what_was_begun_before_an_error_does_not_undo_it() {
        let (file, holds) = file();
        let before = Instant::now();
        holds.store(0, Ordering::SeqCst);
        file.read_here();
        for number in [1, 2] {
            file.take(before, Ok(number));
            assert_eq!((file.last(), complaint(&file).as_deref()), (1, Some("it is empty")));
        }
    }

    #[test]
    fn what_counts_is_told_of_and_nothing_else() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let tell = move |number: &u32| teller.lock().unwrap().push(*number);
        let file = LastGood::new("number", "/number", 1, |_: &u32| Ok(2), tell);
        let before = Instant::now();
        file.read_here();
        file.read_here();
        file.take(before, Ok(3));
        assert_eq!(*told.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn what_came_as_it_was_late_is_not_complained_of() {
        let (file, _) = file();
        let since = Instant::now();
        file.read_here();
        file.complain_of_late(since);
        assert_eq!(complaint(&file), None);
        let since = Instant::now() + READ_TIME;
        file.complain_of_late(since);
        assert_eq!(complaint(&file).as_deref(), Some("the disk does not answer"));
    }
}
