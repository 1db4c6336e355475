//! What the crate's documentation says is absent is absent. Reads the source as text.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules; each may use those before it, and no others.
const ORDER: &[&str] = &[
    "build_info",
    "backoff",
    "dial",
    "reading",
    "secret",
    "telemetry",
    "terminal",
    "watched",
    "tls",
    "trace",
    "heartbeat",
    "signing",
    "state",
    "exposition",
    "page",
    "status",
    "clock",
    "health",
    "otlp",
    "store",
    "amqp",
    "tap",
    "check",
    "doctor",
    "config",
    "publisher",
    "subscriber",
    "http",
    "cli",
    "role",
];

/// A file under `src`, without its comments and unit tests.
struct Source {
    /// Relative to `src`.
    path: PathBuf,
    code: String,
}

impl Source {
    fn is_under(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.path.starts_with(prefix))
    }

    fn module(&self) -> String {
        let first = self.path.iter().next().unwrap().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("subscriber/simulation") {
                // A test of many files.
                continue;
            }
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                // Unit tests stand at the end of their file.
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let code = code.split("#[cfg(test)]\npub(super) mod tests").next().unwrap();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = lines.collect::<Vec<_>>().join("\n");
                found.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), code });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    assert!(found.len() > 50, "the source was not read");
    found
}

/// No line outside of `allowed` holds any of `words`.
#[track_caller]
fn only_under(allowed: &[&str], words: &[&str]) {
    for source in sources().iter().filter(|source| !source.is_under(allowed)) {
        for line in source.code.lines() {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{}: {line:?} belongs under {allowed:?}", source.path.display());
        }
    }
}

/// No line under `places` holds any of `words`.
#[track_caller]
fn never_under(places: &[&str], words: &[&str]) {
    let mut seen = 0;
    for source in sources().iter().filter(|source| source.is_under(places)) {
        seen += 1;
        for line in source.code.lines() {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{}: {line:?}", source.path.display());
        }
    }
    assert!(seen > 0, "nothing is under {places:?}");
}

#[test]
fn lapin_is_named_by_amqp_alone() {
    only_under(&["amqp"], &["use lapin", " lapin::", "(lapin::", "<lapin::"]);
}

#[test]
fn fred_is_named_by_the_store_in_redis_alone() {
    only_under(&["store/redis"], &["fred::", "use fred"]);
}

#[test]
fn the_http_server_is_named_by_http_alone() {
    only_under(&["http"], &["hyper::server", "hyper::body::Incoming"]);
    only_under(
        &[
            "http",
            "check/http",
            "check/grpc.rs",
            "check/management",
            "otlp/transport",
            "tls/https.rs",
            "status/client.rs",
        ],
        &["hyper::", "use hyper", "hyper_util::", "http_body_util::"],
    );
}

#[test]
fn otlps_messages_are_named_by_their_writers_alone() {
    only_under(&["otlp", "exposition/otlp"], &["opentelemetry_proto"]);
}

#[test]
fn grpc_is_named_by_those_who_speak_it_alone() {
    only_under(&["otlp", "exposition/otlp", "check/grpc.rs"], &["tonic::", "prost::"]);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    only_under(&["config/source.rs"], &["env::var", "env::vars"]);
}

#[test]
fn the_domain_and_the_state_never_wait_and_read_no_clock() {
    let waits = [".await", "async fn", "async move", "tokio::", "std::thread"];
    let clocks = ["Instant::now", "SystemTime", "Timestamp::now", "Zoned::now", "crate::clock"];
    let peers = ["std::net", "std::fs", "std::env"];
    never_under(&["heartbeat", "state"], &[waits.as_slice(), &clocks, &peers].concat());
}

#[test]
fn a_scrape_does_no_network_io() {
    let waits = [".await", "async fn", "async move", "tokio::"];
    // Names of keys and shapes of records are the store's too, and reach nobody.
    let peers = ["{Store", " Store,", " Store}", "store::Store;", "RedisStore", "crate::amqp", "std::net"];
    never_under(&["exposition", "page", "subscriber/replica.rs"], &[waits.as_slice(), &peers].concat());
}

#[test]
fn every_channel_has_a_bound() {
    only_under(&[], &["unbounded_channel", "unbounded()", "std::sync::mpsc::channel", "mpsc::channel()"]);
}

#[test]
fn only_the_beginning_of_the_program_prints() {
    only_under(&["main.rs"], &["println!", "eprintln!", "print!(", "eprint!(", "dbg!(", "io::stdout"]);
}

#[test]
fn modules_use_only_those_before_them() {
    for source in sources() {
        let module = source.module();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let place = ORDER.iter().position(|known| *known == module);
        let place = place.unwrap_or_else(|| panic!("{module} has no place in the order of modules"));
        for (at, later) in ORDER.iter().enumerate().skip(place + 1) {
            let named = names(&source.code, later);
            assert!(
                !named,
                "{} uses {later}, number {at}, which comes after {module}",
                source.path.display()
            );
        }
    }
}

/// Whether the code names a top-level module, by `crate::name` or within `crate::{…}`.
fn names(code: &str, module: &str) -> bool {
    code.split("crate::").skip(1).any(|rest| {
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default(),
        };
        list.split(',').any(|item| item.trim().split("::").next() == Some(module))
    })
}
