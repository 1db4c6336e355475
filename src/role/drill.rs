//! `heartbeat drill`: an outage that is played, stage by stage.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{EXIT_FAILURE, EXIT_OK, StartError, convert, stop_signal, with_runtime};
use crate::amqp::AmqpError;
use crate::amqp::publish::{LinkState, PublishFailure, Publisher};
use crate::clock;
use crate::config::DrillConfig;
use crate::publisher::{Drill, Stage};
use crate::state::GRACE_MIN;
use crate::telemetry::Chain;
use crate::terminal::Terminal;
use crate::tls::Expiry;

/// Longest wait for a connection to the broker, and for one to say goodbye.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
const GOODBYE: Duration = Duration::from_secs(3);

/// Longest wait, after a failure of a heartbeat, for the link to say that it ended: it does so in its next breath.
const LINK_SAYS_SO: Duration = Duration::from_millis(500);

/// Time between two heartbeats: short, so that a subscriber is sure of it soon.
const INTERVAL: Duration = Duration::from_secs(5);

/// For how long it is up at first: whoever follows has heard of it by then.
const UP_FOR: Duration = Duration::from_secs(10);

/// For how long an alert of the shipped rules waits before it is told.
const ALERT_WAITS: Duration = Duration::from_secs(60);

/// What passes besides, by way of the broker and a subscriber, until Prometheus has asked, which it does every 30 s at most, and
/// judged.
const ALERT_LAGS: Duration = Duration::from_secs(60);

/// How long its component has to be down, and it has to be silent, for an alert of the shipped rules to come.
const DOWN_FOR_AT_LEAST: Duration = ALERT_WAITS.saturating_add(ALERT_LAGS);
const SILENT_FOR_AT_LEAST: Duration = DOWN_FOR_AT_LEAST.saturating_add(GRACE_MIN);

/// Attempts to say that it is over.
const ENDINGS: usize = 3;

/// Plays a drill of a publisher. Returns the exit code.
pub fn drill(config: DrillConfig, down_for: Duration, silent_for: Duration, terminal: &mut Terminal) -> u8 {
    with_runtime(Builder::new_current_thread(), async move {
        let stop = stop_signal()?;
        let DrillConfig { publisher: of, amqp, publish_timeout, signing_key, .. } = config;
        let name = format!("heartbeat drill {of}");
        let connection = convert::amqp(&amqp, name, &Expiry::default())?;
        let place = connection.nodes.identity();
        let (publisher, task) = Publisher::new(connection, publish_timeout);
        let stop_late = CancellationToken::new();
        let task = tokio::spawn(task.run(stop_late.clone()));
        let drill = Drill::new(&of, INTERVAL, signing_key.map(|file| file.key));
        let mut play = Play { drill, publisher, stop, terminal, failed: false };
        if play.connect(&place).await {
            play.run(down_for, silent_for).await;
        }
        let code = if play.failed { EXIT_FAILURE } else { EXIT_OK };
        stop_late.cancel();
        let _ = timeout(GOODBYE, task).await;
        Ok::<u8, StartError>(code)
    })
}

/// What is played, and the alert that is to come of it.
struct Outage {
    name: &'static str,
    flag: &'static str,
    alert: &'static str,
    at_least: Duration,
}

const DOWN: Outage =
    Outage { name: "Down", flag: "--down-for", alert: "HeartbeatComponentDown", at_least: DOWN_FOR_AT_LEAST };

const SILENT: Outage = Outage {
    name: "Silent",
    flag: "--silent-for",
    alert: "HeartbeatPublisherStale",
    at_least: SILENT_FOR_AT_LEAST,
};

impl Outage {
    /// Nothing is promised that cannot come.
    fn promise(&self, lasts: Duration) -> String {
        let Self { name, alert, .. } = self;
        let span = humantime::format_duration(lasts);
        if self.is_too_short(lasts) {
            format!("{name} for {span}: too short for {alert}")
        } else {
            format!("{name} for {span}: {alert} is to arrive, with drill=\"true\"")
        }
    }

    /// What is said before anything is played.
    fn warning(&self, lasts: Duration) -> Option<String> {
        let Self { flag, alert, at_least, .. } = self;
        // One word to a shell.
        let least = humantime::format_duration(*at_least).to_string().replace(' ', "");
        self.is_too_short(lasts).then(|| {
            format!("warning: {alert} of the shipped rules needs {flag}={least} or more, and is not to be waited for")
        })
    }

    /// Zero leaves it out.
    fn is_too_short(&self, lasts: Duration) -> bool {
        !lasts.is_zero() && lasts < self.at_least
    }
}

/// Whether it is decided that there is a link, or that waiting brings none.
fn is_decided(link: &LinkState) -> bool {
    link.is_writable() || link.failure.as_deref().is_some_and(AmqpError::is_refused_login)
}

/// What is in the way of a link that takes nothing.
fn why_not(link: &LinkState) -> String {
    let why = match &link.failure {
        Some(error) => Chain(&**error).to_string(),
        None if link.blocked => {
            "RabbitMQ blocks publishers, as it does for want of memory or disk".to_owned()
        }
        None => format!("no connection within {} s", CONNECT_WITHIN.as_secs()),
    };
    format!("{why}; `heartbeat doctor publisher` says what to do")
}

struct Play<'a> {
    drill: Drill,
    publisher: Publisher,
    stop: CancellationToken,
    terminal: &'a mut Terminal,
    failed: bool,
}

impl Play<'_> {
    /// Waits for the broker at `place`. Says whether it takes messages.
    async fn connect(&mut self, place: &str) -> bool {
        self.say(&format!("Connecting to RabbitMQ at {place}, for up to {} s", CONNECT_WITHIN.as_secs()));
        let mut state = self.publisher.state();
        tokio::select! {
            _ = timeout(CONNECT_WITHIN, state.wait_for(is_decided)) => {}
            () = self.stop.cancelled() => {}
        }
        let link = state.borrow().clone();
        if link.is_writable() {
            return true;
        }
        let why = if self.stop.is_cancelled() { "stopped".to_owned() } else { why_not(&link) };
        self.fail(&format!("Nothing was played: {why}"));
        false
    }

    async fn run(&mut self, down_for: Duration, silent_for: Duration) {
        for (outage, lasts) in [(&DOWN, down_for), (&SILENT, silent_for)] {
            if let Some(warning) = outage.warning(lasts) {
                self.say(&warning);
            }
        }
        let id = self.drill.id().clone();
        self.say(&format!("{id} is up: every subscriber shows it as a publisher of its own"));
        self.stage(Stage::Up, UP_FOR).await;
        if self.goes_on() && !down_for.is_zero() {
            self.say(&DOWN.promise(down_for));
            self.stage(Stage::Down, down_for).await;
        }
        if self.goes_on() && !silent_for.is_zero() {
            self.say(&SILENT.promise(silent_for));
            self.wait_until(Instant::now() + silent_for).await;
        }
        if self.stop.is_cancelled() {
            self.failed = true;
            self.say("Stopped before its end");
        }
        self.end().await;
    }

    /// Whether there is a next stage.
    fn goes_on(&self) -> bool {
        !self.stop.is_cancelled() && !self.failed
    }

    /// Tells of a stage for as long as it lasts.
    async fn stage(&mut self, stage: Stage, lasts: Duration) {
        let ends = Instant::now() + lasts;
        while self.goes_on() && Instant::now() < ends {
            let next = (Instant::now() + INTERVAL).min(ends);
            if let Err(failure) = self.drill.tell(stage, &self.publisher).await {
                let why = self.why_not_confirmed(failure).await;
                self.fail(&format!("A heartbeat was not confirmed: {why}"));
            }
            self.wait_until(next).await;
        }
    }

    /// What the link ended for, where it did.
    async fn why_not_confirmed(&self, failure: PublishFailure) -> String {
        let mut state = self.publisher.state();
        let link = timeout(LINK_SAYS_SO, state.wait_for(|link| link.failure.is_some())).await;
        match link {
            Ok(Ok(link)) => why_not(&link),
            _ => format!("{}; `heartbeat doctor publisher` may say why", failure.as_str()),
        }
    }

    /// Says that it is over; who hears that forgets it.
    async fn end(&mut self) {
        for attempt in 1..=ENDINGS {
            let up = self.drill.tell(Stage::Up, &self.publisher).await;
            let over = self.drill.tell(Stage::Over, &self.publisher).await;
            match up.and(over) {
                Ok(()) => return self.say("Over: subscribers forget it within seconds, and its alerts end"),
                Err(_) if attempt < ENDINGS => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(failure) => {
                    let why = failure.as_str();
                    self.fail(&format!(
                        "Its end was not confirmed ({why}): it is forgotten within ten minutes"
                    ));
                }
            }
        }
    }

    async fn wait_until(&self, at: Instant) {
        tokio::select! {
            () = sleep_until(at) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn say(&mut self, text: &str) {
        self.terminal.line(format!("{}  {text}", clock::wall().to_rfc3339_seconds()));
    }

    fn fail(&mut self, text: &str) {
        self.failed = true;
        self.say(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::GRACE_BEATS;

    /// For how long an alert of the shipped rules waits.
    fn waits(alert: &str) -> Duration {
        let rules = include_str!("../../alerts/heartbeat.rules.yml");
        let (_, rule) = rules.split_once(&format!("- alert: {alert}\n")).unwrap();
        let (_, waits) = rule.split_once("        for: ").unwrap();
        humantime::parse_duration(waits.lines().next().unwrap()).unwrap()
    }

    #[test]
    fn the_least_times_are_written_where_they_are_looked_for() {
        assert!(INTERVAL * GRACE_BEATS <= GRACE_MIN, "a subscriber gives it longer than the least");
        let least = "`--down-for=2m` and `--silent-for=2m30s`";
        assert_eq!((DOWN_FOR_AT_LEAST.as_secs(), SILENT_FOR_AT_LEAST.as_secs()), (120, 150), "{least}");
        let help = include_str!("../../tests/golden/cli/drill.txt");
        assert!(include_str!("../../docs/drill.md").contains(least));
        assert!(help.contains("--down-for=2m ") && help.contains("--silent-for=2m30s"), "{help}");
    }

    /// Of the least times, what is left for the way when Prometheus has asked and judged as seldom as it may.
    #[test]
    fn the_way_to_prometheus_takes_its_time() {
        let seconds = |text: &str, name: &str| {
            let (_, value) = text.split_once(name).unwrap();
            let digits = value.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap();
            Duration::from_secs(digits.parse().unwrap())
        };
        let asks = seconds(include_str!("../../README.md"), "scrape_interval: 15s         # at most ");
        let judges = seconds(include_str!("../../alerts/prometheus.yml"), "evaluation_interval: ");
        assert!(ALERT_LAGS >= asks + judges + Duration::from_secs(10), "{asks:?} {judges:?}");
    }

    #[test]
    fn no_alert_is_promised_that_cannot_come() {
        for outage in [&DOWN, &SILENT] {
            let (least, short) = (outage.at_least, outage.at_least - Duration::from_secs(1));
            assert_eq!(waits(outage.alert), ALERT_WAITS, "{}", outage.alert);
            assert!(outage.promise(least).contains("is to arrive") && outage.warning(least).is_none());
            assert!(!outage.promise(short).contains("is to arrive"), "{}", outage.promise(short));
            assert_eq!(outage.warning(Duration::ZERO), None);
        }
        assert_eq!(
            SILENT.warning(Duration::from_secs(20)).unwrap(),
            "warning: HeartbeatPublisherStale of the shipped rules needs --silent-for=2m30s or more, and is not to be waited for"
        );
    }
}
