//! The framebuffer of one VM, which all its viewers share.

use std::sync::Arc;
use std::time::Duration;

use crate::cursor::{Cursor, Shape};
use crate::geometry::{Rect, Size, TILE_PIXELS};
use crate::image::{Images, Loss, Stripe};
use crate::marks::Marks;
use crate::palette::Palette;
use crate::picture::{self, Picture};
use crate::secret::{KeyMap, Secret};
use crate::tile::Tile;
use crate::update::Searches;

/// A tile that shows a photograph with loss is sent without when it has not changed for so long: longer than the pauses of
/// slow videos, and short enough that nobody waits for a sharp picture.
pub const REST: Duration = Duration::from_millis(500);

/// The same for a tile that changes seldom: of a display that is seen for the first time, or a photograph after another one.
/// Videos that begin go on before.
pub const SHORT_REST: Duration = Duration::from_millis(100);

/// As long as the picture changes at least so often, what has rested is sent with what has changed, and not by itself.
const MOVES: Duration = Duration::from_millis(50);

/// What a change adds to a tile's heat.
const WARMTH: u8 = 16;

/// What a tile has at most that changes once a second.
const SELDOM: u8 = 2 * WARMTH;

/// With fewer tiles than this painted at once, it is not worth while to look for them elsewhere.
const MANY: usize = 32;

/// It is worth while if more than one of so many is found there.
const PAYS: usize = 8;

/// The framebuffer of a VM, what was painted on it, and its newest picture.
///
/// It takes 4 bytes a pixel; a picture with less than that (a text screen's is a tenth, a photograph's three quarters); a
/// few bytes a tile; and at most [`MAX_IMAGES`](crate::MAX_IMAGES) of images for further viewers, and
/// [`MAX_LARGE_IMAGES`](crate::MAX_LARGE_IMAGES) until the picture is another. [`Self::rest`] leaves the picture.
#[derive(Debug)]
pub struct Screen {
    secret: Secret,
    /// Empty at rest.
    pixels: Vec<u32>,
    /// Whether nobody has had them since all that was painted was told.
    settled: bool,
    painted: Marks,
    picture: Arc<Picture>,
    changes: Vec<Change>,
    /// When any tile changed last.
    changed: Duration,
    /// What has come of looking for tiles elsewhere.
    lookups: Searches,
    pub(crate) cursor: Shape,
    images: Images,
}

/// When a tile changed last.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    /// In milliseconds, of which the uppermost bits are lost: that is 49 days.
    at: u32,
    /// How much it has changed lately: halved by each second of rest.
    heat: u8,
}

impl Screen {
    /// A black screen.
    pub fn new(size: Size, secret: Secret) -> Self {
        let picture = Picture::black(size, &secret);
        let tiles = picture.grid.tiles();
        Self {
            secret,
            pixels: Vec::new(),
            settled: false,
            painted: Marks::new(tiles),
            picture: Arc::new(picture),
            changes: vec![Change::default(); tiles],
            changed: Duration::ZERO,
            lookups: Searches::default(),
            cursor: Shape::default(),
            images: Images::new(),
        }
    }

    /// Its size.
    pub fn size(&self) -> Size {
        self.picture.grid.size
    }

    /// All pixels to be painted on, row by row, `0x00RRGGBB`. [`Self::painted`] is to be told of what has been painted.
    pub fn pixels(&mut self) -> &mut [u32] {
        self.settled = false;
        if self.pixels.is_empty() {
            self.pixels = vec![0; self.size().pixels()];
            self.picture.write(0..self.changes.len(), &mut self.pixels);
        }
        &mut self.pixels
    }

    /// Pixels have been painted, perhaps with the colours that they had.
    pub fn painted(&mut self, rect: Rect) {
        // At rest there are no pixels that anybody could have painted on.
        if !self.pixels.is_empty() {
            self.picture.grid.touched(rect).for_each(|tile| self.painted.set(tile));
        }
    }

    /// All that was painted until now was [told](Self::painted), and uppermost bytes are zero: so pixels need not be made again of the
    /// picture to find what has moved.
    pub fn settled(&mut self) {
        self.settled = true;
    }

    /// Takes another size. Pixels are kept as far as they fit, others are black.
    pub fn resize(&mut self, size: Size) {
        if size == self.size() {
            return;
        }
        self.pixels();
        let (before, old) = (self.size(), std::mem::take(&mut self.pixels));
        let mut pixels = vec![0; size.pixels()];
        let width = usize::from(size.width.min(before.width));
        if width > 0 {
            let rows = pixels.chunks_exact_mut(size.width.into()).zip(old.chunks_exact(before.width.into()));
            rows.for_each(|(new, old)| new[..width].copy_from_slice(&old[..width]));
        }
        self.picture = Arc::new(Picture::black(size, &self.secret));
        self.pixels = pixels;
        self.painted = Marks::all(self.picture.grid.tiles());
        self.changes = vec![Change::default(); self.picture.grid.tiles()];
        self.images.clear();
    }

    /// Takes another shape of the cursor, or none. One that is larger than [`MAX_CURSOR`](crate::MAX_CURSOR), or does not
    /// have as many pixels as its size says, is none.
    pub fn set_cursor(&mut self, cursor: Option<&Cursor>) {
        self.cursor.set(cursor);
    }

    /// Lets go of all memory that a picture can be made of again: for a VM that nobody looks at or that paints nothing.
    pub fn rest(&mut self, now: Duration) {
        self.commit(now);
        self.pixels = Vec::new();
        self.images.clear();
    }

    /// Whether anything was painted after the newest picture, perhaps with the same colours.
    pub fn is_painted(&self) -> bool {
        !self.painted.is_empty()
    }

    /// Whether a picture is the newest, and nothing was painted after it.
    pub(crate) fn shows(&self, picture: &Arc<Picture>) -> bool {
        Arc::ptr_eq(&self.picture, picture) && !self.is_painted()
    }

    /// Bytes of memory that this screen takes.
    pub fn memory(&self) -> usize {
        let tiles = self.changes.len();
        let arrays = tiles * size_of::<Change>() + tiles / 8;
        size_of::<Self>() + self.pixels.capacity() * 4 + arrays + self.picture.memory() + self.images.memory()
    }

    /// Makes a picture of what was painted since the last one, if it is another.
    pub(crate) fn commit(&mut self, now: Duration) -> Arc<Picture> {
        if self.painted.is_empty() {
            return Arc::clone(&self.picture);
        }
        let (mut block, grid) = ([0; TILE_PIXELS], self.picture.grid);
        let many = self.painted.iter().nth(MANY).is_some() && self.lookups.is_due(now);
        let (mut looked_up, mut met) = (0, 0);
        // What has moved is there already, and grounds are many times: they are packed and kept once.
        let mut known: Option<(KeyMap<Arc<Tile>>, Palette)> = None;
        for number in self.painted.iter() {
            picture::get(&self.pixels, grid, number, &mut block);
            let key = self.secret.key(&block);
            if key == self.picture.tile(number).key {
                continue;
            }
            let (known, palette) = known.get_or_insert_with(|| {
                (if many { self.picture.distinct() } else { KeyMap::default() }, Palette::new())
            });
            looked_up += 1;
            met += 1;
            let tile = known.entry(key).or_insert_with(|| {
                met -= 1;
                Arc::new(Tile::new(&block, key, palette))
            });
            Arc::make_mut(&mut self.picture).set(number, Arc::clone(tile));
            self.changes[number] = self.changes[number].warmer(now);
            self.changed = now;
            self.images.forget_large();
        }
        if many && looked_up > 0 {
            self.lookups.done((met * PAYS > looked_up).then_some(0), now);
        }
        self.painted = Marks::new(grid.tiles());
        Arc::clone(&self.picture)
    }

    /// The newest picture's pixels, if they are there as they are in it and nothing was painted after it.
    pub(crate) fn settled_pixels(&self) -> Option<&[u32]> {
        (self.settled && self.painted.is_empty() && !self.pixels.is_empty()).then_some(&self.pixels)
    }

    /// The stripes of some tiles of a picture, which are in their order.
    pub(crate) fn stripes(&mut self, picture: &Picture, tiles: Vec<usize>, loss: Loss) -> Vec<Stripe> {
        self.images.stripes(picture, tiles, loss, &self.secret)
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// How much a tile has changed lately.
    pub(crate) fn heat(&self, tile: usize, now: Duration) -> u8 {
        self.changes[tile].heat(now)
    }

    /// How long a tile has to rest until it is sent without loss: nothing if it has.
    pub(crate) fn rest_of(&self, tile: usize, now: Duration) -> Duration {
        let change = self.changes[tile];
        let rest = if change.heat <= SELDOM { SHORT_REST } else { REST };
        rest.saturating_sub(change.rested(now))
    }

    /// How long until nothing moves any more, if nothing more changes.
    pub(crate) fn is_still_in(&self, now: Duration) -> Duration {
        (self.changed + MOVES).saturating_sub(now)
    }
}

impl Change {
    fn rested(self, now: Duration) -> Duration {
        Duration::from_millis((now.as_millis() as u32).wrapping_sub(self.at).into())
    }

    fn heat(self, now: Duration) -> u8 {
        self.heat.checked_shr(self.rested(now).as_secs() as u32).unwrap_or_default()
    }

    fn warmer(self, now: Duration) -> Self {
        Self { at: now.as_millis() as u32, heat: self.heat(now).saturating_add(WARMTH) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn screen() -> Screen {
        Screen::new(Size::new(40, 20), Secret::new([1, 2, 3, 4]))
    }

    #[test]
    fn a_repaint_of_the_same_pixels_is_no_change() {
        let mut screen = screen();
        screen.pixels()[0] = 7;
        screen.painted(Rect::new(0, 0, 40, 20));
        let first = screen.commit(SECOND);
        screen.pixels()[0] = 7;
        screen.painted(Rect::new(0, 0, 40, 20));
        let second = screen.commit(SECOND * 2);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((screen.heat(0, SECOND), screen.heat(0, SECOND * 2), screen.heat(1, SECOND)), (16, 8, 0));
    }

    #[test]
    fn what_changes_seldom_need_not_rest_for_long() {
        let rest_after = |pace: u64, times: u64| {
            let mut screen = screen();
            let at = |time: u64| SECOND * 9 + Duration::from_millis(time * pace);
            for time in 0..times {
                screen.pixels()[0] = time as u32 + 1;
                screen.painted(Rect::new(0, 0, 1, 1));
                screen.commit(at(time));
            }
            screen.rest_of(0, at(times - 1))
        };
        assert_eq!([rest_after(1, 1), rest_after(1000, 20)], [SHORT_REST; 2]);
        assert_eq!([rest_after(40, 3), rest_after(250, 20)], [REST; 2]);
    }

    #[test]
    fn a_large_image_is_made_once_for_all_viewers_until_the_picture_is_another() {
        let mut screen = Screen::new(Size::new(320, 320), Secret::new([1, 2, 3, 4]));
        let mut noise = 1_u32;
        for pixel in screen.pixels() {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *pixel = noise >> 8;
        }
        screen.painted(Rect::new(0, 0, 320, 320));
        let picture = screen.commit(SECOND);
        let mut made = || {
            let tiles = (0..picture.grid.tiles()).collect();
            screen.stripes(&picture, tiles, Loss::None).pop().unwrap().image.bytes
        };
        let (first, second) = (made(), made());
        assert!(first.len() > crate::MAX_IMAGES && Arc::ptr_eq(&first, &second));
        screen.pixels()[0] = 7;
        screen.painted(Rect::new(0, 0, 1, 1));
        screen.commit(SECOND);
        assert!(screen.images.memory() < first.len());
    }

    #[test]
    fn pixels_come_back_after_a_rest() {
        let mut screen = screen();
        screen.pixels().iter_mut().zip(0..).for_each(|(pixel, number)| *pixel = number);
        screen.painted(Rect::new(0, 0, 40, 20));
        screen.rest(SECOND);
        assert!(screen.pixels.is_empty() && screen.images.memory() == 0);
        assert!(screen.pixels().iter().copied().eq(0..800));
    }

    #[test]
    fn another_size_keeps_what_fits() {
        let mut screen = screen();
        screen.pixels().fill(5);
        screen.resize(Size::new(41, 3));
        assert_eq!(screen.pixels()[..41], [&[5; 40][..], &[0]].concat());
        screen.resize(Size::new(0, 0));
        screen.resize(Size::new(2, 2));
        assert_eq!(screen.pixels(), [0; 4]);
        assert_eq!(screen.commit(SECOND).grid.tiles(), 1);
    }
}
