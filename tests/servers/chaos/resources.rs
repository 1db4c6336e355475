//! What a process holds: memory, files, threads.

use std::fmt;

/// As of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Resident memory, in KiB.
    pub rss: u64,
    /// Open files.
    pub files: u64,
    /// Threads.
    pub threads: u64,
}

impl Resources {
    /// Of a process.
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self { rss: figure("VmRSS:"), files: files as u64, threads: figure("Threads:") }
    }

    /// What has grown beyond bounds since a baseline, if anything has.
    pub fn grown_from(self, base: Self) -> Option<String> {
        let too_much = self.rss > base.rss + RSS_MORE
            || self.files > base.files + FILES_MORE
            || self.threads > base.threads + THREADS_MORE;
        too_much.then(|| format!("{base} has become {self}"))
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.rss / 1024;
        write!(f, "{mebibytes} MiB, {} files, {} threads", self.files, self.threads)
    }
}

/// What allocators keep back, and the records of some tens of publishers.
const RSS_MORE: u64 = 16 * 1024;
/// Scrapes that are under way; and the runtime of async-compat, which lapin's way of working starts late, once, and for
/// good: three files and a thread.
const FILES_MORE: u64 = 6;
/// That one, and those for what blocks, which tokio ends after ten idle seconds.
const THREADS_MORE: u64 = 4;

#[test]
fn growth_is_noticed() {
    let base = Resources { rss: 20_000, files: 30, threads: 5 };
    assert_eq!(base.grown_from(base), None);
    assert!(Resources { rss: 40_000, ..base }.grown_from(base).is_some());
    assert!(Resources { files: 40, ..base }.grown_from(base).is_some());
    assert!(Resources { threads: 12, ..base }.grown_from(base).is_some());
    let own = Resources::of(std::process::id());
    assert!(own.rss > 1000 && own.files > 2 && own.threads > 0, "{own}");
}
