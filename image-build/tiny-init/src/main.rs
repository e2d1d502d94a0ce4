//! PID 1 of the tiny test VM.
//!
//! It converges once, to what its NoCloud drive says: modules loaded, links up with their addresses and routes, its name
//! served over TCP, and simple commands answered on the serial console. Without a drive it asks for DHCP on every link.
//!
//! It knows neither Podzol nor a disk: nothing that it does outlives a power-off. Nothing in it is fatal either. What
//! goes wrong becomes a `tiny note …` line on the console, because a VM that can still say so is worth more than a
//! kernel panic.
//!
//! The same program is the lease script of `udhcpc`: when it is not PID 1, it takes that role. The image has no dynamic
//! loader, so `podzol-image` builds it as a static program; an ordinary build of the workspace is good for the tests only.

mod boot;
mod buttons;
mod cidata;
mod config;
mod console;
mod dhcp;
mod machine;
mod net;
mod netlink;
mod ping;
mod service;
mod sys;
mod yaml;

use std::process::ExitCode;
use std::thread;

use console::Console;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        return dhcp::script_main();
    }
    run();
    // PID 1 must never return: the kernel would panic. The console loop ends only when the serial port is gone.
    loop {
        thread::park();
    }
}

/// Brings the machine up, says that it is ready, then answers the console until power-off.
fn run() {
    let early_notes = boot::prepare();
    let console = Console::open();
    early_notes.iter().for_each(|note| console.note(note));
    // The buttons come first, so that a slow network never delays a power-off.
    buttons::watch(console.clone());

    let settings = cidata::load().unwrap_or_else(|error| {
        console.note(&format!("no config drive: {error}; trying DHCP"));
        config::Settings::default()
    });
    if let Err(error) = machine::set_hostname(&settings.hostname) {
        console.note(&format!("hostname: {error}"));
    }
    net::apply(&settings).iter().for_each(|note| console.note(note));
    service::start().iter().for_each(|note| console.note(note));
    if let Some(script) = settings.script() {
        console.say(&format!("tiny user-data {}", console::run_script(script)));
    }
    console.say(&format!("tiny ready {}", machine::hostname()));
    console.serve();
}
