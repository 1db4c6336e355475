//! The windows of maintenance of a publisher: those that its file plans, and those that somebody began by a command.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::targets::PlannedWindow;
use crate::heartbeat::maintenance::{WINDOWS_MAX, to_come};
use crate::heartbeat::{Timestamp, Window};

/// Where windows are begun and ended while the publisher runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Commanded(Arc<watch::Sender<Vec<Window>>>);

/// There are as many as a heartbeat carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {WINDOWS_MAX} windows already; end one first")]
pub struct TooMany;

impl Commanded {
    /// With those that were begun before, as far as they are not over.
    pub fn new(begun: Vec<Window>, now: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(to_come(begun, now))))
    }

    /// Begins one, or plans it. Those that are over make room.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn begin(&self, window: Window, now: Timestamp) -> Result<(), TooMany> {
        let mut begun = Err(TooMany);
        self.0.send_if_modified(|windows| {
            windows.retain(|window| now < window.ends_at());
            if windows.len() < WINDOWS_MAX {
                windows.push(window);
                begun = Ok(());
            }
            begun.is_ok()
        });
        begun
    }

    /// Ends all of them; says how many there were that were not over.
    pub fn end(&self, now: Timestamp) -> usize {
        let mut ended = 0;
        self.0.send_if_modified(|windows| {
            ended = windows.drain(..).filter(|window| now < window.ends_at()).count();
            ended > 0
        });
        ended
    }

    /// Those that are not over.
    pub fn windows(&self, now: Timestamp) -> Vec<Window> {
        to_come(self.0.borrow().iter().cloned(), now)
    }

    /// Wakes up at each change.
    pub fn watch(&self) -> watch::Receiver<Vec<Window>> {
        self.0.subscribe()
    }
}

/// What a heartbeat made at `now` carries of both.
pub(super) fn carried(planned: &[PlannedWindow], commanded: &[Window], now: Timestamp) -> Vec<Window> {
    let planned = planned.iter().flat_map(|planned| planned.near(now));
    to_come(planned.chain(commanded.iter().cloned()), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1000)
    }

    fn window(begins: i64, ends: i64) -> Window {
        Window::new((at(begins), at(ends)), None, &[]).unwrap()
    }

    #[test]
    fn what_is_begun_is_carried_until_it_ends() {
        let commanded = Commanded::new(vec![window(1, 5), window(1, 50)], at(10));
        let mut seen = commanded.watch();
        assert_eq!(commanded.windows(at(10)), [window(1, 50)], "what is over is not begun again");
        commanded.begin(window(10, 20), at(10)).unwrap();
        assert!(seen.has_changed().unwrap());
        let planned = PlannedWindow { first: window(30, 40), every: None };
        let carried = |now| carried(std::slice::from_ref(&planned), &seen.borrow_and_update(), at(now));
        let mut carried = carried;
        assert_eq!(carried(10), [window(10, 20), window(30, 40), window(1, 50)]);
        assert_eq!(carried(20), [window(30, 40), window(1, 50)]);
        assert_eq!(commanded.end(at(20)), 1);
        assert_eq!(commanded.end(at(20)), 0);
        assert_eq!(commanded.windows(at(20)), []);
    }

    #[test]
    fn there_is_room_for_as_many_as_are_carried() {
        let commanded = Commanded::new(Vec::new(), at(0));
        for ends in 1..=16 {
            commanded.begin(window(0, ends), at(0)).unwrap();
        }
        assert_eq!(commanded.begin(window(0, 99), at(0)), Err(TooMany));
        commanded.begin(window(0, 99), at(1)).unwrap();
        assert_eq!(commanded.windows(at(1)).len(), 16);
    }
}
