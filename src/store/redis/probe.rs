//! Questions to Redis that change nothing there, for whoever looks for what is wrong.
//!
//! Whether a user may run a command is asked by `ACL DRYRUN`, which few may use. Everybody else runs the command in a form
//! that does nothing: on a key that is not there. Some commands have no such form; those are run on a key that the user may
//! not touch, where there is one, since Redis refuses the command before it looks at the key.

use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::prelude::*;
use fred::types::ConnectHandle;
use tokio::time::{Instant, timeout};

use super::answers::time_of;
use super::config::Config;
use super::refusal::reason;
use crate::clock;
use crate::heartbeat::Timestamp;
use crate::store::StoreError;

/// A connection to ask on.
pub struct RedisProbe {
    client: Client,
    task: ConnectHandle,
    limit: Duration,
    target: String,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The user was not let in.
    Login,
    /// It is still loading, is no primary, or is otherwise not ready.
    Service,
    /// It does not answer as Redis does.
    Protocol,
}

/// What Redis tells of itself. `None` where it does not tell this user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: Option<String>,
    /// `master` or `slave`.
    pub role: Option<String>,
    /// The bound on its memory, in bytes; 0: none.
    pub memory_max: Option<u64>,
    /// What it does at that bound.
    pub eviction: Option<String>,
}

/// Whether a command is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// It is.
    Given,
    /// It is not, in the words of Redis.
    Refused(String),
    /// It cannot be known without changing something.
    Untold,
}

/// How a command is run so that it does nothing.
enum Form {
    /// With these arguments.
    Harmless(&'static [&'static str]),
    /// On a key that the user may not touch.
    Elsewhere(&'static [&'static str]),
}

/// Stands for a key that is not there, in a form.
const KEY: &str = "{key}";

/// One command that a subscriber uses.
struct Used {
    words: &'static [&'static str],
    form: Form,
    /// For the keys of the contract alone.
    of_contract: bool,
}

const fn used(words: &'static [&'static str], form: Form) -> Used {
    Used { words, form, of_contract: false }
}

const fn of_contract(words: &'static [&'static str], form: Form) -> Used {
    Used { words, form, of_contract: true }
}

/// All that a subscriber runs, as `docs/least-privilege.md` lists it.
const USED: &[Used] = &[
    used(&["TIME"], Form::Harmless(&[])),
    used(&["GET"], Form::Harmless(&[KEY])),
    used(&["SET"], Form::Harmless(&[KEY, "x", "XX"])),
    of_contract(&["MGET"], Form::Harmless(&[KEY])),
    of_contract(&["MSET"], Form::Elsewhere(&[KEY, "x"])),
    used(&["HGET"], Form::Harmless(&[KEY, "x"])),
    used(&["HSET"], Form::Elsewhere(&[KEY, "x", "x"])),
    used(&["HMGET"], Form::Harmless(&[KEY, "x"])),
    used(&["HDEL"], Form::Harmless(&[KEY, "x"])),
    used(&["HKEYS"], Form::Harmless(&[KEY])),
    used(&["HGETALL"], Form::Harmless(&[KEY])),
    used(&["HEXISTS"], Form::Harmless(&[KEY, "x"])),
    used(&["LPUSH"], Form::Elsewhere(&[KEY, "x"])),
    used(&["LTRIM"], Form::Harmless(&[KEY, "0", "0"])),
    used(&["XADD"], Form::Harmless(&[KEY, "NOMKSTREAM", "*", "x", "x"])),
    used(&["XREAD"], Form::Harmless(&["COUNT", "1", "STREAMS", KEY, "0"])),
    used(&["XREVRANGE"], Form::Harmless(&[KEY, "+", "-", "COUNT", "1"])),
    // A script that is not there.
    used(&["EVALSHA"], Form::Harmless(&["0000000000000000000000000000000000000000", "0"])),
];

/// What keys begin with: ours, and the contract's.
const PREFIXES: [(&str, bool); 3] = [("heartbeat:", false), ("service:", true), ("queue:", true)];

impl RedisProbe {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Says how far it came, and why not further.
    pub async fn open(config: &Config) -> Result<Self, (Stage, StoreError)> {
        let target = config.topology.target();
        let failed = |source: Error| {
            let stage = match stage(&source) {
                // Who was reached leads to others.
                Stage::Protocol if config.topology.leads_on() && is_of_another(&source) => Stage::Service,
                stage => stage,
            };
            (stage, StoreError::Connect { target: target.clone(), source: source.into() })
        };
        let client = config.client().await.map_err(&failed)?;
        let task = match timeout(config.connecting_limit(), client.init()).await {
            Ok(Ok(task)) => task,
            Ok(Err(source)) => return Err(failed(source)),
            Err(_) => {
                let operation = "connecting";
                return Err((Stage::Protocol, StoreError::Deadline { target, operation }));
            }
        };
        let probe = Self { client, task, limit: config.timeout, target: target.clone() };
        // Whoever gives no password is let in, and then told that there is one.
        match probe.run(&["PING"], &[]).await {
            Err(Some(error)) if reason(&error) == "denied" && !is_of_command(&error) => Err(failed(error)),
            Err(Some(error)) if reason(&error) != "denied" => Err(failed(error)),
            Err(None) => {
                let operation = "its first command";
                Err((Stage::Protocol, StoreError::Deadline { target, operation }))
            }
            _ => Ok(probe),
        }
    }

    /// The time that it is there, and the one here at the same moment.
    ///
    /// # Errors
    /// It does not say.
    pub async fn time(&self) -> Result<(Timestamp, Timestamp), StoreError> {
        const OPERATION: &str = "asking for the time";
        let began = Instant::now();
        let answer = self.run(&["TIME"], &[]).await;
        let here = clock::wall();
        let target = self.target.clone();
        let answer = answer.map_err(|error| match error {
            Some(source) => {
                StoreError::Command { target: target.clone(), operation: OPERATION, source: source.into() }
            }
            None => StoreError::Deadline { target: target.clone(), operation: OPERATION },
        })?;
        let there = time_of(&answer).ok_or(StoreError::Answer { target, operation: OPERATION })?;
        // It was asked for half a round trip ago.
        let half = i64::try_from(began.elapsed().as_millis() / 2).unwrap_or(i64::MAX);
        Ok((there, here.plus_ms(-half)))
    }

    /// What it tells of itself.
    pub async fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for section in ["server", "replication", "memory"] {
            let Ok(Value::String(text)) = self.run(&["INFO"], &[section]).await else { continue };
            let of = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(|value| value.trim().to_owned())
            };
            facts.version = facts.version.or_else(|| of("redis_version"));
            facts.role = facts.role.or_else(|| of("role"));
            facts.memory_max = facts.memory_max.or_else(|| of("maxmemory")?.parse().ok());
            facts.eviction = facts.eviction.or_else(|| of("maxmemory_policy"));
        }
        facts
    }

    /// Whether this user may do what a subscriber does: each command, and each sort of key.
    pub async fn rights(&self, contract_keys: bool) -> Vec<(String, Right)> {
        let user = match self.run(&["ACL", "WHOAMI"], &[]).await {
            Ok(Value::String(user)) => Some(user.to_string()),
            _ => None,
        };
        let unique = format!("doctor-{:032x}", rand::random::<u128>());
        let own = format!("{}{unique}", PREFIXES[0].0);
        // A write there tells of it, and does nothing: it is for a key that exists.
        let elsewhere = match self.run(&["SET"], &[&unique, "x", "XX"]).await {
            Err(Some(error)) if is_of_key(&error) => Some(unique.as_str()),
            _ => None,
        };
        let mut rights = Vec::new();
        for used in USED.iter().filter(|used| contract_keys || !used.of_contract) {
            let name = used.words.join(" ").to_lowercase();
            rights.push((name, self.right_to(used, user.as_deref(), &own, elsewhere).await));
        }
        for (prefix, _) in PREFIXES.iter().filter(|(_, of_contract)| contract_keys || !of_contract) {
            let key = format!("{prefix}{unique}");
            let right = match self.run(&["GET"], &[&key]).await {
                Err(Some(error)) if is_of_key(&error) => Right::Refused(error.details().to_owned()),
                Err(_) => Right::Untold,
                Ok(_) => Right::Given,
            };
            rights.push((format!("~{prefix}*"), right));
        }
        rights
    }

    async fn right_to(&self, used: &Used, user: Option<&str>, own: &str, elsewhere: Option<&str>) -> Right {
        let (Form::Harmless(arguments) | Form::Elsewhere(arguments)) = &used.form;
        let filled = |key: &'_ str| -> Vec<String> {
            arguments
                .iter()
                .map(|word| if *word == KEY { key.to_owned() } else { (*word).to_owned() })
                .collect()
        };
        if let Some(user) = user {
            let mut dry = vec![user.to_owned()];
            dry.extend(used.words.iter().map(|word| (*word).to_owned()));
            dry.extend(filled(own));
            let dry: Vec<&str> = dry.iter().map(String::as_str).collect();
            match self.run(&["ACL", "DRYRUN"], &dry).await {
                Ok(Value::String(said)) if said == "OK" => return Right::Given,
                Ok(Value::String(said)) => return Right::Refused(said.to_string()),
                _ => {}
            }
        }
        let key = match used.form {
            Form::Harmless(_) => own,
            Form::Elsewhere(_) => match elsewhere {
                Some(key) => key,
                None => return Right::Untold,
            },
        };
        let filled = filled(key);
        let filled: Vec<&str> = filled.iter().map(String::as_str).collect();
        match self.run(used.words, &filled).await {
            Err(Some(error)) if is_of_command(&error) => Right::Refused(error.details().to_owned()),
            // Whatever else Redis says, it says after that.
            Err(Some(error)) if is_answer(&error) => Right::Given,
            Err(_) => Right::Untold,
            Ok(_) => Right::Given,
        }
    }

    /// Runs one command; `Err(None)`: no answer in time.
    async fn run(&self, words: &[&'static str], arguments: &[&str]) -> Result<Value, Option<Error>> {
        let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        let arguments: Vec<Value> =
            rest.iter().copied().chain(arguments.iter().copied()).map(Value::from).collect();
        let command = fred::cmd!(first);
        match timeout(self.limit, self.client.custom::<Value, Value>(command, arguments)).await {
            Ok(answer) => answer.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        let _ = timeout(Duration::from_secs(1), self.client.quit()).await;
        self.task.abort();
    }
}

fn stage(error: &Error) -> Stage {
    match reason(error) {
        "denied" => Stage::Login,
        "loading" | "cluster" | "read_only" | "busy" => Stage::Service,
        _ => Stage::Protocol,
    }
}

/// Whether it is told of a server that another one leads to.
fn is_of_another(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::IO | ErrorKind::Sentinel)
}

/// Whether Redis refused the command for what it is, whatever its keys; or does not know it.
fn is_of_command(error: &Error) -> bool {
    let details = error.details();
    (reason(error) == "denied" && details.contains("to run the '"))
        || details.starts_with("ERR unknown command")
}

/// Whether Redis said this, and not the library.
fn is_answer(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout | ErrorKind::Parse)
}

/// Whether Redis refused the command for its keys.
fn is_of_key(error: &Error) -> bool {
    reason(error) == "denied" && error.details().contains("access") && error.details().contains("key")
}
