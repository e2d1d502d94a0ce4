//! The log: a ring in memory, as there is no disk, and the console besides.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use podzol_appliance_api::{LogLine, Logs};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines are kept.
const KEPT: usize = 256 << 10;

/// The longest line that is kept whole, in bytes.
const LONGEST: usize = 4 << 10;

/// How many records wait for a console that does not take them; more are lost there, and are in the ring only.
const WAITING: usize = 256;

/// The ring. Clones are the same ring.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    kept: Arc<Mutex<Lines>>,
    console: SyncSender<Vec<u8>>,
}

impl Default for Ring {
    /// An empty one, and a thread that writes to the console: that may take as long as it likes, and nobody waits for it.
    fn default() -> Self {
        let (console, records) = sync_channel::<Vec<u8>>(WAITING);
        thread::spawn(move || records.iter().try_for_each(|record| io::stderr().write_all(&record)));
        Self { kept: Arc::default(), console }
    }
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

impl Ring {
    /// What is in it.
    pub(crate) fn logs(&self) -> Logs {
        let kept = self.lines();
        let numbered = kept.lines.iter().zip(kept.dropped..);
        let lines = numbered.map(|(text, number)| LogLine { number, text: text.clone() }).collect();
        Logs { lines, dropped: kept.dropped }
    }

    fn push(&self, line: &str) {
        let mut kept = self.lines();
        let line: String = line.chars().take(LONGEST).collect();
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.bytes > KEPT {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len();
            kept.dropped += 1;
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one record to the ring and the console.
#[derive(Debug)]
pub(crate) struct Line(Ring);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        String::from_utf8_lossy(bytes).lines().for_each(|line| self.0.push(line));
        let _ = self.0.console.try_send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Ring {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_numbered() {
        let ring = Ring::default();
        for number in 0..10_000 {
            ring.push(&format!("{number:099}"));
        }
        let logs = ring.logs();
        assert_eq!(logs.lines.len(), KEPT / 99);
        assert_eq!(logs.dropped, 10_000 - logs.lines.len() as u64);
        let last = logs.lines.last().unwrap();
        assert_eq!((last.number, last.text.as_str()), (9999, format!("{:099}", 9999).as_str()));
    }

    #[test]
    fn a_long_line_is_cut() {
        let ring = Ring::default();
        ring.push(&"x".repeat(1 << 20));
        assert_eq!(ring.logs().lines[0].text.len(), LONGEST);
    }
}
