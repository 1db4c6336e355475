//! Names as they come from other programs: bounded, printable, compared byte by byte.

use std::fmt;
use std::sync::Arc;

/// Longest name of a component, queue or publisher, in bytes of UTF-8 (design, limits).
pub const NAME_BYTES_MAX: usize = 128;

/// Why a name is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// A name must say something.
    #[error("it is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("it is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Control characters could forge log lines and terminals.
    #[error("it holds a control character")]
    Control,
}

/// Checks a name: 1 to [`NAME_BYTES_MAX`] bytes, no control characters. Everything else is
/// escaped wherever it is shown.
///
/// # Errors
/// Says which rule the name breaks.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong);
    }
    if name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    // U+2028 and U+2029 break lines in many viewers though Unicode counts them as separators.
    if name.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(InvalidName::Control);
    }
    Ok(())
}

/// What the id of a drill begins with, before that of the publisher whose outage it plays.
const DRILL: &str = "drill:";

/// The id of a publisher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(Arc<str>);

impl PublisherId {
    /// Takes a valid name as an id.
    ///
    /// # Errors
    /// As [`check_name`].
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a drill of this publisher; of a longer id as much as there is room for.
    pub fn drill(&self) -> Self {
        let mut id = format!("{DRILL}{}", self.0);
        let fits = |end: &usize| *end <= NAME_BYTES_MAX && id.is_char_boundary(*end);
        let end = (0..=id.len()).rev().find(fits).unwrap_or(0);
        id.truncate(end);
        Self(id.into())
    }

    /// Whether it is a drill, and no publisher.
    pub fn is_drill(&self) -> bool {
        self.0.starts_with(DRILL)
    }

    /// Of a drill, whose it is: whose keys and user speak for it.
    pub fn drilled(&self) -> Option<Self> {
        let id = self.0.strip_prefix(DRILL).filter(|id| !id.is_empty())?;
        Some(Self(id.into()))
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a publisher process: a random id, 1 to 64 of `A-Z a-z 0-9 - _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// Takes an id as it came, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        fits.then(|| Self(text.into()))
    }

    /// A new, random one: 16 hex digits.
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(check_name("sda-db"), Ok(()));
        assert_eq!(check_name("ærlig \"quote\" {x}:*"), Ok(()));
        assert_eq!(check_name(""), Err(InvalidName::Empty));
        assert_eq!(check_name(&"x".repeat(129)), Err(InvalidName::TooLong));
        for control in ["a\nb", "a\u{1b}[31m", "a\u{0}", "a\u{85}", "a\u{2028}"] {
            assert_eq!(check_name(control), Err(InvalidName::Control), "{control:?}");
        }
    }

    #[test]
    fn a_drill_is_of_its_publisher() {
        let oslo = PublisherId::new("oslo").unwrap();
        assert_eq!((oslo.drill().as_str(), oslo.is_drill(), oslo.drilled()), ("drill:oslo", false, None));
        assert!(oslo.drill().is_drill());
        assert_eq!(oslo.drill().drilled(), Some(oslo));
        let long = PublisherId::new(&"æ".repeat(64)).unwrap().drill();
        assert_eq!(check_name(long.as_str()), Ok(()));
        assert_eq!(long.as_str().len(), 6 + 2 * 61);
    }

    #[test]
    fn random_epochs_are_valid_and_differ() {
        let (a, b) = (Epoch::random(), Epoch::random());
        assert_eq!(Epoch::parse(a.as_str()), Some(a.clone()));
        assert_ne!(a, b);
        assert_eq!(Epoch::parse(""), None);
        assert_eq!(Epoch::parse("a b"), None);
    }
}
