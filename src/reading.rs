//! Files that may lie on a disk that does not answer. A mount whose server is gone holds whoever reads from it for as long as
//! it likes, and no deadline frees that thread.
//!
//! So each file is read on a thread of its own, by one [`Reading`] that all share who look at it meanwhile, and a disk that
//! hangs costs its own files' threads and nobody else's. One that hangs for long is given up, and another begins beside it: a
//! mount that was mended answers those who ask anew, and not always those who asked before. That is after a minute where there
//! is a cause, as that a mount was made or taken away since, and without one ever more seldom, so that days are no more threads
//! than there may be. [`LastGood`] is for who has what the file held before.

mod last_good;
mod mounts;
mod thread;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use last_good::LastGood;
pub use thread::GIVEN_UP_MAX;
use thread::{Thread, Threads, Why};

/// Longest time that a file is waited for by those who have what it held before.
pub const READ_TIME: Duration = Duration::from_millis(500);

/// For who goes on with others meanwhile: a disk may be slow for good, and what it tells late counts.
pub const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(365 * 86_400);

/// A reading that takes longer is given up: the first, and where there is a cause each. From one to the next it doubles
/// otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// And is no longer than that.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);

/// Of each thread: twice what the deepest file takes that is parsed, without optimisation. Memory is taken as it is used.
const STACK_BYTES: usize = 1 << 20;

/// Reads a file that has to be short.
///
/// # Errors
/// The system's, or that it is longer than `bytes_max`.
pub fn bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A device has no length that could be asked for before.
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Why nothing was read: a clause.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Not in time.
    #[error("the disk does not answer")]
    Late {
        /// Since when it is asked in vain.
        since: Instant,
    },
    /// This machine gave none.
    #[error("no thread can be begun to read it: {0}")]
    NoThread(io::Error),
    /// A mistake in this program.
    #[error("the thread that read it has panicked")]
    Panicked,
}

/// What is read again and again, each time for all who ask until that has come to its end.
#[derive(Debug)]
pub struct Reading<T> {
    /// A std lock: held for a look, and while a thread begins.
    latest: Mutex<Option<UnderWay<T>>>,
    threads: Threads,
}

/// One reading, which may have come to its end.
#[derive(Clone, Debug)]
struct UnderWay<T> {
    begun: Instant,
    /// Since when nothing was heard: this one or, where it was begun beside one that hangs, that one began then.
    since: Instant,
    /// For how long it is waited for where there is no cause.
    patience: Duration,
    /// What was mounted when it began.
    mounts: u64,
    /// Whether there is another cause to ask anew.
    has_cause: bool,
    thread: Thread,
    told: watch::Receiver<Option<T>>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { latest: Mutex::default(), threads: Threads::default() }
    }
}

impl<T: Clone + Send + Sync + 'static> Reading<T> {
    /// What `read` gives on a thread apart, or what another's gives that is under way, within so long from its beginning: what
    /// is known to take longer is not waited for at all. Who waits no more harms nobody.
    ///
    /// # Errors
    /// Why there is nothing.
    pub async fn within(
        &self,
        time: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        let UnderWay { since, mut told, .. } = self.under_way(read)?;
        let end = since + time;
        if end <= Instant::now() {
            return Err(Unread::Late { since });
        }
        match timeout_at(end, told.wait_for(Option::is_some)).await {
            Ok(Ok(read)) => read.clone().ok_or(Unread::Panicked),
            Ok(Err(_)) => Err(Unread::Panicked),
            Err(_) => Err(Unread::Late { since }),
        }
    }

    /// There is a cause to ask anew: what hangs may not be what would be read now.
    pub fn has_cause(&self) {
        if let Some(latest) = &mut *self.latest.lock().unwrap_or_else(PoisonError::into_inner) {
            latest.has_cause = true;
        }
    }

    /// The one that is under way, unless it is to be given up, or one that begins.
    fn under_way(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<UnderWay<T>, Unread> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, mounts) = (Instant::now(), mounts::now());
        let hangs = latest.as_ref().filter(|latest| !latest.is_over());
        if let Some(hangs) = hangs
            && !hangs.is_given_up(now, mounts)
        {
            return Ok(hangs.clone());
        }
        let since = hangs.map_or(now, |hangs| hangs.since);
        let patience = hangs.map_or(PATIENCE, |hangs| PATIENCE_MAX.min(2 * hangs.patience));
        let (tell, told) = watch::channel(None);
        let (thread, at_work) = self.threads.another();
        let work = move || {
            // Counted no longer when its end is told, even where that is a panic: what is declared last is dropped first.
            let tell = tell;
            let at_work = at_work;
            let read = read();
            drop(at_work);
            let _ = tell.send(Some(read));
        };
        let begun = Builder::new().name("file".into()).stack_size(STACK_BYTES).spawn(work);
        begun.map_err(Unread::NoThread)?;
        let begun = UnderWay { begun: now, since, patience, mounts, has_cause: false, thread, told };
        Ok(latest.insert(begun).clone())
    }
}

impl<T> UnderWay<T> {
    fn is_over(&self) -> bool {
        // Where nobody can tell any more, it was told, or came to no end of its own.
        self.told.borrow().is_some() || self.told.has_changed().is_err()
    }

    /// Whether another is to begin beside it.
    fn is_given_up(&self, now: Instant, mounts: u64) -> bool {
        let (took, has_cause) = (now - self.begun, self.has_cause || self.mounts != mounts);
        (took >= PATIENCE && has_cause && self.thread.give_up(Why::Cause))
            || (took >= self.patience && self.thread.give_up(Why::Time))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    /// A disk that answers when it is told to.
    #[derive(Clone, Default)]
    struct Disk {
        asked: Arc<AtomicUsize>,
    }

    impl Disk {
        fn read(&self, answer: mpsc::Receiver<u32>) -> impl FnOnce() -> u32 + Send + use<> {
            let asked = Arc::clone(&self.asked);
            move || {
                asked.fetch_add(1, Ordering::SeqCst);
                answer.recv().unwrap()
            }
        }

        /// One that nobody is to begin.
        fn unasked(&self) -> impl FnOnce() -> u32 + Send + use<> {
            self.read(mpsc::channel().1)
        }

        async fn was_asked(&self, times: usize) {
            let asked = async {
                while self.asked.load(Ordering::SeqCst) < times {
                    thread::sleep(Duration::from_millis(1));
                    tokio::task::yield_now().await;
                }
            };
            timeout(LONG, asked).await.expect("it is asked in time");
            assert_eq!(self.asked.load(Ordering::SeqCst), times);
        }
    }

    /// As if it had begun so long before.
    fn age<T>(reading: &Reading<T>, by: Duration) {
        let mut latest = reading.latest.lock().unwrap();
        let latest = latest.as_mut().expect("one is under way");
        latest.begun -= by;
        latest.since -= by;
    }

    fn is_late<T: std::fmt::Debug>(read: &Result<T, Unread>) -> bool {
        matches!(read, Err(Unread::Late { .. }))
    }

    #[tokio::test]
    async fn what_hangs_is_read_by_one_thread() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let (answer, hangs) = mpsc::channel();
        // Who began it need not stay.
        assert!(timeout(SOON, reading.within(LONG, disk.read(hangs))).await.is_err());
        for _ in 0..3 {
            assert!(timeout(SOON, reading.within(LONG, disk.unasked())).await.is_err());
        }
        disk.was_asked(1).await;
        let (joined, _) =
            tokio::join!(reading.within(LONG, disk.unasked()), async { answer.send(7).unwrap() });
        assert_eq!(joined.unwrap(), 7, "the disk is back");
        let (answer, anew) = mpsc::channel();
        answer.send(8).unwrap();
        assert_eq!(reading.within(LONG, disk.read(anew)).await.unwrap(), 8, "what was read is read anew");
    }

    #[tokio::test]
    async fn what_is_known_to_hang_is_not_waited_for() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let (answer, hangs) = mpsc::channel();
        let begun = Instant::now();
        let late = reading.within(SOON, disk.read(hangs)).await;
        assert!(is_late(&late) && begun.elapsed() >= SOON, "{late:?}");
        age(&reading, LONG);
        for _ in 0..100 {
            assert!(is_late(&reading.within(LONG, disk.unasked()).await));
        }
        assert!(begun.elapsed() < LONG, "it took {:?}", begun.elapsed());
        answer.send(2).unwrap();
        let back = async {
            while reading.within(LONG, || 3).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, back).await.expect("what answers at last is read anew");
    }

    /// A reading of which one thread hangs for each of these, after which it is as if so much time had passed.
    async fn hanging(patiences: &[Duration]) -> (Disk, Reading<u32>, Vec<mpsc::Sender<u32>>) {
        let (disk, reading) = (Disk::default(), Reading::default());
        let mut answers = Vec::new();
        for patience in patiences {
            let (answer, hangs) = mpsc::channel();
            let late = reading.within(SOON, disk.read(hangs)).await;
            assert!(is_late(&late), "{late:?}");
            answers.push(answer);
            disk.was_asked(answers.len()).await;
            age(&reading, *patience - LONG);
            assert!(is_late(&reading.within(SOON, disk.unasked()).await), "not yet after {patience:?}");
            disk.was_asked(answers.len()).await;
            age(&reading, LONG);
        }
        (disk, reading, answers)
    }

    /// Reads until that is done, and nobody asks those who hang.
    async fn read_beside(reading: &Reading<u32>) -> u32 {
        let read = async {
            loop {
                match reading.within(LONG, || 9).await {
                    Ok(read) => break read,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(LONG, read).await.expect("it is read beside")
    }

    #[tokio::test]
    async fn what_hangs_for_long_is_given_up_and_read_beside() {
        let minutes = [1, 2, 4, 8, 16, 32, 60, 60, 60].map(|minutes| minutes * PATIENCE);
        let (_, reading, _answers) = hanging(&minutes).await;
        // As a file in the place of the one that hangs.
        assert_eq!(read_beside(&reading).await, 9);
        assert_eq!(reading.within(LONG, || 10).await.unwrap(), 10, "whatever hangs still");
        assert_eq!(reading.threads.given_up(), minutes.len(), "those that hang");
    }

    /// As after a mount that was taken away and made anew: who asked before is never answered.
    #[tokio::test]
    async fn a_cause_is_as_good_as_a_long_time() {
        type Cause = fn(&Reading<u32>);
        let mounts: Cause = |reading| reading.latest.lock().unwrap().as_mut().unwrap().mounts ^= 1;
        for cause in [mounts, Reading::has_cause] {
            let (disk, reading, _answers) = hanging(&[1, 2, 4].map(|minutes| minutes * PATIENCE)).await;
            let (_answer, hangs) = mpsc::channel();
            assert!(is_late(&reading.within(SOON, disk.read(hangs)).await));
            cause(&reading);
            age(&reading, PATIENCE - LONG);
            assert!(is_late(&reading.within(SOON, disk.unasked()).await), "not at once");
            assert_eq!(reading.threads.given_up(), 3);
            age(&reading, LONG);
            assert_eq!(read_beside(&reading).await, 9);
        }
    }

    #[tokio::test]
    async fn where_too_many_hang_none_begins_beside_until_one_ends() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let mut answers = Vec::new();
        loop {
            let (answer, hangs) = mpsc::channel();
            let asked = answers.len();
            answers.push(answer);
            assert!(is_late(&reading.within(Duration::ZERO, disk.read(hangs)).await));
            if reading.threads.given_up() < asked {
                break;
            }
            disk.was_asked(asked + 1).await;
            age(&reading, PATIENCE_MAX);
        }
        let asked = answers.len() - 1;
        assert!((20..GIVEN_UP_MAX).contains(&asked), "{asked}");
        // One of those that were given up ends: there may be another.
        answers[0].send(1).unwrap();
        assert_eq!(read_beside(&reading).await, 9);
    }

    #[tokio::test]
    async fn a_thread_that_panics_keeps_nobody_waiting() {
        let reading: Reading<u32> = Reading::default();
        let lost = timeout(LONG, reading.within(LONG, || panic!("a mistake"))).await.expect("it is told");
        assert!(matches!(lost, Err(Unread::Panicked)), "{lost:?}");
        assert_eq!(reading.within(LONG, || 1).await.unwrap(), 1);
        assert_eq!(reading.threads.given_up(), 0);
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let error = bounded(Path::new("/dev/zero"), 1000).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 1000 bytes");
        assert_eq!(bounded(Path::new("/dev/null"), 0).unwrap(), b"");
    }
}
