//! What pages are told as JSON: PROTOCOL.md in Rust.

use podzol_console_proxy_api::{Line, Rights};
use podzol_vocab::{ConsoleSessionId, VmId};
use serde::Serialize;

use crate::input::batch::{MAX_BATCH, MAX_CLIPBOARD};
use crate::limits::{POLLS, SERIAL_BYTES, WAIT};

/// The answer to whoever gets a viewer.
#[derive(Debug, Serialize)]
pub(crate) struct Opened<'a> {
    pub(crate) protocol: u8,
    pub(crate) session: ConsoleSessionId,
    pub(crate) viewer: &'a str,
    pub(crate) vm: VmTold<'a>,
    pub(crate) rights: Rights,
    pub(crate) resume: ResumeTold<'a>,
    pub(crate) limits: LimitsTold,
    pub(crate) state: State,
}

#[derive(Debug, Serialize)]
pub(crate) struct VmTold<'a> {
    pub(crate) id: VmId,
    pub(crate) name: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct ResumeTold<'a> {
    pub(crate) url: &'a str,
    pub(crate) token: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct LimitsTold {
    batch_bytes: usize,
    clipboard_bytes: usize,
    polls: usize,
    wait_secs: u64,
    serial_bytes: usize,
}

impl LimitsTold {
    pub(crate) const ALL: Self = Self {
        batch_bytes: MAX_BATCH,
        clipboard_bytes: MAX_CLIPBOARD,
        polls: POLLS,
        wait_secs: WAIT.as_secs(),
        serial_bytes: SERIAL_BYTES,
    };
}

/// The state of a page's session and of the VM's display.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct State {
    pub(crate) number: u64,
    pub(crate) line: LineTold,
    pub(crate) reason: Option<String>,
    pub(crate) rights: Rights,
    pub(crate) keys: Keys,
    pub(crate) pointer: Pointer,
    pub(crate) leds: Option<Leds>,
    pub(crate) bells: u32,
    pub(crate) clipboard: ClipboardTold,
    pub(crate) serial: SerialTold,
    pub(crate) viewers: Vec<ViewerTold>,
    pub(crate) now: u64,
    pub(crate) ends: u64,
    pub(crate) idle_ends: u64,
    pub(crate) draining: bool,
}

/// The way to the display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineTold {
    #[default]
    Connecting,
    On,
    Waiting,
    Off,
}

impl From<LineTold> for Line {
    fn from(line: LineTold) -> Self {
        match line {
            LineTold::Connecting => Self::Connecting,
            LineTold::On => Self::On,
            LineTold::Waiting => Self::Waiting,
            LineTold::Off => Self::Off,
        }
    }
}

/// What of a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Keys {
    #[default]
    Scancodes,
    Keysyms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pointer {
    #[default]
    Absolute,
    Relative,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Leds {
    pub(crate) caps: bool,
    pub(crate) num: bool,
    pub(crate) scroll: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct ClipboardTold {
    pub(crate) number: u32,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SerialTold {
    On,
    Waiting,
    #[default]
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ViewerTold {
    pub(crate) name: String,
    pub(crate) rights: Rights,
    pub(crate) you: bool,
    pub(crate) sessions_own: bool,
}

/// How much of what a page sends was applied.
#[derive(Debug, Serialize)]
pub(crate) struct Applied {
    pub(crate) applied: u64,
}
