//! A place in a rectangle that moves from pixel to pixel, and forms of pixels.

use super::Painter;
use crate::error::Rule;
use crate::frame::{Frame, Rect};

/// The next pixel to paint of a rectangle, from left to right and from the top down.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pen {
    rect: Rect,
    x: u16,
    y: u16,
}

/// A form of a pixel on the wire.
pub(crate) trait Form {
    /// Bytes of one.
    const BYTES: usize;

    /// Its colour. There are as many bytes as it has.
    fn colour(bytes: &[u8]) -> u32;
}

/// A pixel in the format that this client asks for: 32 bits, the least significant byte first, blue lowest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pixel;

/// The same without the unused byte (RFC 6143, 7.7.5).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpixel;

/// Red, green, blue (rfbproto, "Tight Encoding").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tpixel;

impl Form for Pixel {
    const BYTES: usize = 4;

    fn colour(bytes: &[u8]) -> u32 {
        // Nothing is said about the fourth byte.
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
    }
}

impl Form for Cpixel {
    const BYTES: usize = 3;

    fn colour(bytes: &[u8]) -> u32 {
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
    }
}

impl Form for Tpixel {
    const BYTES: usize = 3;

    fn colour(bytes: &[u8]) -> u32 {
        u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
    }
}

impl Pen {
    /// At the first pixel of a rectangle.
    pub(crate) fn new(rect: Rect) -> Self {
        // A rectangle without columns is done, as one without rows.
        Self { rect, x: 0, y: if rect.width == 0 { rect.height } else { 0 } }
    }

    /// Whether there is no pixel left.
    pub(crate) const fn is_done(&self) -> bool {
        self.y >= self.rect.height
    }

    /// Pixels that are left.
    pub(crate) const fn left(&self) -> usize {
        (self.rect.height - self.y) as usize * self.rect.width as usize - self.x as usize
    }

    /// Pixels that are left of this row.
    pub(crate) const fn left_of_row(&self) -> usize {
        (self.rect.width - self.x) as usize
    }

    /// The column and row in the frame, and those within the rectangle.
    pub(crate) const fn place(&self) -> ((u16, u16), (u16, u16)) {
        ((self.rect.x + self.x, self.rect.y + self.y), (self.x, self.y))
    }

    /// Paints pixels of this row by a function of each one's number, and goes on. At most those that are left of the row.
    pub(crate) fn each(&mut self, frame: &mut Frame<'_>, count: usize, mut colour: impl FnMut(usize) -> u32) {
        let row = frame.row(self.rect.x + self.x, self.rect.y + self.y, self.rect.width - self.x);
        row[..count].iter_mut().enumerate().for_each(|(index, pixel)| *pixel = colour(index));
        self.advance(count);
    }

    /// Paints a run of one colour, over the ends of rows.
    pub(crate) fn run(&mut self, frame: &mut Frame<'_>, colour: u32, mut count: usize) -> Result<(), Rule> {
        if count > self.left() {
            return Err(Rule::Run);
        }
        while count > 0 {
            let now = count.min(self.left_of_row());
            frame.row(self.rect.x + self.x, self.rect.y + self.y, now as u16).fill(colour);
            self.advance(now);
            count -= now;
        }
        Ok(())
    }

    /// Paints all pixels that these bytes have, and tells how many bytes that were.
    pub(crate) fn pixels<F: Form>(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> usize {
        let mut used = 0;
        while !self.is_done() {
            let count = self.left_of_row().min((bytes.len() - used) / F::BYTES);
            if count == 0 {
                break;
            }
            let row = frame.row(self.rect.x + self.x, self.rect.y + self.y, count as u16);
            let pixels = bytes[used..].chunks_exact(F::BYTES);
            row.iter_mut().zip(pixels).for_each(|(pixel, bytes)| *pixel = F::colour(bytes));
            self.advance(count);
            used += count * F::BYTES;
        }
        used
    }

    /// Goes on by pixels of this row.
    fn advance(&mut self, count: usize) {
        self.x += count as u16;
        if self.x == self.rect.width {
            (self.x, self.y) = (0, self.y + 1);
        }
    }
}

/// The painter of raw pixels (RFC 6143, 7.7.1).
impl Painter for Pen {
    fn paint(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<usize, Rule> {
        Ok(self.pixels::<Pixel>(bytes, frame))
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }
}

/// Paints indices of a palette that are packed into bits, the leftmost pixel in the uppermost ones. Rows begin with a byte.
pub(crate) fn indices(
    pen: &mut Pen,
    bytes: &[u8],
    bits: usize,
    palette: &[u32],
    frame: &mut Frame<'_>,
) -> Result<usize, Rule> {
    let (per_byte, mask) = (8 / bits, (1_u16 << bits) - 1);
    let mut used = 0;
    while !pen.is_done() {
        let row = pen.left_of_row();
        let count = row.div_ceil(per_byte).min(bytes.len() - used);
        if count == 0 {
            break;
        }
        let (packed, mut wrong) = (&bytes[used..used + count], None);
        pen.each(frame, row.min(count * per_byte), |pixel| {
            let shift = 8 - bits * (pixel % per_byte + 1);
            let index = (u16::from(packed[pixel / per_byte]) >> shift) & mask;
            palette.get(usize::from(index)).copied().unwrap_or_else(|| {
                wrong = Some(index as u8);
                0
            })
        });
        if let Some(index) = wrong {
            return Err(Rule::Colour { index, colours: palette.len() as u16 });
        }
        used += count;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Size;

    /// Paints into a rectangle of 5x3 that has a pixel's margin.
    fn painted(paint: impl FnOnce(&mut Pen, &mut Frame<'_>)) -> Vec<u32> {
        let mut pixels = vec![9; 7 * 5];
        let mut frame = Frame::new(&mut pixels, Size::new(7, 5), 7).unwrap();
        paint(&mut Pen::new(Rect { x: 1, y: 1, width: 5, height: 3 }), &mut frame);
        let inside: Vec<u32> = (1..4).flat_map(|y| pixels[y * 7 + 1..y * 7 + 6].to_vec()).collect();
        assert_eq!(
            pixels.iter().filter(|pixel| **pixel == 9).count(),
            35 - 15 + inside.iter().filter(|p| **p == 9).count()
        );
        inside
    }

    #[test]
    fn a_run_goes_on_in_the_next_rows_and_no_further_than_the_last() {
        let pixels = painted(|pen, frame| {
            pen.run(frame, 1, 3).unwrap();
            pen.run(frame, 2, 9).unwrap();
            assert_eq!(pen.run(frame, 3, 4), Err(Rule::Run));
            pen.run(frame, 3, 3).unwrap();
            assert!(pen.is_done());
        });
        assert_eq!(pixels, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3]);
    }

    #[test]
    fn packed_indices_begin_anew_with_each_row() {
        let pixels = painted(|pen, frame| {
            let bytes = [0b1010_0111, 0b0100_0000, 0b1111_1000];
            assert_eq!(indices(pen, &bytes, 1, &[4, 5], frame), Ok(3));
            assert!(pen.is_done());
        });
        assert_eq!(pixels, [5, 4, 5, 4, 4, 4, 5, 4, 4, 4, 5, 5, 5, 5, 5]);
        painted(|pen, frame| {
            let rule = Rule::Colour { index: 3, colours: 3 };
            assert_eq!(indices(pen, &[0b0001_1011, 0], 2, &[0, 1, 2], frame), Err(rule));
        });
    }

    #[test]
    fn pixels_are_painted_as_far_as_there_are_bytes() {
        painted(|pen, frame| {
            assert_eq!(pen.pixels::<Tpixel>(&[1, 2, 3, 4, 5], frame), 3);
            assert_eq!(frame.at(1, 1), 0x01_0203);
            assert_eq!(pen.pixels::<Cpixel>(&[1; 300], frame), 14 * 3);
            assert_eq!(Pixel::colour(&[1, 2, 3, 4]), 0x03_0201);
        });
    }

    #[test]
    fn a_rectangle_without_pixels_is_done() {
        assert!(Pen::new(Rect { width: 0, height: 3, ..Rect::default() }).is_done());
        assert!(Pen::new(Rect { width: 3, height: 0, ..Rect::default() }).is_done());
        assert!(Pen::default().is_done() && Pen::default().left() == 0);
    }
}
