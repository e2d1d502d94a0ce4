//! What a client says: messages and their bytes (RFC 6143, 7.5, and extensions in rfbproto).

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::event::{Contents, Screen};
use crate::frame::{Rect, Size};

/// The offset of coordinates that are moves: 0x7fff is no move.
const NO_MOVE: i32 = 0x7fff;

/// Formats and actions of the extended clipboard.
pub(crate) mod clipboard {
    pub(crate) const TEXT: u32 = 1;
    pub(crate) const CAPS: u32 = 1 << 24;
    pub(crate) const REQUEST: u32 = 1 << 25;
    pub(crate) const PEEK: u32 = 1 << 26;
    pub(crate) const NOTIFY: u32 = 1 << 27;
    pub(crate) const PROVIDE: u32 = 1 << 28;
    pub(crate) const ACTIONS: u32 = 0xff << 24;
}

/// A message to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Ask for pixels: once, what has changed or will change next (RFC 6143, 7.5.3).
    Changes(Rect),
    /// Ask for all pixels of a rectangle, changed or not.
    All(Rect),
    /// A key by its X11 keysym (7.5.4).
    Key {
        /// Whether it goes down or up.
        press: Press,
        /// Its symbol in the user's layout.
        keysym: u32,
    },
    /// A key by its place on the keyboard, and its keysym or zero. Needs [`ExtendedKeys`](crate::Event::ExtendedKeys).
    Scancode {
        /// Whether it goes down or up.
        press: Press,
        /// Its symbol in the user's layout.
        keysym: u32,
        /// PC scancode of set 1; a prefix of 0xe0 becomes the bit 0x80.
        scancode: u32,
    },
    /// The pointer is at a place (7.5.5). Bits of buttons: left, middle, right, wheel up, down, left, right.
    Pointer {
        /// Bits of the buttons that are down.
        buttons: u8,
        /// Column.
        x: u16,
        /// Row.
        y: u16,
    },
    /// The pointer moves, where the server's pointer is [relative](crate::PointerMode::Relative).
    Move {
        /// Bits of the buttons that are down.
        buttons: u8,
        /// To the right.
        dx: i16,
        /// Down.
        dy: i16,
    },
    /// This client's clipboard in full (7.5.6): what is not in Latin-1 becomes a question mark.
    CutText(&'a str),
    /// This client's clipboard has other contents. Needs the extended clipboard, as the next three.
    ClipboardChanged(Contents),
    /// Ask for the server's text.
    ClipboardRequest,
    /// Ask what is in the server's clipboard.
    ClipboardPeek,
    /// This client's text, when it was asked for.
    ClipboardText(&'a str),
    /// Press a button of the machine. Needs [`Xvp`](crate::Event::Xvp).
    Power(Power),
    /// Ask for another size and other screens. Needs [`Desktop`](crate::Event::Desktop) with screens.
    Resize {
        /// The desktop's size.
        size: Size,
        /// Its screens: at most 255.
        screens: &'a [Screen],
    },
}

/// Whether a key goes down or up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Press {
    /// It goes up.
    Up,
    /// It goes down, or is held.
    Down,
}

/// What power control can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    /// Ask the system to shut down.
    Shutdown = 2,
    /// Ask the system to start again.
    Reboot = 3,
    /// Start again, without asking.
    Reset = 4,
}

impl ClientMessage<'_> {
    /// Appends its bytes.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Changes(rect) => update_request(out, 1, rect),
            Self::All(rect) => update_request(out, 0, rect),
            Self::Key { press, keysym } => {
                out.extend([4, press as u8, 0, 0]);
                out.extend(keysym.to_be_bytes());
            }
            Self::Scancode { press, keysym, scancode } => {
                out.extend([255, 0, 0, press as u8]);
                out.extend(keysym.to_be_bytes());
                out.extend(scancode.to_be_bytes());
            }
            Self::Pointer { buttons, x, y } => pointer(out, buttons, x, y),
            Self::Move { buttons, dx, dy } => pointer(out, buttons, moved(dx), moved(dy)),
            Self::CutText(text) => cut_text(out, text),
            Self::ClipboardChanged(contents) => clipboard_changed(out, contents),
            Self::ClipboardRequest => extended(out, clipboard::REQUEST | clipboard::TEXT, &[]),
            Self::ClipboardPeek => extended(out, clipboard::PEEK, &[]),
            Self::ClipboardText(text) => {
                extended(out, clipboard::PROVIDE | clipboard::TEXT, &packed(text));
            }
            Self::Power(power) => out.extend([250, 0, 1, power as u8]),
            Self::Resize { size, screens } => resize(out, size, screens),
        }
    }
}

/// Says what this client can do with the extended clipboard: text of any length, but only when it has asked for it.
pub(crate) fn clipboard_caps(out: &mut Vec<u8>) {
    use clipboard::{CAPS, NOTIFY, PEEK, PROVIDE, REQUEST, TEXT};
    extended(out, CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | TEXT, &0_u32.to_be_bytes());
}

fn update_request(out: &mut Vec<u8>, incremental: u8, rect: Rect) {
    out.extend([3, incremental]);
    [rect.x, rect.y, rect.width, rect.height].iter().for_each(|value| out.extend(value.to_be_bytes()));
}

fn pointer(out: &mut Vec<u8>, buttons: u8, x: u16, y: u16) {
    out.extend([5, buttons]);
    [x, y].iter().for_each(|value| out.extend(value.to_be_bytes()));
}

fn moved(by: i16) -> u16 {
    // Both ends are within 16 bits, but for -32768, which becomes the farthest move there is.
    u16::try_from(i32::from(by) + NO_MOVE).unwrap_or(0)
}

fn cut_text(out: &mut Vec<u8>, text: &str) {
    out.extend([6, 0, 0, 0]);
    let place = out.len();
    out.extend([0; 4]);
    out.extend(
        text.chars().filter(|letter| *letter != '\r').map(|letter| u8::try_from(letter).unwrap_or(b'?')),
    );
    let length = u32::try_from(out.len() - place - 4).expect("no clipboard has four gigabytes");
    out[place..place + 4].copy_from_slice(&length.to_be_bytes());
}

fn clipboard_changed(out: &mut Vec<u8>, contents: Contents) {
    let formats = match contents {
        Contents::Text => clipboard::TEXT,
        Contents::Nothing => 0,
    };
    extended(out, clipboard::NOTIFY | formats, &[]);
}

/// A cut text whose negative length says that flags and something packed follow.
fn extended(out: &mut Vec<u8>, flags: u32, rest: &[u8]) {
    let length = i32::try_from(rest.len() + 4).expect("no clipboard has two gigabytes");
    out.extend([6, 0, 0, 0]);
    out.extend((-length).to_be_bytes());
    out.extend(flags.to_be_bytes());
    out.extend(rest);
}

/// Text as the extended clipboard has it: a length, text with CR LF and a zero at its end, packed.
fn packed(text: &str) -> Vec<u8> {
    let mut plain = text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
    plain.push(0);
    let length = u32::try_from(plain.len()).expect("no clipboard has four gigabytes");
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(&length.to_be_bytes()).and_then(|()| encoder.write_all(&plain));
    written.and_then(|()| encoder.finish()).expect("memory takes what is written to it")
}

fn resize(out: &mut Vec<u8>, size: Size, screens: &[Screen]) {
    let screens = &screens[..screens.len().min(255)];
    out.extend([251, 0]);
    [size.width, size.height].iter().for_each(|value| out.extend(value.to_be_bytes()));
    out.extend([screens.len() as u8, 0]);
    for Screen { id, area, flags } in screens {
        out.extend(id.to_be_bytes());
        [area.x, area.y, area.width, area.height].iter().for_each(|value| out.extend(value.to_be_bytes()));
        out.extend(flags.to_be_bytes());
    }
}
