//! `heartbeat status`: asks a subscriber, once or again and again.

use std::time::Duration;

use tokio::time::sleep;

use super::{EXIT_DOWN, EXIT_OK, EXIT_UNKNOWN, answer, convert};
use crate::clock;
use crate::config::StatusConfig;
use crate::status::{Answer, Client, Config, Question, StatusError, Verdict, ask, render};
use crate::telemetry::{Chain, visible, visible_json};
use crate::terminal::{Style, Terminal};
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

/// Asks, and tells the answer. Returns the exit code, by the worst state.
///
/// # Errors
/// The subscriber could not be asked.
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
            watch(&client, config.timeout, asked, every, terminal).await;
            return Ok(Ok(EXIT_NOT_ASKED));
        }
        Ok(ask(&client, &asked.question, config.timeout).await.map(|answer| {
            terminal.line(&told(&answer, asked.json, terminal));
            code_of(answer.fleet.verdict())
        }))
    })
}

/// Asks again and again, until nobody looks any more. A subscriber that is away for a while comes back.
async fn watch(client: &Client, limit: Duration, asked: &Asked, every: Duration, terminal: &mut Terminal) {
    let mut last = String::new();
    terminal.clear();
    while !terminal.is_closed() {
        match ask(client, &asked.question, limit).await {
            Ok(answer) if asked.json => terminal.line(&told(&answer, true, terminal)),
            Ok(answer) => {
                // Of tables that follow each other, each says when it was so.
                last = format!("{}\n{}", now(), told(&answer, false, terminal));
                terminal.redraw(&last);
            }
            Err(error) if asked.json => {
                terminal.line(&serde_json::json!({"error": Chain(&error).to_string()}).to_string())
            }
            Err(error) => {
                let why = terminal.paint(Style::Bad, &visible(&Chain(&error).to_string()));
                terminal.redraw(&format!("{}\n{why}; what it said last:\n\n{last}", now()));
            }
        }
        sleep(every).await;
    }
}

fn now() -> String {
    clock::wall().to_rfc3339_seconds()
}

fn told(answer: &Answer, json: bool, terminal: &Terminal) -> String {
    if json { visible_json(&answer.json.to_string()) } else { render(&answer.fleet, terminal) }
}

fn code_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Up => EXIT_OK,
        Verdict::Unknown => EXIT_UNKNOWN,
        Verdict::Down => EXIT_DOWN,
    }
}
