//! The ACL of Redis.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{commands, password, run};
use crate::support::bridge::{Bridge, QUEUE, SOON};
use crate::support::process::folder;
use crate::support::program::{Program, Setup};
use crate::support::redis::Redis;
use crate::support::redis_cluster::RedisCluster;
use crate::support::resp::{Client, Reply};
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// The sections of the page.
pub(super) const HEADINGS: &[&str] = &["A single server", "A database other than 0", "Sentinel", "A cluster"];

const USER: &str = "heartbeat";
/// How the program says that Redis does not allow something.
const DENIED: &str = "does not allow";
const PASSWORD: &str = "canary-of-redis";

/// Runs commands of the page on one server. `sentinel`: where they lead with a Sentinel's port.
async fn apply(redis: &Redis, sentinel: Option<&Redis>, commands: &str) {
    let folder = folder("acl");
    password(&folder, "redis", PASSWORD);
    // As on a machine where Redis has its usual port; an answer that is an error ends the shell.
    let tool = folder.join("redis-cli");
    let words = format!("#!/bin/sh\nexec /usr/bin/redis-cli -e -p {} \"$@\"\n", redis.port);
    std::fs::write(&tool, words).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut shell = Command::new("sh");
    shell.env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    let port = sentinel.map(|sentinel| sentinel.port.to_string());
    let commands = port.map_or(commands.to_owned(), |port| commands.replace("26379", &port));
    run(shell, &folder, &commands).await;
}

/// The rights to commands in the page's words, without their sign.
fn rights(commands: &str) -> Vec<String> {
    let words = commands.split_whitespace().map(|word| word.trim_matches('\''));
    words.filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect()
}

fn as_user(setup: Setup) -> Setup {
    setup.env("REDIS_USERNAME", USER).env("REDIS_PASSWORD", PASSWORD)
}

async fn client(redis: &Redis) -> Client {
    let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port))).await.unwrap();
    assert_eq!(client.command(&["AUTH", USER, PASSWORD]).await.unwrap(), Reply::Simple("OK".into()));
    client
}

/// What Redis refused this user, as it notes it: the commands and keys.
async fn refusals(redis: &Redis) -> Vec<String> {
    let Reply::Array(entries) = redis.command(&["ACL", "LOG"]).await else { panic!("no log") };
    let of_user = entries.into_iter().map(|entry| {
        let Reply::Array(fields) = entry else { panic!("no entry") };
        // Numbers between the texts are of no interest.
        let texts: Vec<String> = fields.into_iter().map(|field| field.string().unwrap_or_default()).collect();
        let value = |name: &str| texts[texts.iter().position(|text| text == name).unwrap() + 1].clone();
        (value("username"), value("object"))
    });
    of_user.filter(|(user, _)| user == USER).map(|(_, object)| object).collect()
}

async fn is_field(redis: &Redis, key: &str, field: &str) -> bool {
    redis.command(&["HEXISTS", key, field]).await.integer() == 1
}

/// Everything that a subscriber and `forget` ask Redis for: heartbeats, one that is refused, a publisher that is
/// forgotten and heard again, a replica that is gone. Ends at the first that Redis does not allow, and says so.
async fn exercise(bridge: &Bridge, subscriber: &Program) -> Result<(), String> {
    let (mut oslo, mut forgotten) = (Simulated::new("oslo"), false);
    let up = [("publisher", "oslo")];
    bridge.redis.command(&["HSET", "heartbeat:replicas", "gone", "nonsense"]).await;
    subscriber.wait_log(SOON, "msg=Listening").await;
    let deadline = Instant::now() + SOON / 3;
    while Instant::now() < deadline {
        bridge.send([oslo.beat(), "{".into()]).await;
        sleep(Duration::from_millis(100)).await;
        if let Some(line) = subscriber.log().lines().find(|line| line.contains(DENIED)) {
            return Err(line.to_owned());
        }
        if subscriber.metrics().await?.value("heartbeat_publisher_up", &up) != Some(1.0) {
            continue;
        }
        if !forgotten {
            let mut command =
                as_user(Setup::new("forget")).envs(bridge.redis.environment()).arg("oslo").start();
            let code = command.exit_code(SOON).await;
            assert_eq!(code, Some(0), "{}", command.log());
            subscriber.wait_absent(SOON, "heartbeat_publisher_up", &up).await;
            forgotten = true;
        } else if !is_field(&bridge.redis, "heartbeat:replicas", "gone").await {
            bridge.drained(subscriber, SOON).await;
            return Ok(());
        }
    }
    panic!(
        "nothing is refused, and not all is done: {:?}, {}",
        refusals(&bridge.redis).await,
        subscriber.log()
    );
}

/// Who may not read, or not write, is told so, and is left in no doubt.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_forget_is_told_so() {
    let bridge = Bridge::new().await;
    apply(&bridge.redis, None, &commands("A single server")).await;
    let subscriber = as_user(bridge.subscriber()).start_ready().await;
    let mut oslo = Simulated::new("oslo");
    wait_until("oslo is up", SOON, async || {
        bridge.send([oslo.beat()]).await;
        let up = subscriber.metrics().await?.value("heartbeat_publisher_up", &[("publisher", "oslo")]);
        if up == Some(1.0) { Ok(()) } else { Err(format!("{up:?}")) }
    })
    .await;
    for (right, operation) in [("hget", "reading a record"), ("evalsha", "storing heartbeats")] {
        bridge.redis.command(&["ACL", "SETUSER", USER, &format!("-{right}")]).await;
        let mut command = as_user(Setup::new("forget")).envs(bridge.redis.environment()).arg("oslo").start();
        assert_eq!(command.exit_code(SOON).await, Some(1), "{right}: {}", command.log());
        let told = command.log();
        let denied = format!("{DENIED} {operation}: ");
        assert!(told.starts_with("heartbeat: not forgotten: Redis at ") && told.contains(&denied), "{told}");
        bridge.redis.command(&["ACL", "SETUSER", USER, &format!("+{right}")]).await;
    }
    // What the script does before that is done, and nobody may be told that it is not.
    bridge.redis.command(&["ACL", "SETUSER", USER, "-xadd"]).await;
    let mut command = as_user(Setup::new("forget")).envs(bridge.redis.environment()).arg("oslo").start();
    assert_eq!(command.exit_code(SOON).await, Some(1), "{}", command.log());
    assert!(
        command.log().starts_with("heartbeat: it is not known whether it is forgotten"),
        "{}",
        command.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_is_needed_and_together_they_suffice() {
    let bridge = Bridge::new().await;
    let page = commands("A single server");
    apply(&bridge.redis, None, &page).await;
    let mut subscriber = as_user(bridge.subscriber()).start_ready().await;
    exercise(&bridge, &subscriber).await.unwrap();
    assert_eq!(subscriber.terminate(SOON).await, Some(0));
    assert_eq!(bridge.contract_keys().await.len(), 3);
    assert!(bridge.redis.command(&["LLEN", "heartbeat:rejected"]).await.integer() > 0);
    // The library asks for these two once a connection, and does without.
    let mut unneeded = refusals(&bridge.redis).await;
    unneeded.sort();
    assert_eq!(unneeded, ["client|id", "info"]);

    let all = rights(&page);
    assert!(all.len() > 15, "{all:?}");
    for right in &all {
        for reset in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["ACL", "LOG", "RESET"]] {
            bridge.redis.command(reset).await;
        }
        bridge.redis.command(&["ACL", "SETUSER", USER, &format!("-{right}")]).await;
        bridge.vhost.purge_queue(QUEUE).await;
        let mut subscriber = as_user(bridge.subscriber()).start();
        let said = exercise(&bridge, &subscriber).await;
        let refused = refusals(&bridge.redis).await;
        subscriber.kill();
        assert!(said.is_err() && refused.contains(right), "without {right}: {said:?}, {refused:?}");
        bridge.redis.command(&["ACL", "SETUSER", USER, &format!("+{right}")]).await;
    }
}

/// What the user was not given: what is others', what governs the server, and what its rights could be thought to hold.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_given_is_refused() {
    let redis = Redis::start().await;
    apply(&redis, None, &commands("A single server")).await;
    redis.command(&["SET", "session:admin", "theirs"]).await;
    let mut client = client(&redis).await;
    for words in [
        &["FLUSHALL"][..],
        &["FLUSHDB"],
        &["CONFIG", "GET", "requirepass"],
        &["CONFIG", "SET", "dir", "/tmp"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["GET", "session:admin"],
        &["SET", "session:admin", "ours"],
        &["MGET", "heartbeat:dataset", "session:admin"],
        &["DEL", "heartbeat:dataset"],
        &["RENAME", "heartbeat:dataset", "heartbeat:gone"],
        &["EVAL", "return 1", "0"],
        &["SCRIPT", "FLUSH"],
        &["FUNCTION", "LIST"],
        &["ACL", "LIST"],
        &["ACL", "SETUSER", USER, "+@all"],
        &["MONITOR"],
        &["SUBSCRIBE", "news"],
        &["PUBLISH", "news", "x"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["MIGRATE", "127.0.0.1", "1", "heartbeat:dataset", "0", "10"],
        &["SHUTDOWN"],
        &["CLIENT", "LIST"],
        &["SELECT", "1"],
    ] {
        match client.command(words).await.unwrap() {
            Reply::Error(error) => assert!(error.starts_with("NOPERM"), "{words:?}: {error}"),
            other => panic!("{words:?}: {other:?}"),
        }
    }
    // Through a script no more than without.
    let load = ["SCRIPT", "LOAD", "return redis.call(ARGV[1], KEYS[1])"];
    let hash = client.command(&load).await.unwrap().string().unwrap();
    for (command, key) in [("GET", "session:admin"), ("DEL", "heartbeat:dataset")] {
        match client.command(&["EVALSHA", &hash, "1", key, command]).await.unwrap() {
            Reply::Error(error) => assert!(error.contains("can't") || error.contains("NOPERM"), "{error}"),
            other => panic!("{command} {key} in a script: {other:?}"),
        }
    }
    assert_eq!(redis.get("session:admin").await.as_deref(), Some("theirs"));
}

/// Sends until it is shown as up.
async fn is_heard(bridge: &Bridge, subscriber: &Program) {
    let mut oslo = Simulated::new("oslo");
    wait_until("it is shown as up", SOON, async || {
        bridge.send([oslo.beat()]).await;
        sleep(Duration::from_millis(200)).await;
        match subscriber.metrics().await?.value("heartbeat_publisher_up", &[("publisher", "oslo")]) {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    bridge.drained(subscriber, SOON).await;
}

/// Without each of these rights there is no connection, and the right is what Redis refuses.
async fn each_is_needed(setup: impl Fn() -> Setup, rights: &[String], servers: &[&Redis]) {
    assert!(!rights.is_empty());
    for right in rights {
        for redis in servers {
            redis.command(&["ACL", "LOG", "RESET"]).await;
            redis.command(&["ACL", "SETUSER", USER, &format!("-{right}")]).await;
        }
        let mut subscriber = setup().start();
        subscriber.wait_log(SOON, "No connection to Redis; trying again").await;
        wait_until("Redis refuses it", SOON, async || {
            for redis in servers {
                if refusals(redis).await.contains(right) {
                    return Ok(());
                }
            }
            Err(format!("without {right}: {}", subscriber.log()))
        })
        .await;
        subscriber.kill();
        for redis in servers {
            redis.command(&["ACL", "SETUSER", USER, &format!("+{right}")]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_needs_one_more() {
    let bridge = Bridge::new().await;
    let more = commands("A database other than 0");
    apply(&bridge.redis, None, &(commands("A single server") + &more)).await;
    let setup = || as_user(bridge.subscriber()).env("REDIS_DB", "3");
    let mut subscriber = setup().start_ready().await;
    is_heard(&bridge, &subscriber).await;
    subscriber.kill();
    assert_eq!(bridge.redis.keys("*").await, Vec::<String>::new());
    each_is_needed(setup, &rights(&more), &[&bridge.redis]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_what_they_watch_need_their_own() {
    let bridge = Bridge::new().await;
    let replica = Redis::replica_of(&bridge.redis).await;
    let sentinel = Redis::sentinel_of(&bridge.redis).await;
    let (of_data, of_sentinel) = {
        let page = commands("Sentinel");
        let (data, sentinel) = page.split_once("redis-cli -p 26379").unwrap();
        (data.to_owned(), format!("redis-cli -p 26379{sentinel}"))
    };
    for redis in [&bridge.redis, &replica] {
        apply(redis, None, &(commands("A single server") + &of_data)).await;
    }
    apply(&bridge.redis, Some(&sentinel), &of_sentinel).await;
    let nodes = format!("127.0.0.1:{}", sentinel.port);
    let setup = || as_user(bridge.subscriber()).env("REDIS_MODE", "sentinel").env("REDIS_NODES", &nodes);
    let mut subscriber = setup().start_ready().await;
    is_heard(&bridge, &subscriber).await;
    subscriber.kill();
    each_is_needed(setup, &rights(&of_data), &[&bridge.redis]).await;
    each_is_needed(setup, &rights(&of_sentinel), &[&sentinel]).await;

    // A Sentinel that does not know the user: not asked as somebody else.
    sentinel.command(&["ACL", "DELUSER", USER]).await;
    let mut subscriber = setup().start();
    subscriber.wait_log(SOON, "No connection to Redis; trying again").await;
    subscriber.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_needs_two_more() {
    let bridge = Bridge::new().await;
    let nodes = RedisCluster::apart().await.nodes;
    let more = commands("A cluster");
    for node in &nodes {
        apply(node, None, &(commands("A single server") + &more)).await;
    }
    let first = format!("127.0.0.1:{}", nodes[0].port);
    let setup = || as_user(bridge.subscriber()).env("REDIS_MODE", "cluster").env("REDIS_NODES", &first);
    let mut subscriber = setup().start_ready().await;
    is_heard(&bridge, &subscriber).await;
    subscriber.kill();
    for node in &nodes {
        let refused: Vec<String> = refusals(node).await;
        assert!(refused.iter().all(|right| ["client|id", "info"].contains(&right.as_str())), "{refused:?}");
    }
    each_is_needed(setup, &rights(&more), &nodes.iter().collect::<Vec<_>>()).await;
}
