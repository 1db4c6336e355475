//! Reasons, for people.

use crate::heartbeat::Reason;

/// A reason, for people.
pub(super) fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Refused => "connection refused",
        Reason::Timeout => "no answer in time",
        Reason::Dns => "its name does not resolve",
        Reason::Unreachable => "no way to the host",
        Reason::Reset => "connection reset",
        Reason::Tls => "the TLS handshake failed",
        Reason::Certificate => "its certificate is not trusted, has ended, or is for another name",
        Reason::Expiring => "its certificate ends soon",
        Reason::Protocol => "it does not speak the protocol",
        Reason::Status => "it answered with another status",
        Reason::Content => "its answer does not hold what it should",
        Reason::Slow => "it answered too slowly",
        Reason::NotServing => "it says that it does not serve",
        Reason::NoConsumer => "no consumer matches",
        Reason::NoQueue => "the queue is not there",
        Reason::Inactive => "its consumer is not active",
        Reason::Listener => "a listener is not up",
        Reason::Late => "not heard of in time",
        Reason::Failed => "it said that it failed",
        Reason::Overrunning => "it runs for too long",
        Reason::Waiting => "not heard of yet, and not late",
        Reason::Reported => "reported without a reason",
        Reason::ManagementUnreachable => "the management API cannot be reached",
        Reason::ManagementTimeout => "the management API does not answer",
        Reason::ManagementDenied => "the management API refuses the user",
        Reason::ManagementError => "the management API fails",
        Reason::ManagementInvalid => "the management API gives no answer that can be read",
        Reason::ConsumersHidden => "the management API does not show its consumers",
        Reason::StatsDisabled => "the broker keeps no statistics",
        Reason::Local => "the publisher's own machine could not check",
        Reason::Stale => "not heard of in time",
        Reason::View => "this subscriber is cut off",
        Reason::Unconfirmed => "not heard of since this subscriber listens",
        Reason::Drill => "a drill: nothing is wrong",
        Reason::Other => "another reason",
    }
}
