//! A real nginx with servers of a test's choice, in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;

use super::process::Process;
use super::wait::wait_until;

/// One starts in some tens of milliseconds.
const START_BOUND: Duration = Duration::from_secs(30);

/// A web server; killed when dropped.
pub struct Nginx {
    process: Process,
}

impl Nginx {
    /// Starts one with these `server` blocks and waits until it listens on all of these ports.
    pub async fn start(folder: &Path, servers: &str, ports: &[u16]) -> Self {
        let path = |name: &str| folder.join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
            .concat();
        // As one process, which is stopped by its id alone.
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {}; error_log stderr notice;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n{temporary}access_log off; default_type text/plain;\n{servers}}}\n",
            path("nginx.pid")
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let (config, log) = (path("nginx.conf"), folder.join("nginx.log"));
        let args = ["-c", &config, "-p", folder.to_str().unwrap(), "-e", "stderr"];
        let process = Process::start("nginx", Path::new("/usr/sbin/nginx"), args, [], &log);
        for port in ports {
            wait_until("nginx listens", START_BOUND, async || {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let connected = TcpStream::connect(address).await;
                connected.map(drop).map_err(|error| format!("{error}: {}", process.tail()))
            })
            .await;
        }
        Self { process }
    }

    /// All that it said.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// A file of a folder with this content.
pub fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}
