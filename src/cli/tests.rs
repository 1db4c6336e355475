use super::*;
use crate::page::Standing;

fn parse(args: &[&str]) -> Result<Invocation, CliExit> {
    parse_args(["heartbeat"].iter().chain(args).map(OsString::from))
}

fn flag(args: &[&str], name: &str) -> Option<String> {
    parse(args).expect("valid").flags.get(name).cloned()
}

#[test]
fn the_command_is_built_without_contradictions() {
    program().debug_assert();
}

#[test]
fn commands() {
    for (args, command) in [
        (&[][..], Command::Run(None)),
        (&["publisher"], Command::Run(Some(Role::Publisher))),
        (&["subscriber"], Command::Run(Some(Role::Subscriber))),
        (&["standalone"], Command::Run(Some(Role::Standalone))),
        (&["check"], Command::Check { role: None, once: false }),
        (&["check", "subscriber"], Command::Check { role: Some(Role::Subscriber), once: false }),
        (&["check", "--once", "--rabbitmq.host=a"], Command::Check { role: None, once: true }),
        (&["doctor"], Command::Doctor { role: None }),
        (&["doctor", "publisher"], Command::Doctor { role: Some(Role::Publisher) }),
        (
            &["status", "--state=down,silent", "--state=up", "--watch", "--json"],
            Command::Status(StatusCommand {
                search: String::new(),
                states: vec![Standing::Down, Standing::Silent, Standing::Up],
                json: true,
                watch: Some(Duration::from_secs(5)),
            }),
        ),
        (&["tap"], Command::Tap { count: None, json: false }),
        (&["tap", "--count=3", "--json"], Command::Tap { count: Some(3), json: true }),
        (&["forget", "oslo"], Command::Forget { publisher: "oslo".into(), clock_set_back: false }),
        (&["healthcheck"], Command::Healthcheck { role: None, ready: false }),
        (
            &["healthcheck", "standalone", "--ready"],
            Command::Healthcheck { role: Some(Role::Standalone), ready: true },
        ),
    ] {
        assert_eq!(parse(args).expect("valid").command, command, "{args:?}");
    }
}

#[test]
fn a_flag_of_another_role_is_told_what_it_is_called_here() {
    let told = |args: &[&str]| parse(args).unwrap_err().text;
    assert_eq!(
        told(&["publisher", "--web.listen-address=:1"]),
        "error: there is no --web.listen-address for a publisher, whose is --emitter.listen-address\n"
    );
    let tap = told(&["tap", "--web.listen-address=:1"]);
    assert!(!tap.contains("emitter"), "{tap}");
}

#[test]
fn flags_are_kept_by_name() {
    assert_eq!(flag(&["--rabbitmq.host=a"], "rabbitmq.host").as_deref(), Some("a"));
    assert_eq!(flag(&["publisher", "--rabbitmq.host", "a"], "rabbitmq.host").as_deref(), Some("a"));
    assert_eq!(flag(&["publisher", "--config.file=x"], "publisher.config-path").as_deref(), Some("x"));
    assert_eq!(flag(&["publisher", "--rabbitmq.tls"], "rabbitmq.tls").as_deref(), Some("true"));
    assert_eq!(flag(&["publisher", "--rabbitmq.tls=no"], "rabbitmq.tls").as_deref(), Some("no"));
    assert_eq!(flag(&["publisher", "--rabbitmq.host="], "rabbitmq.host").as_deref(), Some(""));
    // Not in the help, and there all the same.
    let of_traces = ["publisher", "--otel.exporter-otlp-traces-endpoint=http://c"];
    assert_eq!(flag(&of_traces, "otel.exporter-otlp-traces-endpoint").as_deref(), Some("http://c"));
    let twice = ["subscriber", "--web.listen-address=:1", "--web.listen-address", "[::1]:2"];
    assert_eq!(flag(&twice, "web.listen-address").as_deref(), Some(":1,[::1]:2"));
    assert!(parse(&["subscriber", "--config.check"]).expect("valid").check_only);
    assert!(parse(&["--config.check"]).expect("valid").check_only);
    assert!(!parse(&["forget", "x"]).expect("valid").check_only);
}

#[test]
fn wrong_command_lines_end_with_64() {
    for args in [
        &["nonsense"][..],
        &["publisher", "--redis.host=x"],
        &["publisher", "extra"],
        &["publisher", "--rabbitmq.host"],
        &["publisher", "--rabbitmq.port=1", "--rabbitmq.port=2"],
        &["--rabbitmq.host=a", "publisher"],
        &["forget"],
        &["healthcheck", "nobody"],
        &["status", "--state=red"],
        &["status", "--watch=0"],
        &["tap", "--count=0"],
        &["tap", "--rabbitmq.queue=inbox"],
        &["healthcheck", "--config.check"],
    ] {
        let exit = parse(args).expect_err("refused");
        assert_eq!(exit.code, EXIT_USAGE, "{args:?}");
        assert!(exit.text.starts_with("error: "), "{}", exit.text);
    }
}

#[test]
fn secrets_on_the_command_line_are_refused_unseen() {
    for args in [
        &["publisher", "--rabbitmq.pass=canary"][..],
        &["--rabbitmq.pass", "canary"],
        &["subscriber", "--redis.password", "canary"],
        &["standalone", "--otel.exporter-otlp-headers=k=canary"],
        &["standalone", "--otel.exporter-otlp-logs-headers", "k=canary"],
    ] {
        let exit = parse(args).expect_err("refused");
        assert_eq!(exit.code, EXIT_USAGE);
        assert!(!exit.text.contains("canary") && exit.text.contains("_FILE"), "{}", exit.text);
    }
}

#[test]
fn help_and_version_end_with_0() {
    assert!(parse(&["--version"]).expect_err("text").text.starts_with("heartbeat, version "));
    for args in [&["--help"][..], &["publisher", "--help"], &["-h"]] {
        assert_eq!(parse(args).expect_err("text").code, 0);
    }
}
