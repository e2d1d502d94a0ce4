//! `podzol` as people and scripts use it, against the real service with real agents on a simulated pod.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::ControlPlane;
use trycmd::TestCases;

/// Commands and what they print, one after another on one cloud. `TRYCMD=overwrite` writes what they print now.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_what_it_should_and_ends_with_its_code() {
    let control_plane = ControlPlane::start().await;
    let plan = PodPlan {
        hosts: vec![("h1", 2048)],
        vlan_ranges: vec!["100-101"],
        vxlan_ranges: vec![],
        ..PodPlan::default()
    };
    let _pod = SimPod::with(&control_plane, plan).await;
    control_plane.admin.iso("installer").await;
    let url = control_plane.admin.base().to_owned();
    let data = control_plane.data_dir().to_owned();
    tokio::task::spawn_blocking(move || {
        TestCases::new()
            .env("PODZOL_URL", url)
            .env("PODZOL_CA_FILE", data.join("ca.pem").display().to_string())
            .env("PODZOL_KEY_FILE", data.join("admin.key").display().to_string())
            .case("tests/session.trycmd");
    })
    .await
    .unwrap();
}

#[test]
fn a_shell_completes_commands() {
    let script = "source <(\"$PODZOL\" completion bash); COMP_WORDS=(podzol vm con); COMP_CWORD=2; \
                  _podzol podzol con vm; echo \"${COMPREPLY[@]}\"";
    let said = Command::new("bash")
        .args(["-c", script])
        .env("PODZOL", env!("CARGO_BIN_EXE_podzol"))
        .output()
        .unwrap();
    assert_eq!(text(&said), "console-log\n");
    for shell in ["zsh", "fish"] {
        let said = Command::new(env!("CARGO_BIN_EXE_podzol")).args(["completion", shell]).output().unwrap();
        assert!(text(&said).contains("console-log"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let control_plane = ControlPlane::start().await;
    let data = control_plane.data_dir();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = Command::new(env!("CARGO_BIN_EXE_podzol"))
        .args(["account", "list", "--json"])
        .env("PODZOL_URL", control_plane.admin.base())
        .env("PODZOL_CA_FILE", data.join("ca.pem"))
        .env("PODZOL_KEY_FILE", data.join("admin.key"))
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stderr).as_ref()), (Some(0), ""));
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
