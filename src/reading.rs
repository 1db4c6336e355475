//! Files that may lie on a disk that does not answer. A mount whose server is gone holds whoever reads from it for as long as
//! it likes, and no deadline frees that thread.
//!
//! So they are read on threads apart. What hangs is read by one thread: whoever asks meanwhile waits for the same
//! [`Reading`], as long as they have time. And all readings together have no more than so many [`Threads`]: those that hang
//! are counted apart, so that one dead mount leaves the files of others theirs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest time that a file is waited for by those who have what it held before. What takes longer hangs.
pub const READ_TIME: Duration = Duration::from_millis(500);

/// Of the 512 that the runtime has for all that blocks.
static THREADS: Threads = Threads::of(64, 256);

/// Threads that read at one time.
#[derive(Debug)]
struct Threads {
    quick: Semaphore,
    hung: Semaphore,
}

impl Threads {
    const fn of(quick: usize, hung: usize) -> Self {
        Self { quick: Semaphore::const_new(quick), hung: Semaphore::const_new(hung) }
    }

    /// One to begin with, as soon as there is one. `None`: as many hang as may, and those that begin are no better.
    async fn one(&'static self) -> Option<SemaphorePermit<'static>> {
        match self.quick.try_acquire() {
            Ok(thread) => Some(thread),
            Err(_) if self.hung.available_permits() == 0 => None,
            Err(_) => self.quick.acquire().await.ok(),
        }
    }
}

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

/// What a thread reads again and again, and one thread at a time.
#[derive(Debug)]
pub struct Reading<T> {
    last: Mutex<Option<Arc<UnderWay<T>>>>,
    /// `None`: it has one of its own.
    threads: Option<&'static Threads>,
}

/// One reading.
#[derive(Debug)]
struct UnderWay<T> {
    state: Mutex<State<T>>,
    told: Notify,
    threads: Option<&'static Threads>,
    /// It has kept somebody waiting for longer than they had.
    is_late: AtomicBool,
}

#[derive(Debug)]
enum State<T> {
    /// On a thread of those that there may be.
    Reading(Option<SemaphorePermit<'static>>),
    Read(T),
    /// The thread came to no end of its own.
    Lost,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { last: Mutex::default(), threads: Some(&THREADS) }
    }
}

impl<T> Reading<T> {
    /// One that needs no thread of those that all share, for what lies where the program itself does. It has one at most.
    pub fn by_itself() -> Self {
        Self { last: Mutex::default(), threads: None }
    }
}

impl<T: Clone + Send + Sync + 'static> Reading<T> {
    /// What `read` gives on a thread apart, or what another's gives that is under way. Who calls sets the deadline.
    ///
    /// `None`: there is no more to be had of it.
    pub async fn wait(&self, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let under_way = match self.under_way() {
            Some(under_way) => under_way,
            None => self.begin(self.thread().await?, read),
        };
        under_way.read().await
    }

    /// The same for who has what was read before: waits for [`READ_TIME`] at most, and not at all for what has kept others
    /// waiting.
    ///
    /// `None`: not in that time.
    pub async fn wait_shortly(&self, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let end = Instant::now() + READ_TIME;
        let under_way = match self.under_way() {
            Some(under_way) if under_way.is_late.load(Ordering::Relaxed) => return None,
            Some(under_way) => under_way,
            None => self.begin(timeout_at(end, self.thread()).await.ok()??, read),
        };
        timeout_at(end, under_way.read()).await.unwrap_or_else(|_| {
            under_way.set_late();
            None
        })
    }

    /// `None`: there is none. `Some(None)`: it needs none of those that all share.
    async fn thread(&self) -> Option<Option<SemaphorePermit<'static>>> {
        match self.threads {
            Some(threads) => threads.one().await.map(Some),
            None => Some(None),
        }
    }

    /// The reading that has not come to its end.
    fn under_way(&self) -> Option<Arc<UnderWay<T>>> {
        locked(&self.last).as_ref().filter(|last| last.is_reading()).cloned()
    }

    /// Begins one, unless somebody has meanwhile.
    fn begin(
        &self,
        thread: Option<SemaphorePermit<'static>>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<UnderWay<T>> {
        let mut last = locked(&self.last);
        if let Some(begun) = last.as_ref().filter(|last| last.is_reading()) {
            return Arc::clone(begun);
        }
        let under_way = Arc::new(UnderWay {
            state: Mutex::new(State::Reading(thread)),
            told: Notify::new(),
            threads: self.threads,
            is_late: AtomicBool::new(false),
        });
        let ending = Ending(Arc::clone(&under_way));
        let work = move || {
            let read = read();
            ending.tell(State::Read(read));
        };
        let watched = Arc::clone(&under_way);
        tokio::spawn(async move {
            if timeout(READ_TIME, watched.read()).await.is_err() {
                watched.set_late();
            }
        });
        drop(spawn_blocking(work));
        *last = Some(Arc::clone(&under_way));
        under_way
    }
}

impl<T: Clone> UnderWay<T> {
    async fn read(&self) -> Option<T> {
        loop {
            // Heard of from here on, so that nothing is missed between the look and the wait.
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            match &*locked(&self.state) {
                State::Reading(_) => {}
                State::Read(read) => return Some(read.clone()),
                State::Lost => return None,
            }
            told.await;
        }
    }
}

impl<T> UnderWay<T> {
    fn is_reading(&self) -> bool {
        matches!(*locked(&self.state), State::Reading(_))
    }

    /// From here on it is one of those that hang, as long as there may be more of these.
    fn set_late(&self) {
        if !self.is_late.swap(true, Ordering::Relaxed)
            && let Some(threads) = self.threads
            && let State::Reading(thread) = &mut *locked(&self.state)
            && let Ok(hung) = threads.hung.try_acquire()
        {
            *thread = Some(hung);
        }
    }
}

/// The thread's end of a reading: tells of its end, whatever that is.
struct Ending<T>(Arc<UnderWay<T>>);

impl<T> Ending<T> {
    fn tell(&self, state: State<T>) {
        let mut last = locked(&self.0.state);
        if matches!(*last, State::Reading(_)) {
            *last = state;
        }
        drop(last);
        self.0.told.notify_waiters();
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.tell(State::Lost);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    const SOON: Duration = Duration::from_millis(50);

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
    }

    #[tokio::test]
    async fn what_hangs_is_read_by_one_thread() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let (answer, hangs) = mpsc::channel();
        let hung = timeout(SOON, reading.wait(disk.read(hangs))).await;
        assert!(hung.is_err(), "{hung:?}");
        for _ in 0..3 {
            let (_never, unasked) = mpsc::channel();
            let joined = timeout(SOON, reading.wait(disk.read(unasked))).await;
            assert!(joined.is_err(), "{joined:?}");
        }
        assert_eq!(disk.asked.load(Ordering::SeqCst), 1);

        let (_never, unasked) = mpsc::channel();
        let (joined, _) = tokio::join!(reading.wait(disk.read(unasked)), async { answer.send(7).unwrap() });
        assert_eq!(joined, Some(7), "the disk is back");
        let (answer, anew) = mpsc::channel();
        answer.send(8).unwrap();
        assert_eq!(reading.wait(disk.read(anew)).await, Some(8), "what was read is read anew");
    }

    /// One may begin at a time, and two may hang.
    #[tokio::test]
    async fn what_hangs_leaves_the_others_their_threads() {
        static THREADS: Threads = Threads::of(1, 2);
        let among = || Reading { last: Mutex::default(), threads: Some(&THREADS) };
        let (disk, mut answers, mut hung) = (Disk::default(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let (answer, hangs) = mpsc::channel();
            let (reading, read) = (Arc::new(among()), disk.read(hangs));
            let hangs = Arc::clone(&reading);
            // Who began it need not stay.
            assert!(timeout(SOON, async move { hangs.wait(read).await }).await.is_err());
            answers.push(answer);
            hung.push(reading);
            let healthy = among();
            assert_eq!(timeout(20 * READ_TIME, healthy.wait(|| 1)).await, Ok(Some(1)));
            assert_eq!(healthy.wait_shortly(|| 2).await, Some(2));
        }
        assert_eq!(disk.asked.load(Ordering::SeqCst), 2);
        let (answer, hangs) = mpsc::channel();
        let third = Arc::new(among());
        let (reading, read) = (Arc::clone(&third), disk.read(hangs));
        let waiting = tokio::spawn(async move { reading.wait(read).await });
        while disk.asked.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        assert_eq!(among().wait(|| 1).await, None, "not even waited for: as many hang as may");
        assert!(begun.elapsed() < 20 * READ_TIME);
        assert_eq!(Reading::by_itself().wait(|| 1).await, Some(1), "needs none of them");
        for answer in answers {
            answer.send(1).unwrap();
        }
        answer.send(1).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(1));
        assert_eq!(among().wait(|| 1).await, Some(1), "the disk is back");
    }

    #[tokio::test]
    async fn who_has_what_was_before_waits_once() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let (answer, hangs) = mpsc::channel();
        assert_eq!(reading.wait_shortly(disk.read(hangs)).await, None);
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(reading.wait_shortly(|| 1).await, None);
        }
        assert!(begun.elapsed() < 50 * READ_TIME, "not at all for what has kept others waiting");
        answer.send(2).unwrap();
        let read = reading.wait(|| 3).await;
        assert!(matches!(read, Some(2 | 3)), "{read:?}");
    }

    #[tokio::test]
    async fn a_thread_that_panics_keeps_nobody_waiting() {
        let reading: Reading<u32> = Reading::default();
        let lost = timeout(Duration::from_secs(20), reading.wait(|| panic!("a mistake"))).await;
        assert_eq!(lost, Ok(None));
        assert_eq!(reading.wait(|| 1).await, Some(1));
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let error = bounded(Path::new("/dev/zero"), 1000).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 1000 bytes");
        assert_eq!(bounded(Path::new("/dev/null"), 0).unwrap(), b"");
    }
}
