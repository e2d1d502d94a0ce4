//! The power button (ACPI, seen through evdev) and Ctrl-Alt-Del (seen as a signal).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use crate::console::Console;
use crate::machine::{self, Power};

/// `struct input_event` on 64 bit: two 8 byte times, then type, code (2 bytes each) and value (4 bytes).
const EVENT_SIZE: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// Starts the watching thread. To be called before any other thread starts, as it sets the signal mask.
pub(crate) fn watch(console: Console) {
    let signals =
        machine::ctrl_alt_del().map_err(|error| console.note(&format!("ctrl-alt-del: {error}"))).ok();
    let inputs = open_inputs().unwrap_or_else(|error| {
        console.note(&format!("no power button: {error}"));
        Vec::new()
    });
    thread::spawn(move || match wait(signals.as_ref(), inputs) {
        Ok(action) => stop(&console, action),
        Err(error) => console.note(&format!("buttons: {error}")),
    });
}

/// Says what happens, then does it. Returns only if the kernel refuses.
pub(crate) fn stop(console: &Console, action: Power) {
    console.say(match action {
        Power::Off => "tiny poweroff",
        Power::Reboot => "tiny reboot",
    });
    console.drain();
    console.note(&format!("power: {}", machine::power(action)));
}

fn open_inputs() -> io::Result<Vec<File>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir("/dev/input")? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"event") {
            inputs.push(File::open(entry.path())?);
        }
    }
    Ok(inputs)
}

/// Waits for the power button or the signal.
fn wait(signals: Option<&SignalFd>, mut inputs: Vec<File>) -> io::Result<Power> {
    loop {
        let ready = ready(signals, &inputs)?;
        if ready[inputs.len()..].contains(&true) {
            return Ok(Power::Reboot);
        }
        for index in (0..inputs.len()).rev().filter(|index| ready[*index]) {
            match power_key(&mut inputs[index]) {
                Ok(true) => return Ok(Power::Off),
                Ok(false) => {}
                // The device was unplugged.
                Err(_) => drop(inputs.swap_remove(index)),
            }
        }
    }
}

/// Waits until something can be read, and says what: the inputs in their order, then the signals.
fn ready(signals: Option<&SignalFd>, inputs: &[File]) -> io::Result<Vec<bool>> {
    let sources = inputs.iter().map(AsFd::as_fd).chain(signals.map(AsFd::as_fd));
    let mut polls: Vec<PollFd<'_>> = sources.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
    while let Err(error) = poll(&mut polls, PollTimeout::NONE) {
        if error != Errno::EINTR {
            return Err(error.into());
        }
    }
    Ok(polls.iter().map(|poll| poll.any().unwrap_or(false)).collect())
}

/// Reads the waiting events of one device; true if the power key went down.
fn power_key(input: &mut File) -> io::Result<bool> {
    let mut buffer = [0_u8; EVENT_SIZE * 16];
    let count = input.read(&mut buffer)?;
    Ok(buffer[..count].chunks_exact(EVENT_SIZE).any(is_power_press))
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
        assert!(!is_power_press(&event));
        event[20] = 1;
        assert!(is_power_press(&event));
        event[18] = 30;
        assert!(!is_power_press(&event));
    }
}
