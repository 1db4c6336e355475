//! An error with all its causes, as one line.

use std::error::Error;
use std::fmt;

/// Shows an error and its sources, from the outermost to the first cause, joined by `: `.
///
/// Our own errors never repeat their source; those of other crates often do, and a source whose text
/// ends the text before it is left out.
#[derive(Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

/// More sources than this is a loop, or nothing that a reader follows.
const SOURCES_MAX: usize = 16;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let sources = std::iter::successors(self.0.source(), |&error| error.source());
        for source in sources.take(SOURCES_MAX) {
            let text = source.to_string();
            if !shown.ends_with(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot open the store")]
        Plain(#[source] Inner),
        #[error("cannot open the store: {0}")]
        Repeating(#[source] Inner),
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect to {peer}")]
    struct Inner {
        peer: &'static str,
        source: std::io::Error,
    }

    fn inner() -> Inner {
        Inner { peer: "redis:6379", source: std::io::Error::other("refused") }
    }

    #[test]
    fn every_cause_is_said_once() {
        let line = "cannot open the store: cannot connect to redis:6379: refused";
        assert_eq!(Chain(&Outer::Plain(inner())).to_string(), line);
        assert_eq!(Chain(&Outer::Repeating(inner())).to_string(), line);
        assert_eq!(Chain(&std::io::Error::other("alone")).to_string(), "alone");
    }
}
