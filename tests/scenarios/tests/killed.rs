//! A lab that was killed while it came up is removed whole. Run by `make test` before it brings up the lab for the others:
//! one of whose servers goes on as it was kept here, and the others boot, though one of them was about to be kept too.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use podzol_lab::Lab;
use podzol_lab::cloud::wait_for;
use podzol_lab::program::run;

#[test]
fn a_lab_that_was_killed_half_way_leaves_nothing_after_down() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lab = Lab::of(&tree, Path::new("target/debug")).unwrap();
    let program = lab.programs.join("podzol-lab");
    let tree = tree.display().to_string();
    let mut up = Command::new(&program)
        .args(["--tree", &tree, "up", "--hosts", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("servers and service to be started", Duration::from_secs(60), || {
        let started =
            ["servers/h1/pid", "servers/s1/pid", "mgmt.pid"].iter().all(|pid| lab.path(pid).exists());
        Ok(started.then_some(()))
    })
    .unwrap();
    let booted = lab.images.join("booted");
    wait_for("one server to be kept, and another to be about to be", Duration::from_secs(600), || {
        let about = booted.join("h1.new").exists() || booted.join("h1").exists();
        Ok((booted.join("s1").exists() && about).then_some(()))
    })
    .unwrap();
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(lab.processes().len() >= 3, "two servers and the service: {:?}", lab.processes());
    assert!(!lab.path("servers/h2").exists(), "a second host that was not asked for");

    run(&program.display().to_string(), &["--tree", &tree, "down"]).unwrap();

    assert_eq!(lab.processes(), []);
    assert!(!run("ip", &["netns", "list"]).unwrap().contains(&lab.namespace()));
    assert!(!lab.folder.exists());
    let left = Command::new("pgrep").args(["-f", &lab.folder.display().to_string()]).output().unwrap();
    assert!(left.stdout.is_empty(), "processes are left: {}", String::from_utf8_lossy(&left.stdout));
    run(&program.display().to_string(), &["--tree", &tree, "down"]).expect("down can be repeated");
}
