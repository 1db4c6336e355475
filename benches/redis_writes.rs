//! What Redis itself does for an update, beside what it does when redis-benchmark has it run the same scripts on the same
//! arguments: the difference is what our way of asking adds.

use std::process::Command;
use std::time::Duration;

use crate::Plan;
use crate::cpu::Meter;
use crate::drain::{Backlog, Stage};
use crate::report::{Figure, Goal, Machine, Row};
use crate::support::redis::Redis;
use crate::support::resp::Client;

const BACKLOG: Backlog = Backlog { messages: 60_000, publishers: 10_000, components: 10 };

/// As many commands as one of our batches has, one a bucket.
const PIPELINE: usize = 64;

/// What redis-benchmark replaces by twelve random digits, each time it stands there.
const RANDOM: &str = "__rand_int__";

/// Buckets, and publishers in each, of redis-benchmark's: as many records as ours.
const SIDE: usize = 100;

/// A call of a script as ours makes it.
struct Call {
    hash: String,
    keys: Vec<String>,
    arguments: Vec<String>,
}

/// Measures.
pub async fn measure(plan: &Plan) -> Figure {
    let stage = Stage::start().await;
    let (compare_and_set, newer_only) = captured(&stage).await;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut together = 0.0;
    for round in 0..plan.rounds {
        plan.say(&format!("redis_writes: round {}", round + 1));
        let without = stage.by_the_subscriber(BACKLOG, false).await;
        let with = stage.by_the_subscriber(BACKLOG, true).await;
        // Without contract keys, all scripts that are called are of updates.
        together = (without.updates() / without.commands["evalsha"]).round();
        let update = updates(&stage.bridge.redis, &compare_and_set, together).await;
        let key = contract_keys(&stage.bridge.redis, &newer_only).await;
        ours[0].push(without.redis / without.updates() * 1e6);
        ours[1].push(with.redis / with.updates() * 1e6);
        theirs[0].push(update * 1e6);
        theirs[1].push((update + key * BACKLOG.components as f64) * 1e6);
    }
    let [without, with] = ours;
    let [bare, bare_with_keys] = theirs;
    let row = |what: &str, ours, theirs| {
        let row = Row::new(format!("CPU of Redis an update, {what}"), "µs", ours);
        row.beside("redis-benchmark", theirs).goal(Goal::RatioAtMost(1.3))
    };
    Figure {
        name: "redis_writes".into(),
        title: "Redis".into(),
        how: format!(
            "Redis' CPU time for each record that the subscriber stores while it drains {} messages of {} publishers with {} \
             components, all else that it asks included; and for each that redis-benchmark stores with the same scripts, {together} \
             a call, on bodies of ours, over as many records, -P {PIPELINE}. So that each of its calls stores, it expects the \
             revision that it writes, and its contract keys hold no time that could be newer.",
            BACKLOG.messages, BACKLOG.publishers, BACKLOG.components
        ),
        rounds: plan.rounds,
        machine: Machine::here(),
        rows: vec![
            row("without contract keys", without, bare),
            row("with contract keys", with, bare_with_keys),
        ],
        curves: Vec::new(),
    }
}

/// Both scripts as a subscriber calls them, overheard.
async fn captured(stage: &Stage) -> (Call, Call) {
    let mut listener = stage.bridge.redis.client().await.unwrap();
    listener.command(&["MONITOR"]).await.unwrap();
    let heard = tokio::spawn(async move {
        let (mut compare_and_set, mut newer_only) = (None, None);
        while compare_and_set.is_none() || newer_only.is_none() {
            let line = listener.next().await.unwrap().string().unwrap();
            let words = words(&line);
            if words.first().is_some_and(|word| word == "EVALSHA") {
                let keys: usize = words[2].parse().unwrap();
                let (keys, arguments) = words[3..].split_at(keys);
                let call = Call { hash: words[1].clone(), keys: keys.into(), arguments: arguments.into() };
                let is_contract = call.keys[0].starts_with("service:");
                *(if is_contract { &mut newer_only } else { &mut compare_and_set }) = Some(call);
            }
        }
        (compare_and_set.unwrap(), newer_only.unwrap())
    });
    stage.by_the_subscriber(Backlog { messages: 1_000, publishers: 200, ..BACKLOG }, true).await;
    tokio::time::timeout(Duration::from_secs(10), heard).await.expect("both scripts were called").unwrap()
}

/// The quoted words of a line of MONITOR.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = line.chars();
    while characters.by_ref().any(|character| character == '"') {
        let mut word = String::new();
        while let Some(character) = characters.next().filter(|character| *character != '"') {
            word.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        words.push(word);
    }
    words
}

/// Redis' CPU for a record that redis-benchmark stores, so many a call.
async fn updates(redis: &Redis, captured: &Call, together: f64) -> f64 {
    // The bound on the log, then key, expected and new revision, and body of the first.
    let [log_length, key, _, revision, body] = &captured.arguments[..5] else {
        panic!("no record in the call")
    };
    // As long as a key of ours.
    let rest = &key[RANDOM.len()..];
    seed(redis, rest, revision, body).await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
    let together = together as usize;
    let bucket = |name| format!("heartbeat:{{{RANDOM}}}:{name}");
    let mut arguments =
        vec![captured.hash.clone(), "3".into(), bucket("r"), bucket("v"), bucket("l"), log_length.clone()];
    for _ in 0..together {
        arguments.extend([format!("{RANDOM}{rest}"), revision.clone(), revision.clone(), body.clone()]);
    }
    let calls = (BACKLOG.messages / together).next_multiple_of(PIPELINE);
    let used = benchmarked(redis, calls, SIDE, &arguments).await;
    // A record in another form than the seed's would have been answered with, not stored.
    let info = redis.command(&["INFO", "commandstats"]).await.string().unwrap();
    assert!(
        info.contains(&format!("cmdstat_xadd:calls={},", calls * together)),
        "not every call stored: {info}"
    );
    used / (calls * together) as f64
}

/// Every publisher in every bucket, since redis-benchmark draws each key by itself.
async fn seed(redis: &Redis, rest: &str, revision: &str, body: &str) {
    redis.command(&["FLUSHALL"]).await;
    let mut client: Client = redis.client().await.unwrap();
    let fields: Vec<String> = (0..SIDE).map(|field| format!("{field:012}{rest}")).collect();
    for bucket in 0..SIDE {
        for (name, value) in [("r", body), ("v", revision)] {
            let key = format!("heartbeat:{{{bucket:012}}}:{name}");
            let mut command = vec!["HSET", key.as_str()];
            command.extend(fields.iter().flat_map(|field| [field.as_str(), value]));
            client.command(&command).await.unwrap();
        }
    }
}

/// Redis' CPU for a contract key that redis-benchmark writes, as many a call as ours has at most.
async fn contract_keys(redis: &Redis, captured: &Call) -> f64 {
    redis.command(&["FLUSHALL"]).await;
    let Call { hash, keys, arguments } = captured;
    let count = keys.len();
    let mut words = vec![hash.clone(), count.to_string()];
    words.extend((0..count).map(|_| format!("service:component-{RANDOM}:ok")));
    // Of the length of a time, and no time to its last letter: what is held then is always overwritten.
    words.extend(arguments.iter().map(|time| time.replace("UTC", "UTc")));
    let calls = (BACKLOG.messages * BACKLOG.components / count).next_multiple_of(PIPELINE);
    benchmarked(redis, calls, BACKLOG.publishers * BACKLOG.components, &words).await / (calls * count) as f64
}

/// Redis' CPU for so many calls of a script, in seconds.
async fn benchmarked(redis: &Redis, calls: usize, random: usize, words: &[String]) -> f64 {
    redis.command(&["CONFIG", "RESETSTAT"]).await;
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &redis.port.to_string(), "-c", "1", "-P", &PIPELINE.to_string(), "-q"]);
    command.args(["-n", &calls.to_string(), "-r", &random.to_string(), "EVALSHA"]).args(words);
    let meter = Meter::start([redis.pid().unwrap()]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let [used] = meter.read();
    assert!(output.status.success(), "{output:?}");
    used
}
