//! A connection to a process of haproxy that takes commands (management guide, 9.3).
//!
//! It is kept for as long as the process lives: one that is about to end takes no new ones, and what its last connections
//! of clients have moved is still to be counted.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may take. haproxy answers in a millisecond, unless its processor is another's.
const PATIENCE: Duration = Duration::from_secs(5);

/// What comes after each answer in the interactive mode.
const PROMPT: &[u8] = b"\n> ";

/// The longest answer: some 150 bytes for each of 4,096 places.
const LONGEST: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Admin(BufReader<UnixStream>);

impl Admin {
    pub(super) async fn open(socket: &Path) -> io::Result<Self> {
        let mut admin = Self(BufReader::new(UnixStream::connect(socket).await?));
        admin.ask("prompt").await?;
        Ok(admin)
    }

    /// The answer to a command of one line.
    pub(super) async fn ask(&mut self, command: &str) -> io::Result<String> {
        timeout(PATIENCE, self.exchange(command)).await?
    }

    async fn exchange(&mut self, command: &str) -> io::Result<String> {
        self.0.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(PROMPT) {
            let read = self.0.read_until(b' ', &mut answer).await?;
            if read == 0 || answer.len() > LONGEST {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        answer.truncate(answer.len() - PROMPT.len());
        String::from_utf8(answer).map_err(io::Error::other)
    }
}
