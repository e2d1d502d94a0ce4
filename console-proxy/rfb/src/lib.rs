//! RFB 3.8, the protocol of VNC, as a client speaks it (RFC 6143, and the extensions that the community's
//! [rfbproto](https://github.com/rfbproto/rfbproto) describes).
//!
//! [`Client`] is a pure machine: a server's bytes go in, [`Event`]s and bytes for the server come out, and pixels are written
//! into a [`Frame`] of the caller. Bytes may come in pieces of any size: what happens is always the same.
//!
//! It knows no sockets, no TLS and no clock. Where VeNCrypt wants TLS, it asks its caller to begin it and goes on within.
//! It does not know what a VM or a browser is, and it does not decide when to ask for the next update.
//!
//! - **A server is not trusted.** Rectangles are within the desktop, lengths within what their contents can need; what waits
//!   for its end has at most [`MAX_BUFFERED`] bytes, pixels are the caller's, images are as large as their rectangle. Whatever
//!   breaks a rule ends the connection with an [`Error`] that names the message and the rule.
//! - **What was not asked for is refused**, so a client that asks for Hextile alone runs no decoder of images.
//! - **No rectangle allocates**, but for images of JPEG and PNG, whose libraries do. Streams are made when first used.
//!
//! # Design notes
//! - There is one format of pixels, which this client sets before it asks for any: 32 bits, `0x00RRGGBB`. No server refuses
//!   it, decoders have no branches for others, and maps of colours mean nothing.
//! - Events are taken one by one instead of being collected in a list or given to callbacks: the caller can change its frame
//!   between them when the desktop's size changes, and a server cannot make a list long.
//! - No crate of crates.io was complete enough: vnc-rs lacks Hextile, scancodes and TLS and allocates for each rectangle.
//! - Not there: versions before 3.8, RRE and CoRRE, H.264, audio, fences and continuous updates (QEMU has none of them).

mod client;
mod config;
mod decode;
mod encoding;
mod error;
mod event;
mod frame;
mod handshake;
mod input;
mod message;
mod session;

pub use client::Client;
pub use config::{Certificate, Config, Limits, Security};
pub use encoding::Encoding;
pub use error::{Error, FrameError, Message, Rule, SendError};
pub use event::{
    Clipboard, Contents, Cursor, Denial, Desktop, Event, Leds, Origin, PointerMode, Screen, Xvp,
};
pub use frame::{Frame, Rect, Size};
pub use message::{ClientMessage, Power, Press};
pub use session::Extensions;

/// The most bytes of one message that wait for its end: an image's, whose length has 22 bits.
pub const MAX_BUFFERED: usize = 1 << 22;
