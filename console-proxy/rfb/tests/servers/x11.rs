//! As much of X11 as draws, and asks what is to be seen: <https://www.x.org/releases/current/doc/xproto/x11protocol.html>.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use podzol_rfb::Size;

/// A connection to a display.
pub(crate) struct X11 {
    socket: UnixStream,
    ids: u32,
    used: u32,
    root: u32,
    pub(crate) size: Size,
}

/// Copies and puts are of whole pixels.
const Z_PIXMAP: u8 = 2;

/// Pixels in one request, well within the limit of 65,535 words.
const AT_ONCE: usize = 60_000;

impl X11 {
    /// Connects to a display of this number; none if it is not there yet.
    pub(crate) fn connect(display: u32) -> Option<Self> {
        let mut socket = UnixStream::connect(format!("/tmp/.X11-unix/X{display}")).ok()?;
        socket.write_all(&[b'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let mut head = [0; 8];
        socket.read_exact(&mut head).unwrap();
        let mut answer = vec![0; usize::from(u16_at(&head, 6)) * 4];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(head[0], 1, "{}", String::from_utf8_lossy(&answer));
        let (vendor, formats) = (usize::from(u16_at(&answer, 16)), usize::from(answer[21]));
        let screen = &answer[32 + vendor.next_multiple_of(4) + formats * 8..];
        let size = Size::new(u16_at(screen, 20), u16_at(screen, 22));
        let mut x11 = Self { socket, ids: u32_at(&answer, 4), used: 0, root: u32_at(screen, 0), size };
        // CreateGC with no values: the one that all drawing uses.
        x11.request(55, 0, &[x11.ids, x11.root, 0], &[]);
        Some(x11)
    }

    /// Fills a rectangle with a colour.
    pub(crate) fn fill(&mut self, (x, y, width, height): (u16, u16, u16, u16), colour: u32) {
        self.request(56, 0, &[self.ids, 1 << 2, colour], &[]);
        self.request(70, 0, &[self.root, self.ids], &shorts(&[x, y, width, height]));
    }

    /// Puts pixels there.
    pub(crate) fn put(
        &mut self,
        (x, y, width, height): (u16, u16, u16, u16),
        pixel: impl Fn(u16, u16) -> u32,
    ) {
        let rows = (AT_ONCE / usize::from(width)) as u16;
        for top in (0..height).step_by(rows.into()) {
            let rows = rows.min(height - top);
            let places = (top..top + rows).flat_map(|y| (0..width).map(move |x| (x, y)));
            let pixels: Vec<u8> = places.flat_map(|(x, y)| pixel(x, y).to_le_bytes()).collect();
            let head = [shorts(&[width, rows, x, y + top]), vec![0, 24, 0, 0]].concat();
            self.request(72, Z_PIXMAP, &[self.root, self.ids], &[head, pixels].concat());
        }
    }

    /// Copies a rectangle.
    pub(crate) fn copy(&mut self, from: (u16, u16), to: (u16, u16), size: (u16, u16)) {
        let places = shorts(&[from.0, from.1, to.0, to.1, size.0, size.1]);
        self.request(62, 0, &[self.root, self.root, self.ids], &places);
    }

    /// All pixels of the display.
    pub(crate) fn pixels(&mut self) -> Vec<u32> {
        let Size { width, height } = self.size;
        self.request(73, Z_PIXMAP, &[self.root], &[shorts(&[0, 0, width, height]), vec![0xff; 4]].concat());
        self.answer()[32..].chunks_exact(4).map(|pixel| u32_at(pixel, 0) & 0xff_ffff).collect()
    }

    /// Gives the display the cursor of this number of the cursor font, white on black.
    pub(crate) fn cursor(&mut self, shape: u16) {
        let (font, cursor) = (self.ids + self.used + 1, self.ids + self.used + 2);
        self.used += 2;
        self.request(45, 0, &[font], &[&shorts(&[6, 0])[..], b"cursor\0\0"].concat());
        let colours = [shape, shape + 1, 0xffff, 0xffff, 0xffff, 0, 0, 0];
        self.request(94, 0, &[cursor, font, font], &shorts(&colours));
        self.request(2, 0, &[self.root, 1 << 14, cursor], &[]);
    }

    /// Rings.
    pub(crate) fn bell(&mut self) {
        self.request(104, 50, &[], &[]);
    }

    /// Where the pointer is, and which buttons are down.
    pub(crate) fn pointer(&mut self) -> (u16, u16, u16) {
        self.request(38, 0, &[self.root], &[]);
        let answer = self.answer();
        (u16_at(&answer, 16), u16_at(&answer, 18), u16_at(&answer, 24) >> 8)
    }

    /// Keys that are down.
    pub(crate) fn keys(&mut self) -> Vec<usize> {
        self.request(44, 0, &[], &[]);
        let keys = self.answer()[8..40].to_vec();
        (0..256).filter(|key| keys[key / 8] & 1 << (key % 8) != 0).collect()
    }

    fn request(&mut self, code: u8, detail: u8, words: &[u32], rest: &[u8]) {
        assert_eq!(rest.len() % 4, 0);
        let length = (1 + words.len() + rest.len() / 4) as u16;
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.socket.write_all(&[&[code, detail], &length.to_le_bytes()[..], &words, rest].concat()).unwrap();
    }

    /// The next answer; events are passed over.
    fn answer(&mut self) -> Vec<u8> {
        loop {
            let mut answer = vec![0; 32];
            self.socket.read_exact(&mut answer).unwrap();
            assert_ne!(answer[0], 0, "the display refuses a request: {answer:?}");
            if answer[0] == 1 {
                answer.resize(32 + u32_at(&answer, 4) as usize * 4, 0);
                self.socket.read_exact(&mut answer[32..]).unwrap();
                return answer;
            }
        }
    }
}

fn shorts(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
