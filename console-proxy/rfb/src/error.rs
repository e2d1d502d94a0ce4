//! What ends a connection, told by the message and the rule that the server broke.

use std::fmt;

use crate::config::Security;
use crate::encoding::Encoding;
use crate::frame::{Rect, Size};

/// Why a connection cannot go on. All but [`Error::Frame`] are final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server broke the protocol.
    #[error("{message}: {rule}")]
    Broken {
        /// Where.
        message: Message,
        /// What it did.
        rule: Rule,
    },
    /// The server does not want this client.
    #[error("the server refuses this client: {reason}")]
    Refused {
        /// What it says about it, in its own words.
        reason: String,
    },
    /// The server and this client allow no security type in common.
    #[error("the server offers the security types {offered:?}, none of which is allowed here")]
    NoSecurity {
        /// Their numbers: of RFB, or VeNCrypt's own.
        offered: Vec<u32>,
    },
    /// The security type needs a password, or a user name too.
    #[error("{security:?} needs credentials, and there are none")]
    NoCredentials {
        /// The security type that the server agreed to.
        security: Security,
    },
    /// The caller's frame is not of the desktop's size; with the right one all goes on.
    #[error("the frame is {frame}, but the desktop {desktop}")]
    Frame {
        /// What was given.
        frame: Size,
        /// What it must be.
        desktop: Size,
    },
    /// Bytes were given or asked for after an error.
    #[error("this connection has failed before")]
    Failed,
}

/// A part of the protocol, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// RFC 6143, 7.1.1.
    ProtocolVersion,
    /// RFC 6143, 7.1.2.
    SecurityTypes,
    /// The VeNCrypt security type.
    VeNCrypt,
    /// RFC 6143, 7.1.3.
    SecurityResult,
    /// RFC 6143, 7.3.2.
    ServerInit,
    /// Whatever has a type that is not known.
    Unknown,
    /// RFC 6143, 7.6.1.
    FramebufferUpdate,
    /// A rectangle of an update.
    Rectangle(Encoding),
    /// RFC 6143, 7.6.4, and Extended Clipboard.
    ServerCutText,
    /// The server's part of xvp.
    Xvp,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rectangle(encoding) => write!(f, "{encoding:?} rectangle"),
            Self::Unknown => f.write_str("message"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A rule that a server has broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The first bytes are no version of RFB.
    #[error("this is no RFB server")]
    NotRfb,
    /// Versions before 3.8.
    #[error("version 3.{0} is older than 3.8")]
    TooOld(u16),
    /// A version of VeNCrypt that is not 0.2.
    #[error("version {0}.{1} is older than 0.2")]
    TooOldVeNCrypt(u8, u8),
    /// The server does not agree to what it has offered itself.
    #[error("the server does not go on with what it offered (answer {0})")]
    NotAgreed(u8),
    /// Bytes came before the TLS handshake that would protect them.
    #[error("bytes came before TLS has begun")]
    BeforeTls,
    /// An answer that has no meaning.
    #[error("a result {0}, which has no meaning")]
    UnknownResult(u32),
    /// A type of message that is not known.
    #[error("type {0} is not known")]
    UnknownMessage(u8),
    /// An encoding that is not known.
    #[error("encoding {0} is not known")]
    UnknownEncoding(i32),
    /// Something that the client has not asked for.
    #[error("it was not asked for")]
    NotOffered,
    /// A rectangle is outside the desktop.
    #[error("{rect} is not within {desktop}")]
    Outside {
        /// The rectangle.
        rect: Rect,
        /// The desktop.
        desktop: Size,
    },
    /// More bytes than this client takes, or than the thing could need.
    #[error("{length} bytes, {limit} at most are taken")]
    TooLong {
        /// What the server announced.
        length: u64,
        /// What is taken.
        limit: u64,
    },
    /// A desktop or cursor larger than this client takes.
    #[error("{size} has more than {limit} pixels")]
    TooLarge {
        /// What the server announced.
        size: Size,
        /// What is taken.
        limit: u32,
    },
    /// Fewer bytes than the thing needs.
    #[error("{length} bytes are too few")]
    TooShort {
        /// What the server announced.
        length: u64,
    },
    /// A sub-rectangle is outside its tile.
    #[error("a sub-rectangle leaves its tile")]
    Subrectangle,
    /// A way to encode a tile or a rectangle that is not known.
    #[error("sub-encoding {0:#04x} is not known")]
    Subencoding(u8),
    /// A filter that is not known.
    #[error("filter {0} is not known")]
    Filter(u8),
    /// A palette of one colour.
    #[error("a palette of one colour")]
    Palette,
    /// A colour that the palette does not have.
    #[error("colour {index} of a palette of {colours}")]
    Colour {
        /// Which.
        index: u8,
        /// How many there are.
        colours: u16,
    },
    /// A run is longer than what is left of its tile.
    #[error("a run goes on after its tile's end")]
    Run,
    /// The data end before the rectangle is full.
    #[error("its data end before it is full")]
    Missing,
    /// The data go on after the rectangle is full.
    #[error("its data go on after it is full")]
    Excess,
    /// What was packed is broken.
    #[error("the zlib stream is broken")]
    Zlib,
    /// An image is broken.
    #[error("its image is broken: {0}")]
    Image(String),
    /// An image is not of its rectangle's size.
    #[error("its image is {width}x{height}")]
    ImageSize {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// A cursor whose pixels have an encoding that cannot carry them.
    #[error("pixels in encoding {0}; only raw ones are taken")]
    CursorEncoding(i32),
    /// Flags of an extended clipboard message that do not go together.
    #[error("flags {0:#010x} do not go together")]
    Flags(u32),
}

/// Memory that is too small for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{pixels} pixels are not enough for {size} with {stride} from row to row")]
pub struct FrameError {
    /// What the frame should be.
    pub size: Size,
    /// Pixels from row to row.
    pub stride: usize,
    /// What there is.
    pub pixels: usize,
}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The handshake is not over, or the connection has failed.
    #[error("there is no session")]
    NoSession,
    /// The server has not said that it understands it.
    #[error("the server has not said that it understands {0}")]
    NotOffered(&'static str),
}
