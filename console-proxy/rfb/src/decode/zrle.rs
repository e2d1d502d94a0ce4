//! ZRLE: tiles of 64x64 pixels as runs or indices of a palette, all of it packed (RFC 6143, 7.7.6).
//!
//! It paints unpacked bytes. They come in pieces that end anywhere, so it keeps its place in the tile from run to run.

use super::Painter;
use super::pen::{Cpixel, Form, Pen, indices};
use crate::error::Rule;
use crate::frame::{Frame, Rect};

/// Pixels of a tile's side.
const SIDE: u16 = 64;

/// The tiles of one rectangle.
#[derive(Debug)]
pub(crate) struct Zrle {
    rect: Rect,
    /// Where the next tile begins within the rectangle.
    x: u16,
    y: u16,
    pen: Pen,
    doing: Doing,
    palette: [u32; 127],
    colours: u8,
}

/// What the next bytes of a tile are.
#[derive(Debug, Clone, Copy)]
enum Doing {
    /// The head of the next tile, if there is one.
    Head,
    /// Colours of the palette from this one on, and then pixels.
    Palette { next: u8, then: Pixels },
    /// Pixels.
    Pixels(Pixels),
}

/// How a tile has its pixels.
#[derive(Debug, Clone, Copy)]
enum Pixels {
    Raw,
    Solid,
    Indices { bits: u8 },
    Runs,
    PaletteRuns,
}

impl Default for Zrle {
    fn default() -> Self {
        let (pen, doing) = (Pen::default(), Doing::Head);
        Self { rect: Rect::default(), x: 0, y: 0, pen, doing, palette: [0; 127], colours: 0 }
    }
}

impl Zrle {
    /// Begins a rectangle.
    pub(crate) fn begin(&mut self, rect: Rect) {
        self.rect = rect;
        (self.x, self.y) = (0, if rect.width == 0 { rect.height } else { 0 });
        (self.pen, self.doing) = (Pen::default(), Doing::Head);
    }

    fn has_tiles(&self) -> bool {
        self.y < self.rect.height
    }

    /// Goes to the next tile.
    fn next_tile(&mut self) {
        let (width, height) = (self.rect.width - self.x, self.rect.height - self.y);
        let tile = Rect {
            x: self.rect.x + self.x,
            y: self.rect.y + self.y,
            width: SIDE.min(width),
            height: SIDE.min(height),
        };
        self.pen = Pen::new(tile);
        if width > SIDE {
            self.x += SIDE;
        } else {
            (self.x, self.y) = (0, self.y + tile.height);
        }
    }

    /// Takes one step, and tells how many bytes it took; none if there are too few.
    fn step(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<Option<usize>, Rule> {
        match self.doing {
            Doing::Head => {
                let Some(&head) = bytes.first() else { return Ok(None) };
                self.head(head)?;
                self.next_tile();
                Ok(Some(1))
            }
            Doing::Palette { next, then } if next == self.colours => {
                self.doing = Doing::Pixels(then);
                Ok(Some(0))
            }
            Doing::Palette { next, then } => {
                let Some(colour) = bytes.first_chunk::<{ Cpixel::BYTES }>() else { return Ok(None) };
                self.palette[usize::from(next)] = Cpixel::colour(colour);
                self.doing = Doing::Palette { next: next + 1, then };
                Ok(Some(Cpixel::BYTES))
            }
            Doing::Pixels(pixels) => {
                let used = self.pixels(pixels, bytes, frame)?;
                if self.pen.is_done() {
                    self.doing = Doing::Head;
                    return Ok(Some(used.unwrap_or(0)));
                }
                Ok(used)
            }
        }
    }

    fn head(&mut self, head: u8) -> Result<(), Rule> {
        let bits = match head {
            2 => 1,
            3 | 4 => 2,
            _ => 4,
        };
        let (colours, then) = match head {
            0 => (0, Pixels::Raw),
            1 => (1, Pixels::Solid),
            2..=16 => (head, Pixels::Indices { bits }),
            128 => (0, Pixels::Runs),
            130.. => (head - 128, Pixels::PaletteRuns),
            17..=127 | 129 => return Err(Rule::Subencoding(head)),
        };
        self.colours = colours;
        self.doing = Doing::Palette { next: 0, then };
        Ok(())
    }

    fn pixels(&mut self, how: Pixels, bytes: &[u8], frame: &mut Frame<'_>) -> Result<Option<usize>, Rule> {
        let palette = &self.palette[..usize::from(self.colours)];
        match how {
            Pixels::Solid => {
                let left = self.pen.left();
                self.pen.run(frame, palette[0], left)?;
                Ok(Some(0))
            }
            Pixels::Raw => Ok(some(self.pen.pixels::<Cpixel>(bytes, frame))),
            Pixels::Indices { bits } => {
                indices(&mut self.pen, bytes, usize::from(bits), palette, frame).map(some)
            }
            Pixels::Runs => {
                let Some((colour, rest)) = bytes.split_first_chunk::<{ Cpixel::BYTES }>() else {
                    return Ok(None);
                };
                let Some((length, used)) = run_length(rest, self.pen.left())? else { return Ok(None) };
                self.pen.run(frame, Cpixel::colour(colour), length)?;
                Ok(Some(Cpixel::BYTES + used))
            }
            Pixels::PaletteRuns => {
                let Some((&index, rest)) = bytes.split_first() else { return Ok(None) };
                let colour = palette.get(usize::from(index & 127)).copied();
                let wrong = Rule::Colour { index: index & 127, colours: u16::from(self.colours) };
                let (colour, is_run) = (colour.ok_or(wrong)?, index & 128 != 0);
                let run = if is_run { run_length(rest, self.pen.left())? } else { Some((1, 0)) };
                let Some((length, used)) = run else { return Ok(None) };
                self.pen.run(frame, colour, length)?;
                Ok(Some(1 + used))
            }
        }
    }
}

impl Painter for Zrle {
    fn paint(&mut self, bytes: &[u8], frame: &mut Frame<'_>) -> Result<usize, Rule> {
        let mut used = 0;
        while !self.is_done() {
            let Some(now) = self.step(&bytes[used..], frame)? else { break };
            used += now;
        }
        Ok(used)
    }

    fn is_done(&self) -> bool {
        matches!(self.doing, Doing::Head) && !self.has_tiles()
    }
}

/// None for no bytes, which is how a step says that it needs more.
fn some(used: usize) -> Option<usize> {
    (used > 0).then_some(used)
}

/// A run's length and the bytes that it is in, once they are there.
fn run_length(bytes: &[u8], left: usize) -> Result<Option<(usize, usize)>, Rule> {
    let mut length = 1;
    for (index, byte) in bytes.iter().enumerate() {
        length += usize::from(*byte);
        if length > left {
            return Err(Rule::Run);
        }
        if *byte != 255 {
            return Ok(Some((length, index + 1)));
        }
    }
    Ok(None)
}
