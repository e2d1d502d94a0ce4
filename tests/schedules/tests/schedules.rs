//! A first look at the simulated cloud. `podzol-schedules all` is run beside the lab's scenarios.

use std::process::Command;

fn succeeds(arguments: &[&str]) {
    let status = Command::new(env!("CARGO_BIN_EXE_podzol-schedules")).args(arguments).status();
    let status = status.expect("it is there");
    assert!(status.success(), "{arguments:?}: {status}");
}

#[test]
fn whatever_becomes_of_its_call_a_host_joins() {
    succeeds(&["join"]);
}

#[test]
fn whatever_goes_wrong_in_a_start_all_converges() {
    succeeds(&["steps", "--flow=Start"]);
}

#[test]
fn whatever_goes_on_at_once_all_converges() {
    succeeds(&["storms", "--count", "20"]);
}
