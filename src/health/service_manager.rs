//! What a role tells the service manager that started it, by the protocol of sd_notify(3): that it runs, what it lacks,
//! that it lives, and that it stops.
//!
//! It runs once its loops have come round for the first time: a publisher whose broker is away is started, and tries on. What
//! keeps it from its work is told as its status. Each message is a datagram of lines to the socket that the manager
//! listens on; where there is none, nothing is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Condition, Health};

/// How often is looked whether there is something to tell.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// How often before it runs: those that come after it wait for that.
const LOOKS_FIRST_EVERY: Duration = Duration::from_millis(50);

/// Signs of life within the time that the manager waits for one: two may be lost.
const SIGNS: u32 = 3;

/// Where a service manager listens, and what it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its socket.
    pub socket: Address,
    /// It ends a process of which it has heard no sign of life for so long.
    pub watchdog: Option<Duration>,
}

/// The address of a service manager's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the file system.
    Path(String),
    /// In Linux' abstract namespace.
    Abstract(String),
}

impl Address {
    /// Reads an address as `NOTIFY_SOCKET` has it; `None` for one of another kind, such as a VM's socket.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('@') {
            Some(name) if !name.is_empty() => Some(Self::Abstract(name.into())),
            None if text.starts_with('/') => Some(Self::Path(text.into())),
            _ => None,
        }
    }

    fn resolve(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Path(path) => SocketAddr::from_pathname(path),
            Self::Abstract(name) => SocketAddr::from_abstract_name(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// The service manager of this process, if it has one.
#[derive(Clone, Debug)]
pub struct ServiceManager(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    config: Config,
    socket: UnixDatagram,
    to: SocketAddr,
    failing: AtomicBool,
}

impl ServiceManager {
    /// The one that is configured, if it can be told anything.
    pub fn new(config: Option<Config>) -> Self {
        Self(config.and_then(|config| {
            let line = Line::open(config.clone());
            let warn_of = |error: &io::Error| warn!(socket = %config.socket, %error, "No way to tell the service manager");
            line.inspect_err(warn_of).ok().map(Arc::new)
        }))
    }

    /// Tells of a role's health until `end`, and of its stop when that begins.
    pub async fn tell(self, health: Health, stop: CancellationToken, end: CancellationToken) {
        let Some(line) = self.0 else { return };
        let mut report = Report::new(line.config.watchdog);
        let mut look_at = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(look_at) => {}
                () = stop.cancelled(), if !report.stopping => report.stopping = true,
                () = end.cancelled() => return,
            }
            let mut then = report.clone();
            // What did not get through is told again the next time.
            if line.send(&then.news(&health.condition(), Instant::now())) {
                report = then;
            }
            look_at = Instant::now() + report.looks_every();
        }
    }
}

impl Line {
    fn open(config: Config) -> io::Result<Self> {
        let to = config.socket.resolve()?;
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold its service up.
        socket.set_nonblocking(true)?;
        Ok(Self { config, socket, to, failing: AtomicBool::new(false) })
    }

    /// Says whether there is nothing left to send.
    fn send(&self, lines: &[String]) -> bool {
        if lines.is_empty() {
            return true;
        }
        match self.socket.send_to_addr(lines.join("\n").as_bytes(), &self.to) {
            Ok(_) => {
                self.failing.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    warn!(socket = %self.config.socket, %error, "The service manager was not told");
                }
                false
            }
        }
    }
}

/// What was told, and what is to be told next.
#[derive(Clone)]
struct Report {
    /// How often a sign of life is due.
    sign_every: Option<Duration>,
    signed_at: Option<Instant>,
    running: bool,
    stopping: bool,
    status: String,
    told_stopping: bool,
}

impl Report {
    fn new(watchdog: Option<Duration>) -> Self {
        Self {
            sign_every: watchdog.map(|every| every / SIGNS),
            signed_at: None,
            running: false,
            stopping: false,
            status: String::new(),
            told_stopping: false,
        }
    }

    fn looks_every(&self) -> Duration {
        let every = if self.running { LOOKS_EVERY } else { LOOKS_FIRST_EVERY };
        self.sign_every.map_or(every, |sign_every| sign_every.min(every))
    }

    /// What the manager does not know yet.
    fn news(&mut self, condition: &Condition, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.running && !matches!(condition, Condition::Starting | Condition::Hangs(_)) {
            self.running = true;
            lines.push("READY=1".into());
        }
        if self.stopping && !std::mem::replace(&mut self.told_stopping, true) {
            lines.push("STOPPING=1".into());
        }
        let status = if self.stopping { "Stopping".into() } else { status_of(condition) };
        if status != self.status {
            lines.push(format!("STATUS={status}"));
            self.status = status;
        }
        // One that hangs gives none, and is ended for it.
        let due = |every| self.signed_at.is_none_or(|at| now.duration_since(at) >= every);
        if condition.is_healthy() && self.sign_every.is_some_and(due) {
            self.signed_at = Some(now);
            lines.push("WATCHDOG=1".into());
        }
        lines
    }
}

/// For people, in one line.
fn status_of(condition: &Condition) -> String {
    let text = match condition {
        Condition::Hangs(_) => "Hangs".into(),
        Condition::Starting => "Starting".into(),
        Condition::NotReady(_) => format!("Runs, and is not ready: {}", condition.reason()),
        Condition::Ready => "Ready".into(),
    };
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::health::Pulse;

    /// A manager's end of the line.
    struct Manager(tokio::net::UnixDatagram);

    impl Manager {
        fn listening_at(address: &Address) -> Self {
            let socket = UnixDatagram::bind_addr(&address.resolve().unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self(tokio::net::UnixDatagram::from_std(socket).unwrap())
        }

        async fn next(&self) -> String {
            let mut buffer = [0; 4096];
            let length =
                timeout(Duration::from_secs(60), self.0.recv(&mut buffer)).await.expect("a message").unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }

        /// What it is told next beside signs of life.
        async fn next_news(&self) -> String {
            loop {
                let told = self.next().await;
                if told != "WATCHDOG=1" {
                    return told;
                }
            }
        }
    }

    fn abstract_address(name: &str) -> Address {
        Address::Abstract(format!("heartbeat-test-{}-{name}", std::process::id()))
    }

    #[test]
    fn addresses_are_those_of_the_protocol() {
        assert_eq!(Address::parse("/run/systemd/notify"), Some(Address::Path("/run/systemd/notify".into())));
        assert_eq!(Address::parse("@ab/cd"), Some(Address::Abstract("ab/cd".into())));
        for none in ["", "@", "run/notify", "vsock:2:1234"] {
            assert_eq!(Address::parse(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn a_role_tells_of_its_life_from_start_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = folder.path().join("notify").to_string_lossy().into_owned();
        for address in [Address::parse(&in_folder).unwrap(), abstract_address("life")] {
            let manager = Manager::listening_at(&address);
            let config = Config { socket: address, watchdog: Some(Duration::from_millis(60)) };
            let pulse = Pulse::new(Duration::from_secs(1));
            let (stop, end) = (CancellationToken::new(), CancellationToken::new());
            let telling = ServiceManager::new(Some(config)).tell(
                Health::of([pulse.clone()]),
                stop.clone(),
                end.clone(),
            );
            let telling = tokio::spawn(telling);
            assert_eq!(manager.next().await, "STATUS=Starting\nWATCHDOG=1");
            pulse.beat(Err("not connected\nto RabbitMQ".into()));
            let told = manager.next_news().await;
            let running = "READY=1\nSTATUS=Runs, and is not ready: not connected to RabbitMQ";
            assert_eq!(told.trim_end_matches("\nWATCHDOG=1"), running);
            pulse.beat(Ok(()));
            assert_eq!(manager.next_news().await.trim_end_matches("\nWATCHDOG=1"), "STATUS=Ready");
            stop.cancel();
            let told = manager.next_news().await;
            assert_eq!(told.trim_end_matches("\nWATCHDOG=1"), "STOPPING=1\nSTATUS=Stopping");
            // What takes its time to stop is not taken for one that hangs.
            assert_eq!(manager.next().await, "WATCHDOG=1");
            end.cancel();
            telling.await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_does_not_get_through_is_told_again() {
        let address = abstract_address("full");
        let manager = Manager::listening_at(&address);
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        let mut waiting = 0;
        while other.send_to_addr(b"another service", &address.resolve().unwrap()).is_ok() {
            waiting += 1;
        }
        let config = Config { socket: address, watchdog: Some(Duration::from_millis(30)) };
        let pulse = Pulse::new(Duration::from_secs(1));
        pulse.beat(Ok(()));
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let telling = ServiceManager::new(Some(config)).tell(Health::of([pulse]), stop, end.clone());
        let telling = tokio::spawn(telling);
        sleep(Duration::from_millis(100)).await;
        for _ in 0..waiting {
            assert_eq!(manager.next().await, "another service");
        }
        assert_eq!(manager.next().await, "READY=1\nSTATUS=Ready\nWATCHDOG=1");
        end.cancel();
        telling.await.unwrap();
    }

    #[test]
    fn one_that_hangs_gives_no_sign_of_life() {
        let mut report = Report::new(Some(Duration::from_secs(30)));
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(report.news(&Condition::Ready, began), ["READY=1", "STATUS=Ready", "WATCHDOG=1"]);
        assert!(report.news(&Condition::Ready, after(9)).is_empty());
        assert_eq!(report.news(&Condition::Ready, after(10)), ["WATCHDOG=1"]);
        let hangs = Condition::Hangs(Duration::from_secs(45));
        assert_eq!(report.news(&hangs, after(55)), ["STATUS=Hangs"]);
        assert!(report.news(&hangs, after(80)).is_empty());
        assert_eq!(report.news(&Condition::Ready, after(81)), ["STATUS=Ready", "WATCHDOG=1"]);
    }

    #[tokio::test]
    async fn without_a_manager_or_a_watchdog_there_is_less_to_tell() {
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let health = Health::of([Pulse::new(Duration::from_secs(1))]);
        // It ends at once.
        ServiceManager::new(None).tell(health.clone(), stop.clone(), end.clone()).await;

        let address = abstract_address("less");
        let manager = Manager::listening_at(&address);
        let telling = ServiceManager::new(Some(Config { socket: address.clone(), watchdog: None }));
        let telling = tokio::spawn(telling.tell(health.clone(), stop.clone(), end.clone()));
        assert_eq!(manager.next().await, "STATUS=Starting");
        // One that is gone ends nothing.
        drop(manager);
        stop.cancel();
        sleep(Duration::from_millis(10)).await;
        end.cancel();
        telling.await.unwrap();
    }
}
