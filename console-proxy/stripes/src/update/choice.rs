//! Which tiles an update has.

use std::cmp::Reverse;
use std::time::Duration;

use super::draft::Draft;
use crate::image::Loss;
use crate::marks::Marks;
use crate::mirror::Mirror;
use crate::picture::Picture;
use crate::screen::Screen;
use crate::tile::{Content, Tile};
use crate::viewer::Viewer;

/// Tiles that an update has at least, if there are so many to be sent: a slow line needs progress too.
const MIN_TILES: usize = 32;

/// Heat that being left out once counts as, so that nothing waits for long.
const IMPATIENCE: u32 = 8;

/// Bytes that a tile costs about: one that is in the cache or has one colour,
const CHEAP: usize = 3;

/// and one with loss.
const PHOTO: usize = 100;

/// From this heat on a tile changes often: four times within a second.
const HOT: u32 = 48;

/// Tiles of an update, and those that wait for the next one.
#[derive(Default)]
pub(super) struct Chosen {
    wrong: Vec<usize>,
    refined: Vec<usize>,
    /// Tiles that may be shown with loss, if they are new.
    soft: Marks,
    /// Tiles that change often.
    hot: Marks,
    /// Tiles in their order, and how often they were left out.
    pub(super) left: Vec<(usize, u8)>,
}

impl Chosen {
    fn new(tiles: usize) -> Self {
        Self { soft: Marks::new(tiles), hot: Marks::new(tiles), ..Self::default() }
    }

    /// All tiles that are sent, in their order.
    pub(super) fn tiles(&self) -> Vec<usize> {
        let mut tiles = [&self.wrong[..], &self.refined].concat();
        tiles.sort_unstable();
        tiles
    }

    /// Whether a tile may be sent with loss.
    pub(super) fn is_soft(&self, tile: usize) -> bool {
        self.soft.has(tile)
    }

    /// How much of these tiles may be lost.
    pub(super) fn loss(&self, tiles: &[usize]) -> Loss {
        if tiles.iter().all(|tile| self.hot.has(*tile)) { Loss::Moving } else { Loss::Still }
    }
}

impl Draft {
    /// Chooses tiles for about so many bytes: those that are wrong, the hottest first, and if all of them are sent, those
    /// that have rested.
    pub(super) fn choose(&mut self, screen: &Screen, viewer: &Viewer, budget: usize, now: Duration) {
        let mut purse = Purse { bytes: budget, tiles: 0 };
        let costs = |tile: usize| cost(self.picture.tile(tile), &viewer.mirror);
        let heat = |tile: usize| u32::from(screen.heat(tile, now));
        let waited = |tile: usize| waited(&self.stale, tile);
        if self.wrong.iter().map(|tile| costs(*tile)).sum::<usize>() > budget {
            let rank = |tile: &usize| (Reverse(heat(*tile) + u32::from(waited(*tile)) * IMPATIENCE), *tile);
            self.wrong.sort_by_cached_key(rank);
        }
        let mut chosen = Chosen::new(self.picture.grid.tiles());
        for tile in self.wrong.iter().copied() {
            if purse.pay(costs(tile)) {
                let hot = heat(tile) >= HOT;
                chosen.wrong.push(tile);
                chosen.hot.put(tile, hot.into());
                chosen.soft.put(tile, may_be_soft(self.picture.tile(tile), hot).into());
            } else {
                chosen.left.push((tile, waited(tile).saturating_add(1)));
            }
        }
        chosen.left.sort_unstable();
        self.chosen = chosen;
        if self.chosen.left.is_empty() {
            self.chosen.refined = self.rested(screen, now, &mut purse);
        }
    }

    /// Tiles that are shown with loss, are as they should be otherwise, and have rested.
    fn rested(&self, screen: &Screen, now: Duration, purse: &mut Purse) -> Vec<usize> {
        let mut wrong = Marks::new(self.picture.grid.tiles());
        self.chosen.wrong.iter().for_each(|tile| wrong.set(*tile));
        self.lossy
            .iter()
            .filter(|tile| !wrong.has(*tile) && screen.rest_of(*tile, now).is_zero())
            .take_while(|tile| purse.pay(exact_cost(&self.picture, *tile)))
            .collect()
    }
}

/// What may still be spent.
struct Purse {
    bytes: usize,
    tiles: usize,
}

impl Purse {
    fn pay(&mut self, cost: usize) -> bool {
        let can = self.bytes >= cost || self.tiles < MIN_TILES;
        if can {
            self.bytes = self.bytes.saturating_sub(cost);
            self.tiles += 1;
        }
        can
    }
}

/// Photographs may be shown with loss, and what is beside them while it changes often.
fn may_be_soft(tile: &Tile, hot: bool) -> bool {
    match tile.content {
        Content::Photo => true,
        Content::Mixed => hot,
        Content::Solid(_) | Content::Drawn => false,
    }
}

fn cost(tile: &Tile, mirror: &Mirror) -> usize {
    match tile.content {
        Content::Solid(_) => CHEAP,
        _ if mirror.find(tile.key).is_some() => CHEAP,
        Content::Photo => PHOTO,
        Content::Drawn | Content::Mixed => tile.heap() * 2 / 3,
    }
}

fn exact_cost(picture: &Picture, tile: usize) -> usize {
    picture.tile(tile).heap() * 2 / 3
}

fn waited(stale: &[(usize, u8)], tile: usize) -> u8 {
    stale.binary_search_by_key(&tile, |(tile, _)| *tile).map_or(0, |place| stale[place].1)
}
