//! The codec against real servers of Debian: QEMU, TigerVNC's Xvnc, and x11vnc on Xvfb. Sockets and TLS are here, for the
//! codec has none. What is missing is named, and a failure where `PODZOL_MUST_RUN` is set, as it is in CI.
//!
//! `PODZOL_RECORD=FOLDER` keeps what servers send, to be chosen from for `tests/corpus`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod guest;
mod line;
mod qemu;
mod qmp;
mod server;
mod tls;
mod viewer;
mod x11;
mod x11vnc;
mod xvnc;
