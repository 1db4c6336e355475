//! `heartbeat check`.

use clap::{Arg, ArgAction, ArgMatches};

use super::flags::hidden_setting_args;
use super::roles::{role_arg, role_of};
use super::{Command, Entry};

pub(super) const CHECK: Entry = Entry { describe, read };

const NOTES: &str = "\
Takes every flag and variable of the role, which `heartbeat <ROLE> --help` lists. Nothing is sent, and nothing is made \
at RabbitMQ. With --log.level=debug, the log of the checks is on the error output.

Exit code, without --once:
  0   the configuration is valid
  64  it is not, or the command line cannot be used

Exit code, with --once:
  0   everything is up
  1   something is unknown, and nothing down
  2   something is down
  64  as above

Examples:
  heartbeat check subscriber
  heartbeat check publisher --once --config.file=/etc/heartbeat/publisher.json";

fn read(matches: &ArgMatches) -> Command {
    Command::Check { role: role_of(matches), once: matches.get_flag("once") }
}

fn describe() -> clap::Command {
    clap::Command::new("check")
        .about("Validate a configuration, and see what a publisher would find with it")
        .after_help(NOTES)
        .arg(role_arg())
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Make one round of the publisher's checks, and show what they find"),
        )
        .args(hidden_setting_args())
}
