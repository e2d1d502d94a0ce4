//! The log: a ring in memory, as there is no disk, and the console besides.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_appliance_api::{LogLine, Logs};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines are kept.
const KEPT: usize = 256 << 10;

/// The longest line that is kept whole, in bytes.
const LONGEST: usize = 4 << 10;

/// The ring. Clones are the same ring.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ring(Arc<Mutex<Lines>>);

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one record to the ring and the console.
#[derive(Debug)]
pub(crate) struct Line(Ring);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        String::from_utf8_lossy(bytes).lines().for_each(|line| self.0.push(line));
        // The console may be gone; the ring has it.
        let _ = io::stderr().write_all(bytes);
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
