//! The windows of maintenance of a publisher: those that its file plans, and those that somebody began by a command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value;
use tokio::sync::watch;
use tracing::warn;

use super::memory::{Keeping, Memory, Recalled};
use crate::config::targets::PlannedWindow;
use crate::heartbeat::maintenance::{WINDOWS_MAX, to_come};
use crate::heartbeat::wire::{decode_windows, encode_windows};
use crate::heartbeat::{Timestamp, Window};

/// What is kept of windows is under this name in the memory.
const SUBJECT: &str = "maintenance";

/// Where windows are begun and ended while the publisher runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Commanded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    windows: watch::Sender<Vec<Begun>>,
    /// The number of the one that is begun next.
    next: AtomicU32,
    /// Whether somebody ended all that there were.
    ended: AtomicBool,
    memory: Memory,
}

/// A window that somebody began by a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// What it is ended by. No other has it until the process ends; a restart counts anew.
    pub number: u32,
    /// The window.
    pub window: Window,
}

/// There are as many as a heartbeat carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {WINDOWS_MAX} windows already; end one first, by its number")]
pub struct TooMany;

impl Commanded {
    /// Without any yet.
    pub fn new(memory: Memory) -> Self {
        let (windows, next) = (watch::Sender::new(Vec::new()), AtomicU32::new(1));
        Self(Arc::new(Inner { windows, next, ended: AtomicBool::new(false), memory }))
    }

    /// Takes in those that a process before remembered, once they are known, unless somebody has ended all since.
    pub(super) fn take_over(&self, recalled: &Recalled, now: Timestamp) {
        let mut left_out = Vec::new();
        self.0.windows.send_if_modified(|windows| {
            let before = windows.clone();
            windows.retain(|begun| now < begun.window.ends_at());
            let ended = self.0.ended.load(Ordering::Relaxed);
            let remembered = if ended { Vec::new() } else { kept_before(recalled) };
            for window in to_come(remembered, now) {
                if windows.iter().any(|begun| begun.window == window) {
                    continue;
                }
                match windows.len() {
                    0..WINDOWS_MAX => windows.push(self.numbered(window)),
                    _ => left_out.push(window),
                }
            }
            *windows != before
        });
        for window in left_out {
            let ends = window.ends_at();
            warn!(%ends, "No room for a window of maintenance that was begun before the restart; it is forgotten");
        }
        drop(self.keep());
    }

    /// Begins one, or plans it. Those that are over make room. Gives its number, and whether a restart will remember it.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn begin(&self, window: Window, now: Timestamp) -> Result<(u32, Keeping), TooMany> {
        let mut number = Err(TooMany);
        self.0.windows.send_if_modified(|windows| {
            windows.retain(|begun| now < begun.window.ends_at());
            if windows.len() < WINDOWS_MAX {
                let begun = self.numbered(window);
                number = Ok(begun.number);
                windows.push(begun);
            }
            number.is_ok()
        });
        number.map(|number| (number, self.keep()))
    }

    /// Ends all of them; says how many there were that were not over. What it gives is as in [`Commanded::begin`].
    pub fn end(&self, now: Timestamp) -> (usize, Keeping) {
        let mut ended = 0;
        self.0.windows.send_if_modified(|windows| {
            self.0.ended.store(true, Ordering::Relaxed);
            ended = windows.drain(..).filter(|begun| now < begun.window.ends_at()).count();
            ended > 0
        });
        (ended, self.keep())
    }

    /// Ends the one of this number, where there is one that is not over. What it gives is as in [`Commanded::begin`].
    pub fn end_one(&self, number: u32, now: Timestamp) -> Option<(Window, Keeping)> {
        let mut ended = None;
        self.0.windows.send_if_modified(|windows| {
            let at = windows.iter().position(|begun| begun.number == number && now < begun.window.ends_at());
            ended = at.map(|at| windows.remove(at).window);
            ended.is_some()
        });
        ended.map(|window| (window, self.keep()))
    }

    /// Not while they are changed: the memory looks at them when it is theirs.
    fn keep(&self) -> Keeping {
        self.0.memory.keep(SUBJECT, || kept(&self.0.windows.borrow()))
    }

    fn numbered(&self, window: Window) -> Begun {
        Begun { number: self.0.next.fetch_add(1, Ordering::Relaxed), window }
    }

    /// Those that are not over.
    pub fn windows(&self, now: Timestamp) -> Vec<Begun> {
        let windows = self.0.windows.borrow();
        windows.iter().filter(|begun| now < begun.window.ends_at()).cloned().collect()
    }

    /// Wakes up at each change.
    pub fn watch(&self) -> watch::Receiver<Vec<Begun>> {
        self.0.windows.subscribe()
    }
}

/// Windows that were kept.
fn kept_before(recalled: &Recalled) -> Vec<Window> {
    let raw = recalled.subject(SUBJECT).and_then(|value| serde_json::value::to_raw_value(value).ok());
    raw.iter().flat_map(|raw| decode_windows(raw)).collect()
}

/// Windows as they are kept.
fn kept(windows: &[Begun]) -> Value {
    let windows: Vec<Window> = windows.iter().map(|begun| begun.window.clone()).collect();
    // What was just written as JSON is JSON.
    serde_json::from_str(encode_windows(&windows).get()).unwrap_or_default()
}

/// What a heartbeat made at `now` carries of both.
pub(super) fn carried(planned: &[PlannedWindow], commanded: &[Begun], now: Timestamp) -> Vec<Window> {
    let planned = planned.iter().flat_map(|planned| planned.near(now));
    to_come(planned.chain(commanded.iter().map(|begun| begun.window.clone())), now)
}

#[cfg(test)]
mod tests {
    use super::super::memory::tests::InFile;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1000)
    }

    fn windows(commanded: &Commanded, second: i64) -> Vec<Window> {
        commanded.windows(at(second)).into_iter().map(|begun| begun.window).collect()
    }

    fn window(begins: i64, ends: i64) -> Window {
        Window::new((at(begins), at(ends)), None, &[]).unwrap()
    }

    #[tokio::test]
    async fn what_is_begun_is_carried_until_it_ends() {
        let commanded = Commanded::new(Memory::of_this_process());
        let mut seen = commanded.watch();
        drop(commanded.begin(window(1, 50), at(10)).unwrap());
        drop(commanded.begin(window(10, 20), at(10)).unwrap());
        assert!(seen.has_changed().unwrap());
        let planned = PlannedWindow { first: window(30, 40), every: None };
        let mut carried = |now| carried(std::slice::from_ref(&planned), &seen.borrow_and_update(), at(now));
        assert_eq!(carried(10), [window(10, 20), window(30, 40), window(1, 50)]);
        assert_eq!(carried(20), [window(30, 40), window(1, 50)]);
        assert_eq!(commanded.end(at(20)).0, 1);
        assert_eq!(commanded.end(at(20)).0, 0);
        assert_eq!(commanded.windows(at(20)), []);
    }

    #[tokio::test]
    async fn one_is_ended_by_its_number_which_no_other_has() {
        let commanded = Commanded::new(Memory::of_this_process());
        for ends in [20, 20, 30] {
            drop(commanded.begin(window(0, ends), at(0)).unwrap());
        }
        let numbers = |now| commanded.windows(at(now)).iter().map(|begun| begun.number).collect::<Vec<_>>();
        assert_eq!(numbers(0), [1, 2, 3], "two that are equal are two");
        assert_eq!(commanded.end_one(2, at(0)).unwrap().0, window(0, 20));
        assert!(commanded.end_one(2, at(0)).is_none() && commanded.end_one(1, at(20)).is_none());
        drop(commanded.begin(window(0, 40), at(0)).unwrap());
        assert_eq!(numbers(20), [3, 4]);
    }

    #[tokio::test]
    async fn there_is_room_for_as_many_as_are_carried() {
        let commanded = Commanded::new(Memory::of_this_process());
        for ends in 1..=16 {
            drop(commanded.begin(window(0, ends), at(0)).unwrap());
        }
        assert_eq!(commanded.begin(window(0, 99), at(0)).err(), Some(TooMany));
        assert!(commanded.begin(window(0, 99), at(1)).is_ok());
        assert_eq!(commanded.windows(at(1)).len(), 16);
    }

    /// As a process begins: with what the one before remembered in the file.
    fn begun_with(file: &InFile, second: i64) -> Commanded {
        let commanded = Commanded::new(file.memory.clone());
        file.memory.hand_over(|recalled| commanded.take_over(recalled, at(second)));
        commanded
    }

    #[tokio::test]
    async fn a_restart_remembers_what_is_not_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = InFile::open(&path).await;
        let commanded = begun_with(&first, 0);
        let named = Window::new((at(0), at(100)), Some("new disks"), &["db"]).unwrap();
        drop(commanded.begin(window(0, 10), at(0)).unwrap());
        assert!(commanded.begin(named.clone(), at(0)).unwrap().1.is_stored().await);
        first.close().await;
        let second = InFile::open(&path).await;
        let again = begun_with(&second, 10);
        assert_eq!(again.windows(at(10)), [Begun { number: 1, window: named }]);
        assert!(again.end(at(20)).1.is_stored().await);
        second.close().await;
        let third = InFile::open(&path).await;
        assert_eq!(begun_with(&third, 20).windows(at(20)), []);
    }

    /// What is logged while `events` runs.
    fn logged(events: impl FnOnce()) -> String {
        let (writer, mut reader) = std::os::unix::net::UnixStream::pair().unwrap();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(std::sync::Mutex::new(writer));
        tracing::subscriber::with_default(log.finish(), events);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn what_is_remembered_late_and_has_no_room_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = InFile::open(&path).await;
        let before = begun_with(&first, 0);
        for ends in [20, 100] {
            assert!(before.begin(window(0, ends), at(0)).unwrap().1.is_stored().await);
        }
        first.close().await;
        let late = InFile::open(&path).await.memory;
        let commanded = Commanded::new(Memory::of_this_process());
        for ends in 51..=65 {
            drop(commanded.begin(window(5, ends), at(5)).unwrap());
        }
        let log = logged(|| late.hand_over(|recalled| commanded.take_over(recalled, at(6))));
        assert_eq!(windows(&commanded, 6).last(), Some(&window(0, 20)));
        let told: Vec<&str> = log.lines().collect();
        assert!(matches!(told[..], [line] if line.contains(&at(100).to_string())), "{log}");
    }

    #[tokio::test]
    async fn what_is_remembered_late_is_added_unless_all_was_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = InFile::open(&path).await;
        assert!(begun_with(&first, 0).begin(window(0, 100), at(0)).unwrap().1.is_stored().await);
        first.close().await;
        let late = InFile::open(&path).await.memory;
        let mut is_told = false;
        late.hand_over(|recalled| {
            is_told = true;
            let commanded = Commanded::new(Memory::of_this_process());
            drop(commanded.begin(window(5, 50), at(5)).unwrap());
            let mut seen = commanded.watch();
            seen.mark_unchanged();
            commanded.take_over(recalled, at(6));
            assert_eq!(windows(&commanded, 6), [window(5, 50), window(0, 100)]);
            assert!(seen.has_changed().unwrap());

            let commanded = Commanded::new(Memory::of_this_process());
            drop(commanded.end(at(5)));
            drop(commanded.begin(window(5, 50), at(5)).unwrap());
            commanded.take_over(recalled, at(6));
            assert_eq!(windows(&commanded, 6), [window(5, 50)]);
        });
        assert!(is_told);
    }
}
