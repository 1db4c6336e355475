//! `heartbeat tap`.

use clap::{Arg, ArgAction, ArgMatches};

use super::flags::{setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::Scopes;

pub(super) const TAP: Entry = Entry { describe, read };

const NOTES: &str = "\
A line for each heartbeat: when it came, whose it is, its number and its process, how many components are how, and which \
are not up. What a subscriber would refuse is told with the reason. Signatures and users are not judged.

Nothing is taken from the queues of the subscribers: the broker copies each heartbeat to one more queue, which is this \
command's alone, holds a thousand messages at most, drops the oldest then, and is gone when this command ends. While it \
runs, no heartbeat comes back to a publisher as unroutable, even where nobody else has a queue for it.

The user needs configure and write on names that begin with amq.gen- and read on those and on the exchange; \
docs/commands.md has the command.

Exit code:
  0   as many were told as were asked for, or nobody reads on
  1   no connection, no permission, or the connection ended
  64  the configuration or the command line cannot be used

Examples:
  heartbeat tap
  heartbeat tap --count=1 --json | jq .message.v2

";

fn read(matches: &ArgMatches) -> Command {
    Command::Tap { count: matches.get_one::<u64>("count").copied(), json: matches.get_flag("json") }
}

fn count(text: &str) -> Result<u64, String> {
    text.trim().parse().ok().filter(|count| *count > 0).ok_or("it is not a whole number above 0".into())
}

fn describe() -> clap::Command {
    clap::Command::new("tap")
        .about("Show heartbeats as they pass through RabbitMQ, without taking them")
        .after_help(format!("{NOTES}{}", settings_notes(Scopes::TAP)))
        .next_line_help(true)
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("N")
                .value_parser(count)
                .help("End after so many [default: go on]"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print whole messages as JSON, one a line"),
        )
        .args(setting_args(Scopes::TAP))
}
