//! Why a request was not taken, what is to be done about it, and what whoever reads of it may look at.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::BoxError;
use crate::tls::TlsError;

/// Characters of a receiver's own words that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::otlp) enum SendError {
    /// TLS cannot be set up.
    #[error("there can be no TLS")]
    Tls(#[source] Arc<TlsError>),
    /// The request cannot be made: a mistake of this program.
    #[error("the request cannot be made")]
    Request(#[source] BoxError),
    /// No connection, or one that broke.
    #[error("the receiver cannot be spoken to")]
    Connection(#[source] BoxError),
    /// No answer in time.
    #[error("the receiver did not answer within {0:?}")]
    Deadline(Duration),
    /// The receiver said no.
    #[error("the receiver answered {status}{}", said(.message))]
    Refused {
        /// As its protocol names it.
        status: String,
        /// In its own words.
        message: String,
        /// What is to be done.
        advice: Advice,
    },
    /// It answered something that is no answer, or a larger one than is read.
    #[error("the receiver's answer cannot be read")]
    Answer(#[source] BoxError),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", cut(message)) }
}

/// A receiver's own words without these: some say again what they were sent.
pub(super) fn redacted(message: &str, secrets: &[&str]) -> String {
    let parts = secrets.iter().flat_map(|secret| secret.split_whitespace()).filter(|part| part.len() > 3);
    parts.fold(message.to_owned(), |message, part| message.replace(part, "<redacted>"))
}

/// As much of a receiver's own words as is shown.
pub(super) fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// What is to be done about a request that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::otlp) enum Advice {
    /// The same again, after so long where the receiver says so.
    Retry(Option<Duration>),
    /// It is too large: in parts.
    Split,
    /// It will never be taken.
    GiveUp,
}

impl SendError {
    /// What is to be done: the one place that decides it (specification of OTLP, on failures).
    pub(in crate::otlp) fn advice(&self) -> Advice {
        match self {
            Self::Tls(_) | Self::Connection(_) | Self::Deadline(_) => Advice::Retry(None),
            Self::Request(_) | Self::Answer(_) => Advice::GiveUp,
            Self::Refused { advice, .. } => *advice,
        }
    }

    /// What sort of failure it is: one of another sort is news.
    pub(in crate::otlp) fn sort(&self) -> &str {
        match self {
            Self::Tls(_) => "tls",
            Self::Request(_) => "request",
            Self::Connection(_) => "connection",
            Self::Deadline(_) => "deadline",
            Self::Refused { status, .. } => status,
            Self::Answer(_) => "answer",
        }
    }

    /// Without these in the receiver's own words.
    pub(super) fn without(mut self, secrets: &[&str]) -> Self {
        if let Self::Refused { message, .. } = &mut self {
            *message = redacted(message, secrets);
        }
        self
    }

    /// Whether the receiver refused who this is.
    pub(super) fn is_about_the_key(&self) -> bool {
        let Self::Refused { status, .. } = self else { return false };
        ["401", "403", "Unauthenticated", "PermissionDenied"].iter().any(|word| status.starts_with(word))
    }

    /// What to look at; empty where nothing stands out.
    pub(in crate::otlp) fn hint(&self) -> &'static str {
        let text = self.whole_text();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["401", "403", "Unauthenticated", "PermissionDenied"]) {
            "whether OTEL_EXPORTER_OTLP_HEADERS holds the right key"
        } else if has(&["404", "405", "Unimplemented"]) {
            "whether the endpoint's path and OTEL_EXPORTER_OTLP_PROTOCOL are right"
        } else if has(&["InvalidContentType", "corrupt message"]) {
            "whether it speaks TLS: the endpoint is https, or has no scheme and OTEL_EXPORTER_OTLP_INSECURE is not set"
        } else if has(&[
            "invalid HTTP version",
            "unexpected message",
            "frame with invalid size",
            "http2 error",
        ]) {
            "whether it speaks the other protocol: see OTEL_EXPORTER_OTLP_PROTOCOL"
        } else if has(&["413", "too large", "larger than max", "exceeds"]) {
            "what the receiver, or a proxy before it, takes at most"
        } else if matches!(self, Self::Connection(_) | Self::Deadline(_)) {
            "whether it runs, and can be reached from here"
        } else {
            ""
        }
    }

    fn whole_text(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

/// What lies under an error that shows its own insides: each cause in its own words, once.
pub(super) fn causes(error: &(dyn Error + 'static)) -> BoxError {
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !causes.iter().any(|held| held.contains(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    causes.join(": ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: &str, message: &str) -> SendError {
        SendError::Refused { status: status.into(), message: message.into(), advice: Advice::GiveUp }
    }

    #[test]
    fn a_key_that_is_said_again_is_not_shown() {
        let error = refused("401 Unauthorized", "bad token: Bearer s3cr3t").without(&["Bearer s3cr3t"]);
        assert_eq!(
            error.to_string(),
            "the receiver answered 401 Unauthorized: bad token: <redacted> <redacted>"
        );
    }

    #[test]
    fn what_stands_out_is_hinted_at() {
        let connection = |text: &str| SendError::Connection(text.to_owned().into());
        for (error, word) in [
            (refused("401 Unauthorized", ""), "HEADERS"),
            (refused("Unauthenticated", ""), "HEADERS"),
            (refused("404 Not Found", ""), "path"),
            (refused("Unimplemented", "mapped"), "PROTOCOL"),
            (refused("413 Payload Too Large", ""), "at most"),
            (connection("received corrupt message of type InvalidContentType"), "TLS"),
            (connection("invalid HTTP version parsed"), "PROTOCOL"),
            (connection("Connection refused (os error 111)"), "runs"),
            (SendError::Deadline(Duration::from_secs(1)), "runs"),
        ] {
            assert!(error.hint().contains(word), "{error}: {}", error.hint());
        }
        assert_eq!(refused("400 Bad Request", "").hint(), "");
    }
}
