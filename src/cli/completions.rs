//! `heartbeat completions`: what a shell completes, from the same table as the commands.

use clap::{Arg, ArgMatches};
use clap_complete::aot;

use super::{Command, Entry, program};
use crate::build_info::NAME;

/// A shell that can be told what to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// GNU Bash, with bash-completion.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

pub(super) const COMPLETIONS: Entry = Entry { describe, read };

const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

const NOTES: &str = "\
The Debian package brings them. Elsewhere:
  heartbeat completions bash > ~/.local/share/bash-completion/completions/heartbeat
  heartbeat completions fish > ~/.config/fish/completions/heartbeat.fish
  heartbeat completions zsh > DIRECTORY/_heartbeat    (one that $fpath names)";

fn read(matches: &ArgMatches) -> Command {
    let name = matches.get_one::<String>("shell").map_or("", String::as_str);
    let shell = SHELLS.iter().find(|(known, _)| *known == name);
    Command::Completions(shell.map_or(Shell::Bash, |(_, shell)| *shell))
}

fn describe() -> clap::Command {
    clap::Command::new("completions")
        .about("Print what has a shell complete commands and flags")
        .after_help(NOTES)
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(SHELLS.map(|(name, _)| name))
                .help("The shell"),
        )
}

/// The script for a shell.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut program = program();
    match shell {
        Shell::Bash => aot::generate(aot::Bash, &mut program, NAME, &mut script),
        Shell::Zsh => aot::generate(aot::Zsh, &mut program, NAME, &mut script),
        Shell::Fish => aot::generate(aot::Fish, &mut program, NAME, &mut script),
    }
    let script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish { without_dotted_flags(&script) } else { script }
}

/// What fish's script looks flags up in to find the command among them: its parser takes no name with a dot, and for one such
/// no name at all. None need be known there, since no flag comes before a command.
fn without_dotted_flags(script: &str) -> String {
    const LIST: &str = "    string join \\n ";
    let lines = script.lines().map(|line| match line.strip_prefix(LIST) {
        Some(flags) => {
            let kept: Vec<&str> = flags.split(' ').filter(|flag| !flag.contains('.')).collect();
            format!("{LIST}{}\n", kept.join(" "))
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}
