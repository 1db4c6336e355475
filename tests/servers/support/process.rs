//! Processes that never outlive the tests, however these end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// Lines of a log that a failing test shows.
const TAIL_LINES: usize = 30;

type Order = (Command, SyncSender<io::Result<Child>>);

/// The one thread that starts processes.
///
/// The kernel sends the parent-death signal when the *thread* that forked is gone. A test's own thread ends with its
/// test, and a server shared by all tests would go with it; this thread ends with the process alone.
static NURSERY: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = channel::<Order>();
    thread::spawn(move || {
        for (mut command, answer) in orders {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

/// A child process, killed with its whole group when dropped, and by the kernel when the tests die.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with exactly these variables, its output going to `log`.
    pub fn start<'a>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = &'a str>,
        environment: impl IntoIterator<Item = (String, String)>,
        log: &Path,
    ) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        // setpriv sets the signal that dies with us and then becomes the program; Rust could do so only in unsafe code.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment);
        command.stdin(std::process::Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let (answer, child) = sync_channel(1);
        NURSERY.lock().unwrap().send((command, answer)).unwrap();
        let child = child.recv().unwrap().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.os_pid(), signal)
            .unwrap_or_else(|error| panic!("signal {signal:?} to {}: {error}", self.name));
    }

    /// Kills the process and its children at once, and waits for it to be gone.
    pub fn kill(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        // The group may be gone between the question and the signal; the wait below tells.
        let _ = kill_process_group(self.os_pid(), Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks the process to end (SIGTERM), and kills it when it has not within `grace`.
    pub fn terminate(&mut self, grace: Duration) -> ExitStatus {
        if self.exit_status().is_none() {
            self.signal(Signal::TERM);
        }
        self.wait_exit(grace).unwrap_or_else(|| {
            self.kill();
            self.child.wait().unwrap()
        })
    }

    /// Whether it ended. It is not waited for thereby, so that /proc still tells of it.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.os_pid()), options).unwrap().is_some()
    }

    /// How it ended, when it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits at most `bound` for its end.
    pub fn wait_exit(&mut self, bound: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + bound;
        loop {
            match self.exit_status() {
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                ended => return ended,
            }
        }
    }

    /// All that it wrote.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its last lines, for a test's failure.
    pub fn tail(&self) -> String {
        tail(&self.output())
    }

    fn os_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            show(&format!("--- the last lines of {}:\n{}\n---", self.name, self.tail()));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the test runner shows it beside the failure")]
fn show(text: &str) {
    println!("{text}");
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// A fresh folder for one server, under the build's folder for test data.
///
/// The name carries our process id: what a killed run left is removed by the next one.
pub fn folder(kind: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
        for old in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            let owner = old.file_name();
            if !Path::new("/proc").join(&owner).exists() {
                let _ = std::fs::remove_dir_all(old.path());
            }
        }
        root.join(std::process::id().to_string())
    });
    let path = ROOT.join(format!("{kind}-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&path).unwrap();
    path
}
