//! Names of our keys in Redis. No text of anybody's stands in them raw.

use std::fmt;

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

/// The field of a publisher in its bucket: 128 bits of SHA-256 of its id, as hex digits.
// As bytes, for a map holds one for each publisher, and a number of this size would be rounded up beside a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey([u8; 16]);

impl RecordKey {
    /// Of a publisher.
    pub fn of(id: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        Self(std::array::from_fn(|at| digest[at]))
    }

    /// Reads what stands in the store, as far as it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|key| Self(key.to_be_bytes()))
    }

    /// The bucket of the publisher.
    pub fn bucket(self) -> usize {
        usize::from(self.0[0]) % BUCKETS
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The bucket of a publisher, by its [`RecordKey`] as it stands in the store.
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
        let key = RecordKey::of("*:{}\n\"\u{1F600}").to_string();
        assert_eq!(key.len(), 32);
        assert!(key.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for bucket in [0, 7, BUCKETS - 1] {
            for name in [records(bucket), revisions(bucket), log(bucket)] {
                assert!(!name.starts_with("service:") && !name.starts_with("queue:"), "{name}");
            }
        }
        assert_eq!(RecordKey::parse(&key).unwrap().to_string(), key);
        assert_eq!(RecordKey::parse(&key).unwrap().bucket(), bucket_of(&key));
        for none in ["", &key[1..], &key.to_uppercase(), &format!("+{}", &key[1..])] {
            assert_eq!(RecordKey::parse(none), None, "{none}");
        }
        // Fixed for ever: replicas of every version must agree.
        assert_eq!(RecordKey::of("publisher").to_string(), "4f03a060b7eb032972dcb327f2c989b1");
        assert_eq!(bucket_of("4f03a060b7eb032972dcb327f2c989b1"), 0x4f % BUCKETS);
    }
}
