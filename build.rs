//! Tells the program which compiler made it, and from which commit.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = output_of(&rustc, &["--version"]).unwrap_or_default();
    // As in "rustc 1.88.0 (6b00bc388 2025-06-23)".
    let version = text.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo:rustc-env=HEARTBEAT_RUST_VERSION={version}");
    pack_relocations();
    // A debug build is made too often to be made anew for each commit.
    if env::var_os("PROFILE").is_some_and(|profile| profile == "release") {
        tell_commit();
    }
}

/// Most of the table by which the program is moved to its address is eight bytes an entry instead of 24 (DT_RELR): it is
/// read once at the start and stays resident, 0.7 MiB of a program that takes 12. glibc reads it since 2.36, Debian 12's;
/// a program that is built beside an older one is told so by its linker and gets the long table.
fn pack_relocations() {
    let target = |variable, is| env::var_os(variable).is_some_and(|value| value == is);
    if target("CARGO_CFG_TARGET_OS", "linux") && target("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// What the environment says of the source goes before what git says; without either it is unknown.
fn tell_commit() {
    // Changes with each commit and checkout.
    if let Some(log) = output_of("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    for (variable, arguments) in [
        ("HEARTBEAT_BUILD_REVISION", ["rev-parse", "HEAD"].as_slice()),
        ("HEARTBEAT_BUILD_BRANCH", &["rev-parse", "--abbrev-ref", "HEAD"]),
        // The commit's date and not today's, so that the same source makes the same program.
        ("HEARTBEAT_BUILD_DATE", &["show", "--no-patch", "--format=%cI", "HEAD"]),
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
        if env::var_os(variable).is_none()
            && let Some(value) = output_of("git", arguments)
        {
            println!("cargo:rustc-env={variable}={value}");
        }
    }
}

/// First line of what a command printed; `None` if it failed or said nothing.
fn output_of(command: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().filter(|line| output.status.success() && !line.is_empty()).map(str::to_owned)
}
