//! `heartbeat maintenance`.

use clap::{Arg, ArgAction, ArgMatches};

use super::flags::{setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::Scopes;

/// What to do with windows of maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintenanceCommand {
    /// Begin one, or plan it.
    Begin {
        /// How long it lasts, as it was typed.
        lasts: String,
        /// When it begins, as it was typed. `None`: now.
        begins: Option<String>,
        /// What it is for.
        comment: Option<String>,
        /// The components that it is for; none: everything.
        components: Vec<String>,
    },
    /// End all that a command began.
    End,
    /// Show those that are not over.
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
  heartbeat maintenance end";

fn read(matches: &ArgMatches) -> Command {
    Command::Maintenance(match matches.subcommand() {
        Some(("begin", begin)) => MaintenanceCommand::Begin {
            lasts: begin.get_one::<String>("for").cloned().unwrap_or_default(),
            begins: begin.get_one::<String>("begins").cloned(),
            comment: begin.get_one::<String>("comment").cloned(),
            components: begin.get_many::<String>("component").unwrap_or_default().cloned().collect(),
        },
        Some(("end", _)) => MaintenanceCommand::End,
        _ => MaintenanceCommand::List,
    })
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
                .required(true),
        )
        .arg(option("begins", "TIME", "When it begins, such as 2026-12-06T02:00:00Z [default: now]"))
        .arg(option("comment", "TEXT", "What it is for, for all to read"))
        .arg(
            option(
                "component",
                "NAME",
                "A component that it is for; may be given several times [default: everything]",
            )
            .action(ArgAction::Append),
        );
    clap::Command::new("maintenance")
        .about("Begin, end and show windows of maintenance of the publisher on this machine")
        .after_help(NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(begin)
        .subcommand(command("end", "End all windows that a command began"))
        .subcommand(command("list", "Show the windows that a command began and that are not over"))
}
