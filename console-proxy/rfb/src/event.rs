//! What a server has done, as the caller hears of it.

use crate::config::Certificate;
use crate::frame::{Rect, Size};

/// Something that has happened. Pixels of [`Painted`](Self::Painted) and [`Copied`](Self::Copied) are in the frame already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A TLS handshake is to be made on the line now; [`Client::tls_started`](crate::Client::tls_started) goes on after it.
    StartTls(Certificate),
    /// The handshake is over. From now on frames must have this size.
    Connected {
        /// The desktop's size.
        size: Size,
        /// The desktop's name.
        name: String,
    },
    /// These pixels are new.
    Painted(Rect),
    /// These pixels are new, and were elsewhere before.
    Copied {
        /// The column and row where they begin.
        from: (u16, u16),
        /// Where they are now.
        to: Rect,
    },
    /// An update is complete: what is in the frame belongs together, and the next one may be asked for.
    UpdateEnd,
    /// The desktop's size or its screens, which need not be others than before. Where the size is another one, pixels should
    /// be kept as far as they fit, and all be asked for: but only then, as servers answer that with this event again.
    Desktop(Desktop),
    /// The desktop's name.
    Name(String),
    /// The cursor's shape; none if there is no cursor to be seen.
    Cursor(Option<Cursor>),
    /// What the pointer's coordinates mean from now on.
    Pointer(PointerMode),
    /// The server takes scancodes.
    ExtendedKeys,
    /// The keyboard's lights.
    Leds(Leds),
    /// RFC 6143, 7.6.3.
    Bell,
    /// The server's clipboard.
    Clipboard(Clipboard),
    /// Power control.
    Xvp(Xvp),
}

/// A desktop's size and screens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desktop {
    /// The size that frames must have from now on.
    pub size: Size,
    /// Who changed it.
    pub origin: Origin,
    /// Its screens; empty if the server does not tell.
    pub screens: Vec<Screen>,
}

/// Who changed a desktop, or tried to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The server, or nobody: it is told so that the client knows.
    Server,
    /// This client, as it has asked.
    Asked,
    /// This client has asked, but nothing has changed.
    Denied(Denial),
    /// Another client.
    OtherClient,
}

/// Why a desktop has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It is not allowed.
    Prohibited,
    /// The server has not enough of something.
    OutOfResources,
    /// Such a desktop cannot be.
    Invalid,
    /// It may still happen: it was passed on, as QEMU does to its guest.
    Forwarded,
    /// A reason that is not known here.
    Other(u16),
}

/// A screen of a desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// What it is called as long as it lives.
    pub id: u32,
    /// Which part of the desktop it shows.
    pub area: Rect,
    /// To be kept as they are.
    pub flags: u32,
}

/// A cursor's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The column and row of the pixel that points.
    pub hotspot: (u16, u16),
    /// Its size.
    pub size: Size,
    /// Row by row, `0xAARRGGBB`; colours are multiplied with their alpha already.
    pub pixels: Vec<u32>,
}

/// What a pointer's coordinates mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PointerMode {
    /// A place of the desktop.
    #[default]
    Absolute,
    /// A move from where the pointer is.
    Relative,
}

/// A keyboard's lights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leds {
    /// Scroll Lock.
    pub scroll: bool,
    /// Num Lock.
    pub num: bool,
    /// Caps Lock.
    pub caps: bool,
}

/// What a server says of its clipboard, or of this client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clipboard {
    /// Its text, with line feeds alone at the ends of lines.
    Text(String),
    /// Its text is longer than this client takes.
    TooLong,
    /// The server understands the extended clipboard.
    Extended,
    /// It has other contents: text, or nothing that is known here. Text can be asked for.
    Changed(Contents),
    /// It wants to be told whether this client has text.
    Peek,
    /// It wants this client's text.
    Request,
}

/// What is in a clipboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Text, with or without other forms of it.
    Text,
    /// Nothing, or nothing that is known here.
    Nothing,
}

/// What a server says of power control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xvp {
    /// It can be used.
    Offered,
    /// What was asked for cannot be done.
    Failed,
}
