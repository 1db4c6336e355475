//! What the publisher is to remember, on disks that hang, that are full, that cannot be written and that another process
//! writes to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::jobs::{LONG, curl, job, socket, wait_socket, with_jobs};
use crate::service_manager::Manager;
use crate::support::field::{BOUND, publisher, stop, wait_published};
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::wait::wait_until;

const WRITTEN: &str = "heartbeat_emitter_state_file_last_write_successful";

/// What is said of a word that counts and may be forgotten.
const NOT_STORED: &str = "OK, though it is not known to be in the state file: a restart may forget it";

/// A publisher of one job that remembers it in a file.
async fn remembering(state: &Path) -> Setup {
    let setup =
        publisher(&RabbitMq::vhost().await, "beats", "oslo", &with_jobs(&[job("sync", LONG, LONG, LONG)]));
    let socket = setup.folder().join("api.sock");
    setup
        .env("LOCAL_LISTEN_ADDRESS", &format!("unix:{}", socket.display()))
        .env("PUBLISHER_STATE_FILE", state.to_str().unwrap())
        .listening()
}

/// The status and the text of the answer to a job that pings.
fn ping(publisher: &Program) -> (String, String) {
    let socket = socket(publisher);
    let path = "http://localhost/jobs/sync/ping";
    let (_, said) =
        curl(&["--unix-socket", socket.to_str().unwrap(), "-X", "POST", "-w", "%{http_code}", path]);
    let (text, status) = said.split_once('\n').unwrap_or_else(|| panic!("{said}"));
    (status.to_owned(), text.to_owned())
}

#[track_caller]
fn is_stored(publisher: &Program) {
    assert_eq!(ping(publisher), ("200".into(), "OK".into()), "{}", publisher.log());
}

#[track_caller]
fn is_taken(publisher: &Program) {
    assert_eq!(ping(publisher), ("202".into(), NOT_STORED.into()), "{}", publisher.log());
}

/// A pipe in the place of the lock is opened once somebody writes to it: until then, the disk does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_neither_heartbeats_nor_signs_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let (state, lock) = (folder.path().join("state.json"), folder.path().join("state.json.lock"));
    mknodat(CWD, &lock, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let (manager, setup) = Manager::of(remembering(&state).await);
    let mut ours = setup.start();
    wait_socket(&ours).await;
    manager.wait_alive().await;
    ours.wait_value(BOUND, WRITTEN, &[], 0.0).await;
    let begun = Instant::now();
    for _ in 0..20 {
        is_taken(&ours);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for it: {:?}", begun.elapsed());
    let published = wait_published(&ours, 2.0).await;
    manager.wait_alive().await;
    wait_published(&ours, published + 2.0).await;
    assert!(!state.exists());

    let _writer = std::fs::File::options().write(true).open(&lock).unwrap();
    ours.wait_value(BOUND, WRITTEN, &[], 1.0).await;
    is_stored(&ours);
    assert!(std::fs::read_to_string(&state).unwrap().contains("sync"));
    assert_eq!(ours.terminate(BOUND).await, Some(0), "{}", ours.log());
}

/// As where a service may not read `/proc/sys`.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_does_not_name_its_run_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    const UNNAMED: &str = "boot_id cannot be read";
    let mut named = remembering(&state).await.start();
    wait_socket(&named).await;
    assert!(!named.log().contains(UNNAMED), "{}", named.log());
    assert_eq!(named.terminate(BOUND).await, Some(0), "{}", named.log());
    let hide = "mount --bind /dev/null /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let hidden = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh"];
    let ours = remembering(&state).await.through(&hidden).start();
    ours.wait_log(BOUND, UNNAMED).await;
    wait_socket(&ours).await;
    is_stored(&ours);
}

/// What was answered with 200 is not forgotten for a disk that was slow.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_tells_late_is_taken_over() {
    let hang = |disk: &Path| {
        let lock = disk.join("state.json.lock");
        std::fs::remove_file(&lock).unwrap();
        mknodat(CWD, &lock, FileType::Fifo, Mode::RWXU, 0).unwrap();
        move || drop(std::fs::File::options().write(true).open(&lock).unwrap())
    };
    what_is_told_late_is_taken_over(hang, "the disk does not answer").await;
}

/// As of a mount that comes after the start.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_folder_that_comes_late_holds_is_taken_over() {
    let go_away = |disk: &Path| {
        let (disk, away) = (disk.to_owned(), disk.with_file_name("away"));
        std::fs::rename(&disk, &away).unwrap();
        move || std::fs::rename(&away, &disk).unwrap()
    };
    what_is_told_late_is_taken_over(go_away, "No such file or directory").await;
}

/// Takes the disk away between two processes, and brings it back once the second does without.
async fn what_is_told_late_is_taken_over<B: FnOnce()>(take_away: impl FnOnce(&Path) -> B, why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let state = disk.join("state.json");
    let mut ours = remembering(&state).await.start();
    wait_socket(&ours).await;
    is_stored(&ours);
    let begun = ours.command(&["maintenance", "begin", "--for=2h", "--comment=new disks"]).output().unwrap();
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    assert_eq!(ours.terminate(BOUND).await, Some(0), "{}", ours.log());
    let subjects = || {
        let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
        file.as_object_mut().unwrap().remove("clock");
        file
    };
    let before = subjects();

    let bring_back = take_away(&disk);
    ours.start_again();
    ours.wait_log(BOUND, why).await;
    let list = || {
        let output = ours.command(&["maintenance", "list"]).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        if output.status.success() { Ok(text) } else { Err(text) }
    };
    wait_until("the publisher does without", BOUND, async || list().map(drop)).await;
    let without = list().unwrap();
    assert!(!without.contains("new disks"), "{without}");
    bring_back();
    ours.wait_value(BOUND, WRITTEN, &[], 1.0).await;
    let with = list().unwrap();
    assert!(with.contains("new disks"), "{with}");
    assert_eq!(subjects(), before);
    assert_eq!(ours.terminate(BOUND).await, Some(0), "{}", ours.log());
}

/// Where it hangs to the end, the end comes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_does_not_hold_up_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    mknodat(CWD, folder.path().join("state.json.lock"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut ours = remembering(&folder.path().join("state.json")).await.start();
    wait_socket(&ours).await;
    assert_eq!(ours.terminate(BOUND).await, Some(0), "{}", ours.log());
}

/// A small disk of the publisher's own, in a namespace that ends with it.
fn on_small_disk(setup: Setup, folder: &Path) -> Setup {
    let mount = format!("mount -t tmpfs -o size=64k none {} && exec \"$@\"", folder.display());
    setup.through(&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"])
}

/// A folder as the publisher sees it.
fn inside(publisher: &Program, folder: &Path) -> PathBuf {
    format!("/proc/{}/root{}", publisher.pid(), folder.display()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_does_not_take_is_written_when_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let mut ours = on_small_disk(remembering(&state).await, folder.path()).start();
    wait_socket(&ours).await;
    is_stored(&ours);
    let inside = inside(&ours, folder.path());
    let full = std::fs::write(inside.join("filler"), vec![0; 128 << 10]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    is_taken(&ours);
    ours.wait_value(BOUND, WRITTEN, &[], 0.0).await;
    ours.wait_log(BOUND, "No space left on device").await;
    assert!(ours.log().contains(state.to_str().unwrap()), "{}", ours.log());
    assert!(!inside.join("state.json.next").exists(), "what is half written takes no room");
    assert!(std::fs::read_to_string(inside.join("state.json")).unwrap().contains("sync"));
    // Nothing more is told, and what was told is stored.
    std::fs::remove_file(inside.join("filler")).unwrap();
    ours.wait_value(BOUND, WRITTEN, &[], 1.0).await;
    is_stored(&ours);
    assert_eq!(ours.terminate(BOUND).await, Some(0), "{}", ours.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_to_is_said_and_written_to_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let mut ours = on_small_disk(remembering(&state).await, folder.path()).start();
    wait_socket(&ours).await;
    let remount = |options: &str| {
        let words = ["--user", "--mount", "--target", &ours.pid().to_string(), "mount", "-o", options];
        let done = Command::new("nsenter").args(words).arg(folder.path()).status();
        assert!(done.unwrap().success(), "not mounted with {options}");
    };
    is_stored(&ours);
    remount("remount,ro");
    is_taken(&ours);
    ours.wait_value(BOUND, WRITTEN, &[], 0.0).await;
    ours.wait_log(BOUND, "Read-only file system").await;
    remount("remount,rw");
    ours.wait_value(BOUND, WRITTEN, &[], 1.0).await;
    is_stored(&ours);
    assert_eq!(ours.terminate(BOUND).await, Some(0), "{}", ours.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_not_for_two() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let ours = remembering(&state).await.start();
    wait_socket(&ours).await;
    is_stored(&ours);
    let mut second = remembering(&state).await.start();
    assert_eq!(second.exit_code(BOUND).await, Some(1));
    let log = second.log();
    assert!(log.contains("another process uses") && log.contains(state.to_str().unwrap()), "{log}");
    is_stored(&ours);
    stop([ours]).await;
    // The first is gone, and took its lock along.
    second.start_again();
    wait_until("the second one remembers", BOUND, async || match socket(&second).exists() {
        true => Ok(()),
        false => Err(second.log()),
    })
    .await;
    is_stored(&second);
}
