//! `heartbeat man`: a page of the manual for each command, from the same table as `--help`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches};
use clap_mangen::Man;

use super::{Command, Entry, program};
use crate::build_info::{self, NAME, VERSION};

pub(super) const MAN: Entry = Entry { describe, read };

const NOTES: &str = "\
Examples:
  heartbeat man subscriber | man -l -
  heartbeat man --write /usr/local/share/man/man1";

/// What `whatis heartbeat` says.
const SUMMARY: &str = "see into a secluded network by heartbeats over RabbitMQ";

/// Names are neither parted nor spread.
const AS_WRITTEN: &str = ".nh\n.ad l\n";

/// On every page; each command's own codes are in its notes.
const EXIT_STATUS: &str = "\
.SH EXIT STATUS
.TP
0
Done, or stopped in order.
.TP
1
Something could not be done, or not in time.
.TP
64
The command line or the configuration cannot be used; every problem is told.
.PP
Where a command has others, they are told above.
";

fn read(matches: &ArgMatches) -> Command {
    let words = matches.get_many::<String>("command").unwrap_or_default();
    Command::Manual {
        of: words.cloned().collect(),
        folder: matches.get_one::<String>("write").map(PathBuf::from),
    }
}

fn describe() -> clap::Command {
    clap::Command::new("man")
        .about("Print a page of the manual")
        .after_help(NOTES)
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(1..)
                .help("The command [default: none, the page of the program]"),
        )
        .arg(
            Arg::new("write")
                .long("write")
                .value_name("DIRECTORY")
                .value_hint(clap::ValueHint::DirPath)
                .conflicts_with("command")
                .help("Write all pages there, a file each"),
        )
}

/// A page of the manual.
#[derive(Clone, Debug)]
pub struct Page {
    /// The name of its file, such as `heartbeat-forget.1`.
    pub file: String,
    /// Its text, in roff.
    pub text: String,
}

/// The page of a command, by its words; of the program itself without any. `None`: there is no such command.
pub fn page(of: &[String]) -> Option<Page> {
    let program = built();
    let mut command = &program;
    for word in of {
        command = command.find_subcommand(word)?;
    }
    Some(Page::of(command, &program))
}

/// Writes the page of every command into a folder.
///
/// # Errors
/// Where one cannot be written.
pub fn write_pages(folder: &Path) -> io::Result<()> {
    fn write(command: &clap::Command, program: &clap::Command, folder: &Path) -> io::Result<()> {
        let page = Page::of(command, program);
        std::fs::write(folder.join(page.file), page.text)?;
        command.get_subcommands().try_for_each(|command| write(command, program, folder))
    }
    let program = built();
    write(&program, &program, folder)
}

fn built() -> clap::Command {
    let mut program = program();
    program.build();
    program
}

impl Page {
    fn of(command: &clap::Command, program: &clap::Command) -> Self {
        let mut command = command.clone().mut_args(with_values);
        let usage = command.render_usage().to_string();
        // A hundred flags in a row would say nothing.
        let command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
        let has_arguments = command.get_arguments().any(|argument| !argument.is_hide_set());
        let has_commands = command.has_subcommands();
        let own_name = command.get_display_name().unwrap_or(NAME).to_owned();
        // What the program's `--help` says first is more than one line may hold.
        let named = if own_name == NAME { command.clone().about(SUMMARY) } else { command.clone() };
        let man = Man::new(command).date(date()).source(format!("{NAME} {VERSION}")).manual("Heartbeat");
        let file = man.get_filename();
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = man.render_title(&mut text);
        text.extend(AS_WRITTEN.as_bytes());
        let _ = Man::new(named).render_name_section(&mut text);
        let _ = man.render_synopsis_section(&mut text);
        let _ = man.render_description_section(&mut text);
        if has_arguments {
            let _ = man.render_options_section(&mut text);
        }
        if has_commands {
            let _ = man.render_subcommands_section(&mut text);
        }
        let _ = man.render_extra_section(&mut text);
        let text = String::from_utf8_lossy(&text).replace(".SH EXTRA\n", ".SH NOTES\n");
        let text = format!("{text}{EXIT_STATUS}{}", see_also(program, &own_name));
        Self { file, text }
    }
}

/// When the source was last changed, or what stands in its place where the build does not know.
fn date() -> &'static str {
    build_info::DATE.split_once('T').map_or("-", |(date, _)| date)
}

/// An argument with the values that it takes in its help, which takes less room than a list.
fn with_values(argument: Arg) -> Arg {
    let values = argument.get_possible_values();
    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    if names.is_empty() || !argument.get_action().takes_values() {
        return argument;
    }
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = format!("{help} [possible values: {}]", names.join(", "));
    argument.help(help).hide_possible_values(true)
}

/// The other pages, by name.
fn see_also(program: &clap::Command, own_name: &str) -> String {
    let names = program.get_subcommands().filter_map(clap::Command::get_display_name);
    let others: Vec<String> = [NAME]
        .into_iter()
        .chain(names)
        .filter(|name| *name != own_name)
        .map(|name| format!(".BR {} (1)", name.replace('-', "\\-")))
        .collect();
    format!(".SH SEE ALSO\n{}\n", others.join(" ,\n"))
}
