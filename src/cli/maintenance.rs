//! `heartbeat maintenance`.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches};

use super::flags::{setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::{Scopes, parse};
use crate::heartbeat::maintenance::WINDOW_MAX;
use crate::heartbeat::{Timestamp, check_name};

/// What to do with windows of maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintenanceCommand {
    /// Begin one, or plan it.
    Begin {
        /// How long it lasts.
        lasts: Duration,
        /// When it begins. `None`: now.
        begins: Option<Timestamp>,
        /// What it is for.
        comment: Option<String>,
        /// The components that it is for; none: everything.
        components: Vec<String>,
    },
    /// End one that a command began, or all of them.
    End {
        /// Which one. `None`: all.
        number: Option<u32>,
    },
    /// Show those that are on or planned.
    List,
}

pub(super) const MAINTENANCE: Entry = Entry { describe, read };

const NOTES: &str = "\
Speaks to the publisher on this machine, at its LOCAL_LISTEN_ADDRESS. Subscribers hear of it at once with its next \
heartbeat: what is down in a window is shown, and calls nobody until the window ends, after seven days at most. Windows \
that are planned in the publisher's file are changed there. With PUBLISHER_STATE_FILE the publisher remembers windows over a \
restart.

Exit code: 0 done, 1 not done, 64 the configuration or the command line cannot be used.

Examples:
  heartbeat maintenance begin --for=2h --comment='new disks' --component=database
  heartbeat maintenance list
  heartbeat maintenance end 3";

fn read(matches: &ArgMatches) -> Command {
    Command::Maintenance(match matches.subcommand() {
        Some(("begin", begin)) => MaintenanceCommand::Begin {
            lasts: begin.get_one::<Duration>("for").copied().unwrap_or_default(),
            begins: begin.get_one::<Timestamp>("begins").copied(),
            comment: begin.get_one::<String>("comment").cloned(),
            components: begin.get_many::<String>("component").unwrap_or_default().cloned().collect(),
        },
        Some(("end", end)) => MaintenanceCommand::End { number: end.get_one::<u32>("number").copied() },
        _ => MaintenanceCommand::List,
    })
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "it is no number of a window; `heartbeat maintenance list` has them".into())
}

fn lasts(text: &str) -> Result<Duration, String> {
    parse::duration(text, Duration::from_secs(1), WINDOW_MAX)
}

fn begins(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .map_err(|_| "it is no time with its zone, such as 2026-12-06T02:00:00Z".into())
}

/// A name, or a comment, which is bounded as a name is.
fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn describe() -> clap::Command {
    let command = |name: &'static str, about: &'static str| {
        clap::Command::new(name)
            .about(about)
            .after_help(settings_notes(Scopes::MAINTENANCE))
            .next_line_help(true)
            .args(setting_args(Scopes::MAINTENANCE))
    };
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let begin = command("begin", "Begin a window, or plan one")
        .arg(
            option("for", "DURATION", "How long it lasts, such as 90m or 2h; seven days at most")
                .required(true)
                .value_parser(lasts),
        )
        .arg(
            option("begins", "TIME", "When it begins, such as 2026-12-06T02:00:00Z [default: now]")
                .value_parser(begins),
        )
        .arg(option("comment", "TEXT", "What it is for, for all to read").value_parser(name))
        .arg(
            option(
                "component",
                "NAME",
                "A component that it is for; may be given several times [default: everything]",
            )
            .action(ArgAction::Append)
            .value_parser(name),
        );
    clap::Command::new("maintenance")
        .about("Begin, end and show windows of maintenance of the publisher on this machine")
        .after_help(NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(begin)
        .subcommand(
            command("end", "End the window of this number, or all that a command began")
                .arg(
                    Arg::new("number")
                        .value_name("NUMBER")
                        .help("Which one, as `heartbeat maintenance list` has it")
                        .value_parser(number),
                )
                .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All that a command began"))
                // Where a script has lost the number, not all end.
                .group(ArgGroup::new("which").args(["number", "all"]).required(true)),
        )
        .subcommand(command("list", "Show the windows that are on or planned, by the file or by a command"))
}
