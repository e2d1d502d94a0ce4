//! A server's bytes.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, FlushCompress};
use podzol_rfb::{Encoding, Rect};

/// Column, row, width and height.
pub(crate) type Place = (u16, u16, u16, u16);

/// A handshake without security: a desktop of 40x30 that is called "vm".
pub(crate) fn handshake() -> Vec<u8> {
    [b"RFB 003.008\n", &[1, 1][..], &[0; 4], &init(40, 30, b"vm")].concat()
}

/// ServerInit, with a format of pixels that the client does not want.
pub(crate) fn init(width: u16, height: u16, name: &[u8]) -> Vec<u8> {
    let format = [16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0];
    [&width.to_be_bytes(), &height.to_be_bytes(), &format[..], &(name.len() as u32).to_be_bytes(), name]
        .concat()
}

/// An update of rectangles.
pub(crate) fn update(rectangles: &[Vec<u8>]) -> Vec<u8> {
    [&[0, 0][..], &(rectangles.len() as u16).to_be_bytes(), &rectangles.concat()].concat()
}

/// A rectangle.
pub(crate) fn rectangle((x, y, width, height): Place, encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let place = [x, y, width, height].map(u16::to_be_bytes).concat();
    [&place, &encoding.code().to_be_bytes()[..], bytes].concat()
}

/// A rectangle's place.
pub(crate) fn rect(x: u16, y: u16, width: u16, height: u16) -> Rect {
    Rect { x, y, width, height }
}

/// A pixel as it is on the wire. The fourth byte means nothing, so it is something.
pub(crate) fn pixel(colour: u32) -> [u8; 4] {
    (colour | 0xa500_0000).to_le_bytes()
}

/// A pixel in three bytes, blue first.
pub(crate) fn cpixel(colour: u32) -> [u8; 3] {
    let [blue, green, red, _] = colour.to_le_bytes();
    [blue, green, red]
}

/// A pixel in three bytes, red first.
pub(crate) fn tpixel(colour: u32) -> [u8; 3] {
    let [_, red, green, blue] = colour.to_be_bytes();
    [red, green, blue]
}

/// Pixels in a row, each in one of these forms.
pub(crate) fn pixels<const N: usize>(
    form: fn(u32) -> [u8; N],
    colours: impl IntoIterator<Item = u32>,
) -> Vec<u8> {
    colours.into_iter().flat_map(form).collect()
}

/// A stream that goes on from rectangle to rectangle.
pub(crate) struct Packer(Compress);

impl Packer {
    pub(crate) fn new() -> Self {
        Self(Compress::new(Compression::new(6), true))
    }

    /// Packs bytes so that all of them can be unpacked.
    pub(crate) fn pack(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(plain.len() * 2 + 1024);
        self.0.compress_vec(plain, &mut packed, FlushCompress::Sync).unwrap();
        assert!(packed.len() < packed.capacity(), "all of it is packed");
        packed
    }

    /// The same, with its length in four bytes before it.
    pub(crate) fn long(&mut self, plain: &[u8]) -> Vec<u8> {
        let packed = self.pack(plain);
        [&(packed.len() as u32).to_be_bytes(), &packed[..]].concat()
    }

    /// The same, with its length in one to three bytes before it.
    pub(crate) fn compact(&mut self, plain: &[u8]) -> Vec<u8> {
        let packed = self.pack(plain);
        [compact(packed.len()), packed].concat()
    }
}

/// A length in one to three bytes.
pub(crate) fn compact(length: usize) -> Vec<u8> {
    let bits = |shift: usize| (length >> shift) as u8 & 0x7f;
    match length {
        ..128 => vec![bits(0)],
        128..16_384 => vec![bits(0) | 0x80, bits(7)],
        _ => vec![bits(0) | 0x80, bits(7) | 0x80, (length >> 14) as u8],
    }
}

/// A whole stream.
pub(crate) fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A cut text, extended if the length is negative.
pub(crate) fn cut_text(length: i32, bytes: &[u8]) -> Vec<u8> {
    [&[3, 0, 0, 0][..], &length.to_be_bytes(), bytes].concat()
}

/// An extended clipboard message.
pub(crate) fn extended(flags: u32, bytes: &[u8]) -> Vec<u8> {
    cut_text(-(bytes.len() as i32 + 4), &[&flags.to_be_bytes(), bytes].concat())
}
