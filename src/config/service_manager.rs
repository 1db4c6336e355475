//! What the service manager that started the process left in its environment. No setting of anybody: systemd sets it.

use std::time::Duration;

use super::problem::Warning;
use super::reader::Reader;
use crate::health::service_manager::{Address, Config};

/// Where the manager is told of the process.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The longest time between two signs of life that it takes, in microseconds.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";

/// Which process is to give them, where the environment was inherited from another.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

pub(super) fn read(r: &mut Reader<'_>) -> Option<Config> {
    let text = r.variable(NOTIFY_SOCKET)?;
    let Some(socket) = Address::parse(&text) else {
        let why = "it is no path and no abstract name; the service manager will not be told that this runs";
        r.warnings.push(Warning::new(NOTIFY_SOCKET, why));
        return None;
    };
    let watchdog = watchdog(r, std::process::id());
    Some(Config { socket, watchdog })
}

fn watchdog(r: &mut Reader<'_>, own_pid: u32) -> Option<Duration> {
    let text = r.variable(WATCHDOG_USEC)?;
    if r.variable(WATCHDOG_PID).is_some_and(|pid| pid != own_pid.to_string()) {
        return None;
    }
    match text.parse() {
        Ok(microseconds) if microseconds > 0 => Some(Duration::from_micros(microseconds)),
        _ => {
            let why = "it is no number of microseconds; the watchdog will hear no sign of life";
            r.warnings.push(Warning::new(WATCHDOG_USEC, why));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::setting::Scopes;
    use super::super::source::MapSource;
    use super::*;

    fn config_of(variables: &[(&str, &str)]) -> (Option<Config>, Vec<String>) {
        let (flags, source) = (Default::default(), MapSource::new(variables));
        let mut reader = Reader::new(Scopes::PUBLISHER, &flags, &source);
        let config = read(&mut reader);
        (config, reader.warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_manager_is_found_in_the_environment() {
        assert_eq!(config_of(&[(WATCHDOG_USEC, "5")]), (None, vec![]));
        let socket = Address::Path("/run/systemd/notify".into());
        let found = config_of(&[(NOTIFY_SOCKET, "/run/systemd/notify")]);
        assert_eq!(found, (Some(Config { socket: socket.clone(), watchdog: None }), vec![]));
        let own = std::process::id().to_string();
        for (pid, watchdog) in
            [(own.as_str(), Some(Duration::from_secs(30))), ("", Some(Duration::from_secs(30))), ("1", None)]
        {
            let found = config_of(&[
                (NOTIFY_SOCKET, "/run/systemd/notify"),
                (WATCHDOG_USEC, "30000000"),
                (WATCHDOG_PID, pid),
            ]);
            assert_eq!(found, (Some(Config { socket: socket.clone(), watchdog }), vec![]), "{pid:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_warned_of() {
        let (config, warnings) = config_of(&[(NOTIFY_SOCKET, "vsock:2:1")]);
        assert_eq!(config, None);
        assert!(warnings[0].starts_with("NOTIFY_SOCKET"), "{warnings:?}");
        for number in ["0", "-1", "30s"] {
            let (config, warnings) = config_of(&[(NOTIFY_SOCKET, "@x"), (WATCHDOG_USEC, number)]);
            assert_eq!(config, Some(Config { socket: Address::Abstract("x".into()), watchdog: None }));
            assert!(warnings[0].starts_with("WATCHDOG_USEC"), "{warnings:?}");
        }
    }
}
