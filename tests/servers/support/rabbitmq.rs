//! A real RabbitMQ with its management plugin, in a folder and on ports of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

use super::certificates::Certificates;
use super::ports::free_port;
use super::process::{Process, folder};
use super::rabbitmq_api::Api;
use super::vhost::Vhost;
use super::wait::wait_until;

/// Debian's path; the wrapper in the search path insists on a user of its own.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// One takes six to ten seconds on two free cores; tests beside it may take most of these.
const START_BOUND: Duration = Duration::from_secs(120);

/// An ordered stop takes about six seconds.
const STOP_GRACE: Duration = Duration::from_secs(60);

/// The plugins without which management does not run. RabbitMQ reads every module that it can see when it starts:
/// shown these alone, it starts in two thirds of the time.
const NEEDED: [&str; 4] =
    ["rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_prelaunch", "rabbitmq_web_dispatch"];

/// The port mapper of all our brokers, so that none starts one that would outlive it.
static EPMD: LazyLock<(u16, Mutex<Process>)> = LazyLock::new(|| {
    let port = free_port();
    let log = folder("epmd").join("log");
    let port_text = port.to_string();
    let args = ["-port", &port_text, "-address", "127.0.0.1"];
    let process = Process::start("epmd", Path::new("/usr/bin/epmd"), args, [], &log);
    for _ in 0..500 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return (port, Mutex::new(process));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("epmd does not listen:\n{}", process.output());
});

/// How a broker differs from the shared one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether AMQPS wants a client certificate.
    pub require_client_certificate: bool,
    /// Lines for `rabbitmq.conf`, such as `management_agent.disable_metrics_collector = true`.
    pub config: Vec<String>,
    /// Plugins beside `rabbitmq_management`.
    pub plugins: Vec<String>,
}

impl Options {
    /// Whoever shows a certificate is the user of its name.
    pub fn external() -> Self {
        Self {
            plugins: vec!["rabbitmq_auth_mechanism_ssl".into()],
            config: vec![
                "auth_mechanisms.1 = EXTERNAL".into(),
                "auth_mechanisms.2 = PLAIN".into(),
                "ssl_cert_login_from = common_name".into(),
            ],
            ..Self::default()
        }
    }
}

/// The ports of one broker, all on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// AMQP.
    pub amqp: u16,
    /// AMQP over TLS.
    pub amqps: u16,
    /// The management API.
    pub http: u16,
    /// The management API over TLS.
    pub https: u16,
    /// Between Erlang nodes.
    distribution: u16,
}

/// A broker; killed when dropped.
pub struct RabbitMq {
    /// Where it listens, also after a restart.
    pub ports: Ports,
    /// Its CA, its own pair, and one for a client.
    pub certificates: Certificates,
    folder: PathBuf,
    node: String,
    home: PathBuf,
    process: Mutex<Option<Process>>,
}

impl RabbitMq {
    /// The broker that all tests share, started by the first that asks. Take a [`RabbitMq::vhost`] of it, and never
    /// stop it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_own).await
    }

    /// A second shared broker, which wants a client certificate and keeps no statistics.
    pub async fn strict() -> &'static Self {
        static STRICT: OnceCell<RabbitMq> = OnceCell::const_new();
        let options = Options {
            require_client_certificate: true,
            config: vec!["management_agent.disable_metrics_collector = true".into()],
            ..Options::default()
        };
        STRICT.get_or_init(|| Self::start_with(options)).await
    }

    /// A third shared broker, which can share messages out to several queues.
    pub async fn spreading() -> &'static Self {
        static SPREADING: OnceCell<RabbitMq> = OnceCell::const_new();
        let options =
            Options { plugins: vec!["rabbitmq_consistent_hash_exchange".into()], ..Options::default() };
        SPREADING.get_or_init(|| Self::start_with(options)).await
    }

    /// A fresh vhost of the shared broker.
    pub async fn vhost() -> Vhost {
        Self::shared().await.new_vhost().await
    }

    /// A broker of the test's own, to be stopped, killed and paused.
    pub async fn start_own() -> Self {
        Self::start_with(Options::default()).await
    }

    /// A broker of the test's own, with options.
    pub async fn start_with(options: Options) -> Self {
        let broker = Self::prepare(&options);
        broker.start_again().await;
        broker
    }

    /// One that does not run yet.
    pub fn prepare(options: &Options) -> Self {
        let folder = folder("rabbitmq");
        let ports = Ports {
            amqp: free_port(),
            amqps: free_port(),
            http: free_port(),
            https: free_port(),
            distribution: free_port(),
        };
        let certificates = Certificates::make(&folder);
        std::fs::write(folder.join("rabbitmq.conf"), config(options, ports, &certificates)).unwrap();
        let plugins =
            std::iter::once("rabbitmq_management").chain(options.plugins.iter().map(String::as_str));
        let plugins = format!("[{}].", plugins.collect::<Vec<_>>().join(","));
        std::fs::write(folder.join("enabled_plugins"), plugins).unwrap();
        let home = home(&folder, options);
        let node = format!("{}@localhost", folder.file_name().unwrap().to_str().unwrap());
        Self { ports, certificates, folder, node, home, process: Mutex::new(None) }
    }

    /// Its name in a cluster.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its files, before it runs: `rabbitmq.conf`, and its home.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        let files = std::fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    /// Starts it, again on the same ports and data when it ran before, and waits until it serves.
    pub async fn start_again(&self) {
        self.launch();
        self.wait_serving().await;
    }

    /// Starts it without waiting: a program under test may be watching for its port.
    pub fn launch(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "the broker runs already");
        let server = self.home.join("sbin/rabbitmq-server");
        *process =
            Some(Process::start("rabbitmq", &server, [], self.environment(), &self.folder.join("output")));
    }

    /// Waits until AMQP and the management API both answer.
    pub async fn wait_serving(&self) {
        wait_until("RabbitMQ serves", START_BOUND, async || {
            if let Some(status) = self.process.lock().unwrap().as_mut().and_then(Process::exit_status) {
                return Err(format!("it ended with {status}"));
            }
            answers_amqp(self.amqp()).await?;
            self.api().call("GET", "/api/overview", "").await.map(drop)
        })
        .await;
    }

    /// Stops it in order; its durable data stays.
    pub async fn stop(&self) {
        let mut process = self.process.lock().unwrap().take().expect("the broker runs");
        tokio::task::spawn_blocking(move || process.terminate(STOP_GRACE)).await.unwrap();
    }

    /// Kills it with SIGKILL: its sockets are reset, its data stays as it was written.
    pub fn kill(&self) {
        self.process.lock().unwrap().take().expect("the broker runs").kill();
    }

    /// Freezes it: its ports accept, and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// A fresh vhost with an exchange-less, queue-less topology and a user of its own.
    pub async fn new_vhost(&self) -> Vhost {
        Vhost::create(self.api(), self.ports).await
    }

    /// The management API, as `guest`.
    pub fn api(&self) -> Api {
        Api::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.http)))
    }

    /// Where AMQP listens.
    pub fn amqp(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.amqp))
    }

    /// Runs `rabbitmqctl` against it, for what the management API cannot do.
    pub async fn control(&self, args: &[&str]) {
        let mut command = Command::new(self.home.join("sbin/rabbitmqctl"));
        command.args(["--node", &self.node]).args(args).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(self.environment());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "rabbitmqctl {args:?}: {output:?}");
    }

    /// A shell in which `rabbitmqctl` leads to it, as it does on an operator's machine.
    pub fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        let tools = self.home.join("sbin");
        shell.env_clear().env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display()));
        shell.envs(self.environment());
        shell
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(Process::pid)
    }

    fn signal(&self, signal: Signal) {
        self.process.lock().unwrap().as_ref().expect("the broker runs").signal(signal);
    }

    fn environment(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        [
            // The script then becomes the Erlang machine, whose id the process has from the start.
            ("RUNNING_UNDER_SYSTEMD", "true".into()),
            ("HOME", path("")),
            ("LANG", "C.UTF-8".into()),
            ("ERL_EPMD_PORT", EPMD.0.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODENAME", self.node.clone()),
            ("RABBITMQ_DIST_PORT", self.ports.distribution.to_string()),
            ("RABBITMQ_CONF_ENV_FILE", path("no-such-file")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}".into(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

fn config(options: &Options, ports: Ports, certificates: &Certificates) -> String {
    let mut text = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\nlisteners.ssl.1 = 127.0.0.1:{}\n\
         management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n\
         management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = {}\n",
        ports.amqp, ports.amqps, ports.http, ports.https
    );
    for prefix in ["ssl_options", "management.ssl"] {
        let (ca, server, key) =
            (certificates.ca.display(), certificates.server.display(), certificates.server_key.display());
        write!(text, "{prefix}.cacertfile = {ca}\n{prefix}.certfile = {server}\n{prefix}.keyfile = {key}\n")
            .unwrap();
    }
    writeln!(text, "ssl_options.verify = verify_peer").unwrap();
    writeln!(text, "ssl_options.fail_if_no_peer_cert = {}", options.require_client_certificate).unwrap();
    // Consumers show in the management API after a second instead of five.
    text.push_str("collect_statistics_interval = 1000\nlog.console = false\n");
    for line in &options.config {
        writeln!(text, "{line}").unwrap();
    }
    text
}

/// A home with links to what is needed, or the real one where a test wants more plugins.
fn home(folder: &Path, options: &Options) -> PathBuf {
    let script = std::fs::canonicalize(SERVER).expect("rabbitmq-server is installed");
    let real = script.ancestors().nth(2).unwrap();
    if !options.plugins.is_empty() {
        return real.to_owned();
    }
    let home = folder.join("home");
    std::fs::create_dir_all(home.join("plugins")).unwrap();
    for name in ["sbin", "escript"] {
        symlink(real.join(name), home.join(name)).unwrap();
    }
    for plugin in std::fs::read_dir(real.join("plugins")).unwrap() {
        let plugin = plugin.unwrap();
        let file_name = plugin.file_name();
        let name = file_name.to_str().unwrap();
        let name = name.rsplit_once('-').map_or(name, |(name, _version)| name);
        if NEEDED.contains(&name) || !name.starts_with("rabbitmq_") {
            symlink(plugin.path(), home.join("plugins").join(&file_name)).unwrap();
        }
    }
    home
}

/// Whether a broker sends Connection.Start: a port may accept before the broker behind it serves.
pub async fn answers_amqp(address: SocketAddr) -> Result<(), String> {
    let greet = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.read_u8().await
    };
    match greet.await {
        Ok(1) => Ok(()),
        Ok(other) => Err(format!("AMQP at {address}: the first byte is {other}")),
        Err(error) => Err(format!("AMQP at {address}: {error}")),
    }
}
