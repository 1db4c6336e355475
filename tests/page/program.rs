//! The program in one process, which checks what the test gives it to check.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// `heartbeat standalone`. Ends with the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: String,
    _folder: TempDir,
}

impl Program {
    /// Checks hosts, by name and port, twice a second. On `files` somebody works, and on everything at the end of the century.
    pub(crate) fn start(hosts: &[(&str, u16)]) -> Self {
        let folder = TempDir::new().unwrap();
        let hosts: Vec<Value> = hosts
            .iter()
            .map(|(name, port)| json!({"host": "127.0.0.1", "port": port, "name": name}))
            .collect();
        let file = folder.path().join("publisher.json");
        let begun = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        let maintenance = json!([
            {"begins": begun.to_string(), "lasts": "3days", "every": "7days", "comment": "new disks", "components": ["files"]},
            {"begins": "2099-12-31T00:00:00Z", "lasts": "2h"},
        ]);
        let text = json!({"heartbeat": {"hosts": hosts, "maintenance": maintenance}}).to_string();
        fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
            .args(["standalone", "--web.listen-address=127.0.0.1:0"])
            .env_clear()
            .env("HEALTH_FILE", folder.path().join("health"))
            .env("PUBLISHER_CONFIG_PATH", file)
            .env("PUBLISHER_ID", "oslo")
            .env("EXPECTED_PUBLISHERS", "oslo,bergen")
            .env("PUBLISH_INTERVAL", "1s")
            .env("PROBE_INTERVAL", "500ms")
            .env("CHECK_TIMEOUT", "400ms")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            line.contains("msg=Listening").then(|| line.split("address=").nth(1).map(str::to_owned)).flatten()
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("it says where it listens"), _folder: folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host that accepts, until it is dropped.
pub(crate) struct Host(TcpListener);

impl Host {
    pub(crate) fn up() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}
