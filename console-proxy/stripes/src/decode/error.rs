//! Why a body cannot be applied.

use crate::geometry::{Rect, Size};

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The format's version is not known.
    #[error("version {version} of the format is not known")]
    Version {
        /// The body's first byte.
        version: u8,
    },
    /// Nothing is wrong with it, but it comes after another update than the last one here.
    #[error("the update comes after {base:?}, but the last one here is {have:?}")]
    OutOfOrder {
        /// The last one that was applied.
        have: Option<u32>,
        /// The one that it comes after.
        base: Option<u32>,
    },
    /// It comes after itself or after none.
    #[error("update {number} comes {back} after another one")]
    Base {
        /// Its number.
        number: u32,
        /// How many numbers before it the other one is.
        back: u32,
    },
    /// It begins anew, but there is no desktop in it.
    #[error("the update begins anew without a desktop")]
    NoDesktop,
    /// It ends where something should be.
    #[error("the body ends in the middle")]
    Ended,
    /// There is something after its end.
    #[error("{bytes} bytes come after the body's end")]
    TooLong {
        /// How many bytes.
        bytes: usize,
    },
    /// A number is larger than what it counts can be.
    #[error("a number is larger than {most}")]
    Number {
        /// The most that it can be.
        most: u64,
    },
    /// A desktop is larger than this viewer takes.
    #[error("a desktop of {size} is too large")]
    TooLarge {
        /// Its size.
        size: Size,
    },
    /// A copy leaves the desktop.
    #[error("a copy to {to} leaves the desktop")]
    Copy {
        /// Where to.
        to: Rect,
    },
    /// A tile is not on the desktop, or was painted before by the same body.
    #[error("tile {tile} is not on the desktop, or is there twice")]
    Tile {
        /// Its number.
        tile: u64,
    },
    /// Nothing is in a slot of the cache.
    #[error("nothing is in slot {slot} of the cache")]
    Slot {
        /// Its number.
        slot: i64,
    },
    /// An image has a kind that is not known.
    #[error("images of kind {kind} are not known")]
    Kind {
        /// Its kind.
        kind: u8,
    },
    /// An image cannot be decoded.
    #[error("an image is broken: {reason}")]
    Image {
        /// What the decoder says.
        reason: String,
    },
    /// An image does not have its tiles' size.
    #[error("an image has {width}x{height} pixels, which is not what its tiles have")]
    ImageSize {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
    },
    /// A cursor points to a place outside of it, or is too large.
    #[error("a cursor of {size} cannot be, or cannot point to {hotspot:?}")]
    Cursor {
        /// Its size.
        size: Size,
        /// Where it points.
        hotspot: (u16, u16),
    },
}
