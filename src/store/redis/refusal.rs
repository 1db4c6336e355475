//! What an error means, by Redis' own words and the library's.

use fred::error::{Error, ErrorKind};

/// Whether Redis said no to who this is, or to what it may do, for which the library has no kind.
pub(super) fn is_denial(error: &Error) -> bool {
    reason(error) == "denied"
}

/// How Redis refuses what a script does: version 7.0, and later ones.
const DENIED_IN_SCRIPT: [&str; 2] = ["ERR The user executing the script can't", "ERR ACL failure in script"];

/// What an error of the library, or an answer of Redis, is counted by. Redis begins each of its own
/// with a word in capitals.
pub(in crate::store) fn reason(error: &Error) -> &'static str {
    let word = error.details().split_whitespace().next().unwrap_or_default();
    match word {
        "NOPERM" | "NOAUTH" | "WRONGPASS" => "denied",
        "READONLY" => "read_only",
        "OOM" => "out_of_memory",
        "MISCONF" => "not_persisting",
        "NOREPLICAS" => "too_few_replicas",
        "LOADING" | "MASTERDOWN" => "loading",
        "BUSY" => "busy",
        "NOSCRIPT" => "no_script",
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" => "cluster",
        _ if DENIED_IN_SCRIPT.iter().any(|words| error.details().starts_with(words)) => "denied",
        // The library's own words for a cluster that serves no slots, which it calls a protocol error.
        _ if error.details().ends_with("missing cluster state.") => "cluster",
        _ => match error.kind() {
            ErrorKind::IO | ErrorKind::Canceled => "closed",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Auth => "denied",
            ErrorKind::Tls => "tls",
            ErrorKind::Cluster => "cluster",
            ErrorKind::Protocol | ErrorKind::Parse => "malformed",
            _ => "other",
        },
    }
}
