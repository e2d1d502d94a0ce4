//! A screen, its viewers and the lines between them, with a clock that is moved by hand.

use std::collections::VecDeque;
use std::time::Duration;

use podzol_stripes::decode::{Applied, Error, View};
use podzol_stripes::{Composer, Rect, Screen, Secret, Size, TILE, Viewer};

/// More than any update needs.
pub(crate) const ALL: usize = usize::MAX;

pub(crate) struct World {
    pub(crate) screen: Screen,
    pub(crate) composer: Composer,
    pub(crate) viewers: Vec<Seat>,
    pub(crate) now: Duration,
}

/// A viewer at both ends of its line.
pub(crate) struct Seat {
    pub(crate) viewer: Viewer,
    pub(crate) view: View,
    /// Bodies that were sent and have not arrived.
    pub(crate) line: VecDeque<Vec<u8>>,
    /// Bytes that were sent.
    pub(crate) bytes: usize,
    pub(crate) updates: usize,
}

impl Seat {
    fn new() -> Self {
        let (viewer, view) = (Viewer::new(), View::new(2000 * 2000));
        Self { viewer, view, line: VecDeque::new(), bytes: 0, updates: 0 }
    }

    /// The oldest body on the line arrives, and what the viewer has is told to the server.
    pub(crate) fn arrive(&mut self) {
        let Some(body) = self.line.pop_front() else { return };
        match self.view.apply(&body) {
            Ok(Applied::New | Applied::Old) => self.viewer.acknowledge(self.view.number().unwrap()),
            Err(Error::OutOfOrder { have, .. }) => {
                self.line.clear();
                self.viewer.resume(have.unwrap_or_default());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl World {
    pub(crate) fn new(size: Size, viewers: usize) -> Self {
        Self {
            screen: Screen::new(size, Secret::new([1, 2, 3, 4])),
            composer: Composer::new(),
            viewers: (0..viewers).map(|_| Seat::new()).collect(),
            now: Duration::from_secs(10),
        }
    }

    pub(crate) fn paint(&mut self, rect: Rect, colour: impl FnMut(u16, u16) -> u32) {
        crate::scenes::Canvas::new(&mut self.screen).paint(rect, colour);
    }

    /// A viewer asks. Tells whether there was something for it.
    pub(crate) fn ask(&mut self, number: usize, budget: usize) -> bool {
        let seat = &mut self.viewers[number];
        // All that scenes paint is told, whether it is said or not.
        if seat.updates.is_multiple_of(2) {
            self.screen.settled();
        }
        let update = self.composer.update(&mut self.screen, &mut seat.viewer, budget, self.now);
        let Some(update) = update else { return false };
        assert_eq!(update.number, seat.viewer.number());
        seat.bytes += update.body.len();
        seat.updates += 1;
        seat.line.push_back(update.body);
        true
    }

    /// A viewer that may have lost something says what it has, and gets all that there is until it has rested.
    pub(crate) fn settle(&mut self, number: usize) {
        let seat = &mut self.viewers[number];
        seat.line.clear();
        seat.viewer.resume(seat.view.number().unwrap_or_default());
        for _ in 0..200 {
            while !self.viewers[number].line.is_empty() {
                self.viewers[number].arrive();
            }
            if !self.ask(number, ALL) {
                match self.viewers[number].viewer.due(&self.screen, self.now) {
                    None => return,
                    Some(wait) => self.now += wait,
                }
            }
        }
        panic!("the viewer has never all");
    }

    /// All viewers see what there is, pixel for pixel.
    pub(crate) fn assert_same(&mut self, number: usize) {
        let view = &self.viewers[number].view;
        assert_eq!(view.size(), self.screen.size());
        let wrong = view.pixels().iter().zip(self.screen.pixels()).position(|(seen, there)| *seen != *there);
        let width = usize::from(view.size().width);
        assert_eq!(wrong.map(|place| (place % width, place / width)), None, "viewer {number}");
    }

    /// The PSNR in dB of the tiles that a viewer does not see as they are; none if there are none.
    pub(crate) fn decibels(&mut self, number: usize) -> Option<f64> {
        self.viewers[number].decibels(self.screen.pixels())
    }
}

impl Seat {
    /// The same, beside a picture as large.
    pub(crate) fn decibels(&self, there: &[u32]) -> Option<f64> {
        let view = &self.view;
        let (width, size) = (usize::from(view.size().width), view.size());
        assert_eq!(view.pixels().len(), there.len());
        let (mut error, mut samples) = (0_u64, 0_usize);
        for (y, x) in
            (0..size.height).step_by(16).flat_map(|y| (0..size.width).step_by(16).map(move |x| (y, x)))
        {
            let rows = y..size.height.min(y + TILE);
            let places = rows.flat_map(|y| (x..size.width.min(x + TILE)).map(move |x| (x, y)));
            let places: Vec<_> = places.map(|(x, y)| usize::from(y) * width + usize::from(x)).collect();
            if places.iter().any(|place| view.pixels()[*place] != there[*place]) {
                samples += places.len() * 3;
                error +=
                    places.iter().map(|place| squares(view.pixels()[*place], there[*place])).sum::<u64>();
            }
        }
        let mean = error as f64 / samples.max(1) as f64;
        (samples > 0).then(|| 10.0 * (255.0 * 255.0 / mean).log10())
    }
}

fn squares(one: u32, other: u32) -> u64 {
    let bytes = one.to_be_bytes().into_iter().zip(other.to_be_bytes());
    bytes.map(|(one, other)| u64::from(one.abs_diff(other)).pow(2)).sum()
}
