//! `heartbeat healthcheck`.

use clap::{Arg, ArgAction, ArgMatches};

use super::flags::setting_args;
use super::roles::{role_arg, role_of};
use super::{Command, Entry};
use crate::config::Scopes;

pub(super) const HEALTHCHECK: Entry = Entry { describe, read };

const NOTES: &str = "\
Reads the file in which the role notes how it is, every 2 s; nothing listens for it. A file of another role than the one that \
is named is refused.

Exit code:
  0   it is well: alive, and with --ready doing its work
  1   it is not, or is not there
  64  the configuration or the command line cannot be used

Examples:
  heartbeat healthcheck publisher
  HEALTH_FILE=/run/heartbeat/health heartbeat healthcheck subscriber --ready";

fn read(matches: &ArgMatches) -> Command {
    Command::Healthcheck { role: role_of(matches), ready: matches.get_flag("ready") }
}

fn describe() -> clap::Command {
    clap::Command::new("healthcheck")
        .about("Say by the exit code whether a role on this machine is well")
        .after_help(NOTES)
        .arg(role_arg().help("The role that has to run there [default: whichever notes its health in HEALTH_FILE; where that is not set, as HEARTBEAT_MODE says]"))
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Ask whether it is ready too, and not just alive"),
        )
        .args(setting_args(Scopes::HEALTHCHECK))
}
