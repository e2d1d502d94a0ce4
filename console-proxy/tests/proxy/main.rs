//! The proxy with real parts around it: the management service's calls and a host's streams over mutual TLS, browsers' requests
//! over TLS in both versions of HTTP, and QEMU's displays or a display that notes what it is told.

#![allow(clippy::unwrap_used, reason = "in a test an error is a panic, in its helpers too")]

mod bodies;
mod browser;
mod entry;
mod grants;
#[path = "../../rfb/tests/servers/guest.rs"]
mod guest;
mod host;
mod hostile;
mod input;
mod installation;
mod line;
mod lives;
mod measure;
mod noting;
mod pictures;
mod polls;
mod program;
mod qemu;
mod restart;
mod serial;
mod show;
mod strangers;
mod wait;
