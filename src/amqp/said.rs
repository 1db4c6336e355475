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

impl Said {
    /// The broker's words, where they say by themselves what they are.
    fn words(&self) -> Option<&str> {
        let lapin::ErrorKind::ProtocolError(error) = self.0.kind() else { return None };
        Some(error.get_message().as_str()).filter(|words| names_itself(words))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some(words) => f.write_str(words),
            None => self.0.fmt(f),
        }
    }
}

impl Error for Said {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The library's own form of the same refusal lies behind the words.
        if self.words().is_some() { None } else { self.0.source() }
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

    use crate::amqp::AmqpError;
    use crate::telemetry::Chain;

    fn told(words: &str) -> String {
        let kind = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
        let source = lapin::Error::from(ErrorKind::ProtocolError(AMQPError::new(kind, words.into()))).into();
        Chain(&AmqpError::Call { operation: "opening a channel".into(), source }).to_string()
    }

    #[test]
    fn a_refusal_is_told_once_with_all_causes() {
        let refused = "RabbitMQ: opening a channel failed: ACCESS_REFUSED - Login was refused";
        assert_eq!(told("ACCESS_REFUSED - Login was refused"), refused);
        let bare = told("no");
        assert!(bare.contains("ACCESS-REFUSED") && bare.ends_with("no"), "{bare}");
    }
}
