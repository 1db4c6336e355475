//! The command line, built from the table of settings: a file for each family of commands.

mod check;
mod completions;
mod doctor;
mod drill;
mod flags;
mod forget;
mod healthcheck;
mod keys;
mod maintenance;
mod manual;
mod roles;
mod status;
mod tap;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use crate::build_info;
use crate::config::settings::{self, EMITTER_LISTEN_ADDRESS, HEARTBEAT_MODE, WEB_LISTEN_ADDRESS};
use crate::config::{Flags, Role, Setting};

pub use completions::{Shell, completions};
pub use keys::KeysCommand;
pub use maintenance::MaintenanceCommand;
pub use manual::{Page, page, write_pages};
pub use status::StatusCommand;

use flags::{check_arg, hidden_setting_args};

/// Exit code for a command line or a configuration that cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Widest line of `--help`, in columns; longer ones are hard to read.
const HELP_COLUMNS_MAX: usize = 100;

/// Every command, in the order of `--help`. A new one is a file with its `Entry`, a line here, and a variant of
/// [`Command`].
const COMMANDS: &[Entry] = &[
    roles::PUBLISHER,
    roles::SUBSCRIBER,
    roles::STANDALONE,
    check::CHECK,
    doctor::DOCTOR,
    status::STATUS,
    tap::TAP,
    drill::DRILL,
    forget::FORGET,
    keys::KEYS,
    maintenance::MAINTENANCE,
    healthcheck::HEALTHCHECK,
    completions::COMPLETIONS,
    manual::MAN,
];

/// One command.
struct Entry {
    /// Its name, arguments and help.
    describe: fn() -> clap::Command,
    /// What is to be done, by its arguments.
    read: fn(&ArgMatches) -> Command,
}

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
    /// Validate a configuration.
    Check {
        /// Of which role. `None`: the mode decides.
        role: Option<Role>,
        /// Whether its checks are made once, too.
        once: bool,
    },
    /// Find out what is wrong on the way to the servers of a role.
    Doctor {
        /// Which role. `None`: the mode decides.
        role: Option<Role>,
    },
    /// Show how all publishers are.
    Status(StatusCommand),
    /// Show heartbeats as they pass.
    Tap {
        /// How many; all that come, where it is not told.
        count: Option<u64>,
        /// As JSON.
        json: bool,
    },
    /// Play an outage that is marked as a drill.
    Drill {
        /// How long its component is down.
        down_for: Duration,
        /// How long it is silent after that.
        silent_for: Duration,
    },
    /// Forget a publisher.
    Forget {
        /// Its id, as it was typed.
        publisher: String,
        /// Whether its next process is heard though it says that it began earlier than those known.
        clock_set_back: bool,
    },
    /// Make or show the key that signs.
    Keys(KeysCommand),
    /// Begin, end or show windows of maintenance.
    Maintenance(MaintenanceCommand),
    /// Say by the exit code whether a role is well.
    Healthcheck {
        /// Which role. `None`: the mode decides.
        role: Option<Role>,
        /// Whether it must be ready too, and not just alive.
        ready: bool,
    },
    /// Print what has a shell complete commands.
    Completions(Shell),
    /// Print a page of the manual.
    Manual {
        /// The words of the command that it is of; none: the program.
        of: Vec<String>,
        /// Write all pages there instead.
        folder: Option<PathBuf>,
    },
}

impl Command {
    /// Whether it is asked for its exit code, as by who looks after a container, and not for what it prints.
    pub fn answers_by_code_alone(&self) -> bool {
        matches!(self, Self::Healthcheck { .. })
    }
}

/// An end of the program that the command line itself brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliExit {
    /// What to print: on stdout when `code` is 0, else on stderr.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

const INTRO: &str = "\
Sees into a network that cannot be reached: a publisher inside checks hosts, RabbitMQ consumers \
and more, and sends heartbeats over RabbitMQ; a subscriber outside keeps the latest state in Redis and shows \
it to Prometheus.

Without a command, HEARTBEAT_MODE decides which of the two runs.";

const ROOT_NOTES: &str = "\
Examples:
  heartbeat standalone
  heartbeat publisher --config.file=/etc/heartbeat/publisher.json --rabbitmq.host=mq
  RABBITMQ_PASS_FILE=/run/secrets/mq heartbeat subscriber --config.check

`heartbeat <COMMAND> --help` lists the settings of a command. Each is a flag and a variable.";

/// Reads the command line; the first argument is the program's name.
///
/// # Errors
/// The text and code of `--help`, of `--version`, and of a command line that cannot be used.
pub fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, CliExit> {
    let args: Vec<OsString> = args.into_iter().collect();
    refuse_secrets(&args)?;
    let matches = program().try_get_matches_from(&args).map_err(|error| exit_of(&error, &args))?;
    if matches.get_flag("version") {
        return Err(CliExit { text: build_info::version_text(), code: 0 });
    }
    let Some((name, of_command)) = matches.subcommand() else {
        return Ok(invocation(Command::Run(None), &matches));
    };
    // clap knows no other names than those of the table.
    let entry = COMMANDS.iter().find(|entry| (entry.describe)().get_name() == name);
    let command = entry.map_or(Command::Run(None), |entry| (entry.read)(of_command));
    Ok(invocation(command, innermost(of_command)))
}

/// Flags belong to the last command that is named.
fn innermost(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches
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

/// Flags that another command has, each with what it is called where there is none of this name.
const OTHER_NAMES: [(&Setting, &Setting); 1] = [(&WEB_LISTEN_ADDRESS, &EMITTER_LISTEN_ADDRESS)];

/// What an unknown flag is called in the command to which it was given. clap would guess by its letters.
fn other_name(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    let given = given.trim_start_matches('-');
    let (_, other) = OTHER_NAMES.into_iter().find(|(setting, _)| given == setting.flag)?;
    let mut command = &program();
    while let Some(inner) = args.iter().find_map(|arg| command.find_subcommand(arg)) {
        command = inner;
    }
    let is_here = command.get_arguments().any(|arg| arg.get_id() == other.flag);
    let command = command.get_name();
    is_here.then(|| format!("error: there is no --{given} for a {command}, whose is --{}\n", other.flag))
}

fn exit_of(error: &clap::Error, args: &[OsString]) -> CliExit {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let text = other_name(error, args).unwrap_or_else(|| error.to_string());
    CliExit { text, code: if asked_for { 0 } else { EXIT_USAGE } }
}

/// All of it, as clap knows it.
pub fn program() -> clap::Command {
    let program = clap::Command::new(build_info::NAME)
        .about(INTRO)
        .after_help(ROOT_NOTES)
        .max_term_width(HELP_COLUMNS_MAX)
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .arg(Arg::new("version").long("version").action(ArgAction::SetTrue).help("Print version"))
        .arg(check_arg())
        .subcommands(COMMANDS.iter().map(|entry| (entry.describe)()));
    // Without a command every setting may be given; listing them all there would drown the commands.
    program.args(hidden_setting_args()).mut_arg(HEARTBEAT_MODE.flag, |arg| arg.hide(false))
}

#[cfg(test)]
mod tests;
