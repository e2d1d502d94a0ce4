//! Running a program where the program is the interface (exportfs, mount, systemctl): with a deadline, never through a
//! shell, and with an error that says all there is to say.

use std::process::Stdio;
use std::time::Duration;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It ended with a failure.
    #[error("{command} failed ({status}): {stderr}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// Its exit status or the signal that ended it.
        status: std::process::ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// It took too long and was killed.
    #[error("{command} did not end in {} s", deadline.as_secs())]
    TooSlow {
        /// The program and its arguments.
        command: String,
        /// How long it was given.
        deadline: Duration,
    },
}

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// See [`ExecError`].
pub async fn run(program: &str, arguments: &[&str], deadline: Duration) -> Result<String, ExecError> {
    let command = || format!("{program} {}", arguments.join(" "));
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ExecError::Start { program: program.to_owned(), source })?;
    let output = match tokio::time::timeout(deadline, child.wait_with_output()).await {
        Ok(output) => output.map_err(|source| ExecError::Start { program: program.to_owned(), source })?,
        Err(_) => return Err(ExecError::TooSlow { command: command(), deadline }),
    };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ExecError::Failed { command: command(), status: output.status, stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_names_the_command_its_status_and_what_it_said() {
        let error = run("ls", &["/no such folder"], Duration::from_secs(5)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ls /no such folder failed (exit status: 2)"), "{text}");
        assert!(text.contains("No such file"), "{text}");
    }

    #[tokio::test]
    async fn a_program_past_its_deadline_is_stopped() {
        let error = run("sleep", &["60"], Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ExecError::TooSlow { .. }), "{error}");
    }
}
