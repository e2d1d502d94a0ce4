//! Tests of single crates that need what the lab's servers have: a kernel with 802.1q, or libvirt with KVM.

use std::process::Command;

use podzol_lab::program::output;
use podzol_scenarios::lab_beside_others;
use serde_json::Value;

/// Builds a test program, whose name is the only one of its kind, and runs it on a server; no test in it may skip itself.
fn run_on(server: &str, test: &str, environment: &str) {
    let lab = lab_beside_others().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    // For the whole workspace, as all else was built: for one package alone features differ, and most is built anew.
    cargo.args(["test", "--locked", "--workspace", "--features", "podzol-scenarios/lab"]);
    cargo.args(["--test", test, "--no-run", "--message-format=json"]);
    let messages = output(&mut cargo).unwrap();
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .expect("cargo names the program that it built");
    let host = lab.ssh(&lab.host(server).unwrap());
    let program = std::fs::read(program).unwrap();
    host.feed(&format!("cat > /tmp/{test} && chmod 755 /tmp/{test}"), &program).unwrap();
    let said = host
        .run(&format!("{environment} /tmp/{test} --test-threads=1 --nocapture 2>&1 && rm /tmp/{test}"))
        .unwrap();
    assert!(said.contains("test result: ok.") && !said.contains("skipped"), "{said}");
}

#[test]
fn hostnet_passes_its_tests_on_a_kernel_with_802_1q() {
    run_on("h1", "kernel", "PODZOL_REQUIRE_8021Q=1");
}

#[test]
fn the_hypervisor_passes_its_tests_on_a_real_libvirt() {
    // On a server without an agent, which would have these VMs removed as nobody's.
    run_on("s1", "libvirt", "PODZOL_REQUIRE_LIBVIRT=1");
}
