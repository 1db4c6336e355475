//! `heartbeat maintenance`: windows of the publisher on this machine.

use http::Method;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::{EXIT_FAILURE, EXIT_OK, with_runtime};
use crate::cli::MaintenanceCommand;
use crate::config::LocalConfig;
use crate::http::ask::ask;
use crate::telemetry::{Chain, visible};
use crate::terminal::{Cell, Table, Terminal};

/// Has the publisher do it. Returns the exit code.
pub fn maintenance(config: &LocalConfig, command: &MaintenanceCommand, terminal: &mut Terminal) -> u8 {
    with_runtime(Builder::new_current_thread(), async {
        let (method, path, body) = match command {
            MaintenanceCommand::Begin { lasts, begins, comment, components } => {
                let body = json!({
                    "lasts": lasts, "begins_at": begins, "comment": comment, "components": components,
                });
                (Method::POST, "/maintenance/begin", body.to_string())
            }
            MaintenanceCommand::End => (Method::POST, "/maintenance/end", String::new()),
            MaintenanceCommand::List => (Method::GET, "/maintenance", String::new()),
        };
        let code = match ask(config, method, path, body).await {
            Ok((status, text)) if status.is_success() => {
                match command {
                    MaintenanceCommand::List => terminal.line(&listed(&text, terminal)),
                    _ => terminal.line(&visible(&text)),
                }
                EXIT_OK
            }
            Ok((status, text)) => {
                terminal.line(&format!("{} ({})", visible(&text), status.as_u16()));
                EXIT_FAILURE
            }
            Err(error) => {
                terminal.line(&format!("Not done: {}", Chain(&error)));
                EXIT_FAILURE
            }
        };
        Ok(code)
    })
}

/// The windows as a table.
fn listed(text: &str, terminal: &Terminal) -> String {
    let windows: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    if windows.is_empty() {
        return "No command began a window that is not over. Those of the publisher's file are on its page."
            .into();
    }
    let mut table = Table::new(&["BEGINS", "ENDS", "FOR", "COMMENT"]);
    for window in &windows {
        let text = |key: &str| window[key].as_str().unwrap_or_default().to_owned();
        let names = window["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
        let names = if names.is_empty() { "everything".to_owned() } else { names.join(", ") };
        let cells = [text("begins_at"), text("ends_at"), names, text("comment")];
        table.push(cells.map(Cell::from));
    }
    table.render(terminal)
}
