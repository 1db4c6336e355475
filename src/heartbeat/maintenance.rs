//! Windows of maintenance: when a publisher, or some of its components, may be down without anybody being called.
//!
//! A window hides nothing. What is down in it is shown as down; the rules for alerts leave it out until the window ends,
//! and a window always ends.

use std::sync::Arc;
use std::time::Duration;

use super::Timestamp;
use super::name::{InvalidName, check_name};

/// Longest window. What takes longer is no maintenance, and is better taken out of the configuration.
pub const WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Windows that a heartbeat carries at most: those that end first.
pub const WINDOWS_MAX: usize = 16;

/// Components that a window names at most; for more, it is declared for the whole publisher.
pub const WINDOW_COMPONENTS_MAX: usize = 64;

/// A window of maintenance. Its times are by the clock of whoever holds it: the publisher's in a heartbeat, the store's in a
/// record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    ends_at: Timestamp,
    begins_at: Timestamp,
    comment: Option<Arc<str>>,
    components: Arc<[Arc<str>]>,
}

/// Why a window is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// It ends when it begins, or before.
    #[error("it ends before it begins")]
    Ends,
    /// Longer than [`WINDOW_MAX`].
    #[error("it is longer than seven days")]
    TooLong,
    /// More names than [`WINDOW_COMPONENTS_MAX`].
    #[error("it names more than {WINDOW_COMPONENTS_MAX} components")]
    TooMany,
    /// A component's name that is none.
    #[error("the name of a component: {0}")]
    Component(#[source] InvalidName),
    /// A comment is bounded and printable, as a name is.
    #[error("the comment: {0}")]
    Comment(#[source] InvalidName),
}

impl Window {
    /// A window from `begins_at` to `ends_at` of the components of these names, whatever their kinds; where none is named, of the
    /// publisher and all that it checks.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn new(
        (begins_at, ends_at): (Timestamp, Timestamp),
        comment: Option<&str>,
        components: &[&str],
    ) -> Result<Self, InvalidWindow> {
        let length = ends_at.ms_since(begins_at);
        if length <= 0 {
            return Err(InvalidWindow::Ends);
        }
        if u128::from(length.unsigned_abs()) > WINDOW_MAX.as_millis() {
            return Err(InvalidWindow::TooLong);
        }
        if components.len() > WINDOW_COMPONENTS_MAX {
            return Err(InvalidWindow::TooMany);
        }
        components.iter().try_for_each(|name| check_name(name)).map_err(InvalidWindow::Component)?;
        comment.map_or(Ok(()), check_name).map_err(InvalidWindow::Comment)?;
        Ok(Self {
            ends_at,
            begins_at,
            comment: comment.map(Arc::from),
            components: components.iter().map(|name| Arc::from(*name)).collect(),
        })
    }

    /// When it begins.
    pub fn begins_at(&self) -> Timestamp {
        self.begins_at
    }

    /// When it ends: from then on it holds no more.
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// What it is for, where somebody said so.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The names of the components that it is for.
    pub fn components(&self) -> &[Arc<str>] {
        &self.components
    }

    /// Whether it is for the publisher, with all that it checks.
    pub fn is_whole(&self) -> bool {
        self.components.is_empty()
    }

    /// Whether it holds at `now`.
    pub fn is_on(&self, now: Timestamp) -> bool {
        self.begins_at <= now && now < self.ends_at
    }

    /// Whether it is for a component of this name.
    pub fn covers(&self, component: &str) -> bool {
        self.is_whole() || self.components.iter().any(|name| **name == *component)
    }

    /// The same by a clock that is ahead of this one by `ms`.
    pub fn by_a_clock_ahead(&self, ms: i64) -> Self {
        Self { begins_at: self.begins_at.plus_ms(ms), ends_at: self.ends_at.plus_ms(ms), ..self.clone() }
    }
}

/// Those that are not over at `now`, each once, at most [`WINDOWS_MAX`]: those that are on, and then those that end first. In
/// the order of their ends.
pub fn to_come(windows: impl IntoIterator<Item = Window>, now: Timestamp) -> Vec<Window> {
    let mut windows: Vec<Window> = windows.into_iter().filter(|window| now < window.ends_at).collect();
    windows.sort();
    windows.dedup();
    // What is on counts more than what is planned.
    windows.sort_by_key(|window| !window.is_on(now));
    windows.truncate(WINDOWS_MAX);
    windows.sort();
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1000)
    }

    fn window(begins: i64, ends: i64, components: &[&str]) -> Result<Window, InvalidWindow> {
        Window::new((at(begins), at(ends)), None, components)
    }

    #[test]
    fn it_begins_and_always_ends() {
        let night = window(10, 20, &[]).unwrap();
        let on = [9, 10, 19, 20].map(|second| night.is_on(at(second)));
        assert_eq!(on, [false, true, true, false]);
        let week = i64::try_from(WINDOW_MAX.as_secs()).unwrap();
        assert!(window(0, week, &[]).is_ok());
        assert_eq!(window(0, week + 1, &[]), Err(InvalidWindow::TooLong));
        for (begins, ends) in [(20, 20), (20, 10), (i64::MAX / 1000, i64::MIN / 1000)] {
            assert_eq!(window(begins, ends, &[]), Err(InvalidWindow::Ends));
        }
        assert_eq!(window(i64::MIN / 1000, i64::MAX / 1000, &[]), Err(InvalidWindow::TooLong));
    }

    #[test]
    fn it_is_for_those_that_it_names_or_for_all() {
        let one = window(0, 10, &["db"]).unwrap();
        assert!(one.covers("db") && !one.covers("www") && !one.is_whole());
        assert!(window(0, 10, &[]).unwrap().covers("www"));
        assert_eq!(window(0, 10, &["x"; 65]), Err(InvalidWindow::TooMany));
        assert_eq!(window(0, 10, &["a\nb"]), Err(InvalidWindow::Component(InvalidName::Control)));
        let commented = |comment| Window::new((at(0), at(10)), Some(comment), &[]).map(|_| ());
        assert_eq!(commented("new disks"), Ok(()));
        assert_eq!(commented(""), Err(InvalidWindow::Comment(InvalidName::Empty)));
    }

    #[test]
    fn those_that_end_first_are_carried() {
        let many = (2..40).rev().map(|ends| window(1, ends, &[]).unwrap());
        let carried = to_come(many.clone().chain(many), at(3));
        let ends: Vec<i64> = carried.iter().map(|window| window.ends_at().unix_ms() / 1000).collect();
        assert_eq!(ends, (4..20).collect::<Vec<_>>());
        // One that is on has its place, however many are planned before its end.
        let planned = (5..40).map(|begins| window(begins, begins + 1, &[]).unwrap());
        let carried = to_come(planned.chain([window(1, 100, &[]).unwrap()]), at(3));
        assert_eq!((carried.len(), carried[15].ends_at()), (16, at(100)));
    }
}
