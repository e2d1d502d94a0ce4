//! Photographs and video.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Canvas, Scene};
use podzol_stripes::Rect;

/// A smooth picture with something of a grain, which can be asked for at any place and time.
pub(crate) struct Landscape {
    waves: Vec<[f32; 5]>,
}

impl Landscape {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let wave = |_| {
            let pitch = random.random_range(0.004..0.12_f32);
            let turn = random.random_range(0.0..std::f32::consts::TAU);
            let strength = 0.9 / pitch.sqrt();
            [pitch * turn.cos(), pitch * turn.sin(), turn * 3.0, strength, random.random_range(0.0..6.0)]
        };
        Self { waves: (0..14).map(wave).collect() }
    }

    /// The colour of a place, with so much grain of light.
    pub(crate) fn colour(&self, x: f32, y: f32, grain: i32) -> u32 {
        let mut sums = [128.0_f32, 120.0, 105.0];
        for [across, down, phase, strength, hue] in &self.waves {
            let wave = (x * across + y * down + phase).sin() * strength;
            for (sum, turn) in sums.iter_mut().zip([0.0, 0.7, 1.4]) {
                *sum += wave * (0.75 + 0.25 * (hue + turn).sin());
            }
        }
        sums.iter().fold(0, |colour, sum| colour << 8 | (*sum as i32 + grain).clamp(0, 255) as u32)
    }
}

/// A photograph that is shown at once and then stays.
pub(crate) struct Photo {
    landscape: Landscape,
    random: StdRng,
    shown: bool,
}

impl Photo {
    pub(crate) fn new() -> Self {
        Self { landscape: Landscape::new(4), random: StdRng::seed_from_u64(4), shown: false }
    }
}

impl Scene for Photo {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        let size = canvas.size();
        canvas.fill(Rect::new(0, 0, size.width, size.height), 0x30_3030);
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        if !std::mem::replace(&mut self.shown, true) {
            let Self { landscape, random, .. } = self;
            canvas.paint(Rect::new(100, 90, 640, 480), |x, y| {
                landscape.colour(x.into(), y.into(), random.random_range(-2..=2))
            });
        }
    }

    fn pace(&self) -> u64 {
        40
    }
}

/// A film of 320x240 with much grain, 25 pictures in a second.
pub(crate) struct Video {
    landscape: Landscape,
    random: StdRng,
    time: f32,
}

impl Video {
    pub(crate) fn new() -> Self {
        Self { landscape: Landscape::new(5), random: StdRng::seed_from_u64(5), time: 0.0 }
    }
}

impl Scene for Video {
    fn begin(&mut self, canvas: &mut Canvas<'_>) {
        let size = canvas.size();
        canvas.fill(Rect::new(0, 0, size.width, size.height), 0x20_2020);
    }

    fn step(&mut self, canvas: &mut Canvas<'_>) {
        self.time += 1.0;
        let Self { landscape, random, time } = self;
        canvas.paint(Rect::new(200, 150, 320, 240), |x, y| {
            let grain = (0..4).map(|_| random.random_range(-GRAIN..=GRAIN)).sum();
            landscape.colour(f32::from(x) + *time * 3.0, f32::from(y) + *time, grain)
        });
    }

    fn pace(&self) -> u64 {
        40
    }
}

/// A quarter of the most that grain changes a pixel, so that PNG takes as much for a picture as that of CONSOLE's video.
const GRAIN: i32 = 5;
