//! What the system says of this process, read from `/proc` when asked.

use std::fs;
use std::sync::OnceLock;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// What the system says of this process; `None` where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Seconds of CPU time, in user and system mode.
    pub(super) cpu: Option<f64>,
    /// Seconds from the Unix epoch to the start of the process.
    pub(super) started: Option<f64>,
    pub(super) threads: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    /// `None` too where there is no limit.
    pub(super) max_fds: Option<u64>,
}

impl Figures {
    pub(super) fn read() -> Self {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as u64;
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The listing itself holds one more descriptor.
        let open = fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
        Self {
            open_fds: open,
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            ..Self::from_stat(&stat, boot_seconds(), ticks, page)
        }
    }

    /// Reads `/proc/self/stat`, whose fields proc_pid_stat(5) numbers from 1.
    fn from_stat(stat: &str, boot: f64, ticks: f64, page: u64) -> Self {
        // The second field is the program's name in parentheses, and may hold spaces and parentheses.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
        let seconds = |number: usize| field(number).map(|value| value as f64 / ticks);
        Self {
            cpu: seconds(14).zip(seconds(15)).map(|(user, system)| user + system),
            started: seconds(22).map(|after_boot| boot + after_boot),
            threads: field(20),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page),
            ..Self::default()
        }
    }
}

/// When the machine started, by its clock as it stood when this was asked first: the process started once, though clocks
/// are set. `/proc/stat` says it too, and is hidden from a service that is confined further (`ProcSubset=pid`).
fn boot_seconds() -> f64 {
    static BOOT: OnceLock<f64> = OnceLock::new();
    let seconds = |time: Timespec| time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    let since_boot = || seconds(clock_gettime(ClockId::Boottime));
    *BOOT.get_or_init(|| seconds(clock_gettime(ClockId::Realtime)) - since_boot())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let stat = "42 (a) (b c) R 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 7 0 12300 4096000 500 0";
        let figures = Figures::from_stat(stat, 1_795_000_000.0, 100.0, 4096);
        let expected = Figures {
            cpu: Some(3.0),
            started: Some(1_795_000_123.0),
            threads: Some(7),
            virtual_bytes: Some(4_096_000),
            resident_bytes: Some(2_048_000),
            ..Figures::default()
        };
        assert_eq!(figures, expected);
        assert_eq!(Figures::from_stat("", 0.0, 100.0, 4096), Figures::default());
        assert_eq!(Figures::from_stat("42 (cut) R 1", 0.0, 100.0, 4096), Figures::default());
    }

    #[test]
    fn this_process_is_alive() {
        let figures = Figures::read();
        let now = jiff::Timestamp::now().as_second() as f64;
        let age = now - figures.started.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
        assert!(figures.cpu.unwrap() >= 0.0);
        assert!(figures.threads.unwrap() >= 1);
        assert!(figures.resident_bytes.unwrap() > 500_000);
        assert!(figures.virtual_bytes.unwrap() >= figures.resident_bytes.unwrap());
        assert!(figures.open_fds.unwrap() >= 3);
        assert!(figures.max_fds.is_none_or(|max| max >= figures.open_fds.unwrap()));
    }
}
