//! hostnet's own tests need a kernel with 802.1q. The lab's hosts have one.

use std::process::Command;

use podzol_lab::program::output;
use podzol_scenarios::lab;

#[test]
fn hostnet_passes_its_tests_on_a_kernel_with_802_1q() {
    let lab = lab().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["test", "-p", "podzol-hostnet", "--test", "kernel", "--no-run", "--message-format=json"]);
    let messages = output(&mut cargo).unwrap();
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "kernel")
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .expect("cargo names the program that it built");
    let host = lab.ssh(&lab.host("h1").unwrap());
    let program = std::fs::read(program).unwrap();
    host.feed("cat > /tmp/kernel-tests && chmod 755 /tmp/kernel-tests", &program).unwrap();
    let said = host
        .run("PODZOL_REQUIRE_8021Q=1 /tmp/kernel-tests --test-threads=1 --nocapture 2>&1 && rm /tmp/kernel-tests")
        .unwrap();
    assert!(said.contains("test result: ok.") && !said.contains("skipped"), "{said}");
}
