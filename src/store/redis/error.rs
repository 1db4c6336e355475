//! What the library says, as people read it.

use std::fmt;

use fred::error::{Error, ErrorKind};

/// An error of the library or an answer of Redis. The library tells the system's errors in the form that programmers
/// debug with, of which this shows the words alone.
#[derive(Clone, Debug)]
pub struct RedisError(pub(in crate::store) Error);

impl From<Error> for RedisError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match words_of_system(self.0.details()) {
            Some(words) if *self.0.kind() == ErrorKind::IO => f.write_str(words),
            _ => self.0.fmt(f),
        }
    }
}

impl std::error::Error for RedisError {}

/// `x` of `Os { code: 111, message: "x" }` and of `Custom { kind: Other, error: "x" }`.
fn words_of_system(details: &str) -> Option<&str> {
    let fields = ["Os { ", "Custom { "].iter().find_map(|start| details.strip_prefix(start))?;
    let (_, words) = fields.split_once(", message: \"").or_else(|| fields.split_once(", error: \""))?;
    words.strip_suffix("\" }").filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_error_of_the_system_is_told_in_words() {
        let refused = io::Error::from_raw_os_error(111);
        let lookup = io::Error::other("no such \"host\"");
        for (error, told) in [
            (refused, "Connection refused"),
            (lookup, "no such \\\"host\\"),
            (io::ErrorKind::Other.into(), "IO Error: "),
        ] {
            let error = RedisError::from(Error::from(error)).to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn an_answer_of_redis_stays_as_it_is() {
        let certificate = "Custom { kind: InvalidData, error: InvalidCertificate(NotValidForNameContext { expected: \
                           DnsName(\"a\"), presented: [\"DnsName(\\\"b\\\")\"] }) }";
        for (kind, details) in
            [(ErrorKind::Auth, "NOPERM x"), (ErrorKind::IO, certificate), (ErrorKind::IO, "")]
        {
            let error = Error::new(kind, details);
            assert_eq!(RedisError::from(error.clone()).to_string(), error.to_string());
        }
    }
}
