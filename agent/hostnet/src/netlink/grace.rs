//! How the kernel waits while links are removed.
//!
//! For a bridge port and for a bridge that goes, the kernel waits until no processor can still see it, with its lock on
//! all network configuration held: some 10 ms each, unless the host's switch `rcu_expedited` is set
//! (admin-guide/kernel-parameters), with which it interrupts the processors instead and waits well under 1 ms. Where it
//! can choose by itself under that lock, the kernel hurries too (`synchronize_net`).
//!
//! The switch is the whole host's, so it is set only while several links go, and a note on disk says so meanwhile: a
//! crash in between leaves the note, and the next start puts the switch back.

use std::io;
use std::path::{Path, PathBuf};

const SWITCH: &str = "/sys/kernel/rcu_expedited";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The host's switch, and where it is noted that it is set.
#[derive(Debug)]
pub(super) struct Hurry {
    note: PathBuf,
}

impl Hurry {
    /// Puts the switch back if the note says that it was left set since this start of the host.
    pub(super) fn new(note: PathBuf) -> io::Result<Self> {
        match std::fs::read(&note) {
            Ok(boot) if boot == std::fs::read(BOOT)? => put_back(&note)?,
            Ok(_) => std::fs::remove_file(&note)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { note })
    }

    /// Sets the switch until the answer is dropped. A switch that is set already stays as it is; one that is missing or
    /// cannot be set, or a note that cannot be written, only means slow removals.
    pub(super) fn begin(&self) -> Option<Hurried<'_>> {
        if std::fs::read_to_string(SWITCH).ok()?.trim() != "0" {
            return None;
        }
        std::fs::write(&self.note, std::fs::read(BOOT).ok()?).ok()?;
        if std::fs::write(SWITCH, "1").is_err() {
            // A note without the switch is no harm: the next start sets what is set already.
            let _ = std::fs::remove_file(&self.note);
            return None;
        }
        Some(Hurried { note: &self.note })
    }
}

/// The switch is set.
pub(super) struct Hurried<'a> {
    note: &'a Path,
}

impl Drop for Hurried<'_> {
    fn drop(&mut self) {
        // The note stays if it fails, so the next start tries again.
        if let Err(error) = put_back(self.note) {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not put {SWITCH} back");
        }
    }
}

fn put_back(note: &Path) -> io::Result<()> {
    std::fs::write(SWITCH, "0")?;
    std::fs::remove_file(note)
}
