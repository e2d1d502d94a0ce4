//! `podzol` as people and scripts use it, against the real service with real agents on a simulated pod.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::{ControlPlane, image};
use serde_json::json;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_template_whose_upload_broke_off_is_uploaded_again() {
    let control_plane = ControlPlane::start().await;
    let _pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let (folder, bytes) = (tempfile::tempdir().unwrap(), image::qcow2(64, "again"));
    let file = folder.path().join("again.qcow2");
    std::fs::write(&file, &bytes).unwrap();
    // As `template create` leaves it that was killed before it had sent anything.
    let body = json!({ "name": "again", "sha256": image::sha256(&bytes) });
    control_plane.admin.post("/v1/templates", &body).await.ok();
    let data = control_plane.data_dir();
    let upload = || {
        Command::new(env!("CARGO_BIN_EXE_podzol"))
            .args(["template", "upload", "again", "--wait", "--file"])
            .arg(&file)
            .env("PODZOL_URL", control_plane.admin.base())
            .env("PODZOL_CA_FILE", data.join("ca.pem"))
            .env("PODZOL_KEY_FILE", data.join("admin.key"))
            .output()
            .unwrap()
    };
    assert!(text(&upload()).lines().any(|line| line.starts_with("state") && line.ends_with("ready")));
    let said = upload();
    assert!(String::from_utf8_lossy(&said.stderr).contains("this template awaits no upload"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_it_waits_has_a_code_of_its_own_and_goes_on() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::with(&control_plane, PodPlan::default()).await;
    let acme = control_plane.admin.customer("acme").await;
    let network = pod.network(&acme.api, "net", "10.1.1.0/24").await;
    let vm = pod.vm(&acme.api, "web", &network).await;
    let data = control_plane.data_dir();
    let said = Command::new(env!("CARGO_BIN_EXE_podzol"))
        .args(["vm", "reboot", &vm, "--wait", "--timeout", "0"])
        .env("PODZOL_URL", control_plane.admin.base())
        .env("PODZOL_CA_FILE", data.join("ca.pem"))
        .env("PODZOL_KEY_FILE", data.join("admin.key"))
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(4), "{says}");
    assert!(says.contains("has not ended in 0 s; it goes on"), "{says}");
    let operation = says.split_whitespace().nth(2).unwrap();
    acme.api.succeeded(operation).await;
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
