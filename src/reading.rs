//! Files that may lie on a disk that does not answer. A mount whose server is gone holds whoever reads from it for as long as
//! it likes, and no deadline frees that thread.
//!
//! So they are read on threads apart. What hangs is read by one thread: whoever asks meanwhile waits for the same
//! [`Reading`], as long as they have time. And all readings together have no more than so many threads.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Threads that read at one time: an eighth of those that the runtime has for all that blocks.
const THREADS_MAX: usize = 64;

/// Longest time that a file is waited for by those who have what it held before: whoever connects may have one thread for
/// everything.
pub const READ_TIME: Duration = Duration::from_millis(500);

static THREADS: Semaphore = Semaphore::const_new(THREADS_MAX);

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
pub struct Reading<T>(Mutex<Option<Arc<UnderWay<T>>>>);

/// One reading.
#[derive(Debug)]
struct UnderWay<T> {
    state: Mutex<State<T>>,
    for_threads: Condvar,
    for_tasks: Notify,
    /// It has kept somebody waiting for longer than they had.
    is_late: AtomicBool,
}

#[derive(Clone, Debug)]
enum State<T> {
    Reading,
    Read(T),
    /// The thread came to no end of its own.
    Lost,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Reading<T> {
    /// What `read` gives on a thread apart, or what another's gives that is under way. Who calls sets the deadline.
    ///
    /// `None`: there is no more to be had of it.
    pub async fn wait(&self, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let under_way = match self.under_way() {
            Some(under_way) => under_way,
            None => {
                let thread = THREADS.acquire().await.ok()?;
                self.begin(thread, read)
            }
        };
        under_way.read().await
    }

    /// The same for whoever has no task: waits so long at most, and not at all for what has kept others waiting.
    ///
    /// `None`: not in that time.
    pub fn wait_at_most(&self, time: Duration, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let under_way = match self.under_way() {
            Some(under_way) if under_way.is_late.load(Ordering::Relaxed) => return None,
            Some(under_way) => under_way,
            None => self.begin(THREADS.try_acquire().ok()?, read),
        };
        under_way.read_within(time)
    }

    /// The reading that has not come to its end.
    fn under_way(&self) -> Option<Arc<UnderWay<T>>> {
        let last = locked(&self.0);
        last.as_ref().filter(|last| matches!(*locked(&last.state), State::Reading)).cloned()
    }

    /// Begins one, unless somebody has meanwhile.
    fn begin(
        &self,
        thread: SemaphorePermit<'static>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<UnderWay<T>> {
        let mut last = locked(&self.0);
        if let Some(begun) = last.as_ref().filter(|last| matches!(*locked(&last.state), State::Reading)) {
            return Arc::clone(begun);
        }
        let under_way = Arc::new(UnderWay {
            state: Mutex::new(State::Reading),
            for_threads: Condvar::new(),
            for_tasks: Notify::new(),
            is_late: AtomicBool::new(false),
        });
        let ending = Ending(Arc::clone(&under_way));
        let work = move || {
            let _thread = thread;
            let read = read();
            ending.tell(State::Read(read));
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => drop(std::thread::spawn(work)),
        }
        *last = Some(Arc::clone(&under_way));
        under_way
    }
}

impl<T: Clone> UnderWay<T> {
    async fn read(&self) -> Option<T> {
        loop {
            // Heard of from here on, so that nothing is missed between the look and the wait.
            let told = self.for_tasks.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            match &*locked(&self.state) {
                State::Reading => {}
                State::Read(read) => return Some(read.clone()),
                State::Lost => return None,
            }
            told.await;
        }
    }

    fn read_within(&self, time: Duration) -> Option<T> {
        let is_reading = |state: &mut State<T>| matches!(state, State::Reading);
        let waited = self.for_threads.wait_timeout_while(locked(&self.state), time, is_reading);
        match &*waited.unwrap_or_else(PoisonError::into_inner).0 {
            State::Read(read) => Some(read.clone()),
            State::Reading => {
                self.is_late.store(true, Ordering::Relaxed);
                None
            }
            State::Lost => None,
        }
    }
}

/// The thread's end of a reading: tells of its end, whatever that is.
struct Ending<T>(Arc<UnderWay<T>>);

impl<T> Ending<T> {
    fn tell(&self, state: State<T>) {
        let mut last = locked(&self.0.state);
        if matches!(*last, State::Reading) {
            *last = state;
        }
        drop(last);
        self.0.for_threads.notify_all();
        self.0.for_tasks.notify_waiters();
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
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

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
            let (_never, unasked) = mpsc::channel();
            assert_eq!(reading.wait_at_most(SOON, disk.read(unasked)), None);
        }
        assert_eq!(disk.asked.load(Ordering::SeqCst), 1);

        let (_never, unasked) = mpsc::channel();
        let (joined, _) = tokio::join!(reading.wait(disk.read(unasked)), async { answer.send(7).unwrap() });
        assert_eq!(joined, Some(7), "the disk is back");
        let (answer, anew) = mpsc::channel();
        answer.send(8).unwrap();
        assert_eq!(reading.wait(disk.read(anew)).await, Some(8), "what was read is read anew");
    }

    #[test]
    fn who_has_no_task_waits_no_longer_than_told() {
        let (disk, reading) = (Disk::default(), Reading::default());
        let (answer, hangs) = mpsc::channel();
        assert_eq!(reading.wait_at_most(SOON, disk.read(hangs)), None);
        let (_never, unasked) = mpsc::channel();
        let begun = Instant::now();
        assert_eq!(reading.wait_at_most(Duration::from_secs(60), disk.read(unasked)), None);
        assert!(begun.elapsed() < Duration::from_secs(20), "not at all for what has kept others waiting");
        answer.send(1).unwrap();
        // Until the thread has taken it, others are not kept waiting.
        let read = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(1));
            reading.wait_at_most(Duration::from_secs(20), || 2)
        });
        assert_eq!(read.take(20_000).find_map(|read| read), Some(2));
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
