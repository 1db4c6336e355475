//! `heartbeat forget`.

use clap::{Arg, ArgAction, ArgMatches};

use super::flags::{setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::Scopes;

pub(super) const FORGET: Entry = Entry { describe, read };

const NOTES: &str = "\
It leaves Redis and every subscriber's view, and comes back when it is heard of again. One that is expected is shown as \
silent until EXPECTED_PUBLISHERS of the subscribers does not name it any more; one that is expected and was never heard is \
there alone.

Takes the settings by which the subscribers reach Redis.

Exit code:
  0   it is forgotten, now or already
  1   it is not, or is not known to be; the message says why
  64  the configuration or the command line cannot be used

Example:
  heartbeat forget oslo --redis.host=redis

";

fn read(matches: &ArgMatches) -> Command {
    Command::Forget {
        publisher: matches.get_one::<String>("publisher-id").cloned().unwrap_or_default(),
        clock_set_back: matches.get_flag("clock-set-back"),
    }
}

fn describe() -> clap::Command {
    clap::Command::new("forget")
        .about("Forget a publisher that will not come back")
        .after_help(format!("{NOTES}{}", settings_notes(Scopes::FORGET)))
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
