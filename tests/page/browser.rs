//! A headless Chromium, driven by its own driver, each test with a folder and a profile of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// For whatever the browser is to do; a loaded machine takes seconds to start it.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// For the browser to be gone.
const GONE: Duration = Duration::from_secs(10);

/// What the browser's user has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    pub(crate) javascript: bool,
}

impl Default for User {
    fn default() -> Self {
        Self { width: 1280, height: 900, dark: false, javascript: true }
    }
}

/// The driver looks for one port that is free in IPv4 and in IPv6, which another may take in between.
const DRIVER_ATTEMPTS: u32 = 5;

/// Starts a driver; its port, if it listens.
fn driver(folder: &Path) -> Option<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        // What the browser leaves in the folder of temporary files goes with it.
        .env("TMPDIR", folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver, from the package chromium-driver");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let port = line.split("started successfully on port ").nth(1)?;
        Some(port.trim_end_matches('.').to_owned())
    });
    // Goes on reading, so that the driver does not wait for us.
    std::thread::spawn(move || lines.for_each(drop));
    if port.is_none() {
        let _ = driver.kill();
        let _ = driver.wait();
    }
    Some((driver, port?))
}

/// A browser with one window. Ends with the test.
pub(crate) struct Browser {
    pub(crate) page: Client,
    driver: Child,
    folder: TempDir,
}

impl Browser {
    pub(crate) async fn start(user: User) -> Self {
        let folder = TempDir::new().unwrap();
        let (driver, port) = (0..DRIVER_ATTEMPTS)
            .find_map(|_| driver(folder.path()))
            .expect("chromedriver, from the package chromium-driver, says where it listens");
        let scheme = if user.dark { "0" } else { "1" };
        let mut options = json!({
            "args": [
                "--headless=new",
                // Root has no sandbox, and here only what the test itself serves is looked at.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                format!("--window-size={},{}", user.width, user.height),
                format!("--blink-settings=preferredColorScheme={scheme}"),
            ],
        });
        if !user.javascript {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let capabilities = json!({ "goog:chromeOptions": options });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session of the browser");
        Self { page, driver, folder }
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.page.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until a script returns true.
    pub(crate) async fn until(&self, script: &str) {
        let begun = Instant::now();
        loop {
            let seen = self.run(script).await;
            if seen == Value::Bool(true) {
                return;
            }
            if begun.elapsed() > BOUND {
                let text = self.run("return document.body.innerText").await;
                panic!("not true within {BOUND:?}: {script}; it is {seen}; the page says {text}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The page's text.
    pub(crate) async fn text(&self) -> String {
        self.page.find(fantoccini::Locator::Css("body")).await.unwrap().text().await.unwrap()
    }

    /// What axe-core finds against the rules for accessible pages; each violation with where it is. The file beside this one
    /// is version 4.14.1 as it was published, under the Mozilla Public License 2.0; nothing of it is built in.
    pub(crate) async fn violations(&self) -> Vec<String> {
        self.run(include_str!("axe.min.js")).await;
        let script = "const done = arguments[arguments.length - 1]; axe.run().then(found => done(found.violations\
                      .map(one => one.id + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | '))))";
        let found = self.page.execute_async(script, Vec::new()).await.unwrap();
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// Takes a picture for whoever wants to look, under `target/page`.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/page");
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(format!("{folder}/{name}.png"), self.page.screenshot().await.unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Its browser outlives it, as several processes, each of which names the folder of its profile.
        let begun = Instant::now();
        loop {
            let left = processes_naming(self.folder.path());
            if left.is_empty() {
                return;
            }
            assert!(
                begun.elapsed() < GONE || std::thread::panicking(),
                "still there after {GONE:?}: {left:?}"
            );
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The processes that have a folder in their command line.
fn processes_naming(folder: &Path) -> Vec<Pid> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let names = |pid: &Pid| {
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        line.windows(folder.len()).any(|part| part == folder)
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(names).collect()
}
