//! The built program: its help, its exit codes, and what it must never print.
#![allow(missing_docs)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Set to 1, the golden files are written anew instead of compared.
const UPDATE: &str = "UPDATE_GOLDEN";

/// What the original's README exports for a subscriber, with the three names that must not be
/// empty filled in.
const ORIGINAL: &[(&str, &str)] = &[
    ("HEARTBEAT_MODE", "subscriber"),
    ("RABBITMQ_HOST", ""),
    ("RABBITMQ_PORT", "5672"),
    ("RABBITMQ_USER", ""),
    ("RABBITMQ_PASS", ""),
    ("RABBITMQ_VHOST", ""),
    ("RABBITMQ_EXCHANGE", "sda"),
    ("RABBITMQ_QUEUE", "heartbeats"),
    ("RABBITMQ_ROUTING_KEY", "service.heartbeat"),
    ("RABBITMQ_TLS", ""),
    ("RABBITMQ_CA_CERT_PATH", ""),
    ("RABBITMQ_TLS_PORT", "5671"),
    ("PUBLISH_INTERVAL", "60"),
    ("RABBITMQ_MANAGEMENT_PORT", "15671"),
    ("REDIS_HOST", "redis"),
    ("REDIS_PORT", "6379"),
    ("REDIS_DB", "0"),
];

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    /// Everything that it printed.
    fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs the program with these variables and no others.
fn run(args: &[&str], variables: &[(&str, &str)]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli").join(name);
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(&path, text).expect("the golden file is written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} differs; set {UPDATE}=1 to take this text:\n{text}");
}

fn write(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file is written");
    path.display().to_string()
}

#[test]
fn help_is_as_it_was_read() {
    let help_of = |words: &[&str]| {
        let help = run(&[words, &["--help"]].concat(), &[]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        let name = if words.is_empty() { "heartbeat".to_owned() } else { words.join("-") };
        golden(&format!("{name}.txt"), &help.stdout);
    };
    help_of(&[]);
    for command in heartbeat_bridge::cli::program().get_subcommands() {
        help_of(&[command.get_name()]);
        for inner in command.get_subcommands() {
            help_of(&[command.get_name(), inner.get_name()]);
        }
    }
}

#[test]
fn problems_are_as_they_were_read() {
    let problems = run(
        &["subscriber", "--web.listen-address=11911"],
        &[
            ("RABBITMQ_PORT", "56x72"),
            ("RABBITMQ_QUEUE", ""),
            ("RABBITMQ_HOST", "amqp://me:canary-url@mq/\u{1b}[31m"),
            ("RABBITMQ_PASS", "canary-1"),
            ("RABBITMQ_PASS_FILE", "/run/secrets/mq"),
            ("REDIS_PASSWORD_FILE", "/does/not/exist"),
            ("REDIS_TLS", "ture"),
            ("RETENTION", "0"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:canary-otlp@collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=canary-2%"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
        ],
    );
    assert_eq!((problems.code, problems.stdout.as_str()), (Some(64), ""));
    assert!(!problems.stderr.contains("canary"), "{}", problems.stderr);
    golden("problems.txt", &problems.stderr);
}

/// Runs the program with its answer to this, and says its code and what it said beside.
fn answering_into(out: Stdio, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(out)
        .output()
        .expect("the program starts");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// A broker where nobody listens.
const NO_BROKER: [(&str, &str); 6] = [
    ("RABBITMQ_HOST", "127.0.0.1"),
    ("RABBITMQ_PORT", "1"),
    ("RABBITMQ_EXCHANGE", "sda"),
    ("RABBITMQ_ROUTING_KEY", "beat"),
    ("RABBITMQ_USER", "me"),
    ("RABBITMQ_PASS", "me"),
];

#[test]
fn an_answer_that_cannot_be_written_is_no_panic_and_no_success() {
    let dir = TempDir::new().expect("a folder");
    let key = dir.path().join("signing.pem").display().to_string();
    let health = write(
        &dir,
        "x.health",
        &format!(
            r#"{{"role":"publisher","pid":1,"written_ms":{},"boot_id":"{}","healthy":true,"ready":true}}"#,
            heartbeat_bridge::clock::boot_ms(),
            heartbeat_bridge::clock::boot_id(),
        ),
    );
    let checked = write(&dir, "checked.json", r#"{"heartbeat": {"hosts": [{"host": "db", "port": 1}]}}"#);
    let variables = [
        ("SIGNING_KEY_FILE", key.as_str()),
        ("PUBLISHER_ID", "oslo"),
        ("PUBLISHER_CONFIG_PATH", &checked),
        ("HEALTH_FILE", &health),
    ];
    let variables = [&variables[..], &NO_BROKER].concat();
    assert_eq!(run(&["keys", "generate"], &variables).code, Some(0));
    let commands: [(&[&str], i32, i32); 8] = [
        (&["--help"], 0, 1),
        (&["--version"], 0, 1),
        (&["completions", "bash"], 0, 1),
        (&["man"], 0, 1),
        (&["keys", "show"], 0, 1),
        (&["check", "standalone"], 0, 1),
        (&["doctor", "publisher"], 2, 1),
        // Its code speaks of health alone.
        (&["healthcheck", "publisher"], 0, 0),
    ];
    let why = "heartbeat: the output cannot be written: No space left on device (os error 28)\n";
    for (args, code, code_of_full) in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (closed, said) = answering_into(writer.into(), args, &variables);
        assert!(closed == Some(code) && !said.contains("output"), "{args:?}: {closed:?}: {said}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let (full, said) = answering_into(full.into(), args, &variables);
        assert_eq!((full, said.ends_with(why)), (Some(code_of_full), code_of_full == 1), "{args:?}: {said}");
    }
}

/// Anybody may write into a folder of temporary files.
#[test]
fn a_health_file_of_strangers_steers_no_terminal() {
    let dir = TempDir::new().expect("a folder");
    let role = r"x\u001b[2J\u009b2J\u202e";
    let written = format!(r#"{{"role":"{role}","pid":1,"written_ms":1,"healthy":false,"ready":false}}"#);
    let file = write(&dir, "x.health", &written);
    let said = run(&["healthcheck"], &[("HEALTH_FILE", &file)]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains(r"x\u{1b}[2J\u{9b}2J\u{202e}"), "{:?}", said.stderr);
}

/// Whoever makes one round, looks for what is wrong, or plays a drill waits for no job.
#[test]
fn that_no_job_can_tell_of_itself_is_told_where_jobs_are_waited_for() {
    let dir = TempDir::new().expect("a folder");
    let jobs = r#"{"heartbeat": {"jobs": [{"name": "backup", "period": "1d", "grace": "1h"}]}}"#;
    let file = write(&dir, "publisher.json", jobs);
    let variables = [("PUBLISHER_CONFIG_PATH", file.as_str()), ("PUBLISHER_ID", "oslo")];
    let variables = [&variables[..], &NO_BROKER].concat();
    for (args, is_told) in [
        (&["check", "publisher"][..], true),
        (&["check", "publisher", "--once"], false),
        (&["doctor", "publisher"], false),
    ] {
        let said = run(args, &variables);
        assert_ne!(said.code, Some(64), "{args:?}: {}", said.stderr);
        assert_eq!(said.stderr.contains("no job can tell of itself"), is_told, "{args:?}: {}", said.stderr);
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn a_key_is_made_shown_and_followed_by_the_next() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("signing.pem");
    let file = path.display().to_string();
    let keys = |command| run(&["keys", command], &[("SIGNING_KEY_FILE", &file), ("PUBLISHER_ID", "oslo 1")]);

    let missing = keys("show");
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        missing.stderr,
        format!("heartbeat: cannot read the key in {file}: No such file or directory (os error 2)\n")
    );
    assert_eq!(keys("rotate").code, Some(1));

    let made = keys("generate");
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert_eq!(mode_of(&path), 0o600);
    // One line, and nothing of the private half, in no encoding that it is written in.
    let line = made.stdout.strip_suffix('\n').expect("a line");
    let public = line.strip_prefix("oslo%201 ed25519 ").expect("the form of the file");
    assert_eq!((public.len(), line.lines().count()), (44, 1));
    let private = fs::read_to_string(&path).expect("the key");
    let private = private.lines().nth(1).expect("its base64");
    assert!(!made.printed().contains(&private[22..]));
    assert!(made.stderr.contains("SIGNING_KEY_FILE="), "{}", made.stderr);

    let again = keys("generate");
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    let why = format!(
        "heartbeat: {file} is there already, and is not written over; move it away, or name another file\n"
    );
    assert_eq!(again.stderr, why);
    assert_eq!(keys("show").stdout, made.stdout);

    let next = keys("rotate");
    let next_path = dir.path().join("signing.pem.next");
    assert_eq!((next.code, mode_of(&next_path)), (Some(0), 0o600));
    assert_ne!(next.stdout, made.stdout);
    for step in ["1. Add the line", &format!("mv {file}.next {file}"), "3. When the publisher"] {
        assert!(next.stderr.contains(step), "{step}: {}", next.stderr);
    }
    assert!(next.stderr.contains("remove the line of ") && next.stderr.contains(line));
    assert_eq!(keys("show").stdout, made.stdout, "the old one stays in use");
    assert_eq!(keys("rotate").code, Some(1), "nor is the next one written over");
    fs::rename(&next_path, &path).expect("the second step");
    assert_eq!(keys("show").stdout, next.stdout);

    let nowhere = run(&["keys", "generate"], &[("PUBLISHER_ID", "oslo")]);
    assert_eq!(nowhere.code, Some(64));
    assert!(
        nowhere.stderr.contains("SIGNING_KEY_FILE (--signing.key-file): it is not set"),
        "{}",
        nowhere.stderr
    );
}

#[test]
fn a_publisher_does_not_start_with_a_key_that_is_none() {
    let dir = TempDir::new().expect("a folder");
    let targets = write(&dir, "publisher.json", r#"{"heartbeat": {}}"#);
    let check = |file: &str| {
        let variables =
            [("SIGNING_KEY_FILE", file), ("PUBLISHER_CONFIG_PATH", &targets), ("PUBLISHER_ID", "oslo")];
        run(&["publisher", "--config.check"], &variables)
    };
    let public = write(&dir, "public.pem", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n");
    for (file, why) in [
        ("/does/not/exist", "there is no such file"),
        (public.as_str(), "it holds no private key in PEM form (\"BEGIN PRIVATE KEY\", which is PKCS#8)"),
    ] {
        let refused = check(file);
        assert_eq!(refused.code, Some(64));
        let wanted = format!("SIGNING_KEY_FILE (--signing.key-file): {why}\n    value:   {file:?}");
        assert!(refused.stderr.contains(&wanted), "{}", refused.stderr);
    }
    let path = dir.path().join("signing.pem");
    let file = path.display().to_string();
    assert_eq!(
        run(&["keys", "generate"], &[("SIGNING_KEY_FILE", &file), ("PUBLISHER_ID", "oslo")]).code,
        Some(0)
    );
    let taken = check(&file);
    assert_eq!((taken.code, taken.stderr.as_str()), (Some(0), ""));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    assert!(check(&file).stderr.contains("others on this machine may read"));
}

#[test]
fn a_subscriber_does_not_start_with_a_policy_or_a_file_that_is_none() {
    const LINE: &str = "oslo ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let dir = TempDir::new().expect("a folder");
    let good = write(&dir, "trusted.keys", LINE);
    let bad = write(&dir, "bad.keys", &format!("{LINE}\nbergen rsa x\nbergen\n"));
    let check = |variables: &[(&str, &str)]| run(&["subscriber", "--config.check"], variables);
    for (variables, said) in [
        (
            &[("SIGNATURE_POLICY", "refuze")][..],
            &["SIGNATURE_POLICY (--signature.policy): \"refuze\" is none of accept, warn, refuse"][..],
        ),
        (&[("SIGNATURE_POLICY", "*=warn,oslo")], &["\"oslo\" is none of accept, warn, refuse"]),
        (&[("SIGNATURE_POLICY", "warn,*=refuse")], &["\"*\" is given twice"]),
        (&[("SIGNATURE_POLICY", "a\u{1}b=warn")], &["it holds a control character"]),
        (&[("USER_ID_POLICY", "oslo=strict")], &["USER_ID_POLICY (--user-id.policy): \"strict\" is none of"]),
        (&[("USER_ID_MAP", "oslo")], &["USER_ID_MAP (--user-id.map): \"oslo\" is not of the form"]),
        (
            &[("SIGNATURE_POLICY", "oslo=refuse")],
            &["TRUSTED_KEYS_FILE (--trusted-keys.file): it is not set, and SIGNATURE_POLICY refuses"],
        ),
        (
            &[("TRUSTED_KEYS_FILE", "/does/not/exist"), ("SIGNATURE_POLICY", "refuse")],
            &["there is no such file", "1 problem in"],
        ),
        (
            &[("TRUSTED_KEYS_FILE", bad.as_str())],
            &[
                "bad.keys, line 2: it is no algorithm",
                "bad.keys, line 3: it is not of the form",
                "2 problems in",
            ],
        ),
    ] {
        let refused = check(variables);
        assert_eq!(refused.code, Some(64), "{variables:?}");
        for said in said {
            assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
        }
    }
    for (variables, warned) in [
        (&[("TRUSTED_KEYS_FILE", good.as_str())][..], "nobody's signature is asked for"),
        (
            &[("TRUSTED_KEYS_FILE", good.as_str()), ("SIGNATURE_POLICY", "bergen=refuse")],
            "it refuses \"bergen\" unsigned, and TRUSTED_KEYS_FILE has no key of that name",
        ),
        (&[("SIGNATURE_POLICY", "warn")], "SIGNATURE_POLICY warns of every heartbeat"),
        (&[("USER_ID_MAP", "oslo=me")], "USER_ID_POLICY is accept"),
    ] {
        let taken = check(variables);
        assert_eq!(taken.code, Some(0), "{}", taken.stderr);
        assert!(taken.stderr.contains(warned), "{warned}: {}", taken.stderr);
    }
    let silent = check(&[("TRUSTED_KEYS_FILE", &good), ("SIGNATURE_POLICY", "warn,oslo=refuse")]);
    assert_eq!((silent.code, silent.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_version_is_laid_out_as_exporters_do() {
    let version = run(&["--version"], &[]);
    assert_eq!(version.code, Some(0));
    let first = format!("heartbeat, version {} (branch: ", env!("CARGO_PKG_VERSION"));
    assert!(version.stdout.starts_with(&first), "{}", version.stdout);
    assert!(version.stdout.contains("\n  platform:      linux/"), "{}", version.stdout);
}

#[test]
fn the_originals_environment_is_valid() {
    let valid = run(&["--config.check"], ORIGINAL);
    assert_eq!((valid.code, valid.stderr.as_str()), (Some(0), ""));
    assert_eq!(valid.stdout, "configuration is valid\n");
    assert_eq!(run(&["subscriber", "--config.check"], ORIGINAL).code, Some(0));
}

#[test]
fn the_mode_decides_without_a_command() {
    let dir = TempDir::new().expect("a folder");
    let file = write(&dir, "publisher.json", "{}");
    for (mode, role) in [
        (None, "publisher"),
        (Some(""), "publisher"),
        (Some("Publisher"), "publisher"),
        (Some("SUBSCRIBER"), "subscriber"),
    ] {
        let mut variables = vec![("PUBLISHER_CONFIG_PATH", file.as_str()), ("PUBLISHER_ID", "oslo")];
        variables.extend(mode.map(|mode| ("HEARTBEAT_MODE", mode)));
        // A setting that the publisher alone reads tells which of the two was loaded.
        variables.push(("PUBLISH_INTERVAL", "soon"));
        let run = run(&["--config.check"], &variables);
        let expected = if role == "publisher" { Some(64) } else { Some(0) };
        assert_eq!(run.code, expected, "{mode:?}: {}", run.printed());
    }
    let flag = run(&["--heartbeat.mode=subscriber", "--config.check"], &[("HEARTBEAT_MODE", "publisher")]);
    assert_eq!(flag.code, Some(0), "{}", flag.printed());
}

#[test]
fn a_check_tells_warnings_too() {
    let check = run(&["subscriber", "--config.check"], &[("RABBITMQ_PASSWORD", "canary-2")]);
    assert_eq!((check.code, check.stdout.as_str()), (Some(0), "configuration is valid\n"));
    assert!(check.stderr.contains("warning: RABBITMQ_PASSWORD: "), "{}", check.stderr);
    assert!(!check.stderr.contains("canary"), "{}", check.stderr);
    // What is misspelt may be why something else is not set.
    let both = run(&["subscriber"], &[("REDIS_MODE", "sentinel"), ("REDIS_NODE", "sentinel-1:26379")]);
    assert_eq!(both.code, Some(64));
    for told in [
        "REDIS_NODES (--redis.nodes): ",
        "\nwarning: REDIS_NODE: it is not a setting and is not read; is REDIS_NODES",
    ] {
        assert!(both.stderr.contains(told), "{}", both.stderr);
    }
}

#[test]
fn secrets_are_never_printed() {
    let dir = TempDir::new().expect("a folder");
    let secret = write(&dir, "secret", "canary-file\n");
    let headers = write(&dir, "headers", "key=canary-file\n");
    let wrong = [("RABBITMQ_PORT", "x"), ("REDIS_PORT", "x")];
    let receiver = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let by_variable = [
        receiver,
        ("RABBITMQ_PASS", "canary-1"),
        ("REDIS_PASSWORD", "canary-2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=canary-3"),
    ];
    let by_file = [
        receiver,
        ("RABBITMQ_PASS_FILE", secret.as_str()),
        ("REDIS_PASSWORD_FILE", secret.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS_FILE", headers.as_str()),
    ];
    let both = [&by_variable[..], &by_file].concat();
    // A port that is taken ends the start of a role whose configuration is valid.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().map(|address| address.to_string()).expect("its address");
    let valid = [("WEB_LISTEN_ADDRESS", taken.as_str()), ("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", "1")];
    let commands =
        [&["subscriber"][..], &["subscriber", "--config.check"], &["forget", "x"], &["subscriber", "--nope"]];
    for variables in [&by_variable[..], &by_file, &both] {
        for args in commands {
            for more in [&wrong[..], &valid] {
                // It waits ten seconds for Redis, so once will do.
                if args[0] == "forget" && more.len() == valid.len() && variables != &by_variable[..] {
                    continue;
                }
                let run = run(args, &[variables, more].concat());
                assert!(!run.printed().contains("canary"), "{args:?}: {}", run.printed());
            }
        }
    }
    for args in [["subscriber", "--rabbitmq.pass=canary"], ["--redis.password", "canary"]] {
        let run = run(&args, &[]);
        assert_eq!(run.code, Some(64));
        assert!(!run.printed().contains("canary"), "{}", run.printed());
    }
}

#[test]
fn a_misspelt_protection_ends_the_start_of_every_role() {
    let dir = TempDir::new().expect("a folder");
    let web = write(
        &dir,
        "web.yml",
        "tls_server_config: {cert_file: no.crt, key_file: no.key, client_auth_typ: NoClientCert}\n\
         basic_auth_users:\n  alice: canary\n",
    );
    let checks = write(&dir, "checks.json", "{}");
    for role in ["publisher", "subscriber", "standalone"] {
        // Also where nothing would listen: whoever sets it wants to hear of it.
        let run = run(&[role], &[("WEB_CONFIG_FILE", &web), ("PUBLISHER_CONFIG_PATH", &checks)]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(64), ""), "{}", run.stderr);
        let expected = format!(
            "2 problems in the configuration:\n\n\
             {web}, tls_server_config.client_auth_typ: there is no such key; is `client_auth_type` meant?\n\n\
             {web}, basic_auth_users.alice: it is no bcrypt hash: those begin with $2a$, $2b$ or $2y$ and have 60 \
             characters\n    example: the output of: htpasswd -nBC 10 \"\" | tr -d ':\\n'\n"
        );
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    }
    for command in [&["publisher"][..], &["subscriber"], &["standalone"], &["forget", "oslo"]] {
        let run = run(command, &[("REDIS_TSL", "true"), ("PUBLISHER_CONFIG_PATH", &checks)]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(64), ""), "{command:?}: {}", run.stderr);
        let expected = "1 problem in the configuration:\n\nREDIS_TSL: it is not a setting, and REDIS_TLS protects; \
                        write that, or take this one away\n";
        assert!(run.stderr.contains(expected), "{command:?}: {}", run.stderr);
    }
    // In another program's words, or another program's switch that is off.
    for (value, code) in [("true", 64), ("no", 0)] {
        let variables = [("RABBITMQ_TLS_ENABLED", value), ("PUBLISHER_CONFIG_PATH", &checks)];
        let run = run(&["subscriber", "--config.check"], &variables);
        assert_eq!(run.code, Some(code), "{value}: {}", run.printed());
        let told =
            run.stderr.contains("RABBITMQ_TLS_ENABLED: it is not a setting, and RABBITMQ_TLS protects");
        assert_eq!(told, code != 0, "{value}: {}", run.stderr);
    }
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let dir = TempDir::new().expect("a folder");
    let text = write(&dir, "text", "not PEM\n");
    let locked = write(&dir, "locked", "{}");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o0)).expect("permissions are set");
    // A superuser reads what it likes, and then there is nothing to see here.
    if fs::read(Path::new(&locked)).is_err() {
        let run = run(&["publisher", "--config.check"], &[("PUBLISHER_CONFIG_PATH", &locked)]);
        assert!(run.code == Some(64) && run.stderr.contains("no permission"), "{}", run.stderr);
    }
    let run = run(
        &["publisher", "--config.check", "--config.file=/does/not/exist.json", "--rabbitmq.tls"],
        &[("RABBITMQ_CA_CERT_PATH", &text)],
    );
    assert_eq!(run.code, Some(64));
    for expected in ["no such file", "holds no certificate in PEM form", "2 problems"] {
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
}

/// Text without how long things took, at the ends of its lines.
fn without_times(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let kept = match line.rsplit_once("  ") {
            Some((kept, "under 1 ms")) => format!("{kept}  TIME"),
            Some((kept, took)) if took.ends_with(" ms") || took.ends_with(" s") => format!("{kept}  TIME"),
            _ => line.to_owned(),
        };
        lines.push_str(&kept);
        lines.push('\n');
    }
    lines
}

#[test]
fn a_configuration_is_checked_for_any_role() {
    let valid = run(&["check", "subscriber"], &[]);
    assert_eq!((valid.code, valid.printed().as_str()), (Some(0), "configuration is valid\n"));
    let of_mode = run(&["check", "--redis.port=x"], &[("HEARTBEAT_MODE", "subscriber")]);
    assert_eq!((of_mode.code, of_mode.stdout.as_str()), (Some(64), ""));
    assert!(
        of_mode.stderr.contains("REDIS_PORT (--redis.port): it is not a whole number"),
        "{}",
        of_mode.stderr
    );
    let nothing_to_check = run(&["check", "subscriber", "--once"], &[]);
    assert_eq!((nothing_to_check.code, nothing_to_check.stdout.as_str()), (Some(64), ""));
    golden("check-once-subscriber.txt", &nothing_to_check.stderr);
}

/// Who opens such a file to read it is kept waiting until somebody writes, as by a mount whose server is gone.
#[test]
fn a_check_and_a_doctor_end_where_a_disk_does_not_answer() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("password");
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, rustix::fs::Mode::RWXU, 0).expect("a pipe");
    let file = ("RABBITMQ_PASS_FILE", path.to_str().expect("UTF-8"));
    std::thread::scope(|scope| {
        for command in ["check", "doctor"] {
            scope.spawn(move || {
                let ended = run(&[command, "subscriber"], &[file]);
                assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{command}");
                golden("check-hangs.txt", &ended.stderr);
            });
        }
    });
}

/// All of it in one run: whoever mends a file should not find one more problem each time.
#[test]
fn problems_of_a_file_are_as_they_were_read() {
    let dir = TempDir::new().expect("a folder");
    let text = r#"{"heartbeat": {
        "hosts": [{"host": "db", "port": "http"}, {"host": "www", "prot": 80, "timeout": "2h"}],
        "hosst": [{"host": "mail", "port": 25}],
        "htttp": [{"url": "https://shop.example.org/"}],
        "http": [{"url": "https://me:canary@api.example.org/"},
                 {"url": "https://api.example.org/", "bearer_token_file": "/does/not/exist", "ca_file": "/nor/this"},
                 {"url": "http://api.example.org/", "ca_file": "/nor/this"}],
        "maintenance": [{"begins": "2026-12-06T02:00:00Z", "lasts": "8days"},
                        {"begins": "2026-12-06T02:00:00Z", "lasts": "2h", "every": "1h"}],
        "jobs": [{"name": "backup", "every": "1day", "grace": "1h"}],
        "colour": "green"},
      "grpc": [{"host": "orders", "port": 50051}]}"#;
    let file = write(&dir, "publisher.json", text);
    let told =
        run(&["check", "publisher"], &[("PUBLISHER_CONFIG_PATH", &file), ("LOCAL_LISTEN_ADDRESS", "/run/x")]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(64), ""));
    assert!(!told.stderr.contains("canary"), "{}", told.stderr);
    golden("problems-of-file.txt", &told.stderr.replace(&file, "publisher.json"));

    let told = run(&["check", "publisher"], &[("PUBLISHER_CONFIG_PATH", &write(&dir, "none.json", "{}"))]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "configuration is valid, and checks nothing\n"));
    assert!(told.stderr.contains("heartbeat is missing: nothing is checked"), "{}", told.stderr);
}

#[test]
fn what_keeps_a_role_from_starting_is_said_once_with_what_to_do() {
    let socket = ("LOCAL_LISTEN_ADDRESS", "unix:/does/not/exist/x.sock");
    let nowhere = ("WEB_LISTEN_ADDRESS", "192.0.2.1:11911");
    for (variable, error, to_do) in [
        (
            nowhere,
            "cannot listen on 192.0.2.1:11911: Cannot assign requested address (os error 99)",
            "`ip address` shows",
        ),
        (
            socket,
            "cannot listen on unix:/does/not/exist/x.sock: No such file or directory (os error 2)",
            "make the folder",
        ),
    ] {
        let web = ("WEB_LISTEN_ADDRESS", "127.0.0.1:0");
        let run = run(&["standalone"], &[("PUBLISHER_ID", "oslo"), web, variable]);
        let line = run
            .stderr
            .lines()
            .find(|line| line.contains("Not started"))
            .unwrap_or_else(|| panic!("{}", run.stderr));
        assert!(line.contains(&format!("error=\"{error}\"")) && line.contains(to_do), "{line}");
        assert_eq!(run.code, Some(1));
    }
}

#[test]
fn values_of_commands_are_explained() {
    for (args, why) in [
        (["drill", "--down-for=x"], "it is not a duration: a number of seconds, or a number and a unit"),
        (["drill", "--silent-for=2h"], "it is not from 0s to 1h"),
        (["tap", "--count=0"], "it is not a whole number above 0"),
        (["tap", "--count=x"], "it is not a whole number above 0"),
    ] {
        let run = run(&args, &[]);
        let (_, value) = args[1].split_once('=').expect("a value");
        assert!(run.code == Some(64) && run.stderr.starts_with(&format!("error: invalid value '{value}'")));
        assert!(run.stderr.contains(&format!(": {why}\n")), "{}", run.stderr);
    }
}

#[test]
fn one_round_of_checks_is_shown_as_it_was_read() {
    let dir = TempDir::new().expect("a folder");
    let loopback = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let port = socket.local_addr().expect("its address").as_socket().expect("of IP").port();
        (socket, port.to_string())
    };
    // Each port is taken to the end of the test; on the second one nobody listens.
    let ((listening, open), (_bound, closed)) = (loopback(), loopback());
    listening.listen(8).expect("it listens");
    let hosts = |hosts: &str, queues: &str| {
        let text = format!(r#"{{"heartbeat": {{"hosts": [{hosts}], "rmq_consumers": [{queues}]}}}}"#);
        write(&dir, "publisher.json", &text)
    };
    let host =
        |name: &str, port: &str| format!(r#"{{"name": "{name}", "host": "127.0.0.1", "port": {port}}}"#);
    let check = |file: String| {
        let broker = [
            ("RABBITMQ_HOST", "127.0.0.1"),
            ("RABBITMQ_PORT", &closed),
            ("RABBITMQ_MANAGEMENT_PORT", &closed),
        ];
        let args = ["check", "publisher", "--once", &format!("--config.file={file}"), "--check.timeout=2s"];
        let ran = run(&args, &[&broker[..], &[("PUBLISHER_ID", "oslo")]].concat());
        let shown = without_times(&ran.stdout).replace(&open, "54321").replace(&closed, "54320");
        (ran.code, shown, ran.stderr)
    };

    let (code, shown, stderr) = check(hosts(&host("database", &open), ""));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    golden("check-once-up.txt", &shown);

    let queue = r#"{"queue": "inbox", "listeners": [{"name": "ingest", "tag": "ingest"}]}"#;
    let (code, shown, stderr) = check(hosts(&host("database", &open), queue));
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    golden("check-once-unknown.txt", &shown);

    let both = format!("{}, {}", host("database", &open), host("odd\\u202e name", &closed));
    let (code, shown, stderr) = check(hosts(&both, queue));
    assert_eq!((code, stderr.as_str()), (Some(2), ""));
    golden("check-once-down.txt", &shown);

    let lists = |lists: &str| write(&dir, "publisher.json", &format!(r#"{{"heartbeat": {{{lists}}}}}"#));
    let job = r#""jobs": [{"name": "backup", "period": "1day", "grace": "1h"}]"#;
    let (code, shown, _) = check(lists(job));
    assert_eq!(code, Some(0), "{shown}");
    golden("check-once-job.txt", &shown);

    let (code, shown, _) = check(lists(""));
    assert_eq!((code, shown.as_str()), (Some(0), "The file names nothing to check.\n"));
}

#[test]
fn what_a_check_knows_beside_its_reason_is_told_and_logged() {
    let dir = TempDir::new().expect("a folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut &socket, &mut [0; 1024]);
            let _ = std::io::Write::write_all(
                &mut &socket,
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\ncanary",
            );
        }
    });
    let text = format!(
        r#"{{"heartbeat": {{"http": [{{"name": "page", "url": "http://127.0.0.1:{port}/a?key=canary"}}]}}}}"#
    );
    let file = format!("--config.file={}", write(&dir, "publisher.json", &text));
    let variables = [("PUBLISHER_ID", "oslo"), ("LOG_LEVEL", "debug")];
    let ran = run(&["check", "publisher", "--once", &file], &variables);
    let detail = "it answered 404 Not Found, where 2xx is right";
    assert!(ran.stdout.contains(&format!("\nhttp page: {detail}\n")), "{}", ran.stdout);
    let line = ran.stderr.lines().find(|line| line.contains(detail)).expect("it is logged");
    for told in ["http", "page", "status"] {
        assert!(line.contains(told), "{line}");
    }
    assert!(!ran.printed().contains("canary"), "{}", ran.printed());
}

/// What a terminal gets to see, by `script`, which makes one.
fn on_a_terminal(args: &str, variables: &[(&str, &str)]) -> String {
    let program = env!("CARGO_BIN_EXE_heartbeat");
    let output = Command::new("script")
        .args(["-qec", &format!("'{program}' {args}"), "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("script is part of every Debian");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn colours_are_for_terminals_whose_owner_wants_them() {
    let dir = TempDir::new().expect("a folder");
    let text = r#"{"heartbeat": {"hosts": [{"name": "nobody", "host": "127.0.0.1", "port": 1}]}}"#;
    let args = format!("check publisher --once --config.file={}", write(&dir, "publisher.json", text));
    let id = ("PUBLISHER_ID", "oslo");
    assert!(on_a_terminal(&args, &[id]).contains("\u{1b}[31mdown\u{1b}[0m"));
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = on_a_terminal(&args, &[id, variable]);
        assert!(shown.contains("down") && !shown.contains('\u{1b}'), "{variable:?}: {shown:?}");
    }
    let words: Vec<&str> = args.split(' ').collect();
    assert!(!run(&words, &[id]).printed().contains('\u{1b}'));
}

#[test]
fn wrong_command_lines_end_with_64() {
    for args in [&["nonsense"][..], &["publisher", "--redis.host=x"], &["forget"], &["--log.level"]] {
        let run = run(args, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(64), ""), "{args:?}");
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    }
}
