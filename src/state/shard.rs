//! A part of all publishers, for more series than one scrape should hold.

use std::fmt;

use super::hash::fnv1a;
use crate::heartbeat::PublisherId;

/// Parts that there may be: more would each hold next to nothing.
pub const SHARDS_MAX: u64 = 1024;

/// One of several parts of all publishers. Each publisher is in exactly one, always the same for the same number of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// From 1.
    index: u64,
    of: u64,
}

/// Text that names no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard={0:?} is none: it is written as 2/8, the second of eight, up to {SHARDS_MAX}")]
pub struct InvalidShard(String);

impl Shard {
    /// Reads `2/8`, the second of eight.
    ///
    /// # Errors
    /// Where the text is not two numbers, the first from 1 to the second, and the second up to [`SHARDS_MAX`].
    pub fn parse(text: &str) -> Result<Self, InvalidShard> {
        let numbers =
            text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if (1..=of).contains(&index) && of <= SHARDS_MAX => Ok(Self { index, of }),
            _ => Err(InvalidShard(text.chars().take(40).collect())),
        }
    }

    /// Whether it is the first, which also tells what is not of a publisher.
    pub fn is_first(self) -> bool {
        self.index == 1
    }

    /// Whether a publisher is in this part.
    pub fn holds(self, id: &PublisherId) -> bool {
        hash(id.as_str()) % self.of == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// With its halves folded, since its lowest bits alone are weak. It stays the same for ever: series would change their
/// target otherwise.
fn hash(text: &str) -> u64 {
    let hash = fnv1a(text.bytes());
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_shard_is_refused() {
        for bad in [
            "",
            "1",
            "0/8",
            "9/8",
            "1/0",
            "0/0",
            "-1/8",
            "1/8/2",
            "1 / 8",
            "1/1025",
            "a/b",
            "1/99999999999999999999",
        ] {
            assert!(Shard::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Shard::parse("2/8").unwrap().to_string(), "2/8");
        assert_eq!(
            Shard::parse("9/8").unwrap_err().to_string(),
            "shard=\"9/8\" is none: it is written as 2/8, the second of eight, up to 1024"
        );
    }

    /// Replicas of every version must agree.
    #[test]
    fn the_hash_stays() {
        assert_eq!(hash("publisher"), 0x1ae6_a30e_f7c6_ef91);
    }

    #[test]
    fn each_publisher_is_in_one_shard_and_shards_are_even() {
        let ids: Vec<PublisherId> =
            (0..8000).map(|number| PublisherId::new(&format!("site-{number:04}")).unwrap()).collect();
        for of in [1, 3, 8] {
            let shards: Vec<Shard> =
                (1..=of).map(|index| Shard::parse(&format!("{index}/{of}")).unwrap()).collect();
            let mut sizes = vec![0usize; shards.len()];
            for id in &ids {
                let holders: Vec<usize> =
                    (0..shards.len()).filter(|index| shards[*index].holds(id)).collect();
                assert_eq!(holders.len(), 1, "{id}");
                sizes[holders[0]] += 1;
            }
            let mean = ids.len() / shards.len();
            assert!(sizes.iter().all(|size| size.abs_diff(mean) <= mean / 8), "{sizes:?}");
        }
    }
}
