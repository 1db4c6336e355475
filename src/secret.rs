//! A value that is never shown.

use std::fmt;

/// What stands where a secret would.
const REDACTED: &str = "<redacted>";

/// A password. `Debug` and `Display` are redacted, so that no log line, error or printed
/// configuration can give it away; only [`Secret::expose`] does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the peer that asks for it and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted_however_it_is_printed() {
        let secret = Secret::new("canary");
        let printed = format!("{secret} {secret:?} {:#?} {:?}", Some(&secret), [&secret]);
        assert!(!printed.contains("canary"), "{printed}");
        assert_eq!(secret.expose(), "canary");
    }
}
