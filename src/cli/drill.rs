//! `heartbeat drill`.

use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches};

use super::flags::hidden_setting_args;
use super::{Command, Entry};
use crate::config::parse;

pub(super) const DRILL: Entry = Entry { describe, read };

const NOTES: &str = "\
Run it where the publisher runs, with its settings: it takes every flag and variable of the publisher, which `heartbeat \
publisher --help` lists, and signs with its key. The publisher itself goes on undisturbed. Subscribers show the drill as a \
publisher of its own, drill:PUBLISHER-ID; alerts on it have the label drill=\"true\" and say that nothing is wrong. When it \
is over, or stopped by Ctrl-C, it is forgotten within seconds; if it is killed, within ten minutes of its last heartbeat.

The alerts of the shipped rules wait for a minute, and Prometheus and the subscribers take their time: --down-for=2m and \
--silent-for=2m30s are the least with which they come.

Exit code:
  0   every stage was played, and the broker confirmed it
  1   it could not be played, or not to its end
  64  the configuration or the command line cannot be used

Examples:
  heartbeat drill
  heartbeat drill --down-for=10m --silent-for=0";

/// Longest stage.
const STAGE_MAX: Duration = Duration::from_secs(3600);

fn read(matches: &ArgMatches) -> Command {
    let stage = |name: &str| matches.get_one::<Duration>(name).copied().unwrap_or_default();
    Command::Drill { down_for: stage("down-for"), silent_for: stage("silent-for") }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse::duration(text, Duration::ZERO, STAGE_MAX)
}

fn describe() -> clap::Command {
    let stage = |name: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name("DURATION").help(help);
        arg.value_parser(ValueParser::new(duration)).default_value("3m")
    };
    clap::Command::new("drill")
        .about("Play an outage that is marked as a drill, to see that alerts arrive")
        .after_help(NOTES)
        .arg(stage("down-for", "How long its component is down; 0 leaves it out"))
        .arg(stage("silent-for", "How long it is silent after that; 0 leaves it out"))
        .args(hidden_setting_args())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_number_of_seconds_or_has_its_unit_and_ends() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("2h"), Err("it is not from 0s to 1h".into()));
        let why = "it is not a duration: a number of seconds, or a number and a unit";
        assert_eq!(duration("soon"), Err(why.into()));
    }
}
