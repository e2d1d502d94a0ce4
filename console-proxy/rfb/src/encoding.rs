//! The encodings that a client asks for: how pixels may come, and which extensions it understands.

/// An encoding or pseudo-encoding (RFC 6143, 7.7 and 7.8; the others are in the community's rfbproto).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Pixels as they are. Servers may send it unasked.
    Raw,
    /// A copy of pixels that the client has already.
    CopyRect,
    /// Tiles of 16x16 pixels, as sub-rectangles of one colour.
    Hextile,
    /// Raw pixels, packed.
    Zlib,
    /// Filtered pixels, packed, or JPEG.
    Tight,
    /// Tiles of 64x64 pixels, as runs or indices of a palette, packed.
    Zrle,
    /// As Tight, but with PNG images instead of packed pixels.
    TightPng,
    /// The cursor's shape with a mask ("rich cursor").
    Cursor,
    /// The cursor's shape with transparency.
    CursorAlpha,
    /// The desktop's size changes.
    DesktopSize,
    /// The desktop's size and screens change, and may be changed.
    ExtendedDesktopSize,
    /// Updates that end before their announced number of rectangles.
    LastRect,
    /// The desktop's name changes.
    DesktopName,
    /// QEMU: the pointer is absolute or relative.
    PointerMode,
    /// QEMU: keys by scancode.
    ExtendedKeys,
    /// QEMU: the keyboard's lights.
    LedState,
    /// VMware's form of the same.
    VmwareLedState,
    /// Power control.
    Xvp,
    /// A clipboard of Unicode text.
    ExtendedClipboard,
    /// JPEG's quality, from 0 to 9. Without it servers send no JPEG.
    Quality(u8),
    /// How hard the server should pack, from 0 to 9. QEMU takes 9 where it is not said, at up to ten times the work.
    Compression(u8),
}

use Encoding::*;

/// Each with its number.
const CODES: [(Encoding, i32); 19] = [
    (Raw, 0),
    (CopyRect, 1),
    (Hextile, 5),
    (Zlib, 6),
    (Tight, 7),
    (Zrle, 16),
    (TightPng, -260),
    (Cursor, -239),
    (CursorAlpha, -314),
    (DesktopSize, -223),
    (ExtendedDesktopSize, -308),
    (LastRect, -224),
    (DesktopName, -307),
    (PointerMode, -257),
    (ExtendedKeys, -258),
    (LedState, -261),
    (VmwareLedState, 0x574d_5668),
    (Xvp, -309),
    (ExtendedClipboard, 0xc0a1_e5ce_u32 as i32),
];

impl Encoding {
    /// All extensions: what may be asked for beside the ways that pixels come.
    pub const EXTENSIONS: &[Self] = &[
        CursorAlpha,
        Cursor,
        ExtendedDesktopSize,
        DesktopSize,
        LastRect,
        DesktopName,
        PointerMode,
        ExtendedKeys,
        LedState,
        VmwareLedState,
        Xvp,
        ExtendedClipboard,
    ];

    /// Next to the server: what costs it and this client the least work. Bytes do not matter.
    pub const NEAR: &[Self] = &[Hextile, CopyRect, Zrle, Raw, Compression(1)];

    /// On a thin line: fewer bytes for work. All of them keep every pixel.
    pub const FAR: &[Self] = &[CopyRect, Zrle, Tight, Hextile, Raw, Compression(1)];

    /// Its number in SetEncodings and in rectangles.
    pub fn code(self) -> i32 {
        match self {
            Quality(level) => -32 + i32::from(level.min(9)),
            Compression(level) => -256 + i32::from(level.min(9)),
            other => CODES.iter().find(|(encoding, _)| *encoding == other).map_or(0, |(_, code)| *code),
        }
    }

    /// Whether its rectangles are pixels of the desktop.
    pub(crate) const fn has_pixels(self) -> bool {
        matches!(self, Raw | CopyRect | Hextile | Zlib | Tight | Zrle | TightPng)
    }

    /// The encoding of a rectangle.
    pub(crate) fn of_rectangle(code: i32) -> Option<Self> {
        CODES.iter().find(|(_, known)| *known == code).map(|(encoding, _)| *encoding)
    }
}

/// What a client has asked for up to now. A server may still be sending what was asked for earlier, so it only grows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offered(u32);

impl Offered {
    /// Adds encodings.
    pub(crate) fn add(&mut self, encodings: &[Encoding]) {
        encodings.iter().for_each(|encoding| self.0 |= bit(*encoding));
    }

    /// Whether a server may use an encoding. Raw it may always (RFC 6143, 7.7.1).
    pub(crate) fn has(self, encoding: Encoding) -> bool {
        encoding == Raw || self.0 & bit(encoding) != 0
    }
}

fn bit(encoding: Encoding) -> u32 {
    CODES.iter().position(|(known, _)| *known == encoding).map_or(0, |index| 1 << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_is_found_by_its_number() {
        for (encoding, code) in CODES {
            assert_eq!((Encoding::of_rectangle(code), encoding.code()), (Some(encoding), code));
        }
        assert_eq!(Encoding::of_rectangle(-256), None);
        assert_eq!(
            [Quality(0), Quality(9), Compression(0), Compression(9)].map(Encoding::code),
            [-32, -23, -256, -247]
        );
    }

    #[test]
    fn what_was_asked_for_stays() {
        let mut offered = Offered::default();
        assert!(offered.has(Raw) && !offered.has(Hextile));
        offered.add(&[Hextile, Compression(1)]);
        offered.add(&[Zrle]);
        assert!(
            offered.has(Hextile) && offered.has(Zrle) && !offered.has(Tight) && !offered.has(Compression(1))
        );
    }
}
