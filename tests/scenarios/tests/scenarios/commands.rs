//! The lab's own commands, as a person and a script use them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use podzol_lab::Lab;
use podzol_lab::program::output;
use podzol_scenarios::lab;

fn podzol_lab(lab: &Lab) -> Command {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(lab.programs.join("podzol-lab"));
    command.arg("--tree").arg(tree);
    command
}

#[test]
fn the_lab_tells_its_servers_and_lets_us_in() {
    let lab = lab().unwrap();
    let status = output(podzol_lab(&lab).arg("status")).unwrap();
    for server in ["h1", "h2", "s1"] {
        let line = status.lines().find(|line| line.starts_with(server));
        assert!(line.is_some_and(|line| line.ends_with(" answers")), "{status}");
    }
    let said = output(podzol_lab(&lab).args(["exec", "h2", "uname -n; exit 0"])).unwrap();
    assert_eq!(said.trim(), "h2");
    assert!(!podzol_lab(&lab).args(["exec", "h2", "exit 7"]).status().unwrap().success());

    let mut shell =
        podzol_lab(&lab).args(["ssh", "s1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"uname -n\n").unwrap();
    let said = shell.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).lines().any(|line| line == "s1"), "{said:?}");

    // The prefix for scripts is whole: with a command behind it, a shell takes it as it is.
    let line = format!("{} uname -n", lab.read().unwrap().hosts["h1"].ssh);
    assert_eq!(output(Command::new("sh").args(["-c", &line])).unwrap().trim(), "h1");
}
