//! What windows of maintenance mean at one moment.

use std::sync::Arc;

use crate::heartbeat::{Timestamp, Window};

/// The windows of one publisher at one moment, by the store's clock.
#[derive(Clone, Debug)]
pub struct Maintenance {
    now: Timestamp,
    windows: Option<Arc<[Window]>>,
}

impl Maintenance {
    /// None.
    pub const NONE: Self = Self { now: Timestamp::EPOCH, windows: None };

    /// At `now`.
    pub fn new(now: Timestamp, windows: Option<Arc<[Window]>>) -> Self {
        Self { now, windows }
    }

    /// Those that are not over, the first to end first.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        let all = self.windows.as_deref().unwrap_or_default();
        all.iter().filter(|window| self.now < window.ends_at())
    }

    fn on(&self) -> impl Iterator<Item = &Window> {
        self.windows().filter(|window| window.is_on(self.now))
    }

    /// When the last window ends that holds now for the publisher with all that it checks; `None` where there is none.
    pub fn of_publisher(&self) -> Option<Timestamp> {
        self.on().filter(|window| window.is_whole()).map(Window::ends_at).max()
    }

    /// The same for a component of this name: by a window of its own, or of its publisher.
    pub fn of_component(&self, name: &str) -> Option<Timestamp> {
        self.on().filter(|window| window.covers(name)).map(Window::ends_at).max()
    }
}

/// Windows as they are kept: by the store's clock, which is `ahead_ms` before the publisher's. `None` where there are none.
pub(super) fn kept(windows: &[Window], ahead_ms: i64) -> Option<Arc<[Window]>> {
    let moved = windows.iter().map(|window| window.by_a_clock_ahead(ahead_ms));
    // At the ends of time nothing may be left of one.
    let kept: Arc<[Window]> = moved.filter(|window| window.begins_at() < window.ends_at()).collect();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1000)
    }

    #[test]
    fn a_window_holds_for_whom_it_is_and_while_it_is_on() {
        let window = |begins, ends, names: &[&str]| Window::new((at(begins), at(ends)), None, names).unwrap();
        let windows = [window(0, 10, &["db"]), window(5, 20, &[]), window(15, 30, &[])];
        let kept = kept(&windows, 100_000);
        let told = |second: i64| {
            let then = Maintenance::new(at(100 + second), kept.clone());
            let until = |end: Option<Timestamp>| end.map(|end| end.unix_ms() / 1000 - 100);
            let (db, www) = (until(then.of_component("db")), until(then.of_component("www")));
            (db, www, until(then.of_publisher()), then.windows().count())
        };
        assert_eq!(told(-1), (None, None, None, 3));
        assert_eq!(told(1), (Some(10), None, None, 3));
        assert_eq!(told(5), (Some(20), Some(20), Some(20), 3));
        assert_eq!(told(16), (Some(30), Some(30), Some(30), 2));
        assert_eq!(told(30), (None, None, None, 0));
        assert_eq!(Maintenance::NONE.of_publisher(), None);
    }
}
