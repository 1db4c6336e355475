//! The command line, built from the table of settings.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches};

use crate::build_info;
use crate::config::settings::{self, HEARTBEAT_MODE};
use crate::config::{Flags, Kind, Role, Scopes, Setting};

/// Exit code for a command line or a configuration that cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Widest line of `--help`, in columns; longer ones are hard to read.
const HELP_COLUMNS_MAX: usize = 100;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The settings given as flags.
    pub flags: Flags,
    /// Validate everything and exit.
    pub check_only: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run a role. `None`: no command was given, and the mode decides.
    Run(Option<Role>),
    /// Forget a publisher.
    Forget {
        /// Its id, as it was typed.
        publisher: String,
        /// Whether its next process is heard though it says that it began earlier than those known.
        clock_set_back: bool,
    },
    /// Make or show the key that signs.
    Keys(KeysCommand),
    /// Say by the exit code whether a role is well.
    Healthcheck {
        /// Which role. `None`: the mode decides.
        role: Option<Role>,
        /// Whether it must be ready too, and not just alive.
        ready: bool,
    },
}

/// What to do with the key that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysCommand {
    /// Make it.
    Generate,
    /// Show its public half.
    Show,
    /// Make the one that will follow it.
    Rotate,
}

/// An end of the program that the command line itself brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliExit {
    /// What to print: on stdout when `code` is 0, else on stderr.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

const ROLES: [Role; 3] = [Role::Publisher, Role::Subscriber, Role::Standalone];

const INTRO: &str = "\
Sees into a network that cannot be reached: a publisher inside checks hosts and RabbitMQ consumers \
and sends heartbeats over RabbitMQ; a subscriber outside keeps the latest state in Redis and shows \
it to Prometheus.

Without a command, HEARTBEAT_MODE decides which of the two runs.";

const ROOT_NOTES: &str = "\
Examples:
  heartbeat standalone
  heartbeat publisher --config.file=/etc/heartbeat/publisher.json --rabbitmq.host=mq
  RABBITMQ_PASS_FILE=/run/secrets/mq heartbeat subscriber --config.check

`heartbeat <COMMAND> --help` lists the settings of a command. Each is a flag and a variable.";

const PARTS_NOTES: &str = "\
Each setting of OTEL_EXPORTER_OTLP_* that is for every signal is there for one alone too, and goes before it \
then: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (--otel.exporter-otlp-traces-endpoint), and so on, with METRICS or \
LOGS in the place of TRACES. Times of OTEL_* are bare numbers of milliseconds.\n\n";

const KEYS_NOTES: &str = "\
Each prints one line, for the file that TRUSTED_KEYS_FILE names at the subscribers, on its output, and what is to be \
done on its error output. A private key is written with the mode 0600, and never over a file that is there.

Examples:
  heartbeat keys generate --publisher.id=oslo --signing.key-file=signing.pem >> trusted.keys
  heartbeat keys rotate --publisher.id=oslo --signing.key-file=signing.pem >> trusted.keys";

const SETTINGS_NOTES: &str = "\
A flag goes before its variable; an empty value counts as unset. A duration is a number of seconds, or \
a number and a unit (500ms, 90s, 5m, 7days).";

/// Reads the command line; the first argument is the program's name.
///
/// # Errors
/// The text and code of `--help`, of `--version`, and of a command line that cannot be used.
pub fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, CliExit> {
    let args: Vec<OsString> = args.into_iter().collect();
    refuse_secrets(&args)?;
    let matches = program().try_get_matches_from(args).map_err(|error| exit_of(&error))?;
    if matches.get_flag("version") {
        return Err(CliExit { text: build_info::version_text(), code: 0 });
    }
    let Some((name, of_command)) = matches.subcommand() else {
        return Ok(invocation(Command::Run(None), &matches));
    };
    let (of_keys, of_command) = match of_command.subcommand() {
        Some((name, of_keys)) => (name, of_keys),
        None => ("", of_command),
    };
    let command = match name {
        "keys" => Command::Keys(match of_keys {
            "generate" => KeysCommand::Generate,
            "rotate" => KeysCommand::Rotate,
            _ => KeysCommand::Show,
        }),
        "forget" => Command::Forget {
            publisher: of_command.get_one::<String>("publisher-id").cloned().unwrap_or_default(),
            clock_set_back: of_command.get_flag("clock-set-back"),
        },
        "healthcheck" => Command::Healthcheck {
            role: of_command.get_one::<String>("role").and_then(|name| role_named(name)),
            ready: of_command.get_flag("ready"),
        },
        role => Command::Run(role_named(role)),
    };
    Ok(invocation(command, of_command))
}

fn role_named(name: &str) -> Option<Role> {
    ROLES.into_iter().find(|role| role.as_str() == name)
}

fn invocation(command: Command, matches: &ArgMatches) -> Invocation {
    let mut flags = Flags::new();
    for setting in settings::ALL {
        // A setting that the command does not have is an error to clap, and just not there to us.
        if let Ok(Some(values)) = matches.try_get_many::<String>(setting.flag) {
            let values: Vec<&str> = values.map(String::as_str).collect();
            flags.insert(setting.flag, values.join(","));
        }
    }
    let check_only = matches.try_get_one::<bool>("config.check").ok().flatten().copied().unwrap_or(false);
    Invocation { command, flags, check_only }
}

/// Everybody on the machine can read a command line, so a secret on one is refused by name, and
/// without a word of what followed.
fn refuse_secrets(args: &[OsString]) -> Result<(), CliExit> {
    for arg in args {
        let arg = arg.to_string_lossy();
        let name = arg.strip_prefix("--").map(|rest| rest.split('=').next().unwrap_or_default());
        let secret = settings::ALL.iter().find(|s| s.is_secret() && name == Some(s.flag));
        if let Some(setting) = secret {
            let text = format!(
                "error: --{} is no flag, since others could read it; set {variable}, or {variable}_FILE to a file\n",
                setting.flag,
                variable = setting.variable
            );
            return Err(CliExit { text, code: EXIT_USAGE });
        }
    }
    Ok(())
}

fn exit_of(error: &clap::Error) -> CliExit {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    CliExit { text: error.to_string(), code: if asked_for { 0 } else { EXIT_USAGE } }
}

fn program() -> clap::Command {
    let role = |role: Role, about: &'static str| {
        clap::Command::new(role.as_str())
            .about(about)
            .after_help(settings_notes(role.scope()))
            .next_line_help(true)
            .args(setting_args(role.scope()))
            .arg(check_arg())
    };
    let program = clap::Command::new(build_info::NAME)
        .about(INTRO)
        .after_help(ROOT_NOTES)
        .max_term_width(HELP_COLUMNS_MAX)
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .arg(Arg::new("version").long("version").action(ArgAction::SetTrue).help("Print version"))
        .arg(check_arg())
        .subcommand(role(Role::Publisher, "Check hosts and RabbitMQ consumers, and send heartbeats"))
        .subcommand(role(Role::Subscriber, "Take heartbeats, store the latest state and show it"))
        .subcommand(role(Role::Standalone, "Both in one process, without RabbitMQ and Redis"))
        .subcommand(forget())
        .subcommand(keys())
        .subcommand(healthcheck());
    // Without a command every setting may be given; listing them all there would drown the commands.
    let hidden = settings::ALL.iter().filter(|setting| !setting.is_secret());
    program.args(hidden.map(|setting| setting_arg(setting).hide(setting.flag != HEARTBEAT_MODE.flag)))
}

fn forget() -> clap::Command {
    clap::Command::new("forget")
        .about("Forget a publisher that will not come back")
        .after_help(settings_notes(Scopes::FORGET))
        .next_line_help(true)
        .arg(Arg::new("publisher-id").value_name("PUBLISHER-ID").required(true).help("The publisher's id"))
        .arg(
            Arg::new("clock-set-back")
                .long("clock-set-back")
                .action(ArgAction::SetTrue)
                .help("It lives, and is refused as replayed since its clock was set back: hear it again"),
        )
        .args(setting_args(Scopes::FORGET))
}

fn keys() -> clap::Command {
    let command = |name: &'static str, about: &'static str| {
        clap::Command::new(name)
            .about(about)
            .after_help(settings_notes(Scopes::KEYS))
            .next_line_help(true)
            .args(setting_args(Scopes::KEYS))
    };
    clap::Command::new("keys")
        .about("Make and show the key with which a publisher signs its heartbeats")
        .after_help(KEYS_NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(command(
            "generate",
            "Write a new private key, and print the line with which subscribers trust it",
        ))
        .subcommand(command("show", "Print the line with which subscribers trust the key"))
        .subcommand(command(
            "rotate",
            "Write the next private key beside the one in use, and print the line that trusts it",
        ))
}

fn healthcheck() -> clap::Command {
    let roles = ROLES.map(Role::as_str);
    clap::Command::new("healthcheck")
        .about("Say by the exit code whether a role on this machine is well")
        .arg(
            Arg::new("role")
                .value_name("ROLE")
                .value_parser(roles)
                .help("The role [default: as HEARTBEAT_MODE says]"),
        )
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Ask whether it is ready too, and not just alive"),
        )
        .args(setting_args(Scopes::HEALTHCHECK))
}

fn check_arg() -> Arg {
    Arg::new("config.check")
        .long("config.check")
        .action(ArgAction::SetTrue)
        .help("Validate the configuration with the files that it names, and exit: 0 valid, 64 not")
}

fn setting_args(scope: Scopes) -> impl Iterator<Item = Arg> {
    let of_scope = settings::ALL.iter().filter(move |setting| setting.scopes.meets(scope));
    // The same nine settings three times over would drown the rest; the notes tell how they are named.
    of_scope
        .filter(|setting| !setting.is_secret())
        .map(|setting| setting_arg(setting).hide(setting.general.is_some()))
}

fn setting_arg(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(value_name(setting))
        .help(setting_help(setting))
        .help_heading(setting.heading.as_str());
    let arg = match setting.alias {
        Some(alias) => arg.visible_alias(alias),
        None => arg,
    };
    match setting.kind {
        // A bare flag means true; a value must cling to it, or it would swallow what follows.
        Kind::Boolean => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::List(_) => arg.action(ArgAction::Append),
        _ => arg,
    }
}

fn value_name(setting: &Setting) -> &'static str {
    match setting.kind {
        Kind::Text(name) | Kind::Required(name) | Kind::List(name) => name,
        Kind::Host => "HOST",
        Kind::File => "FILE",
        Kind::Boolean => "BOOL",
        Kind::Number(1, 65_535) if setting.flag.ends_with("port") => "PORT",
        Kind::Number(..) => "NUMBER",
        Kind::Bytes(..) => "BYTES",
        Kind::Time(..) => "DURATION",
        Kind::Secret => "SECRET",
    }
}

fn setting_help(setting: &Setting) -> String {
    let default = match (setting.default, setting.kind) {
        ("", _) if setting.derived.is_empty() => String::new(),
        ("", _) => format!(" [default: {}]", setting.derived),
        (number, Kind::Time(..)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!(" [default: {number}s]")
        }
        (default, _) => format!(" [default: {default}]"),
    };
    // On a line of its own, so that the eye finds it.
    format!("{}\n[env: {}]{default}", setting.help, setting.variable)
}

/// What stands below the flags: how values are written, and the settings that are no flags.
fn settings_notes(scope: Scopes) -> String {
    let of_scope = || settings::ALL.iter().copied().filter(|setting| setting.scopes.meets(scope));
    let mut text = String::new();
    if of_scope().any(Setting::is_secret) {
        text.push_str("Secrets (variables only, never flags):\n");
    }
    for setting in of_scope().filter(|setting| setting.is_secret() && setting.general.is_none()) {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let variable = setting.variable;
        text.push_str(&format!("  {variable}\n          {} [default: {default}]\n", setting.help));
        text.push_str(&format!("  {variable}_FILE\n          A file that holds it, instead\n"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if of_scope().any(|setting| setting.general.is_some()) {
        text.push_str(PARTS_NOTES);
    }
    text.push_str(SETTINGS_NOTES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
