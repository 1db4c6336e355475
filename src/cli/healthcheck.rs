//! `heartbeat healthcheck`.

use clap::{Arg, ArgAction, ArgMatches};

use super::flags::setting_args;
use super::roles::{role_arg, role_of};
use super::{Command, Entry};
use crate::config::Scopes;

pub(super) const HEALTHCHECK: Entry = Entry { describe, read };

fn read(matches: &ArgMatches) -> Command {
    Command::Healthcheck { role: role_of(matches), ready: matches.get_flag("ready") }
}

fn describe() -> clap::Command {
    clap::Command::new("healthcheck")
        .about("Say by the exit code whether a role on this machine is well")
        .arg(role_arg())
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Ask whether it is ready too, and not just alive"),
        )
        .args(setting_args(Scopes::HEALTHCHECK))
}
