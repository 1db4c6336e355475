//! The pages that tell what the program has follow from the program.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "servers/doctor/unfolded.rs"]
mod unfolded;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use heartbeat_bridge::config::{Kind, Scopes, Setting, settings, targets};
use heartbeat_bridge::heartbeat::Reason;
use unfolded::unfolded;

/// Set to 1, what follows from the program is written anew instead of compared.
const UPDATE: &str = "UPDATE_GOLDEN";

const BEGIN: &str =
    "<!-- From the table of settings; UPDATE_GOLDEN=1 cargo test --test documents writes it. -->\n";
const END: &str = "<!-- End of the table of settings. -->\n";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(page(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn settings_as_tables() -> String {
    let mut text = String::new();
    let mut heading = None;
    for setting in settings::ALL {
        if heading != Some(setting.heading) {
            heading = Some(setting.heading);
            let _ = write!(
                text,
                "\n### {}\n\n| variable | flag | default | read by | meaning |\n|---|---|---|---|---|\n",
                setting.heading.as_str()
            );
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {}.{} |",
            variable(setting),
            flag(setting),
            default(setting),
            readers(setting.scopes),
            escaped(setting.help),
            form(setting)
        );
    }
    text.push('\n');
    text
}

fn variable(setting: &Setting) -> String {
    match setting.file_variable() {
        Some(file) => format!("`{}` or `{file}`", setting.variable),
        None => format!("`{}`", setting.variable),
    }
}

fn flag(setting: &Setting) -> String {
    if setting.is_secret() {
        return "none".into();
    }
    let also = setting.alias.map(|alias| format!(", `--{alias}`")).unwrap_or_default();
    format!("`--{}`{also}", setting.flag)
}

fn default(setting: &Setting) -> String {
    match (setting.default, setting.derived) {
        ("", "") => "none".into(),
        ("", derived) => escaped(derived),
        (default, _) => format!("`{default}`"),
    }
}

fn readers(scopes: Scopes) -> String {
    let all = [
        (Scopes::PUBLISHER, "publisher"),
        (Scopes::SUBSCRIBER, "subscriber"),
        (Scopes::STANDALONE, "standalone"),
        (Scopes::DOCTOR, "doctor"),
        (Scopes::MAINTENANCE, "maintenance"),
        (Scopes::FORGET, "forget"),
        (Scopes::HEALTHCHECK, "healthcheck"),
        (Scopes::KEYS, "keys"),
        (Scopes::STATUS, "status"),
        (Scopes::TAP, "tap"),
    ];
    let named: Vec<&str> =
        all.iter().filter(|(scope, _)| scopes.meets(*scope)).map(|(_, name)| *name).collect();
    if named.is_empty() { "no command given".into() } else { named.join(", ") }
}

fn form(setting: &Setting) -> String {
    let form = match setting.kind {
        Kind::Boolean => " `true` or `false`.".into(),
        Kind::Number(min, max) => format!(" {min} to {max}."),
        Kind::Bytes(min, max) => format!(" {min} to {max} bytes; `KiB` and `MiB` are understood."),
        Kind::Time(min, max) => {
            format!(" {} to {}.", humantime::format_duration(min), humantime::format_duration(max))
        }
        Kind::Text(_) | Kind::Required(_) | Kind::Host | Kind::File | Kind::List(_) | Kind::Secret => {
            String::new()
        }
    };
    let example =
        if setting.example.is_empty() { String::new() } else { format!(" Such as `{}`.", setting.example) };
    format!("{form}{example}")
}

/// A pipe would end a cell, and an angle bracket would pass for HTML.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn the_page_on_the_configuration_has_every_setting() {
    let page_text = text_of("docs/configuration.md");
    let (before, rest) = page_text.split_once(BEGIN).expect("the page has the mark before the tables");
    let (tables, after) = rest.split_once(END).expect("the page has the mark after the tables");
    let wanted = settings_as_tables();
    if env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(page("docs/configuration.md"), format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert!(tables == wanted, "docs/configuration.md has an old table: set {UPDATE}=1 to write it anew");
}

/// Words in capitals with an underscore, as variables are written.
#[test]
fn pages_name_no_variable_that_there_is_not() {
    const OTHERS: &[&str] = &[
        UPDATE,
        "ACCESS_REFUSED",
        "HEARTBEAT_BINARY",
        "NO_COLOR",
        "NO_RECORDED_VALUE",
        "RABBITMQ_TLS_ENABLED",
    ];
    for name in [
        "README.md",
        "CHANGELOG.md",
        "docs/commands.md",
        "docs/moving-over.md",
        "docs/checks.md",
        "docs/clusters.md",
        "docs/configuration.md",
        "docs/install.md",
        "docs/least-privilege.md",
        "docs/otlp.md",
        "docs/runbooks.md",
        "docs/several-queues.md",
        "docs/web-configuration.md",
    ] {
        let text = text_of(name);
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let is_variable = word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let known = |setting: &&Setting| {
                setting.variable == word || setting.file_variable().is_some_and(|file| file == word)
            };
            let known =
                OTHERS.contains(&word) || settings::ALL.iter().copied().any(|setting| known(&setting));
            let is_part = word.starts_with('_') || word.ends_with('_');
            assert!(!is_variable || is_part || known, "{name} names {word}, which is no variable");
        }
    }
}

#[test]
fn the_page_on_the_message_has_every_reason() {
    let text = text_of("docs/message.md");
    for reason in Reason::ALL {
        assert!(text.contains(&format!("| `{reason}` |")), "{reason} is not in docs/message.md");
    }
}

/// A key's row stands in the section of its list, in that of TLS, or before all of them; and no other key has one.
#[test]
fn the_page_on_checks_has_every_key() {
    let text = text_of("docs/checks.md");
    let rows_of = |section: &str| -> Vec<String> {
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('|'));
        let keys =
            cells.flat_map(|(cell, _)| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>());
        keys.collect()
    };
    let section = |kind: &str| {
        let (_, rest) =
            text.split_once(&format!("\n## {kind}\n")).unwrap_or_else(|| panic!("no section {kind}"));
        rest.split("\n## ").next().unwrap()
    };
    let common = rows_of(text.split("\n## ").next().unwrap());
    let (tls, shared) = section("tls").split_once("These keys").unwrap();
    for (kind, keys) in targets::probe_keys() {
        let own = rows_of(if kind == "tls" { tls } else { section(kind) });
        let shared = if kind == "dns" { Vec::new() } else { rows_of(shared) };
        let mut told = [&common[..], &own, &shared].concat();
        let mut keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        told.sort();
        keys.sort();
        assert_eq!(told, keys, "the keys of {kind} in docs/checks.md");
    }
}

/// The page's own example, as a publisher would read it.
#[test]
fn the_example_on_the_page_on_checks_is_read() {
    let text = text_of("docs/checks.md");
    let example = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (targets, warnings) = targets::parse(example, targets::Form::Yaml).unwrap();
    assert_eq!((targets.hosts.len(), targets.probes.len(), warnings), (1, 4, Vec::new()));
}

#[test]
fn links_between_pages_lead_somewhere() {
    for name in [
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/commands.md",
        "docs/moving-over.md",
        "docs/checks.md",
        "docs/clusters.md",
        "docs/metrics.md",
        "docs/message.md",
        "docs/configuration.md",
        "docs/install.md",
        "docs/least-privilege.md",
        "docs/otlp.md",
        "docs/runbooks.md",
        "docs/several-queues.md",
        "docs/web-configuration.md",
        "dashboards/README.md",
    ] {
        let folder = page(name).parent().unwrap().to_owned();
        for target in text_of(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.starts_with("http") {
                assert!(folder.join(file).exists(), "{name} links to {target}, which is not there");
            }
        }
    }
}

/// Headings of the page on commands are the commands of the program, in its order.
#[test]
fn the_page_on_the_commands_has_every_command() {
    let text = text_of("docs/commands.md");
    let told: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("## `heartbeat ")?.strip_suffix('`')).collect();
    let program = heartbeat_bridge::cli::program();
    let there: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(told, there, "docs/commands.md has a heading for each command: ## `heartbeat NAME`");
    for command in program.get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains(&about), "docs/commands.md does not say of {}: {about}", command.get_name());
    }
}

/// Samples on the page on commands are what the tests of these commands saw. Lines of a terminal are folded.
#[test]
fn the_page_on_the_commands_shows_what_they_print() {
    let text = text_of("docs/commands.md");
    let mut samples = 0;
    for sample in text.split("<!-- ").skip(1) {
        let (golden, rest) = sample.split_once(" -->\n```text\n").expect("a sample names its golden file");
        let shown = rest.split("```").next().unwrap();
        assert_eq!(without_times(&unfolded(shown)), text_of(&format!("tests/golden/{golden}")), "{golden}");
        samples += 1;
    }
    assert!(samples > 1, "the page shows nothing");
}

/// How long things took stands at the ends of lines, and is another each time.
fn without_times(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let (kept, took) = line.rsplit_once("  ").unwrap_or((line, ""));
        let is_time = took.starts_with(|c: char| c.is_ascii_digit()) && took.ends_with(" ms");
        lines.push_str(if is_time { kept } else { line });
        lines.push_str(if is_time { "  TIME\n" } else { "\n" });
    }
    lines
}

/// Ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts a role with a folder of its own; returns it with the address on which it listens.
    fn start(role: &str, folder: &Path) -> (Self, String) {
        // One that changes nothing: what is counted of it is told all the same.
        let web = folder.join("web.yml");
        fs::write(&web, "http_server_config: {http2: false}\n").unwrap();
        // A certificate to be told of; nobody is there to be shown it.
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.join("client.pem"), folder.join("client.key"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
            .args([role, "--web.listen-address=127.0.0.1:0"])
            .env_clear()
            .env("HEALTH_FILE", folder.join("health"))
            .env("WEB_CONFIG_FILE", web)
            .env("RABBITMQ_TLS", "true")
            .env("RABBITMQ_CA_CERT_PATH", &cert)
            .env("RABBITMQ_CLIENT_CERT_PATH", &cert)
            .env("RABBITMQ_CLIENT_KEY_PATH", &key)
            // Nobody is there, for either role; what is counted of it is told all the same.
            .env("RABBITMQ_HOST", "127.0.0.1:1")
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", "1")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let started = Self(child);
        let mut lines = log.lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            line.contains("msg=Listening").then(|| line.split("address=").nth(1).map(str::to_owned)).flatten()
        });
        // Goes on reading, so that the program does not wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        (started, address.expect("it says where it listens"))
    }
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Name to type, as `# TYPE` lines tell them.
fn families(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// Name to type, from the rows of the page's tables.
fn documented() -> BTreeMap<String, String> {
    let text = text_of("docs/metrics.md");
    let of_a_metric = |line: &&str| line.starts_with("| `heartbeat_") || line.starts_with("| `process_");
    let rows = text.lines().filter(of_a_metric);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn the_page_on_the_metrics_has_every_metric_with_its_type() {
    let folder = tempfile::tempdir().unwrap();
    let (_standalone, address) = Program::start("standalone", folder.path());
    let mut shown = families(&scrape(&address));
    // Alone, it is connected to nobody, and tells nothing of that.
    let (_subscriber, address) = Program::start("subscriber", folder.path());
    let of_subscriber = families(&scrape(&address));
    for family in ["heartbeat_subscriber_connected", "heartbeat_subscriber_reconnects_total"] {
        assert!(of_subscriber.contains_key(family) && !shown.contains_key(family), "{family}");
    }
    shown.extend(of_subscriber);
    // The state's families, each with a sample, as the unit tests of the exposition hold them.
    let state = families(&text_of("tests/golden/metrics.txt")).into_iter();
    let state_prefixes = ["heartbeat_publisher_", "heartbeat_component_", "heartbeat_queue_"];
    shown.extend(state.filter(|(name, _)| state_prefixes.iter().any(|prefix| name.starts_with(prefix))));
    assert!(shown.len() > 40, "{shown:?}");
    // Types as the page calls them: an info is a gauge in the classic text.
    for (name, kind) in &mut shown {
        if name.ends_with("_info") {
            *kind = "info".into();
        }
    }
    let documented = documented();
    for (name, kind) in &shown {
        assert_eq!(documented.get(name), Some(kind), "{name} in docs/metrics.md");
    }
    for name in documented.keys() {
        assert!(shown.contains_key(name), "docs/metrics.md has {name}, and the program has not");
    }
}

/// The cells of a table's row.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The value of a line such as `Test: --lib a::b` in the head of a mutation.
fn head_of<'a>(mutation: &'a str, key: &str) -> Option<&'a str> {
    mutation.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// A test, named as `path::test`.
fn assert_is_there(test: &str) {
    let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} is no path::test"));
    assert!(text_of(file).contains(&format!("fn {name}(")), "{file} has no {name}");
}

#[test]
fn each_protection_has_a_test_that_it_turns_something_away() {
    let text = text_of("SECURITY.md");
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("| `")).map(cells).filter(|row| row.len() == 3).collect();
    let named: Vec<&str> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    for setting in settings::ALL.iter().filter(|setting| setting.protects && setting.general.is_none()) {
        // What begins alike is written once.
        let is_it = |name: &&str| {
            *name == setting.variable
                || name.strip_prefix('…').is_some_and(|end| setting.variable.ends_with(end))
        };
        assert!(named.iter().any(is_it), "SECURITY.md does not say what {} turns away", setting.variable);
    }
    for row in &rows {
        let tests = quoted(row[2]);
        assert!(!tests.is_empty(), "{row:?} names no test");
        tests.into_iter().for_each(assert_is_there);
    }
}

#[test]
fn the_page_on_faults_names_tests_and_mutations_that_there_are() {
    let text = text_of("docs/faults.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(cells)
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=59).collect::<Vec<_>>(), "every fault has its row");
    let mut noticed = BTreeMap::new();
    for row in &rows {
        let [tests, mutations] = row[6..] else { panic!("{row:?} has other columns") };
        let tests = quoted(tests);
        assert!(!tests.is_empty() || row[2].contains("not injected"), "fault {} has no test", row[0]);
        tests.iter().copied().for_each(assert_is_there);
        for mutation in quoted(mutations) {
            let patch = text_of(&format!("scripts/mutations/{mutation}.patch"));
            let test = head_of(&patch, "Test").unwrap_or_else(|| panic!("{mutation} names no test"));
            let name = test.rsplit([':', ' ']).next().unwrap_or_default();
            // A filter may be the path of a module, and `--test x` a whole file.
            let is_it = |listed: &&str| {
                listed.ends_with(&format!("::{name}")) || listed.contains(&format!("/{name}.rs::"))
            };
            *noticed.entry(mutation.to_owned()).or_insert(false) |= tests.iter().any(is_it);
        }
    }
    for (mutation, by_a_test_of_its_row) in &noticed {
        assert!(by_a_test_of_its_row, "{mutation} runs a test that no row with it has");
    }
    for entry in fs::read_dir(page("scripts/mutations")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().replace(".patch", "");
        assert!(noticed.contains_key(&name), "docs/faults.md does not name the mutation {name}");
    }
}

#[test]
fn the_page_on_the_metrics_has_every_reason_of_a_peer() {
    let text = text_of("docs/metrics.md");
    for reason in heartbeat_bridge::amqp::REASONS.iter().chain(&heartbeat_bridge::store::REASONS) {
        assert!(text.contains(&format!("| `{reason}` |")), "{reason} is not in docs/metrics.md");
    }
}
