//! Redis: whether the user is let in, and may do what a subscriber does; what the server is.

use std::error::Error;

use super::clocks::Clocks;
use super::protocol::Protocol;
use super::reach::{Reached, Server};
use super::report::{Fault, Report};
use super::{Redis, word};
use crate::store::probe::{Facts, RedisProbe, Right, Stage};
use crate::store::{StoreError, Topology};
use crate::telemetry::Chain;

const REST: [&str; 4] = ["permissions", "service", "version", "eviction"];

/// The servers of a topology that are connected to, and what they lead to.
struct Servers<'a> {
    nodes: &'a [(String, u16)],
    /// How each begins its part.
    title: &'static str,
    /// What each is called in a sentence.
    name: &'static str,
    /// What all of them are.
    whole: &'static str,
}

fn servers(topology: &Topology) -> Servers<'_> {
    match topology {
        Topology::Single { node, .. } => {
            Servers { nodes: std::slice::from_ref(node), title: "Redis", name: "Redis", whole: "Redis" }
        }
        Topology::Sentinel { nodes, .. } => Servers {
            nodes,
            title: "Sentinel",
            name: "this Sentinel",
            whole: "Redis, to which the Sentinels lead",
        },
        Topology::Cluster { nodes } => Servers {
            nodes,
            title: "Node of Redis Cluster",
            name: "this node",
            whole: "Redis Cluster as a whole",
        },
    }
}

/// Walks to Redis, and tells of it what matters here.
pub(super) async fn examine(redis: &Redis, report: &mut Report<'_>, clocks: &mut Clocks) {
    let Servers { nodes, title, name, whole } = servers(&redis.config.topology);
    let mut reached = None;
    for (host, port) in nodes {
        let server = server(redis, name, host, *port);
        report.part(&format!("{title} at {}", server.target()));
        if let Some(found) = server.reach(report).await {
            server.tell_tls(report, &found);
            reached.get_or_insert((server, found));
        }
    }
    let Some((server, found)) = reached else {
        report.skip(&["login"]);
        report.skip(&REST);
        return;
    };
    if title != whole {
        report.part(whole);
    }
    let probe = match RedisProbe::open(&redis.config).await {
        Ok(probe) => probe,
        Err((stage, error)) => {
            fail_login(redis, &server, &found, stage, &cause(&error), report).await;
            // The service is what failed there.
            let rest = REST.iter().filter(|step| stage != Stage::Service || **step != "service");
            report.skip(&rest.copied().collect::<Vec<_>>());
            return;
        }
    };
    report.ok("login", &format!("{} is let in", user(redis)));
    tell_rights(redis, &probe.rights(redis.contract_keys).await, report);
    tell_facts(&probe.facts().await, report);
    if let Ok((there, here)) = probe.time().await {
        clocks.saw("Redis", there, here);
    }
    probe.close().await;
}

fn server<'a>(redis: &'a Redis, name: &'a str, host: &'a str, port: u16) -> Server<'a> {
    Server {
        name,
        host,
        port,
        tls: redis.config.tls.as_ref(),
        speaks: Protocol::Redis,
        host_setting: if name == "Redis" { "REDIS_HOST" } else { "REDIS_NODES" },
        places: if name == "Redis" { &["REDIS_HOST", "REDIS_PORT"] } else { &["REDIS_NODES"] },
        switch: "REDIS_TLS",
        ca: "REDIS_CA_CERT_PATH",
        server_name: "REDIS_TLS_SERVER_NAME",
        client: "REDIS_CLIENT_CERT_PATH and REDIS_CLIENT_KEY_PATH",
    }
}

/// Why, without where, which is told already.
fn cause(error: &StoreError) -> String {
    let text = error.source().map_or_else(|| error.to_string(), |source| Chain(source).to_string());
    // The library tells some errors of the system as Rust writes them.
    match text.split_once(" Os {").zip(text.split_once("message: \"")) {
        Some(((before, _), (_, message))) => {
            format!("{before} {}", message.split('"').next().unwrap_or_default())
        }
        None => text,
    }
}

fn user(redis: &Redis) -> String {
    redis.config.username.as_ref().map_or("the default user".to_owned(), |name| format!("user {name:?}"))
}

async fn fail_login(
    redis: &Redis,
    server: &Server<'_>,
    found: &Reached,
    stage: Stage,
    error: &str,
    report: &mut Report<'_>,
) {
    let (attempted, to_do) = match stage {
        Stage::Protocol => return server.fail_protocol(report, "login", found.address, error).await,
        Stage::Login if redis.config.password.is_none() => (
            format!("logging in at {} without a password", found.address),
            "Set REDIS_PASSWORD or REDIS_PASSWORD_FILE, and REDIS_USERNAME for a user other than the default one.",
        ),
        Stage::Login => (
            format!("logging in at {} as {} with its password", found.address, user(redis)),
            "Set REDIS_USERNAME and REDIS_PASSWORD to those that Redis has (ACL LIST); docs/least-privilege.md makes a \
             user that may do what is needed and nothing more.",
        ),
        Stage::Service => (
            format!("using Redis at {}", redis.config.topology.place()),
            match redis.config.topology {
                Topology::Sentinel { .. } => {
                    "See that the primary that the Sentinels name is reached from here: redis-cli -p 26379 SENTINEL \
                     get-master-addr-by-name, with the name in REDIS_SENTINEL_SERVICE."
                }
                Topology::Cluster { .. } => {
                    "See that each slot is served, by a node that is reached from here: redis-cli CLUSTER INFO, CLUSTER SLOTS."
                }
                Topology::Single { .. } => "See in its log what it waits for; a primary is needed.",
            },
        ),
    };
    let step = if stage == Stage::Service { "service" } else { "login" };
    report.fail(step, &Fault { attempted: &attempted, why: error, to_do });
}

fn tell_rights(redis: &Redis, rights: &[(String, Right)], report: &mut Report<'_>) {
    let named = |wanted: fn(&Right) -> bool| -> Vec<&str> {
        rights.iter().filter(|(_, right)| wanted(right)).map(|(name, _)| name.as_str()).collect()
    };
    let refused = named(|right| matches!(right, Right::Refused(_)));
    let untold = named(|right| *right == Right::Untold);
    let said = rights.iter().find_map(|(_, right)| match right {
        Right::Refused(said) => Some(said.as_str()),
        _ => None,
    });
    if let Some(said) = said {
        let grants: Vec<String> = refused
            .iter()
            .map(|name| if name.starts_with('~') { format!("'{name}'") } else { format!("+{name}") })
            .collect();
        let name = redis.config.username.as_deref().unwrap_or("default");
        report.fail(
            "permissions",
            &Fault {
                attempted: &format!("what a subscriber does, as {}: {}", user(redis), refused.join(", ")),
                why: said,
                to_do: &format!(
                    "redis-cli ACL SETUSER {} {}; docs/least-privilege.md has all that is needed.",
                    word(name),
                    grants.join(" ")
                ),
            },
        );
        return;
    }
    if untold.is_empty() {
        report.ok("permissions", &format!("{} may do what a subscriber does", user(redis)));
    } else {
        let why = format!(
            "{} may do what could be tried without changing anything; not tried: {}",
            user(redis),
            untold.join(", ")
        );
        report.unknown("permissions", &why);
    }
}

fn tell_facts(facts: &Facts, report: &mut Report<'_>) {
    const HIDDEN: &str = "not told to this user, who may not run INFO";
    match facts.role.as_deref() {
        None => report.unknown("service", HIDDEN),
        Some("slave") => report.fail(
            "service",
            &Fault {
                attempted: "looking whether it takes writes (INFO replication)",
                why: "it is a replica, and takes none",
                to_do: "Set REDIS_HOST to the primary, or REDIS_MODE to sentinel with the Sentinels in REDIS_NODES.",
            },
        ),
        Some(_) => report.ok("service", "it is a primary"),
    }
    match facts.version.as_deref() {
        None => report.unknown("version", HIDDEN),
        Some(version) => report.ok("version", version),
    }
    let bound = facts.memory_max.unwrap_or_default() >> 20;
    match (facts.eviction.as_deref(), facts.memory_max) {
        (None, _) => report.unknown("eviction", HIDDEN),
        (Some("noeviction"), _) => report.ok("eviction", "it takes nothing away when its memory is full"),
        (Some(policy), Some(0)) => report.warn(
            "eviction",
            &format!("{policy}, without a bound on memory: once there is one (maxmemory), publishers disappear when it is full"),
            EVICTION,
        ),
        (Some(policy), _) => report.warn(
            "eviction",
            &format!("{policy}: at {bound} MiB Redis takes keys away, and publishers disappear as if forgotten"),
            EVICTION,
        ),
    }
}

const EVICTION: &str = "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf; give Heartbeat a Redis \
                        of its own where others need another policy.";
