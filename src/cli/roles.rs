//! The roles: `heartbeat publisher`, `subscriber` and `standalone`.

use clap::{Arg, ArgMatches};

use super::flags::{check_arg, setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::Role;

const ROLES: [Role; 3] = [Role::Publisher, Role::Subscriber, Role::Standalone];

pub(super) const PUBLISHER: Entry = Entry {
    describe: || {
        describe(
            Role::Publisher,
            "Check hosts, RabbitMQ consumers, pages, certificates, names, services and jobs, and send heartbeats",
        )
    },
    read: |_| Command::Run(Some(Role::Publisher)),
};

pub(super) const SUBSCRIBER: Entry = Entry {
    describe: || describe(Role::Subscriber, "Take heartbeats, store the latest state and show it"),
    read: |_| Command::Run(Some(Role::Subscriber)),
};

pub(super) const STANDALONE: Entry = Entry {
    describe: || describe(Role::Standalone, "Both in one process, without RabbitMQ and Redis"),
    read: |_| Command::Run(Some(Role::Standalone)),
};

fn describe(role: Role, about: &'static str) -> clap::Command {
    clap::Command::new(role.as_str())
        .about(about)
        .after_help(settings_notes(role.scope()))
        .next_line_help(true)
        .args(setting_args(role.scope()))
        .arg(check_arg())
}

/// The role that a command is about.
pub(super) fn role_arg() -> Arg {
    Arg::new("role")
        .value_name("ROLE")
        .value_parser(ROLES.map(Role::as_str))
        .help("The role [default: as HEARTBEAT_MODE says]")
}

/// What was given as [`role_arg`].
pub(super) fn role_of(matches: &ArgMatches) -> Option<Role> {
    let name = matches.get_one::<String>("role")?;
    ROLES.into_iter().find(|role| role.as_str() == name)
}
