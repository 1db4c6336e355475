//! Why the management API gave no answer, and what that makes of the checks that needed one.

use std::error::Error;
use std::io;

use crate::check::is_local_failure;
use crate::heartbeat::Reason;

type BoxError = Box<dyn Error + Send + Sync>;

/// What came of a request instead of an answer. None of these says anything about a queue or a listener,
/// save [`NotFound`](Self::NotFound), once it is certain that the management API said it.
#[derive(Debug, thiserror::Error)]
pub enum ManagementFailure {
    /// No connection, or it broke before the answer.
    #[error("no connection to the management API")]
    Unreachable(#[source] BoxError),
    /// This machine had not the means to connect.
    #[error("no means on this machine to connect to the management API")]
    Local(#[source] BoxError),
    /// The TLS handshake failed.
    #[error("no TLS with the management API")]
    Tls(#[source] BoxError),
    /// The deadline passed.
    #[error("the management API did not answer in time")]
    Timeout,
    /// The user was refused: status 401 or 403.
    #[error("the management API refused the user with status {status}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// Whether the body was of the form that the management API gives its errors.
        from_api: bool,
        /// Why, in the API's words.
        said: Option<String>,
    },
    /// The broker keeps no statistics.
    #[error("the broker's statistics are disabled")]
    StatsDisabled,
    /// A server error: status 500 to 599.
    #[error("the management API failed with status {status}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// Whether the body was of the form that the management API gives its errors.
        from_api: bool,
    },
    /// The API says in its own words that there is no such vhost or queue.
    #[error("the management API knows no such object")]
    NotFound,
    /// The answer is larger than the configured bound.
    #[error("the answer of the management API is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// What answered is no management API, or its answer cannot be read.
    #[error("no answer of a management API: {0}")]
    Invalid(&'static str),
}

impl ManagementFailure {
    /// The reason for which what depended on the answer is unknown.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unreachable(_) => Reason::ManagementUnreachable,
            Self::Local(_) => Reason::Local,
            Self::Tls(_) => Reason::Tls,
            Self::Timeout => Reason::ManagementTimeout,
            Self::Denied { .. } => Reason::ManagementDenied,
            Self::StatsDisabled => Reason::StatsDisabled,
            Self::Server { .. } => Reason::ManagementError,
            // An API of another broker, or of one without this vhost, is not the one that was meant.
            Self::NotFound | Self::TooLarge { .. } | Self::Invalid(_) => Reason::ManagementInvalid,
        }
    }

    /// Whether a management API said this, and not whatever else may listen on its port.
    pub fn is_from_api(&self) -> bool {
        match self {
            Self::StatsDisabled => true,
            Self::Denied { from_api, .. } | Self::Server { from_api, .. } => *from_api,
            _ => false,
        }
    }

    /// Whether another node of the same cluster may well answer.
    pub fn is_of_one_node(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Tls(_) | Self::Server { .. })
    }

    /// Whether a request for a single queue may succeed where the list of consumers failed so. Where
    /// nobody answered, more requests would only use up the deadline.
    pub fn leaves_queues_to_ask(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::StatsDisabled | Self::Server { .. } | Self::TooLarge { .. }
        )
    }

    /// From an error of the HTTP client.
    pub(super) fn of_transport(error: impl Error + Send + Sync + 'static) -> Self {
        match cause(&error) {
            Cause::Tls => Self::Tls(error.into()),
            Cause::Local => Self::Local(error.into()),
            Cause::NotHttp => Self::Invalid("it does not speak HTTP"),
            Cause::Other => Self::Unreachable(error.into()),
        }
    }
}

enum Cause {
    Tls,
    Local,
    NotHttp,
    Other,
}

/// Looks for the first error in the chain that tells what happened.
fn cause(error: &(dyn Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return Cause::Tls;
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Cause::NotHttp;
        }
        next = error.source();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if is_local_failure(error) {
                return Cause::Local;
            }
            if is_broken_handshake(error) {
                return Cause::Tls;
            }
            // The source of an I/O error is that of the error within, which would be passed over.
            next = error.get_ref().map(|inner| inner as &(dyn Error + 'static)).or(next);
        }
    }
    Cause::Other
}

/// The peer closed the connection in the middle of the handshake; the TLS library has no type for it.
fn is_broken_handshake(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        && error.get_ref().is_some_and(|inner| inner.to_string() == "tls handshake eof")
}
