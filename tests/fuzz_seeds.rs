//! The inputs that are kept of each fuzz target, with what the targets do: so that no target rots, and nothing that was
//! found once comes back. `make fuzz` runs the fuzzer itself.
// The targets' code is not a test to the linter.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Every seed of a target; and none may be without any.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        let input = std::fs::read(&path).unwrap();
        let ran = std::panic::catch_unwind(|| run(&input));
        assert!(ran.is_ok(), "{}", path.display());
    }
}

/// A test for each target, and a list of them all.
macro_rules! targets {
    ($($target:ident)+) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target), targets::$target::run);
        })+

        const TARGETS: &[&str] = &[$(stringify!($target)),+];
    };
}

targets! { configuration exposition headers management message pattern record web_config }

/// A target that is not replayed here, or is not built by the fuzzer, would be none.
#[test]
fn every_target_is_replayed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let names = |folder: &str| {
        let entries = std::fs::read_dir(fuzz.join(folder)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("fuzz_targets"), TARGETS);
    assert_eq!(names("seeds"), TARGETS);
    for target in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
    }
}
