//! `heartbeat doctor`.

use clap::ArgMatches;

use super::flags::hidden_setting_args;
use super::roles::{role_arg, role_of};
use super::{Command, Entry};

pub(super) const DOCTOR: Entry = Entry { describe, read };

const NOTES: &str = "\
It looks at RabbitMQ, its management API, Redis and the clock as the role will use them, step by step in the order in \
which they break, and begins with the configuration itself. A step is ok, a warning, failed, skipped since one before it \
failed, or unknown: not to be known without changing something, or not told to this user. For what failed it says what \
was attempted, why it failed, and what to do.

It changes nothing: it declares nothing, sends no message and takes none, and writes nothing to Redis. RabbitMQ and Redis \
log what they refuse it.

Takes every flag and variable of the role, which `heartbeat <ROLE> --help` lists, and those of the management API. With \
--log.level=debug, the log is on the error output.

Exit code:
  0   nothing is wrong, as far as can be seen
  1   there are warnings, and nothing failed
  2   something failed
  64  the configuration or the command line cannot be used

Examples:
  heartbeat doctor subscriber
  heartbeat doctor publisher --rabbitmq.host=mq --config.file=/etc/heartbeat/publisher.json";

fn read(matches: &ArgMatches) -> Command {
    Command::Doctor { role: role_of(matches) }
}

fn describe() -> clap::Command {
    clap::Command::new("doctor")
        .about("Find out what is wrong with RabbitMQ, Redis and the way there, and what to do")
        .after_help(NOTES)
        .arg(role_arg())
        .args(hidden_setting_args())
}
