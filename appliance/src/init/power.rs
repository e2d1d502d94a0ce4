//! The power button (ACPI, seen through evdev), and the end of the machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};

/// `struct input_event` on 64 bit: two 8 byte times, then type, code (2 bytes each) and value (4 bytes).
const EVENT_SIZE: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// How a machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// For good.
    Off,
    /// To start again.
    Reboot,
}

/// Has the kernel leave Ctrl-Alt-Del to this program, which does nothing at it.
pub(super) fn ignore_ctrl_alt_del() -> nix::Result<()> {
    nix::sys::reboot::set_cad_enabled(false)
}

/// Stops the machine. It comes back with the reason if the kernel refuses.
pub(super) fn act(action: Power) -> Errno {
    let mode = match action {
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Reboot => RebootMode::RB_AUTOBOOT,
    };
    match reboot(mode) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The power button.
#[derive(Debug)]
pub(super) struct Button {
    presses: Receiver<Power>,
    /// So that waiting goes on where no device could be a button.
    _other_end: Sender<Power>,
}

impl Button {
    /// Watches all input devices, each in a thread of its own.
    pub(super) fn watch(say: fn(&str)) -> Self {
        let (pressed, presses) = channel();
        match inputs() {
            Ok(inputs) => inputs.into_iter().for_each(|input| follow(input, pressed.clone())),
            Err(error) => say(&format!("there is no power button: {error}")),
        }
        Self { presses, _other_end: pressed }
    }

    /// Waits so long for a press.
    pub(super) fn wait(&self, longest: Duration) -> Option<Power> {
        self.presses.recv_timeout(longest).ok()
    }
}

/// Those that can be opened.
fn inputs() -> io::Result<Vec<File>> {
    let entries = fs::read_dir("/dev/input")?.flatten();
    let events = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"event"));
    Ok(events.filter_map(|entry| File::open(entry.path()).ok()).collect())
}

fn follow(mut input: File, pressed: Sender<Power>) {
    thread::spawn(move || {
        let mut buffer = [0; EVENT_SIZE * 16];
        while let Ok(count) = input.read(&mut buffer) {
            let is_pressed = buffer[..count].chunks_exact(EVENT_SIZE).any(is_power_press);
            if count == 0 || (is_pressed && pressed.send(Power::Off).is_err()) {
                return;
            }
        }
    });
}

fn is_power_press(event: &[u8]) -> bool {
    let short = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    short(16) == EV_KEY && short(18) == KEY_POWER && event[20] == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let mut event = [0_u8; EVENT_SIZE];
        event[16] = 1;
        event[18] = 116;
        assert!(!is_power_press(&event), "released");
        event[20] = 1;
        assert!(is_power_press(&event));
        event[18] = 30;
        assert!(!is_power_press(&event), "another key");
    }
}
