//! The other side: bodies in, pixels out. It is what `FORMAT.md` says, for Rust clients and for tests.
//!
//! - **A server is not trusted.** Places are within the desktop, the desktop within [`View::new`]'s limit, images as large as
//!   their tiles; no tile is painted twice by a body, so a body's work is bounded by the desktop's size. Memory is 4 bytes for
//!   each pixel of the desktop, 4 MiB for the cache, and for the time of a call a few times the desktop's pixels.
//! - **A body that cannot be applied is an [`Error`]**, after which only one that begins anew is taken, as pixels may be
//!   anything. Not so [`Error::OutOfOrder`], which changes nothing: the viewer tells what it has.

mod error;
mod image;
mod jpeg;
mod reader;
mod tiles;

pub use self::error::Error;
use self::reader::Reader;
use self::tiles::Painted;
use crate::body::{FORMAT_VERSION, part};
use crate::geometry::{Grid, Rect, Size, TILE_PIXELS};
use crate::lru::Lru;
use crate::motion::{Copy, MAX_COPIES, Shift};
use crate::picture;
use crate::secret::Block;

/// A viewer's picture and cache.
#[derive(Debug)]
pub struct View {
    max_pixels: usize,
    grid: Grid,
    pixels: Vec<u32>,
    slots: Vec<Block>,
    lru: Lru,
    number: Option<u32>,
    cursor: Option<CursorImage>,
    images: image::Scratch,
}

/// A cursor's shape, as PNG has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorImage {
    /// The column and row of the pixel that points.
    pub hotspot: (u16, u16),
    /// Its size.
    pub size: Size,
    /// Row by row: red, green, blue, alpha; colours are not multiplied with it.
    pub samples: Vec<u8>,
}

/// What a body has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The picture is another.
    New,
    /// Nothing: it had been applied before, or one that came after it.
    Old,
}

/// What a body says of itself.
#[derive(Debug, Clone, Copy)]
struct Head {
    parts: u8,
    number: u32,
    /// The update that it comes after.
    base: Option<u32>,
}

impl View {
    /// A view without a picture, which will take desktops of so many pixels at most.
    pub fn new(max_pixels: usize) -> Self {
        Self {
            max_pixels,
            grid: Grid::new(Size::default()),
            pixels: vec![],
            slots: vec![],
            lru: Lru::new(),
            number: None,
            cursor: None,
            images: image::Scratch::default(),
        }
    }

    /// The desktop's size.
    pub const fn size(&self) -> Size {
        self.grid.size
    }

    /// Its pixels, row by row, `0x00RRGGBB`.
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// The cursor's shape, if there is one.
    pub const fn cursor(&self) -> Option<&CursorImage> {
        self.cursor.as_ref()
    }

    /// The number of the last update that was applied, to be acknowledged; none if all must begin anew.
    pub const fn number(&self) -> Option<u32> {
        self.number
    }

    /// Applies a body.
    ///
    /// # Errors
    /// When it does not fit what was applied before, or is not as the format says.
    pub fn apply(&mut self, body: &[u8]) -> Result<Applied, Error> {
        let mut reader = Reader::new(body);
        let head = head(&mut reader)?;
        if self.number.is_some_and(|have| head.number <= have) {
            return Ok(Applied::Old);
        }
        if head.base.is_some() && head.base != self.number {
            return Err(Error::OutOfOrder { have: self.number, base: head.base });
        }
        // Until all of it is applied there is nothing to go on from.
        self.number = None;
        self.parts(head, &mut reader)?;
        reader.end()?;
        self.number = Some(head.number);
        Ok(Applied::New)
    }

    fn parts(&mut self, head: Head, reader: &mut Reader<'_>) -> Result<(), Error> {
        let has = |part: u8| head.parts & part != 0;
        if has(part::FRESH) {
            (self.lru, self.slots, self.cursor) = (Lru::new(), vec![], None);
        }
        if has(part::DESKTOP) {
            self.desktop(reader)?;
        }
        if has(part::COPIES) {
            self.copies(reader)?;
        }
        let mut painted = Painted::new(self.grid);
        if has(part::FILLS) {
            self.fills(reader, &mut painted)?;
        }
        if has(part::HITS) {
            self.hits(reader, &mut painted)?;
        }
        if has(part::STRIPES) {
            self.stripes(reader, &mut painted)?;
        }
        if has(part::REPEATS) {
            self.hits(reader, &mut painted)?;
        }
        if has(part::CURSOR) {
            self.cursor = image::cursor(reader)?;
        }
        Ok(())
    }

    fn desktop(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let size = Size::new(reader.side()?, reader.side()?);
        if size.pixels() > self.max_pixels {
            return Err(Error::TooLarge { size });
        }
        self.grid = Grid::new(size);
        self.pixels = vec![0; size.pixels()];
        Ok(())
    }

    fn copies(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let count = reader.count(MAX_COPIES)?;
        for _ in 0..count {
            let to = Rect::new(reader.side()?, reader.side()?, reader.side()?, reader.side()?);
            let shift = Shift { x: reader.signed()?, y: reader.signed()? };
            let start = |place: u16, shift: i32| u16::try_from(i32::from(place).checked_sub(shift)?).ok();
            let from = start(to.x, shift.x).zip(start(to.y, shift.y)).map(|(x, y)| Rect { x, y, ..to });
            match from {
                Some(from) if from.is_within(self.size()) && to.is_within(self.size()) => {
                    Copy { to, shift }.apply(&mut self.pixels, self.grid.size.width.into());
                }
                _ => return Err(Error::Copy { to }),
            }
        }
        Ok(())
    }

    fn fills(&mut self, reader: &mut Reader<'_>, painted: &mut Painted) -> Result<(), Error> {
        for _ in 0..reader.count(self.grid.tiles())? {
            let block = [reader.colour()?; TILE_PIXELS];
            for tile in painted.list(reader)? {
                picture::put(&mut self.pixels, self.grid, tile, &block);
            }
        }
        Ok(())
    }

    fn hits(&mut self, reader: &mut Reader<'_>, painted: &mut Painted) -> Result<(), Error> {
        let mut next = 0;
        for tile in painted.list(reader)? {
            let slot = i64::from(next) + i64::from(reader.signed()?);
            let known = u16::try_from(slot).ok().filter(|slot| *slot < self.lru.len());
            let slot = known.ok_or(Error::Slot { slot })?;
            self.lru.touch(slot);
            picture::put(&mut self.pixels, self.grid, tile, &self.slots[usize::from(slot)]);
            next = i32::from(slot) + 1;
        }
        Ok(())
    }

    fn stripes(&mut self, reader: &mut Reader<'_>, painted: &mut Painted) -> Result<(), Error> {
        for _ in 0..reader.count(self.grid.tiles())? {
            let kind = reader.byte()?;
            let tiles = painted.list(reader)?;
            let columns = reader.count(tiles.len())?;
            let kind = self.images.decode(kind, reader.blob()?, tiles.len(), columns)?;
            for (number, tile) in tiles.into_iter().enumerate() {
                let block = *self.images.tile(number);
                picture::put(&mut self.pixels, self.grid, tile, &block);
                if kind.is_exact() {
                    self.keep(block);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, block: Block) {
        let slot = usize::from(self.lru.claim().0);
        match self.slots.get_mut(slot) {
            Some(place) => *place = block,
            None => self.slots.push(block),
        }
    }
}

fn head(reader: &mut Reader<'_>) -> Result<Head, Error> {
    let version = reader.byte()?;
    if version != FORMAT_VERSION {
        return Err(Error::Version { version });
    }
    let (parts, number) = (reader.byte()?, reader.number()?);
    let fresh = parts & part::FRESH != 0;
    if fresh {
        let desktop = parts & part::DESKTOP != 0;
        return if desktop { Ok(Head { parts, number, base: None }) } else { Err(Error::NoDesktop) };
    }
    let back = reader.number()?;
    match number.checked_sub(back) {
        Some(base) if back > 0 => Ok(Head { parts, number, base: Some(base) }),
        _ => Err(Error::Base { number, back }),
    }
}
