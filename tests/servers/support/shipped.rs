//! The files that ship for Prometheus and Alertmanager, as they are or with short waits.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fancy_regex::{Captures, Regex};

use super::alertmanager::{Alertmanager, Webhook};
use super::program::Program;
use super::prometheus::Prometheus;

/// Set to 1, the files are run as they ship, which takes minutes.
const VARIABLE: &str = "HEARTBEAT_TEST_SHIPPED";

/// How long the waits of the shipped files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As they ship.
    Shipped,
    /// Three seconds for each minute that an alert waits, and one for each scrape.
    Short,
}

impl Pace {
    /// As the environment asks.
    pub fn from_environment() -> Self {
        if std::env::var_os(VARIABLE).is_some_and(|value| value == "1") { Self::Shipped } else { Self::Short }
    }

    /// Between two scrapes, and between two evaluations.
    pub fn interval(self) -> Duration {
        Duration::from_secs(if self == Self::Shipped { 15 } else { 1 })
    }

    /// How long alerts that wait a minute wait.
    pub fn minute(self) -> Duration {
        Duration::from_secs(if self == Self::Shipped { 60 } else { 3 })
    }

    /// How long Alertmanager waits for more of a new group.
    pub fn group_wait(self) -> Duration {
        Duration::from_secs(if self == Self::Shipped { 10 } else { 1 })
    }

    /// How long it waits before it tells what is new of a group.
    pub fn group_interval(self) -> Duration {
        Duration::from_secs(if self == Self::Shipped { 60 } else { 2 })
    }

    /// Far above what a notification takes.
    pub fn bound(self) -> Duration {
        Duration::from_secs(if self == Self::Shipped { 600 } else { 150 })
    }

    /// What Prometheus is told by flags. What it sends before it has found its Alertmanager is gone, and by itself it sends
    /// again after a minute.
    fn flags(self) -> &'static [&'static str] {
        if self == Self::Shipped { &[] } else { &["--rules.alert.resend-delay=5s"] }
    }

    /// The configuration of Prometheus, for these targets and an Alertmanager.
    fn prometheus(self, targets: &[String], alertmanager: &str, rules: &Path) -> String {
        let targets: String = targets.iter().map(|target| format!("          - {target}\n")).collect();
        let text = file("alerts/prometheus.yml");
        let text = once(&text, "            - localhost:9093\n", &format!("            - {alertmanager}\n"));
        let text = once(&text, "          - localhost:11911\n", &targets);
        let text = once(&text, "- heartbeat.rules.yml", &format!("- {}", rules.display()));
        if self == Self::Shipped {
            return text;
        }
        once(
            &once(&text, "scrape_interval: 15s", "scrape_interval: 1s"),
            "evaluation_interval: 15s",
            "evaluation_interval: 1s",
        )
    }

    /// The rules.
    fn rules(self) -> String {
        let text = file("alerts/heartbeat.rules.yml");
        if self == Self::Shipped {
            return text;
        }
        let waits = Regex::new(r"for: (\d+)m\n").unwrap();
        let short = waits.replace_all(&text, |found: &Captures<'_, str>| {
            let minutes: u64 = found[1].parse().unwrap();
            format!("for: {}s\n", minutes * self.minute().as_secs())
        });
        let short = short.into_owned();
        assert_ne!(text, short, "no wait was found");
        short
    }

    /// Starts a Prometheus with the shipped rules, which scrapes these subscribers, and whatever `more` jobs there are.
    pub async fn start_prometheus(
        self,
        subscribers: &[Program],
        alertmanager: SocketAddr,
        more: &str,
    ) -> Prometheus {
        let folder = Prometheus::folder();
        let rules = folder.join("heartbeat.rules.yml");
        fs::write(&rules, self.rules()).unwrap();
        let targets: Vec<String> = subscribers.iter().map(|one| one.http().to_string()).collect();
        let configuration = self.prometheus(&targets, &alertmanager.to_string(), &rules) + more;
        Prometheus::start(&folder, &configuration, self.flags()).await
    }

    /// Starts an Alertmanager with the shipped configuration, which tells `webhook`.
    pub async fn start_alertmanager(self, address: SocketAddr, webhook: &Webhook) -> Alertmanager {
        Alertmanager::start(address, &self.alertmanager(&format!("http://{}", webhook.address))).await
    }

    /// The configuration of Alertmanager, with its webhooks led to `receiver`.
    fn alertmanager(self, receiver: &str) -> String {
        let text = file("alerts/alertmanager.yml").replace("http://localhost:9095", receiver);
        assert!(text.contains(receiver), "no webhook was found");
        if self == Self::Shipped {
            return text;
        }
        let text = once(&text, "group_wait: 10s", "group_wait: 1s");
        text.replace("group_interval: 1m", "group_interval: 2s")
            .replace("repeat_interval: 1m", "repeat_interval: 2s")
    }
}

/// A file of the project.
pub fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces what must be there exactly once.
fn once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} is not there once");
    text.replace(from, to)
}
