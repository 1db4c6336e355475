//! The real program, as an operator runs it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::http;
use super::ports::free_port;
use super::process::{Process, folder, tail};
use super::scrape::Scrape;
use super::wait::wait_until;

/// From the start to an answer, on a machine with much else to do.
const START_BOUND: Duration = Duration::from_secs(30);

/// What is tested.
const BINARY: &str = env!("CARGO_BIN_EXE_heartbeat");

/// Builds the environment of a program; nothing of the tests' own environment gets into it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What starts it: nothing, or a program that becomes it.
    through: Vec<String>,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    port: u16,
}

impl Setup {
    /// A program with a subcommand, such as `subscriber`, and a port of its own for HTTP.
    pub fn new(subcommand: &str) -> Self {
        let setup = Self {
            through: Vec::new(),
            args: vec![subcommand.to_owned()],
            environment: BTreeMap::new(),
            folder: folder(subcommand),
            port: free_port(),
        };
        let setup = setup.noting_health();
        let address = setup.http().to_string();
        // The publisher opens a port only where an address is given, and gets one by `listening`.
        if subcommand == "publisher" { setup } else { setup.env("WEB_LISTEN_ADDRESS", &address) }
    }

    /// Gives a publisher an address to serve its own metrics on.
    pub fn listening(self) -> Self {
        let address = self.http().to_string();
        self.env("EMITTER_LISTEN_ADDRESS", &address)
    }

    /// Has it note its health in a file of its own; without, all would share one.
    fn noting_health(self) -> Self {
        let path = self.folder.join("health");
        self.env("HEALTH_FILE", path.to_str().unwrap())
    }

    /// Sets a variable; an earlier value is replaced.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets variables, as the servers of the harness offer them.
    pub fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.args.push(argument.to_owned());
        self
    }

    /// Has it started by another program that then becomes it, such as `prlimit --nofile=64`.
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Writes the publisher's configuration file.
    pub fn publisher_config(self, json: &str) -> Self {
        let path = self.folder.join("publisher_config.json");
        std::fs::write(&path, json).unwrap();
        self.env("PUBLISHER_CONFIG_PATH", path.to_str().unwrap())
    }

    /// Writes its web configuration; what it names is relative to the same folder.
    pub fn web_config(self, yaml: &str) -> Self {
        let path = self.folder.join("web.yml");
        std::fs::write(&path, yaml).unwrap();
        self.env("WEB_CONFIG_FILE", path.to_str().unwrap())
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it and does not wait.
    pub fn start(self) -> Program {
        let process = self.spawn();
        Program { setup: self, process }
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn start_ready(self) -> Program {
        let mut program = self.start();
        program.wait_ready().await;
        program
    }

    fn spawn(&self) -> Process {
        let words = self.through.iter().map(String::as_str).chain([BINARY]);
        let mut words = words.chain(self.args.iter().map(String::as_str));
        let first = Path::new(words.next().unwrap_or(BINARY));
        let name = format!("heartbeat {}", self.args.join(" "));
        Process::start(&name, first, words, self.environment.clone(), &self.folder.join("output"))
    }

    fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// The program, running; killed when dropped, and its last lines shown when the test fails.
pub struct Program {
    setup: Setup,
    process: Process,
}

impl Program {
    /// Waits until `/-/ready` says yes, or panics with what it said and the log.
    pub async fn wait_ready(&mut self) {
        let address = self.http();
        wait_until("the program is ready", START_BOUND, async || {
            if let Some(status) = self.process.exit_status() {
                panic!("the program ended with {status}:\n{}", self.process.tail());
            }
            let answer = http::get(address, "/-/ready").await?;
            if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
        })
        .await;
    }

    /// Scrapes it in the classic format.
    pub async fn metrics(&self) -> Result<Scrape, String> {
        let answer = http::get(self.http(), "/metrics").await?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.text()));
        }
        Scrape::parse(&answer.text())
    }

    /// Scrapes it in OpenMetrics.
    pub async fn open_metrics(&self) -> Result<Scrape, String> {
        let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
        Scrape::parse(&http::request(self.http(), "GET", "/metrics", &accept, "").await?.text())
    }

    /// Waits until a sample has a value.
    pub async fn wait_value(&self, bound: Duration, name: &str, labels: &[(&str, &str)], value: f64) {
        wait_until(&format!("{name}{labels:?} is {value}"), bound, async || {
            match self.metrics().await?.value(name, labels) {
                Some(seen) if seen == value => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    }

    /// Waits until no sample of this name and labels is there.
    pub async fn wait_absent(&self, bound: Duration, name: &str, labels: &[(&str, &str)]) {
        wait_until(&format!("{name}{labels:?} is gone"), bound, async || {
            match self.metrics().await?.value(name, labels) {
                None => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> SocketAddr {
        self.setup.http()
    }

    /// Another command of the program, with the same variables.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).env_clear().envs(&self.setup.environment);
        command
    }

    /// The value of one of its variables.
    pub fn variable(&self, name: &str) -> &str {
        &self.setup.environment[name]
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same settings, after [`Program::kill`] or an end of its own.
    pub fn start_again(&mut self) {
        assert!(self.process.exit_status().is_some(), "the program runs already");
        self.process = self.setup.spawn();
    }

    /// Ends it with SIGTERM; the exit code.
    pub async fn terminate(&mut self, grace: Duration) -> Option<i32> {
        self.signal(Signal::TERM);
        self.exit_code(grace).await
    }

    /// Waits for its end; nothing when a signal ended it.
    pub async fn exit_code(&mut self, bound: Duration) -> Option<i32> {
        let status = wait_until("the program ends", bound, async || {
            self.process.exit_status().ok_or_else(|| "it runs".to_owned())
        });
        status.await.code()
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Waits until its log holds a text.
    pub async fn wait_log(&self, bound: Duration, text: &str) {
        wait_until(&format!("the log says {text:?}"), bound, async || {
            let log = self.log();
            if log.contains(text) { Ok(()) } else { Err(tail(&log)) }
        })
        .await;
    }

    /// The process alone, for who asks it nothing.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// The process id, for /proc.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
