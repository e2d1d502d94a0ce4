//! The program, as far as it goes without a machine of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn router(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podzol-appliance")).args(arguments).output().unwrap()
}

fn refuses(arguments: &[&str], status: i32, says: &str) {
    let output = router(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_router_without_a_seed_says_so_and_touches_nothing() {
    refuses(
        &["router", "--seed", "/no such file"],
        1,
        "cannot read /no such file: No such file or directory",
    );
    let seed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(seed.path(), r#"{"key": "hunter2"}"#).unwrap();
    let path = seed.path().display().to_string();
    refuses(&["router", "--seed", &path], 1, "holds no seed: its line 1 is wrong");
    assert!(!String::from_utf8_lossy(&router(&["router", "--seed", &path]).stderr).contains("hunter2"));
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    refuses(&["gateway"], 2, "unrecognized subcommand");
    refuses(&[], 2, "Usage");
}
