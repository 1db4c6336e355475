//! `heartbeat maintenance`: windows of the publisher on this machine.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{EXIT_FAILURE, EXIT_OK, answer};
use crate::cli::{EXIT_USAGE, MaintenanceCommand};
use crate::config::LocalConfig;
use crate::heartbeat::Timestamp;
use crate::http::ask::{NoAnswer, ask};
use crate::terminal::{Cell, Painted, Table, Terminal};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// The publisher was not asked, or did not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// It refused.
    #[error("{text}")]
    Refused {
        /// With what.
        status: StatusCode,
        /// Why, in its words.
        text: String,
    },
}

impl NotDone {
    /// The exit code for it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Refused { status, .. } if *status == StatusCode::BAD_REQUEST => EXIT_USAGE,
            Self::Refused { .. } | Self::NoAnswer(_) => EXIT_FAILURE,
        }
    }
}

/// Has the publisher do it. Returns the exit code.
///
/// # Errors
/// It was not done.
pub fn maintenance(
    config: &LocalConfig,
    command: &MaintenanceCommand,
    terminal: &mut Terminal,
) -> Result<u8, NotDone> {
    answer(async {
        Ok(asked(config, command).await.map(|answer| {
            terminal.line(match answer {
                Answer::Said(text) => Painted::lines(text.lines()),
                Answer::Windows(windows) => listed(windows, terminal),
            });
            EXIT_OK
        }))
    })
}

/// What the publisher answered.
enum Answer {
    Said(String),
    Windows(Vec<Listed>),
}

/// A window, as it is told of.
#[derive(Deserialize)]
struct Listed {
    begins: String,
    ends: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    number: Option<u32>,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    components: Vec<String>,
}

async fn asked(config: &LocalConfig, command: &MaintenanceCommand) -> Result<Answer, NotDone> {
    let (method, path, body) = match command {
        MaintenanceCommand::Begin { lasts, begins, comment, components } => {
            let (lasts, begins) = (lasts.as_secs_f64(), begins.map(Timestamp::to_rfc3339));
            let body =
                json!({"lasts": lasts, "begins": begins, "comment": comment, "components": components});
            (Method::POST, "/maintenance/begin".into(), body.to_string())
        }
        MaintenanceCommand::End { number } => {
            let path =
                number.map_or("/maintenance/end".into(), |number| format!("/maintenance/end/{number}"));
            (Method::POST, path, String::new())
        }
        MaintenanceCommand::List => (Method::GET, "/maintenance".to_owned(), String::new()),
    };
    let (status, text) = ask(config, method, &path, body).await?;
    if !status.is_success() {
        return Err(NotDone::Refused { status, text });
    }
    match command {
        MaintenanceCommand::List => {
            let windows = serde_json::from_str(&text).map_err(|_| NoAnswer::not_ours(config))?;
            Ok(Answer::Windows(windows))
        }
        _ => Ok(Answer::Said(text)),
    }
}

/// The windows as a table.
fn listed(windows: Vec<Listed>, terminal: &Terminal) -> Painted {
    if windows.is_empty() {
        return "No window is on or planned, by the publisher's file or by a command.".into();
    }
    let mut table = Table::new(&["NUMBER", "FROM", "BEGINS", "ENDS", "FOR", "COMMENT"]);
    for window in windows {
        let names = match &window.components[..] {
            [] => "everything".to_owned(),
            names => names.join(", "),
        };
        // What the file plans is changed there, and has no number to be ended by.
        let number = window.number.map(|number| number.to_string()).unwrap_or_default();
        let (begins, ends) = (to_the_second(window.begins), to_the_second(window.ends));
        let cells = [number, window.from, begins, ends, names, window.comment];
        table.push(cells.map(Cell::from));
    }
    table.render(terminal)
}

/// A time as people read it; what is none, as it is.
fn to_the_second(text: String) -> String {
    Timestamp::parse_rfc3339(&text).map_or(text, Timestamp::to_rfc3339_seconds)
}
