//! A real Redis in a folder and on a port of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;

use super::certificates::Certificates;
use super::ports::free_port;
use super::process::{Process, folder};
use super::resp::{Client, Reply};
use super::wait::wait_until;

/// One starts in well under a second, but a loaded machine may take its time.
const START_BOUND: Duration = Duration::from_secs(30);

/// How a server differs from the plain one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The default user's password.
    pub password: Option<String>,
    /// An ACL user: name and password, allowed everything.
    pub user: Option<(String, String)>,
    /// Whether `tls_port` is served.
    pub tls: bool,
    /// Whether each write goes to disk before its answer, so that a kill loses nothing.
    pub append_only: bool,
    /// Whether it is a Sentinel, which holds no data.
    pub sentinel: bool,
    /// Lines for the configuration.
    pub config: Vec<String>,
}

/// A Redis server; killed when dropped.
pub struct Redis {
    /// Where it listens in the clear.
    pub port: u16,
    /// Where it listens with TLS, when asked to.
    pub tls_port: u16,
    /// Its CA, and a client's pair.
    pub certificates: Option<Certificates>,
    folder: PathBuf,
    options: Options,
    process: Mutex<Option<Process>>,
}

impl Redis {
    /// A plain one.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// One with options.
    pub async fn start_with(options: Options) -> Self {
        let folder = folder("redis");
        let certificates = options.tls.then(|| Certificates::make(&folder));
        let redis = Self {
            port: free_port(),
            tls_port: free_port(),
            certificates,
            folder,
            options,
            process: Mutex::new(None),
        };
        std::fs::write(redis.folder.join("redis.conf"), redis.config()).unwrap();
        redis.start_again().await;
        redis
    }

    /// A replica of another server, in step with it.
    pub async fn replica_of(primary: &Self) -> Self {
        let config = vec![format!("replicaof 127.0.0.1 {}", primary.port)];
        let replica = Self::start_with(Options { config, ..Options::default() }).await;
        wait_until("the replica is in step", START_BOUND, async || {
            let info = replica.command(&["INFO", "replication"]).await.string().unwrap_or_default();
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
        replica
    }

    /// A Sentinel that decides alone about a primary, which it calls `mymaster`, and knows its replica.
    pub async fn sentinel_of(primary: &Self) -> Self {
        let config = vec![
            format!("sentinel monitor mymaster 127.0.0.1 {} 1", primary.port),
            "sentinel down-after-milliseconds mymaster 1000".to_owned(),
        ];
        let sentinel = Self::start_with(Options { sentinel: true, config, ..Options::default() }).await;
        wait_until("the Sentinel knows the replica", START_BOUND, async || {
            match sentinel.command(&["SENTINEL", "REPLICAS", "mymaster"]).await {
                Reply::Array(replicas) if replicas.len() == 1 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        sentinel
    }

    /// Starts it, again on the same port and data when it ran before, and waits until it answers.
    pub async fn start_again(&self) {
        self.launch();
        self.wait_answering().await;
    }

    /// Waits until it answers.
    pub async fn wait_answering(&self) {
        wait_until("Redis answers", START_BOUND, async || {
            match self.client().await?.command(&["PING"]).await? {
                Reply::Simple(_) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Starts it without waiting.
    pub fn launch(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "Redis runs already");
        let (config, log) = (self.folder.join("redis.conf"), self.folder.join("output"));
        let server = Path::new("/usr/bin/redis-server");
        let mut arguments = vec![config.to_str().unwrap()];
        if self.options.sentinel {
            arguments.push("--sentinel");
        }
        *process = Some(Process::start("redis", server, arguments, [], &log));
    }

    /// Stops it in order. Without `append_only` its data goes with it.
    pub async fn stop(&self) {
        let mut process = self.process.lock().unwrap().take().expect("Redis runs");
        tokio::task::spawn_blocking(move || process.terminate(START_BOUND)).await.unwrap();
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.process.lock().unwrap().take().expect("Redis runs").kill();
    }

    /// Freezes it: its port accepts, and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Removes everything from it.
    pub async fn flush(&self) {
        self.command(&["FLUSHALL"]).await;
    }

    /// Sends one command on a connection of its own; an error answer is the test's mistake.
    pub async fn command(&self, words: &[&str]) -> Reply {
        let mut client = self.client().await.unwrap();
        match client.command(words).await.unwrap() {
            Reply::Error(error) => panic!("{words:?}: {error}"),
            reply => reply,
        }
    }

    /// The keys that match a pattern, sorted.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys = self.command(&["KEYS", pattern]).await.strings();
        keys.sort();
        keys
    }

    /// The text under a key.
    pub async fn get(&self, key: &str) -> Option<String> {
        self.command(&["GET", key]).await.string()
    }

    /// A connection, authenticated where the server wants it.
    pub async fn client(&self) -> Result<Client, String> {
        let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await?;
        if let Some(password) = &self.options.password {
            client.command(&["AUTH", password]).await?;
        }
        Ok(client)
    }

    /// The contract's variables that lead a program here.
    pub fn environment(&self) -> Vec<(String, String)> {
        [("REDIS_HOST", "127.0.0.1".to_owned()), ("REDIS_PORT", self.port.to_string())]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(Process::pid)
    }

    fn signal(&self, signal: Signal) {
        self.process.lock().unwrap().as_ref().expect("Redis runs").signal(signal);
    }

    fn config(&self) -> String {
        let Options { password, user, append_only, config, .. } = &self.options;
        let mut text = format!("bind 127.0.0.1\nport {}\ndir {}\n", self.port, self.folder.display());
        if !self.options.sentinel {
            text.push_str("save \"\"\n");
        }
        if *append_only {
            text.push_str("appendonly yes\nappendfsync always\n");
        }
        if let Some(password) = password {
            writeln!(text, "requirepass {password}").unwrap();
        }
        if let Some((name, password)) = user {
            writeln!(text, "user {name} on >{password} ~* &* +@all").unwrap();
        }
        if let Some(Certificates { ca, server, server_key, .. }) = &self.certificates {
            writeln!(text, "tls-port {}\ntls-auth-clients optional", self.tls_port).unwrap();
            writeln!(text, "tls-ca-cert-file {}\ntls-cert-file {}", ca.display(), server.display()).unwrap();
            writeln!(text, "tls-key-file {}", server_key.display()).unwrap();
        }
        for line in config {
            writeln!(text, "{line}").unwrap();
        }
        text
    }
}
