//! Whether the router lives: it says so every few seconds, by a byte on its standard output.
//!
//! What is counted are looks and not seconds: a machine that gets no processor for a while has not looked either.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// How often the router says that it lives.
pub(crate) const BEAT: Duration = Duration::from_secs(2);

/// How many looks in a row may find nothing: 30 seconds, which is longer than anything that the router does at a stretch.
pub(super) const LOOKS: u32 = 150;

/// What the router says.
#[derive(Debug)]
pub(super) struct Heart {
    pulse: PipeReader,
    /// How many looks in a row may still find nothing.
    left: u32,
    looks: u32,
}

impl Heart {
    /// Listens to the other end of what the router writes to, and gives it up after so many looks.
    pub(super) fn new(pulse: PipeReader, looks: u32) -> io::Result<Self> {
        fcntl(&pulse, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pulse, left: looks, looks })
    }

    /// Looks once. Whether it can still be believed that the router lives.
    pub(super) fn beats(&mut self) -> bool {
        // More than it says between two looks. Nothing at all is read from one that has closed it: it ends.
        let mut said = [0; 64];
        let has_said = self.pulse.read(&mut said).is_ok_and(|count| count > 0);
        self.left = if has_said { self.looks } else { self.left.saturating_sub(1) };
        self.left > 0
    }
}

/// A device that resets the machine when it is not written to for a minute or less, if the machine has one
/// (Documentation/watchdog/watchdog-api.rst). It helps against a first process that hangs itself.
#[derive(Debug)]
pub(super) struct Watchdog(Option<File>);

impl Watchdog {
    /// Begins, if there is one.
    pub(super) fn open() -> Self {
        Self(OpenOptions::new().write(true).open("/dev/watchdog").ok())
    }

    /// Says that this process lives.
    pub(super) fn pet(&mut self) {
        if let Some(device) = &mut self.0 {
            // One that does not take it resets the machine, as it should.
            let _ = device.write_all(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_is_given_up_after_so_many_looks_without_a_beat() {
        let (pulse, mut router) = io::pipe().unwrap();
        let mut heart = Heart::new(pulse, 3).unwrap();
        let beats: Vec<bool> = [true, false, false, true, false, false, false]
            .into_iter()
            .map(|says| {
                if says {
                    router.write_all(b"\n\n").unwrap();
                }
                heart.beats()
            })
            .collect();
        assert_eq!(beats, [true, true, true, true, true, true, false]);
    }
}
