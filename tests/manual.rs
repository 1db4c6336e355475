//! The manual and the completions, judged by the programs that read them.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_heartbeat");

fn heartbeat(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).env_clear().output().unwrap()
}

fn printed(args: &[&str]) -> String {
    let output = heartbeat(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a shell prints that runs a script, with the program on its path.
fn said_by(shell: &[&str], script: &str) -> String {
    let folder = Path::new(BINARY).parent().unwrap().to_str().unwrap();
    let path = format!("{folder}:{}", env::var_os("PATH").unwrap().to_str().unwrap());
    let home = tempfile::tempdir().unwrap();
    let (program, args) = shell.split_first().unwrap();
    let output =
        Command::new(program).args(args).arg(script).env("PATH", path).env("HOME", home.path()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: `make install` brings it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Every command that the help of the program lists.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // What a command is for may go on in a line below its name.
    let names =
        listed.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let commands: Vec<String> =
        names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert!(commands.len() > 5, "{listed}");
    commands
}

#[test]
fn every_command_has_a_page_that_is_in_order() {
    let folder = tempfile::tempdir().unwrap();
    printed(&["man", "--write", folder.path().to_str().unwrap()]);
    let commands = commands();
    for name in
        ["heartbeat".to_owned()].into_iter().chain(commands.iter().map(|name| format!("heartbeat-{name}")))
    {
        assert!(folder.path().join(format!("{name}.1")).exists(), "{name} has no page");
    }
    assert!(folder.path().join("heartbeat-keys-rotate.1").exists());
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let lint = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output();
        let lint = lint.unwrap_or_else(|error| panic!("mandoc: {error}: `make install` brings it"));
        let said = String::from_utf8_lossy(&lint.stdout).into_owned();
        // A build that does not know its commit has no date.
        let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("cannot parse date")).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn a_page_says_what_the_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page");
    fs::write(&path, printed(&["man", "subscriber"])).unwrap();
    let shown = Command::new("mandoc").args(["-Tutf8", "-Owidth=1000"]).arg(&path).output().unwrap();
    // Bold is a letter over itself.
    let shown = String::from_utf8(shown.stdout).unwrap();
    let mut text = String::new();
    for letter in shown.chars() {
        if letter == '\u{8}' {
            text.pop();
        } else {
            text.push(letter);
        }
    }
    for part in [
        "heartbeat-subscriber - Take heartbeats, store the latest state and show it",
        "heartbeat subscriber [OPTIONS]",
        "--redis.host <HOST>",
        "[env: REDIS_HOST] [default: redis]",
        "REDIS_PASSWORD_FILE",
        "SEE ALSO",
        "heartbeat-publisher(1)",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn a_page_of_nothing_is_refused() {
    let output = heartbeat(&["man", "keys", "lose"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "heartbeat: there is no command keys lose\n");
    let output = heartbeat(&["man", "--write", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/at/all"));
    assert_eq!(heartbeat(&["completions", "tcsh"]).status.code(), Some(64));
}

#[test]
fn bash_completes() {
    let complete = |line: &str| {
        let words = line.split(' ').count() - 1;
        let current = line.rsplit(' ').next().unwrap();
        let script = format!(
            "source <(heartbeat completions bash); complete -p heartbeat > /dev/null || exit 1; \
             COMP_WORDS=({line}); COMP_CWORD={words}; _heartbeat heartbeat '{current}' heartbeat; echo \"${{COMPREPLY[*]}}\""
        );
        said_by(&["bash", "--norc", "-c"], &script)
    };
    assert_eq!(complete("heartbeat publ"), "publisher\n");
    assert_eq!(complete("heartbeat keys ro"), "rotate\n");
    assert_eq!(complete("heartbeat subscriber --redis.ca"), "--redis.ca-cert-path\n");
    assert_eq!(complete("heartbeat healthcheck stand"), "standalone\n");
    assert_eq!(complete("heartbeat publisher --redis.ca"), "\n");
}

#[test]
fn fish_completes() {
    let complete = |line: &str| {
        let script = format!("heartbeat completions fish | source; complete -C '{line}'");
        let said = said_by(&["fish", "--no-config", "-c"], &script);
        said.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete("heartbeat publ"), ["publisher"]);
    assert_eq!(complete("heartbeat keys ro"), ["rotate"]);
    assert_eq!(complete("heartbeat subscriber --redis.ca"), ["--redis.ca-cert-path"]);
    assert!(complete("heartbeat publisher --redis.ca").is_empty());
}

/// zsh completes only what somebody types at a terminal.
#[test]
fn zsh_completes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("_heartbeat"), printed(&["completions", "zsh"])).unwrap();
    let complete = |typed: &str, wanted: &str| {
        let script = format!(
            "zmodload zsh/zpty
             zpty shell zsh -f -i
             zpty -w shell \"fpath=({folder} \\$fpath); autoload -U compinit; compinit -u -D; \
                 bindkey '^I' complete-word; echo LOA''DED\"
             zpty -r -m shell seen '*LOADED*' || exit 1
             zpty -w -n shell $'{typed}\\t'
             zpty -r -m shell seen '*{wanted}*' || exit 2
             print completed",
            folder = folder.path().display()
        );
        assert_eq!(said_by(&["timeout", "60", "zsh", "-f", "-c"], &script), "completed\n", "{typed}");
    };
    complete("heartbeat publ", "heartbeat publisher");
    complete("heartbeat keys ro", "keys rotate");
    complete("heartbeat subscriber --redis.ca", "--redis.ca-cert-path");
    complete("heartbeat healthcheck stand", "healthcheck standalone");
}
