//! `heartbeat drill`: an outage that is played, stage by stage.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{EXIT_FAILURE, EXIT_OK, StartError, convert, stop_signal, with_runtime};
use crate::amqp::publish::Publisher;
use crate::clock;
use crate::config::PublisherConfig;
use crate::publisher::{Drill, Stage};
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
        let (publisher, task) = Publisher::new(connection, publish_timeout);
        let stop_late = CancellationToken::new();
        let task = tokio::spawn(task.run(stop_late.clone()));
        let drill = Drill::new(&emitter.id, INTERVAL, signing_key.map(|file| file.key));
        let mut play = Play { drill, publisher, stop, terminal, failed: false };
        play.run(down_for, silent_for).await;
        let code = if play.failed { EXIT_FAILURE } else { EXIT_OK };
        stop_late.cancel();
        let _ = timeout(GOODBYE, task).await;
        Ok::<u8, StartError>(code)
    })
}

struct Play<'a> {
    drill: Drill,
    publisher: Publisher,
    stop: CancellationToken,
    terminal: &'a mut Terminal,
    failed: bool,
}

impl Play<'_> {
    async fn run(&mut self, down_for: Duration, silent_for: Duration) {
        let mut link = self.publisher.state();
        if timeout(CONNECT_WITHIN, link.wait_for(|link| link.is_writable())).await.is_err() {
            let why = "no connection to RabbitMQ that takes messages; `heartbeat doctor` says why";
            return self.fail(&format!("Nothing was played: {why}"));
        }
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
                self.fail(&format!("A heartbeat was not confirmed ({why}); `heartbeat doctor` may say why"));
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
