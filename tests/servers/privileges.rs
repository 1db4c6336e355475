//! Least privilege: the commands of the page are run as they stand there, a whole cycle passes with the users that
//! they make, without any one right something named fails, and what nobody gave is refused.

mod rabbitmq;
mod redis;

use std::fs;
use std::path::Path;
use std::process::Command;

/// The page that operators follow.
const PAGE: &str = include_str!("../../docs/least-privilege.md");

/// The commands under each heading that the page has, by heading.
fn commands(heading: &str) -> String {
    let (mut here, mut fenced, mut found) = (false, false, String::new());
    for line in PAGE.lines() {
        match line {
            "```sh" => fenced = true,
            "```" => fenced = false,
            _ if fenced && here => found.extend([line, "\n"]),
            _ if !fenced && line.starts_with('#') => here = line.trim_start_matches('#').trim() == heading,
            _ => {}
        }
    }
    assert!(!found.is_empty(), "the page has no commands under {heading:?}");
    found
}

/// Runs commands with a shell as an operator would, in the folder with the files of the passwords.
async fn run(mut shell: Command, folder: &Path, commands: &str) {
    shell.args(["-euc", commands]).current_dir(folder).stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{commands}{output:?}");
}

/// Writes the file of a password.
fn password(folder: &Path, name: &str, password: &str) {
    fs::write(folder.join(format!("{name}.password")), format!("{password}\n")).unwrap();
}

/// Every heading with commands is one that these tests run: a section that is added without a test is noticed.
#[test]
fn every_command_of_the_page_is_run() {
    let mut all: Vec<String> =
        rabbitmq::HEADINGS.iter().chain(redis::HEADINGS).map(|of| commands(of)).collect();
    all.sort();
    let (mut fenced, mut told) = (false, String::new());
    for line in PAGE.lines() {
        match line {
            "```sh" => fenced = true,
            "```" => fenced = false,
            _ if fenced => told.extend([line, "\n"]),
            _ => {}
        }
    }
    assert_eq!(all.concat().len(), told.len(), "a section of the page is not among HEADINGS");
}
