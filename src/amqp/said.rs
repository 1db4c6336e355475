//! What the broker or the library said, in words for people.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

/// An error of the library. Of a refusal it tells the broker's own words, which begin with the name of what they are, and not the
/// same name three times over.
#[derive(Debug)]
pub struct Said(lapin::Error);

impl From<lapin::Error> for Said {
    fn from(error: lapin::Error) -> Self {
        Self(error)
    }
}

impl Deref for Said {
    type Target = lapin::Error;

    fn deref(&self) -> &lapin::Error {
        &self.0
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            lapin::ErrorKind::ProtocolError(error) if names_itself(error.get_message().as_str()) => {
                f.write_str(error.get_message().as_str())
            }
            _ => self.0.fmt(f),
        }
    }
}

impl Error for Said {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Whether a text begins as RabbitMQ's do: `ACCESS_REFUSED - Login was refused`.
fn names_itself(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c == '_';
    text.split_once(" - ").is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_of_name))
}

#[cfg(test)]
mod tests {
    use lapin::ErrorKind;
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};

    use super::*;

    #[test]
    fn a_refusal_is_named_once() {
        let said = |text: &str| {
            let kind = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
            Said::from(lapin::Error::from(ErrorKind::ProtocolError(AMQPError::new(kind, text.into()))))
                .to_string()
        };
        assert_eq!(said("ACCESS_REFUSED - Login was refused"), "ACCESS_REFUSED - Login was refused");
        let bare = said("no");
        assert!(bare.contains("ACCESS-REFUSED") && bare.ends_with("no"), "{bare}");
    }
}
