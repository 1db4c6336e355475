//! `heartbeat status`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};

use super::flags::{setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::{Scopes, parse};
use crate::page::Standing;

/// What to ask of a subscriber, and how to tell the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCommand {
    /// Part of a name.
    pub search: String,
    /// Publishers of these states alone.
    pub states: Vec<Standing>,
    /// As JSON.
    pub json: bool,
    /// Again and again, so often.
    pub watch: Option<Duration>,
}

pub(super) const STATUS: Entry = Entry { describe, read };

/// Time between two answers, where none is given.
const EVERY: &str = "5s";

const NOTES: &str = "\
A subscriber, or standalone, is asked for what its page shows. JSON is that of its API (/api/v1/publishers), all pages \
as one; with --watch, a line each time.

Exit code, by the publishers that are shown, with --watch by the last answer; what is in maintenance and drills do not \
count:
  0   all are up, or none is shown
  1   one is unknown or unjudged, or the subscriber is not ready to say
  2   one is down or silent
  3   the subscriber could not be asked
  64  the configuration or the command line cannot be used

Examples:
  heartbeat status --url=http://subscriber:11911
  heartbeat status --state=down,silent --watch
  heartbeat status --json | jq -r '.publishers[] | select(.state == \"silent\").id'

";

fn read(matches: &ArgMatches) -> Command {
    let states = matches.get_many::<String>("state").into_iter().flatten();
    Command::Status(StatusCommand {
        search: matches.get_one::<String>("search").cloned().unwrap_or_default(),
        states: states.filter_map(|word| Standing::parse(word)).collect(),
        json: matches.get_flag("json"),
        watch: matches.get_one::<Duration>("watch").copied(),
    })
}

/// Shorter ones would only be a burden, and a day is no watch.
fn every(text: &str) -> Result<Duration, String> {
    parse::duration(text, Duration::from_secs(1), Duration::from_secs(86_400))
}

fn describe() -> clap::Command {
    clap::Command::new("status")
        .about("Show how all publishers are, by asking a subscriber")
        .after_help(format!("{NOTES}{}", settings_notes(Scopes::STATUS)))
        .next_line_help(true)
        .arg(
            Arg::new("state")
                .long("state")
                .value_name("STATE")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .value_parser(PossibleValuesParser::new(Standing::ALL.map(Standing::as_str)))
                .help("Only publishers of this state; several separated by commas"),
        )
        .arg(
            Arg::new("search").long("search").value_name("TEXT").help(
                "Only publishers with this in their name, or in that of a component, a queue or a target",
            ),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, and no table"))
        .arg(
            Arg::new("watch")
                .long("watch")
                .value_name("DURATION")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(EVERY)
                .value_parser(every)
                .help(format!("Ask again and again, so often [without a value: {EVERY}]")),
        )
        .args(setting_args(Scopes::STATUS))
}
