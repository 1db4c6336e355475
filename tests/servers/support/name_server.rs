//! A real name server, NSD, with one zone, in a folder of its own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;

use super::ports::free_port;
use super::process::{Process, folder};
use super::wait::wait_until;

/// One starts in some tens of milliseconds.
const START_BOUND: Duration = Duration::from_secs(30);

/// A name server; killed when dropped.
pub struct NameServer {
    /// Where it listens, for datagrams and for connections.
    pub port: u16,
    process: Process,
}

impl NameServer {
    /// Starts one that knows a zone, and waits until it answers connections.
    pub async fn start(zone: &str, records: &str) -> Self {
        let (folder, port) = (folder("nsd"), free_port());
        let path = |name: &str| folder.join(name).display().to_string();
        std::fs::write(folder.join("zone"), records).unwrap();
        let config = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{}\"\n  database: \"\"\n  \
             pidfile: \"{}\"\n  zonelistfile: \"{}\"\n  xfrdfile: \"{}\"\n  xfrdir: \"{}\"\n\
             remote-control:\n  control-enable: no\n\
             zone:\n  name: \"{zone}\"\n  zonefile: \"{}\"\n",
            folder.display(),
            path("pid"),
            path("zone.list"),
            path("xfrd.state"),
            folder.display(),
            path("zone"),
        );
        std::fs::write(folder.join("nsd.conf"), config).unwrap();
        let args = ["-d", "-c", &path("nsd.conf")];
        let process = Process::start("nsd", Path::new("/usr/sbin/nsd"), args, [], &folder.join("log"));
        wait_until("NSD listens", START_BOUND, async || {
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            connected.map(drop).map_err(|error| format!("{error}: {}", process.tail()))
        })
        .await;
        Self { port, process }
    }
}
