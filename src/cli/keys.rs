//! `heartbeat keys`.

use clap::ArgMatches;

use super::flags::{setting_args, settings_notes};
use super::{Command, Entry};
use crate::config::Scopes;

/// What to do with the key that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysCommand {
    /// Make it.
    Generate,
    /// Show its public half.
    Show,
    /// Make the one that will follow it.
    Rotate,
}

pub(super) const KEYS: Entry = Entry { describe, read };

const KEYS_NOTES: &str = "\
Each prints one line, for the file that TRUSTED_KEYS_FILE names at the subscribers, on its output, and what is to be \
done on its error output. A private key is written with the mode 0600, and never over a file that is there.

Exit code: 0 done, 1 not done, 64 the configuration or the command line cannot be used.

Examples:
  heartbeat keys generate --publisher.id=oslo --signing.key-file=signing.pem >> trusted.keys
  heartbeat keys rotate --publisher.id=oslo --signing.key-file=signing.pem >> trusted.keys";

fn read(matches: &ArgMatches) -> Command {
    Command::Keys(match matches.subcommand_name() {
        Some("generate") => KeysCommand::Generate,
        Some("rotate") => KeysCommand::Rotate,
        _ => KeysCommand::Show,
    })
}

fn describe() -> clap::Command {
    let command = |name: &'static str, about: &'static str| {
        clap::Command::new(name)
            .about(about)
            .after_help(settings_notes(Scopes::KEYS))
            .next_line_help(true)
            .args(setting_args(Scopes::KEYS))
    };
    clap::Command::new("keys")
        .about("Make and show the key with which a publisher signs its heartbeats")
        .after_help(KEYS_NOTES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(command(
            "generate",
            "Write a new private key, and print the line with which subscribers trust it",
        ))
        .subcommand(command("show", "Print the line with which subscribers trust the key"))
        .subcommand(command(
            "rotate",
            "Write the next private key beside the one in use, and print the line that trusts it",
        ))
}
