//! `heartbeat status`: asks a subscriber, once or again and again.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{EXIT_DOWN, EXIT_OK, EXIT_UNKNOWN, answer, convert};
use crate::clock;
use crate::config::StatusConfig;
use crate::status::{Client, Config, Question, StatusError, Verdict, ask, render};
use crate::telemetry::Chain;
use crate::terminal::{Painted, Style, Terminal};
use crate::tls::{Expiry, Peer};

/// The subscriber could not be asked.
pub const EXIT_NOT_ASKED: u8 = 3;

/// What is asked for, and how it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub question: Question,
    /// As JSON, and not as a table.
    pub json: bool,
    /// Again after each such time; `None`: once.
    pub every: Option<Duration>,
}

/// Asks, and tells the answer. Returns the exit code, by the worst state; of several answers, by that of the last.
///
/// # Errors
/// The subscriber could not be asked, where it is asked once.
pub fn status(config: &StatusConfig, asked: &Asked, terminal: &mut Terminal) -> Result<u8, StatusError> {
    answer(async {
        let tls = convert::tls(config.tls.as_ref(), Peer::Subscriber, &Expiry::default())?;
        let client = Client::new(&Config {
            url: config.url.clone(),
            login: config.login.clone(),
            tls,
            limit: config.timeout,
        });
        if let Some(every) = asked.every {
            return Ok(Ok(watch(&client, config.timeout, asked, every, terminal).await));
        }
        Ok(ask(&client, &asked.question, config.timeout).await.map(|answer| {
            if asked.json {
                terminal.json(&answer.json);
            } else {
                terminal.line(render(&answer.fleet, terminal));
            }
            code_of(answer.fleet.verdict())
        }))
    })
}

/// Asks again and again, until nobody looks any more. A subscriber that is away for a while comes back.
async fn watch(
    client: &Client,
    limit: Duration,
    asked: &Asked,
    every: Duration,
    terminal: &mut Terminal,
) -> u8 {
    // Of tables that follow each other, each says when it was so.
    let now = || Painted::from(clock::wall().to_rfc3339_seconds());
    let mut last = Painted::default();
    terminal.clear();
    loop {
        let answer = ask(client, &asked.question, limit).await;
        match &answer {
            Ok(answer) if asked.json => terminal.json(&answer.json),
            Ok(answer) => {
                last = Painted::lines([now(), render(&answer.fleet, terminal)]);
                terminal.redraw(&last);
            }
            Err(error) if asked.json => terminal.json(&json!({"error": Chain(error).to_string()})),
            Err(error) => {
                let mut why = terminal.paint(Style::Bad, Chain(error).to_string());
                why.push("; what it said last:");
                terminal.redraw(&Painted::lines([now(), why, Painted::default(), last.clone()]));
            }
        }
        if terminal.is_closed() {
            return answer.map_or(EXIT_NOT_ASKED, |answer| code_of(answer.fleet.verdict()));
        }
        sleep(every).await;
    }
}

fn code_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Up => EXIT_OK,
        Verdict::Unknown => EXIT_UNKNOWN,
        Verdict::Down => EXIT_DOWN,
    }
}
