//! Running a program where the program is the interface (apt-get, mkfs.vfat, dpkg-deb): never through a shell, in an
//! environment that does not depend on the user, with a deadline, and with an error that says all there is to say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tools;

/// How long a program may take unless the caller says otherwise: far beyond the slowest of them on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// How long one that is ended may take to clean up.
const GRACE: Duration = Duration::from_secs(20);

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
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
        status: ExitStatus,
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

/// A program with its arguments, ready to run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    deadline: Duration,
}

impl Program {
    /// A program of this name, looked for where the shell would, and in the folders of system programs.
    pub fn new(name: &str) -> Self {
        let mut command = Command::new(tools::find(name).unwrap_or_else(|| PathBuf::from(name)));
        command
            .env("PATH", tools::search_path())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("MTOOLSRC", "/dev/null")
            .env("MTOOLS_SKIP_CHECK", "1")
            .env_remove("RUSTFLAGS")
            // Who builds templates may have theirs looked at by another compiler; these are made by the plain one.
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command, deadline: DEADLINE }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.command.arg(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Has it take this for the time of its outputs.
    pub fn epoch(self, epoch: u64) -> Self {
        self.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("E2FSPROGS_FAKE_TIME", epoch.to_string())
    }

    /// Runs it in this folder.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it so long.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end and gives what it wrote to standard output.
    ///
    /// # Errors
    /// See [`ProgramError`].
    pub fn run(mut self) -> Result<String, ProgramError> {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let command = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let start = |source| ProgramError::Start {
            program: command.split(' ').next().unwrap_or_default().to_owned(),
            source,
        };
        let child = self.command.spawn().map_err(start)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        // One message at most is ever sent.
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(self.deadline) else {
            // It may have others to end and mounts to undo. If it ended just now there is nothing to kill, which is as good.
            let _ = kill(pid, Signal::SIGTERM);
            if receiver.recv_timeout(GRACE).is_err() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            return Err(ProgramError::TooSlow { command, deadline: self.deadline });
        };
        let output = output.map_err(start)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ProgramError::Failed { command, status: output.status, stderr });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_its_status_and_what_it_said() {
        let text = Program::new("ls").arg("/no such folder").run().unwrap_err().to_string();
        assert!(text.contains("ls /no such folder failed (exit status: 2)"), "{text}");
        assert!(text.contains("No such file"), "{text}");
    }

    #[test]
    fn a_program_past_its_deadline_is_stopped() {
        let error = Program::new("sleep").arg("60").deadline(Duration::from_millis(50)).run().unwrap_err();
        assert!(matches!(error, ProgramError::TooSlow { .. }), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = Program::new("no-such-program").run().unwrap_err();
        assert_eq!(error.to_string(), "cannot start no-such-program");
    }
}
