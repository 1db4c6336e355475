//! `heartbeat drill`: an outage that is played, stage by stage.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{EXIT_FAILURE, EXIT_OK, StartError, convert, stop_signal, with_runtime};
use crate::amqp;
use crate::amqp::probe::Probe;
use crate::amqp::publish::Publisher;
use crate::clock;
use crate::config::PublisherConfig;
use crate::publisher::{Drill, Stage};
use crate::telemetry::Chain;
use crate::terminal::Terminal;
use crate::tls::Expiry;

/// Longest wait for a connection to the broker, and for one to say goodbye.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
const GOODBYE: Duration = Duration::from_secs(3);

/// Time between two heartbeats: short, so that a subscriber is sure of it soon.
const INTERVAL: Duration = Duration::from_secs(5);

/// For how long it is up at first: whoever follows has heard of it by then.
const UP_FOR: Duration = Duration::from_secs(10);

/// Attempts to say that it is over.
const ENDINGS: usize = 3;

/// Plays a drill of a publisher. Returns the exit code.
pub fn drill(
    config: PublisherConfig,
    down_for: Duration,
    silent_for: Duration,
    terminal: &mut Terminal,
) -> u8 {
    with_runtime(Builder::new_current_thread(), async move {
        let stop = stop_signal()?;
        let PublisherConfig { emitter, amqp, publish_timeout, signing_key, .. } = config;
        let name = format!("heartbeat drill {}", emitter.id);
        let connection = convert::amqp(&amqp, name, &Expiry::default())?;
        let (publisher, task) = Publisher::new(connection.clone(), publish_timeout);
        let stop_late = CancellationToken::new();
        let task = tokio::spawn(task.run(stop_late.clone()));
        let drill = Drill::new(&emitter.id, INTERVAL, signing_key.map(|file| file.key));
        let mut play = Play { drill, publisher, stop, terminal, failed: false };
        if play.connect(&connection).await {
            play.run(down_for, silent_for).await;
        }
        let code = if play.failed { EXIT_FAILURE } else { EXIT_OK };
        stop_late.cancel();
        let _ = timeout(GOODBYE, task).await;
        Ok::<u8, StartError>(code)
    })
}

/// What is in the way, as one more attempt has it.
async fn why_not(config: &amqp::Config) -> String {
    let why = match Probe::open(config).await {
        Ok(probe) => {
            probe.close().await;
            "RabbitMQ takes no messages now".to_owned()
        }
        Err((_, error)) => Chain(&error).to_string(),
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
    /// Waits for the broker. Says whether it takes messages.
    async fn connect(&mut self, config: &amqp::Config) -> bool {
        let within = CONNECT_WITHIN.as_secs();
        self.say(&format!("Connecting to RabbitMQ at {}, for up to {within} s", config.nodes.identity()));
        let mut link = self.publisher.state();
        let connected = tokio::select! {
            connected = timeout(CONNECT_WITHIN, link.wait_for(|link| link.is_writable())) => connected.is_ok(),
            () = self.stop.cancelled() => false,
        };
        if connected {
            return true;
        }
        let why = match self.stop.is_cancelled() {
            true => "stopped".to_owned(),
            false => why_not(config).await,
        };
        self.fail(&format!("Nothing was played: {why}"));
        false
    }

    async fn run(&mut self, down_for: Duration, silent_for: Duration) {
        let id = self.drill.id().clone();
        self.say(&format!("{id} is up: every subscriber shows it as a publisher of its own"));
        self.stage(Stage::Up, UP_FOR).await;
        if self.goes_on() && !down_for.is_zero() {
            let span = humantime::format_duration(down_for);
            self.say(&format!("Down for {span}: HeartbeatComponentDown is to arrive, with drill=\"true\""));
            self.stage(Stage::Down, down_for).await;
        }
        if self.goes_on() && !silent_for.is_zero() {
            let span = humantime::format_duration(silent_for);
            self.say(&format!(
                "Silent for {span}: HeartbeatPublisherStale is to arrive, with drill=\"true\""
            ));
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
                let why = failure.as_str();
                self.fail(&format!(
                    "A heartbeat was not confirmed ({why}); `heartbeat doctor publisher` may say why"
                ));
            }
            self.wait_until(next).await;
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
        self.terminal.line(&format!("{}  {text}", clock::wall().to_rfc3339_seconds()));
    }

    fn fail(&mut self, text: &str) {
        self.failed = true;
        self.say(text);
    }
}
