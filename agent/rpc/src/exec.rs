//! Running a program where the program is the interface (exportfs, mount, systemctl): with a deadline, never through a
//! shell, and with an error that says all there is to say.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

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
    run_with_input(program, arguments, "", deadline).await
}

/// As [`run`], with this text as its standard input.
///
/// # Errors
/// See [`ExecError`].
pub async fn run_with_input(
    program: &str,
    arguments: &[&str],
    input: &str,
    deadline: Duration,
) -> Result<String, ExecError> {
    let command = || format!("{program} {}", arguments.join(" "));
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ExecError::Start { program: program.to_owned(), source })?;
    let stdin = child.stdin.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A program that has read enough says so by its status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let work = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = match tokio::time::timeout(deadline, work).await {
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
    async fn a_program_reads_what_it_is_given() {
        let text = "x".repeat(1 << 20);
        let read = run_with_input("cat", &[], &text, Duration::from_secs(20)).await.unwrap();
        assert!(read == text);
        // One that reads nothing ends well all the same.
        run_with_input("true", &[], &text, Duration::from_secs(20)).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_past_its_deadline_is_stopped() {
        let error = run("sleep", &["60"], Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ExecError::TooSlow { .. }), "{error}");
    }
}
