//! Every kind of check against a real server of its kind, good and bad.

mod dns;
mod grpc;
mod http;
mod message;
mod quiet;
mod tls;

use serde_json::{Value, json};

use crate::support::field::{Shown, wait_shown};
use crate::support::program::{Program, Setup};

/// The program by itself, checking each second.
async fn checking(heartbeat: &Value) -> Program {
    let setup = Setup::new("standalone").env("PUBLISH_INTERVAL", "1").env("PUBLISHER_ID", "inside");
    // Beside other tests even a right answer may take its time.
    let setup = setup.env("CHECK_TIMEOUT", "20").env("LOG_LEVEL", "debug");
    setup.publisher_config(&json!({"heartbeat": heartbeat}).to_string()).start_ready().await
}

/// Waits until each component of a kind is shown as expected.
async fn wait_all(program: &Program, kind: &str, expected: &[(&str, Shown)]) {
    for (name, shown) in expected {
        wait_shown(program, &[("publisher", "inside"), ("kind", kind), ("name", name)], *shown).await;
    }
}

/// An entry with a name and further keys.
fn named(name: &str, mut entry: Value, more: Value) -> Value {
    let object = entry.as_object_mut().unwrap();
    object.insert("name".into(), name.into());
    object.extend(more.as_object().unwrap().clone());
    entry
}
