//! Files that may lie on a disk that does not answer. A mount whose server is gone holds whoever reads from it for as long as
//! it likes, and no deadline frees that thread.
//!
//! So each file is read on a thread of its own, by one [`Reading`] that all share who look at it meanwhile, and a disk that
//! hangs costs its own files' threads and nobody else's. One that hangs for long is given up, and another begins beside it: a
//! mount that was mended answers those who ask anew, and not always those who asked before. [`LastGood`] is for who has what
//! the file held before.

mod last_good;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use last_good::LastGood;

/// Longest time that a file is waited for by those who have what it held before.
pub const READ_TIME: Duration = Duration::from_millis(500);

/// A reading that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Threads that one file may hold, those that were given up included.
const THREADS_OF_ONE: usize = 5;

/// Threads that all files hold, of some 33 KiB each, from which on none begins beside one that was given up. A file
/// that has none may always begin one, and waits for nobody: of these there are no more than the configuration names files.
const THREADS_OF_ALL: usize = 2000;

/// Of each thread: twice what the deepest file takes that is parsed, without optimisation. Memory is taken as it is used.
const STACK_BYTES: usize = 1 << 20;

/// Those that there are.
static THREADS: AtomicUsize = AtomicUsize::new(0);

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
    threads: Arc<AtomicUsize>,
}

/// One reading, which may have come to its end.
#[derive(Clone, Debug)]
struct UnderWay<T> {
    begun: Instant,
    /// Since when nothing was heard: this one or, where it was begun beside one that hangs, that one began then.
    since: Instant,
    told: watch::Receiver<Option<T>>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { latest: Mutex::default(), threads: Arc::default() }
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

    /// The one that is under way, unless it is to be given up, or one that begins.
    fn under_way(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<UnderWay<T>, Unread> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let hangs = latest.as_ref().filter(|latest| !latest.is_over());
        if let Some(hangs) = hangs
            && (now < hangs.begun + PATIENCE || !may_begin_beside(&self.threads))
        {
            return Ok(hangs.clone());
        }
        let since = hangs.map_or(now, |hangs| hangs.since);
        let (tell, told) = watch::channel(None);
        let thread = Thread::counted(&self.threads);
        let work = move || {
            // Counted no longer when its end is told, even where that is a panic: what is declared last is dropped first.
            let tell = tell;
            let thread = thread;
            let read = read();
            drop(thread);
            let _ = tell.send(Some(read));
        };
        let begun = thread::Builder::new().name("file".into()).stack_size(STACK_BYTES).spawn(work);
        begun.map_err(Unread::NoThread)?;
        Ok(latest.insert(UnderWay { begun: now, since, told }).clone())
    }
}

impl<T> UnderWay<T> {
    fn is_over(&self) -> bool {
        // Where nobody can tell any more, it was told, or came to no end of its own.
        self.told.borrow().is_some() || self.told.has_changed().is_err()
    }
}

/// A thread, counted as long as it reads.
struct Thread(Arc<AtomicUsize>);

impl Thread {
    fn counted(of_one: &Arc<AtomicUsize>) -> Self {
        of_one.fetch_add(1, Ordering::Relaxed);
        THREADS.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(of_one))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn may_begin_beside(of_one: &AtomicUsize) -> bool {
    of_one.load(Ordering::Relaxed) < THREADS_OF_ONE && THREADS.load(Ordering::Relaxed) < THREADS_OF_ALL
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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

    /// As after a mount that was taken away and made anew: who asked before is never answered.
    #[tokio::test]
    async fn what_hangs_for_long_is_given_up_and_read_beside() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let mut answers = Vec::new();
        for count in 1..=THREADS_OF_ONE {
            let (answer, hangs) = mpsc::channel();
            let late = reading.within(SOON, disk.read(hangs)).await;
            assert!(is_late(&late), "{late:?}");
            disk.was_asked(count).await;
            answers.push(answer);
            age(&reading, PATIENCE);
        }
        for _ in 0..3 {
            assert!(is_late(&reading.within(SOON, disk.unasked()).await), "no more of them");
        }
        // One of those that were given up ends: there may be another.
        answers[0].send(1).unwrap();
        let read = async {
            loop {
                let (answer, answered) = mpsc::channel();
                answer.send(9).unwrap();
                match reading.within(LONG, disk.read(answered)).await {
                    Ok(read) => break read,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        assert_eq!(timeout(LONG, read).await.expect("it is read beside"), 9);
        assert_eq!(reading.within(LONG, || 10).await.unwrap(), 10, "whatever hangs still");
        assert_eq!(reading.threads.load(Ordering::SeqCst), THREADS_OF_ONE - 1, "those that hang");
    }

    #[tokio::test]
    async fn a_thread_that_panics_keeps_nobody_waiting() {
        let reading: Reading<u32> = Reading::default();
        let lost = timeout(LONG, reading.within(LONG, || panic!("a mistake"))).await.expect("it is told");
        assert!(matches!(lost, Err(Unread::Panicked)), "{lost:?}");
        assert_eq!(reading.within(LONG, || 1).await.unwrap(), 1);
        assert_eq!(reading.threads.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let error = bounded(Path::new("/dev/zero"), 1000).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 1000 bytes");
        assert_eq!(bounded(Path::new("/dev/null"), 0).unwrap(), b"");
    }
}
