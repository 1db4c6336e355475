//! The way of the log's lines to stderr: a thread of its own writes them, so that whoever logs never waits for
//! whoever reads. What does not fit is dropped, and counted.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// Lines that wait to be written: a few hundred kilobytes.
const WAITING_MAX: usize = 2048;

/// Lines dropped, of the one log that a process has.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Counts lines that were dropped since nobody took those before them.
pub(super) fn dropped() -> Counter {
    DROPPED.clone()
}

/// Takes lines in; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    sender: SyncSender<Line>,
}

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// Everything before it is written once this sender is dropped.
    End(#[allow(dead_code, reason = "its end is what is waited for")] SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes them to `to`.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub(super) fn to(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        std::thread::Builder::new().name("log".into()).spawn(move || write(&receiver, to))?;
        Ok(Self { sender })
    }

    /// Waits until what was logged so far is written, at most `limit` long.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let (written, wait) = sync_channel(0);
        let mut line = Line::End(written);
        // Where nobody reads there is no room either.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(line) {
            if Instant::now() >= end {
                return;
            }
            line = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// One write is one line, as the layer that makes them has it.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Line::Text(line.to_vec())).is_err() {
            DROPPED.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(lines: &Receiver<Line>, mut to: impl Write) {
    for line in lines {
        match line {
            // A disk that is full, or a reader that is gone, costs the line and nothing else.
            Line::Text(line) => {
                if to.write_all(&line).is_err() {
                    DROPPED.inc();
                }
            }
            Line::End(written) => drop(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Takes nothing until it is told to.
    struct Stuck(Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_waits_for_nobody_and_what_is_dropped_is_counted() {
        let (go, wait) = sync_channel(0);
        let seen = Arc::default();
        let mut lines = Lines::to(Stuck(wait, Arc::clone(&seen))).unwrap();
        let before = dropped().get();
        for _ in 0..WAITING_MAX + 100 {
            lines.write_all(b"line\n").unwrap();
        }
        assert!(dropped().get() >= before + 99, "{}", dropped().get());
        Lines::flush(&lines, Duration::from_millis(20));
        drop(go);
        Lines::flush(&lines, Duration::from_secs(60));
        assert!(seen.lock().unwrap().len() >= WAITING_MAX * 5);
    }
}
