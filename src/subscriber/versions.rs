//! What a whole fleet says alike, held once: the versions of its programs. Pure.

use std::collections::HashSet;
use std::sync::Arc;

/// Texts that are held; of those beyond, each publisher has its own.
const HELD_MAX: usize = 64;

/// Versions that were heard of.
#[derive(Debug, Default)]
pub(super) struct Versions(HashSet<Arc<str>>);

impl Versions {
    /// Has a text share its room with others that say the same.
    pub(super) fn share(&mut self, version: &mut Arc<str>) {
        if let Some(held) = self.0.get(&**version) {
            *version = Arc::clone(held);
        } else if self.0.len() < HELD_MAX {
            self.0.insert(Arc::clone(version));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_say_the_same_share_it() {
        let mut versions = Versions::default();
        let mut said = |text: &str| {
            let mut version = Arc::from(text);
            versions.share(&mut version);
            assert_eq!(&*version, text);
            version
        };
        let first = said("1.0.0");
        assert!(Arc::ptr_eq(&first, &said("1.0.0")));
        for other in 0..10 * HELD_MAX {
            said(&format!("2.0.{other}"));
        }
        assert!(Arc::ptr_eq(&first, &said("1.0.0")));
        assert_eq!(versions.0.len(), HELD_MAX);
    }
}
