use rustix::process::{Signal as Sent, getpid, kill_process};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::*;
use crate::watched;
use crate::watched::tests::{hang, pass_until};

const SOON: Duration = Duration::from_secs(300);

struct Running {
    in_force: watch::Receiver<Wanted>,
    reloads: Reloads,
    successful: Gauge,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    fn start(path: &Path, watch: bool) -> Self {
        Self::preparing(path, watch, Arc::new(|_| Ok((None, Vec::new()))))
    }

    fn preparing(path: &Path, watch: bool, prepare: Prepare) -> Self {
        let first = Wanted { targets: Arc::default(), management: None };
        let (reloader, reloads, in_force) =
            Reloader::new(path.into(), first, prepare, watch, &mut Registry::default());
        let successful = reloader.metrics.successful.clone();
        let stop = CancellationToken::new();
        tokio::spawn(reloader.run(signal(SignalKind::hangup()).unwrap(), stop.clone()));
        Self { in_force, reloads, successful, _stop: stop.drop_guard() }
    }

    async fn wait(&mut self, is: impl Fn(&Targets) -> bool) {
        let wanted = self.in_force.wait_for(|wanted| is(&wanted.targets));
        let _ = timeout(SOON, wanted).await.expect("it is in force in time").unwrap();
    }
}

fn replace(path: &Path, heartbeat: serde_json::Value) {
    watched::tests::replace(path, &json!({"heartbeat": heartbeat}).to_string());
}

#[tokio::test]
async fn a_hang_up_counts_however_soon_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("publisher.json");
    let mut running = Running::start(&path, false);
    for gap in [0, 1, 3, 10, 30, 90] {
        for name in ["first".to_owned(), format!("second-{gap}")] {
            sleep(Duration::from_millis(gap)).await;
            replace(&path, json!({"hosts": [{"host": name, "port": 1}]}));
            kill_process(getpid(), Sent::HUP).unwrap();
        }
        let second = format!("second-{gap}");
        running.wait(|targets| targets.hosts.iter().any(|host| *host.name == *second)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_file_is_tried_again_when_what_it_names_may_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
    replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
    let running = Running::start(&path, true);
    pass_until("refused", || running.successful.get() == 0).await;
    let stamp = Stamp::of(&path).unwrap();
    let begun = Instant::now();
    pass_until("later", || begun.elapsed() > Duration::from_secs(100)).await;
    std::fs::write(&token, "sesame").unwrap();
    pass_until("in force", || running.in_force.borrow().targets.probes.len() == 1).await;
    assert_eq!((running.successful.get(), Stamp::of(&path).unwrap()), (1, stamp));
}

/// A pipe is opened once somebody writes to it.
#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_told_to_all_who_ask_and_the_mended_one_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
    let (pipe, mended) = (hang(&token), folder.path().join("mended"));
    replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
    let running = Running::start(&path, false);
    let ask = || {
        let reloads = running.reloads.clone();
        tokio::spawn(async move { reloads.ask().await })
    };
    let begun = Instant::now();
    // One who leaves, too, as many as may wait and one whose turn it is.
    let asking = ask();
    tokio::task::yield_now().await;
    let gone = ask();
    let waiting: Vec<_> = (2..=REQUESTS_MAX).map(|_| ask()).collect();
    tokio::task::yield_now().await;
    gone.abort();
    pass_until("told", || asking.is_finished() && waiting.iter().all(|asking| asking.is_finished())).await;
    let took = begun.elapsed();
    assert!((PATIENCE..2 * PATIENCE).contains(&took), "all at once, as soon as it is known: {took:?}");
    for asking in waiting.into_iter().chain([asking]) {
        let why = asking.await.unwrap().unwrap_err();
        assert_eq!(why, format!("{}: {HANGS}", path.display()));
    }
    assert_eq!(running.successful.get(), 0);
    // Nobody writes to the pipe, and nobody asks again.
    std::fs::write(&mended, "sesame").unwrap();
    std::fs::rename(&mended, &token).unwrap();
    pass_until("in force", || running.in_force.borrow().targets.probes.len() == 1).await;
    pass_until("as it should be", || running.successful.get() == 1).await;
    let asking = ask();
    pass_until("told", || asking.is_finished()).await;
    assert_eq!(asking.await.unwrap().as_deref(), Ok("nothing has changed"));
    // Lets the thread go that waits.
    drop(std::fs::File::options().read(true).write(true).open(&pipe).unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_was_written_while_the_disk_hung_is_what_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
    hang(&token);
    replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
    let running = Running::start(&path, false);
    let reloads = running.reloads.clone();
    let asking = tokio::spawn(async move { reloads.ask().await });
    pass_until("told", || asking.is_finished()).await;
    replace(&path, json!({"hosts": [{"host": "b", "port": 1}]}));
    std::fs::write(&token, "sesame").unwrap();
    pass_until("in force", || !running.in_force.borrow().targets.check_nothing()).await;
    let targets = Arc::clone(&running.in_force.borrow().targets);
    assert_eq!((targets.hosts.len(), targets.probes.len()), (1, 0), "what the file says now");
}

/// The reading that hangs has seen the problem, and its end tells of it.
#[tokio::test(start_paused = true)]
async fn what_was_mended_while_the_disk_hung_is_no_problem_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (path, missing, token) = (file("publisher.json"), file("missing"), file("token"));
    let pipe = hang(&token);
    let probe = |url: &str, token: &Path| json!({"url": url, "bearer_token_file": token.to_str().unwrap()});
    replace(&path, json!({"http": [probe("http://a/", &missing), probe("http://b/", &token)]}));
    let running = Running::start(&path, false);
    for _ in 0..2 {
        let reloads = running.reloads.clone();
        let asking = tokio::spawn(async move { reloads.ask().await });
        pass_until("told", || asking.is_finished()).await;
        assert!(asking.await.unwrap().unwrap_err().contains(HANGS));
        // Before somebody asks again.
        std::fs::write(&missing, "sesame").unwrap();
    }
    std::fs::write(file("mended"), "sesame").unwrap();
    std::fs::rename(file("mended"), &token).unwrap();
    std::fs::write(&pipe, "sesame").unwrap();
    pass_until("in force", || running.in_force.borrow().targets.probes.len() == 2).await;
    pass_until("as it should be", || running.successful.get() == 1).await;
}

/// Long after it was given up for the last time, and long before it would be the next.
#[tokio::test(start_paused = true)]
async fn a_text_without_the_file_that_hangs_is_read_however_long_it_hung() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("publisher.json"), folder.path().join("token"));
    hang(&token);
    replace(&path, json!({"http": [{"url": "http://a/", "bearer_token_file": token.to_str().unwrap()}]}));
    let running = Running::start(&path, false);
    let begun = Instant::now();
    let reloads = running.reloads.clone();
    tokio::spawn(async move { reloads.ask().await });
    pass_until("refused", || running.successful.get() == 0).await;
    pass_until("later", || begun.elapsed() > Duration::from_secs(275)).await;
    pass_until("later", || begun.elapsed() > Duration::from_secs(500)).await;
    replace(&path, json!({"hosts": [{"host": "b", "port": 1}]}));
    let changed = Instant::now();
    pass_until("in force", || running.in_force.borrow().targets.hosts.len() == 1).await;
    assert!(changed.elapsed() < Duration::from_secs(70), "it took {:?}", changed.elapsed());
    // Lets the threads go that wait.
    drop(std::fs::File::options().read(true).write(true).open(&token).unwrap());
}

/// As of a slow disk with thousands of secrets.
#[tokio::test(start_paused = true)]
async fn what_comes_late_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("publisher.json");
    let (answer, slow) = std::sync::mpsc::channel::<()>();
    let slow = std::sync::Mutex::new(slow);
    let prepare = move |_: &Targets| {
        slow.lock().unwrap().recv_timeout(SOON).unwrap();
        Ok((None, Vec::new()))
    };
    let running = Running::preparing(&path, false, Arc::new(prepare));
    replace(&path, json!({"hosts": [{"host": "a", "port": 1}]}));
    let reloads = running.reloads.clone();
    let asking = tokio::spawn(async move { reloads.ask().await });
    pass_until("told", || asking.is_finished()).await;
    assert!(asking.await.unwrap().unwrap_err().contains(HANGS));
    // Once, with nobody asking again.
    answer.send(()).unwrap();
    pass_until("in force", || running.in_force.borrow().targets.hosts.len() == 1).await;
    pass_until("as it should be", || running.successful.get() == 1).await;
}

/// As where the first queue takes a client whose CA lies on such a disk.
#[tokio::test]
async fn what_is_prepared_on_a_disk_that_hangs_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("publisher.json");
    replace(&path, json!({"rmq_consumers": [{"queue": "q"}]}));
    let (answer, hangs) = std::sync::mpsc::channel::<()>();
    let hangs = std::sync::Mutex::new(hangs);
    let prepare = move |_: &Targets| {
        let answered = hangs.lock().unwrap().recv_timeout(SOON);
        answered.map(|()| (None, Vec::new())).map_err(|error| error.to_string())
    };
    let mut running = Running::preparing(&path, false, Arc::new(prepare));
    let reloads = running.reloads.clone();
    let asking = tokio::spawn(async move { reloads.ask().await });
    let begun = std::time::Instant::now();
    sleep(Duration::from_millis(50)).await;
    assert!(begun.elapsed() < PATIENCE, "others go on");
    assert!(!asking.is_finished());
    answer.send(()).unwrap();
    running.wait(|targets| targets.queues.len() == 1).await;
    let told = asking.await.unwrap().unwrap();
    assert!(told.starts_with(Outcome::Changed.as_str()), "{told}");
}

/// The thread that reads has a small stack, and a file may nest as deep as it likes.
#[tokio::test]
async fn no_file_is_too_deep_for_the_thread_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, deep) in [("json", "["), ("json", "{\"a\":"), ("yaml", "["), ("yaml", "{a: "), ("yaml", "- ")]
    {
        for depth in [100, 127, 999, 400_000] {
            let path = folder.path().join(name).with_extension(name);
            std::fs::write(&path, deep.repeat(depth)).unwrap();
            let why = Running::start(&path, false).reloads.ask().await.unwrap_err();
            assert!(why.starts_with(&path.display().to_string()), "{why}");
        }
    }
}

#[tokio::test]
async fn whoever_asks_is_told_which_file_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("publisher.json");
    let running = Running::start(&path, false);
    let why = running.reloads.ask().await.unwrap_err();
    assert_eq!(why, format!("{}: there is no such file", path.display()));
    replace(&path, json!({"hosts": [{"host": "db"}, {"host": "www", "port": 0}]}));
    let why = running.reloads.ask().await.unwrap_err();
    let lines: Vec<&str> = why.lines().collect();
    assert_eq!(lines[0], format!("{}: 2 problems", path.display()));
    assert!(lines[1].starts_with("heartbeat.hosts[0].port is missing"), "{why}");
    assert!(lines[2].starts_with("heartbeat.hosts[1].port is 0"), "{why}");
    assert_eq!(lines.len(), 3, "{why}");
}
