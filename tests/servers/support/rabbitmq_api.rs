//! RabbitMQ's management API: what `rabbitmqctl` does too, in milliseconds instead of seconds.

use std::net::SocketAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::http;

/// Configure, write and read, as regular expressions over names.
#[derive(Clone, Copy, Debug)]
pub struct Permissions<'a> {
    /// What may be declared and deleted.
    pub configure: &'a str,
    /// What may be published to.
    pub write: &'a str,
    /// What may be consumed.
    pub read: &'a str,
}

impl Permissions<'_> {
    /// Everything.
    pub const ALL: Permissions<'static> = Permissions { configure: ".*", write: ".*", read: ".*" };
    /// Nothing but the access to the vhost.
    pub const NONE: Permissions<'static> = Permissions { configure: "^$", write: "^$", read: "^$" };
}

/// The management API of one broker, as `guest`.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    address: SocketAddr,
}

impl Api {
    /// The API at an address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Calls it; any status but a 2xx is an error.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let answer = http::as_guest(self.address, method, path, body).await?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("{method} {path}: {} {}", answer.status, answer.text()));
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{method} {path}: {error}"))
    }

    /// Calls it where a failure is the test's own mistake.
    pub async fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, &body.to_string()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Creates a user; its tags decide what the management API shows it.
    pub async fn create_user(
        &self,
        vhost: &str,
        name: &str,
        pass: &str,
        tags: &str,
        permissions: Permissions<'_>,
    ) {
        self.must("PUT", &format!("/api/users/{}", encode(name)), &json!({"password": pass, "tags": tags}))
            .await;
        self.permit(vhost, name, permissions).await;
    }

    /// Gives a user permissions in a vhost.
    pub async fn permit(&self, vhost: &str, user: &str, permissions: Permissions<'_>) {
        let Permissions { configure, write, read } = permissions;
        let body = json!({"configure": configure, "write": write, "read": read});
        self.must("PUT", &format!("/api/permissions/{}/{}", encode(vhost), encode(user)), &body).await;
    }

    /// Takes a user's permissions in a vhost away.
    pub async fn revoke(&self, vhost: &str, user: &str) {
        self.must("DELETE", &format!("/api/permissions/{}/{}", encode(vhost), encode(user)), &Value::Null)
            .await;
    }

    /// Closes every connection of a vhost from the broker's side, and says how many.
    pub async fn close_connections(&self, vhost: &str) -> usize {
        let all = self.must("GET", "/api/connections", &Value::Null).await;
        let names = all.as_array().unwrap().iter().filter(|connection| connection["vhost"] == vhost);
        let mut closed = 0;
        for name in names.filter_map(|connection| connection["name"].as_str()) {
            // One that closed by itself meanwhile is as closed.
            let path = format!("/api/connections/{}", encode(name));
            closed += usize::from(self.call("DELETE", &path, "").await.is_ok());
        }
        closed
    }
}

/// A name as one segment of a path.
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
