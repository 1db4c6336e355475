//! Names of our keys in Redis. No text of anybody's stands in them raw.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Buckets over which publishers are spread. All keys of one bucket share a hash tag, so that one
/// step touches one slot of a Redis Cluster.
pub(super) const BUCKETS: usize = 64;

/// Presence of the replicas: a hash by replica id.
pub(super) const REPLICAS: &str = "heartbeat:replicas";

/// Names the data set; gone when Redis was emptied.
pub(super) const DATASET: &str = "heartbeat:dataset";

/// Refused messages, newest first.
pub(super) const REJECTED: &str = "heartbeat:rejected";

/// The field of a publisher in its bucket: 32 hex digits of SHA-256 of its id.
pub fn record_key(id: &str) -> String {
    let digest = Sha256::digest(id.as_bytes());
    digest[..16].iter().fold(String::with_capacity(32), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// The bucket of a publisher, by its [`record_key`].
pub fn bucket_of(key: &str) -> usize {
    let first = key.get(..2).and_then(|digits| usize::from_str_radix(digits, 16).ok());
    first.unwrap_or(0) % BUCKETS
}

/// Hash of the records of a bucket: publisher key to encoded record.
pub(super) fn records(bucket: usize) -> String {
    format!("heartbeat:{{b{bucket:02}}}:records")
}

/// Hash of the revisions of a bucket: publisher key to revision.
pub(super) fn revisions(bucket: usize) -> String {
    format!("heartbeat:{{b{bucket:02}}}:revisions")
}

/// Stream of the changes of a bucket: publisher key and revision.
pub(super) fn log(bucket: usize) -> String {
    format!("heartbeat:{{b{bucket:02}}}:log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hold_nobodys_text_and_keep_off_the_contracts_patterns() {
        let key = record_key("*:{}\n\"\u{1F600}");
        assert_eq!(key.len(), 32);
        assert!(key.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for bucket in [0, 7, BUCKETS - 1] {
            for name in [records(bucket), revisions(bucket), log(bucket)] {
                assert!(!name.starts_with("service:") && !name.starts_with("queue:"), "{name}");
            }
        }
        // Fixed for ever: replicas of every version must agree.
        assert_eq!(record_key("publisher"), "4f03a060b7eb032972dcb327f2c989b1");
        assert_eq!(bucket_of("4f03a060b7eb032972dcb327f2c989b1"), 0x4f % BUCKETS);
    }
}
