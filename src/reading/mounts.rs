//! What is mounted: where that changed, a disk that hung may answer who asks it anew. To look does not hang, whatever disk does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The kernel's list. A mount that is held by who hangs keeps its number there, so that the one made in its place has another.
const LIST: &str = "/proc/self/mountinfo";

/// What comes and goes with containers on the same machine, and lies on no disk that could hang.
const OF_CONTAINERS: [&str; 3] = ["overlay", "tmpfs", "nsfs"];

/// For so long a look counts: there are as many who ask as there are checks.
const KEPT: Duration = Duration::from_secs(1);

/// A number for what is mounted now: another where a mount was made or taken away.
pub(super) fn now() -> u64 {
    /// The latest look. By the system's clock: the list is the system's, too.
    static LOOKED: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let mut looked = LOOKED.lock().unwrap_or_else(PoisonError::into_inner);
    match *looked {
        Some((at, mounts)) if at.elapsed() < KEPT => mounts,
        _ => {
            // Where there is no list, nothing changes.
            let list = std::fs::read(LIST).unwrap_or_default();
            let mounts = number(&String::from_utf8_lossy(&list));
            *looked = Some((Instant::now(), mounts));
            mounts
        }
    }
}

fn number(list: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    list.lines().filter(|mount| !is_of_container(mount)).for_each(|mount| mount.hash(&mut hasher));
    hasher.finish()
}

/// The type stands behind a hyphen, since what is before that may be more or less.
fn is_of_container(mount: &str) -> bool {
    let kind = mount.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
    kind.is_some_and(|kind| OF_CONTAINERS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";

    #[test]
    fn a_mount_that_is_made_or_taken_away_is_seen_and_no_containers() {
        let with = |more: &str| number(&format!("{ROOT}{more}"));
        let secrets = "40 27 0:50 / /secrets rw,relatime - nfs4 server:/ rw\n";
        let anew = "41 27 0:51 / /secrets rw,relatime - nfs4 server:/ rw\n";
        assert_ne!(with(secrets), with(""), "taken away");
        assert_ne!(with(anew), with(secrets), "made anew");
        for container in [
            "50 27 0:60 / /var/lib/docker/overlay2/a/merged rw shared:9 - overlay overlay rw,lowerdir=a\n",
            "51 27 0:4 net:[1] /run/docker/netns/a rw shared:10 - nsfs nsfs rw\n",
            "52 27 0:61 / /run/user/1000 rw - tmpfs tmpfs rw\n",
        ] {
            assert_eq!(with(container), with(""), "{container}");
        }
    }

    #[test]
    fn this_machine_has_a_list() {
        assert_ne!(now(), number(""));
    }
}
