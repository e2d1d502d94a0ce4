//! Running programs, with errors that say all there is to say.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails: with the command, its status, and what it said.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    output(Command::new(program).args(arguments))
}

/// Runs a prepared command to its end and gives its standard output.
///
/// # Errors
/// As [`run`].
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    // Without the environment: a key may be in it.
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let shown: Vec<String> =
        [command.get_program().to_string_lossy().into_owned()].into_iter().chain(words).collect();
    let shown = shown.join(" ");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
