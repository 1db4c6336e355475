//! Why a component is not up: a small, fixed vocabulary, since it becomes a label.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// Why a component is down or unknown. The only failure text that labels may hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label value and the wire's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// A sentence that says it.
            pub fn meaning(self) -> &'static str {
                // Comments begin with a blank.
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii_start(),)+ }
            }

            /// Reads a reason; one of a later version becomes [`Reason::Other`].
            pub fn parse(text: &str) -> Self {
                match text { $($word => Self::$variant,)+ _ => Self::Other }
            }
        }
    };
}

reasons! {
    /// The connection was refused.
    Refused = "refused",
    /// The deadline passed.
    Timeout = "timeout",
    /// The name does not resolve, or the resolver does not answer.
    Dns = "dns",
    /// The network says that there is no way to the host.
    Unreachable = "unreachable",
    /// The connection was reset, or ended before an answer.
    Reset = "reset",
    /// The TLS handshake failed.
    Tls = "tls",
    /// Its certificate is not trusted, has ended, or is for another name.
    Certificate = "certificate",
    /// Its certificate ends sooner than it may.
    Expiring = "expiring",
    /// What answers does not speak the protocol.
    Protocol = "protocol",
    /// It answered with another status than it should: of HTTP, of gRPC, or a response code of DNS.
    Status = "status",
    /// The answer does not hold what it must, holds what it must not, or is too long to tell.
    Content = "content",
    /// The answer is right, and took longer than it may.
    Slow = "slow",
    /// It answered that it does not serve.
    NotServing = "not_serving",
    /// No consumer of the queue matches.
    NoConsumer = "no_consumer",
    /// The queue is not there.
    NoQueue = "no_queue",
    /// A consumer matches, and the broker says that it is not active.
    Inactive = "inactive",
    /// A listener of the queue is not up.
    Listener = "listener",
    /// A job was not heard of in time.
    Late = "late",
    /// A job said that it failed.
    Failed = "failed",
    /// A job began and has not ended in time.
    Overrunning = "overrunning",
    /// A job that was never heard of has its time yet.
    Waiting = "waiting",
    /// The original program said so, without saying why.
    Reported = "reported",
    /// No connection to the management API.
    ManagementUnreachable = "management_unreachable",
    /// The management API did not answer within the deadline.
    ManagementTimeout = "management_timeout",
    /// The management API refused the user.
    ManagementDenied = "management_denied",
    /// The management API answered with a server error.
    ManagementError = "management_error",
    /// What answered is no management API, or its answer cannot be read.
    ManagementInvalid = "management_invalid",
    /// The management API does not show this user all consumers of the queue.
    ConsumersHidden = "consumers_hidden",
    /// Statistics are disabled on the broker.
    StatsDisabled = "stats_disabled",
    /// The prober's own machine could not make the check (no sockets, no permission).
    Local = "local",
    /// Nothing was heard of it in time.
    Stale = "stale",
    /// This replica cannot tell: it is cut off from what others hear.
    View = "view",
    /// Known from a backlog or from before, not yet heard of since this subscriber listens.
    Unconfirmed = "unconfirmed",
    /// A drill plays an outage: nothing is wrong.
    Drill = "drill",
    /// Anything else, and every reason of a later version.
    Other = "other",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_unknown_ones_are_other() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), *reason);
            assert!(reason.meaning().ends_with('.') && !reason.meaning().starts_with(' '));
        }
        assert_eq!(Reason::parse("quantum_flux"), Reason::Other);
    }
}
