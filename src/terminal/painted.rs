//! Text as a terminal gets it.

use crate::telemetry::visible;

/// Text of which each character is seen for what it is: what would steer the terminal, or deceive whoever looks at it, stands there
/// by its number. Only [`Terminal::paint`](super::Terminal::paint) puts in what steers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Painted(String);

impl Painted {
    /// Lines, one below the other.
    pub fn lines(lines: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(|line| line.into().0).collect();
        Self(lines.join("\n"))
    }

    /// Adds more at its end.
    pub fn push(&mut self, more: impl Into<Self>) {
        self.0.push_str(&more.into().0);
    }

    /// The same between two sequences that steer.
    pub(super) fn between(self, before: &str, after: &str) -> Self {
        Self(format!("{before}{}{after}", self.0))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Painted {
    fn from(text: T) -> Self {
        Self(visible(text.as_ref()).into_owned())
    }
}
