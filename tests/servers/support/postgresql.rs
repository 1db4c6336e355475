//! A real PostgreSQL in a folder and on a port of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::ports::free_port;
use super::process::Process;
use super::wait::wait_until;

/// Initialising takes two seconds, and starting less than one.
const START_BOUND: Duration = Duration::from_secs(60);

/// PostgreSQL refuses to run as root; this is who Debian runs it as.
const USER: &str = "postgres";

/// A database server; killed when dropped.
pub struct PostgreSql {
    /// Where it listens.
    pub port: u16,
    process: Process,
    /// Where its user may go, unlike to the folders of the build.
    folder: TempDir,
}

impl PostgreSql {
    /// Starts one with these settings, and waits until it is ready.
    pub async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = is_root().then(|| ids(USER));
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let programs = programs();
        let data = folder.path().join("data");
        let data_text = data.to_str().unwrap();
        let initdb = programs.join("initdb");
        let words = as_user(&initdb, &["--no-sync", "-A", "trust", "-D", data_text]);
        let made = Command::new(&words[0]).args(&words[1..]).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let port_text = port.to_string();
        let mut args = vec!["-D", data_text, "-p", &port_text];
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            args.extend(["-c", setting]);
        }
        settings.iter().for_each(|setting| args.extend(["-c", setting]));
        let words = as_user(&programs.join("postgres"), &args);
        let log = folder.path().join("log");
        let rest = words[1..].iter().map(String::as_str);
        let process = Process::start("postgres", Path::new(&words[0]), rest, [], &log);
        wait_until("PostgreSQL is ready", START_BOUND, async || {
            let said = process.output();
            if said.contains("ready to accept connections") { Ok(()) } else { Err(said) }
        })
        .await;
        Self { port, process, folder }
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The words that start a program as PostgreSQL's user, and end it with us: changing users forgets the signal that
/// `Process` has set, so it is set once more.
fn as_user(program: &Path, args: &[&str]) -> Vec<String> {
    let user = ["/usr/bin/setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--"];
    let dies = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"];
    let words = user.iter().chain(&dies).filter(|_| is_root()).copied();
    words.chain([program.to_str().unwrap()]).chain(args.iter().copied()).map(str::to_owned).collect()
}

/// The newest version's programs, which Debian does not put into the search path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.unwrap().path().join("bin")
}

fn ids(user: &str) -> (u32, u32) {
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    (id("-u"), id("-g"))
}
