//! Photographs and video.

use crate::Scene;
use crate::canvas::{Canvas, Rect};
use crate::memory;
use crate::random::Random;

/// Waves of a landscape: more of them make it finer, and take longer.
const WAVES: usize = 8;

/// A smooth picture in colour with something of a grain.
pub(crate) struct Landscape {
    waves: [Wave; WAVES],
    random: Random,
}

/// A wave across a picture. Phases are 2^32 for a turn.
#[derive(Default)]
struct Wave {
    right: u32,
    down: u32,
    phase: u32,
    /// Of red, green and blue.
    strength: [i32; 3],
}

impl Landscape {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let waves = core::array::from_fn(|number| {
            // From a turn in some 800 pixels to one in some 50: the longer a wave, the higher.
            let pitch = (1 << 32) / (50 + 100 * number as i64);
            let mut part = || pitch * (random.below(2001) as i64 - 1000) / 1000;
            let (right, down) = (part() as u32, part() as u32);
            let height = 8 + 4 * number;
            let strength = core::array::from_fn(|_| (height * (50 + random.below(51)) / 100) as i32);
            Wave { right, down, phase: random.bits(), strength }
        });
        Self { waves, random }
    }

    /// Draws a part of it, with so much grain of light: each pixel's is the sum of four numbers up to that.
    pub(crate) fn draw(&mut self, pixels: &mut [u32], width: usize, grain: u32) {
        for (y, row) in pixels.chunks_exact_mut(width).enumerate() {
            let mut phases: [u32; WAVES] = core::array::from_fn(|number| {
                let wave = &self.waves[number];
                wave.phase.wrapping_add(wave.down.wrapping_mul(y as u32))
            });
            for pixel in row {
                let mut sums = [128 << 8, 120 << 8, 105 << 8];
                for (phase, wave) in phases.iter_mut().zip(&self.waves) {
                    let height = sine(*phase);
                    sums.iter_mut().zip(wave.strength).for_each(|(sum, strength)| *sum += height * strength);
                    *phase = phase.wrapping_add(wave.right);
                }
                *pixel = colour(sums, noise(&mut self.random, grain));
            }
        }
    }
}

/// Almost a sine, of 256: two parabolas.
fn sine(phase: u32) -> i32 {
    let x = (phase >> 22) as i32 & 511;
    let half = x * (512 - x) >> 8;
    if phase >> 31 == 0 { half } else { -half }
}

fn noise(random: &mut Random, grain: u32) -> i32 {
    let bits = random.bits();
    let one = |shift: u32| ((bits >> shift & 0xff) * (2 * grain + 1) >> 8) as i32 - grain as i32;
    one(0) + one(8) + one(16) + one(24)
}

fn colour(sums: [i32; 3], grain: i32) -> u32 {
    sums.iter().fold(0, |colour, sum| colour << 8 | ((sum >> 8) + grain).clamp(0, 255) as u32)
}

/// A photograph after the other, one each second.
pub(crate) struct Photo {
    seed: u64,
    pixels: &'static mut [u32],
}

const PHOTO: Rect = Rect { x: 100, y: 90, width: 640, height: 480 };

impl Photo {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, pixels: &mut memory::kept()[..PHOTO.width * PHOTO.height] }
    }
}

impl Scene for Photo {
    fn begin(&mut self, canvas: &mut Canvas) {
        canvas.fill(canvas.all(), 0x30_3030);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        self.seed += 1;
        Landscape::new(self.seed).draw(self.pixels, PHOTO.width, 1);
        canvas.put(PHOTO, self.pixels, PHOTO.width);
        1000
    }
}

/// A film of 320x240 with much grain, 25 pictures in a second, seen by a camera that moves.
pub(crate) struct Video {
    random: Random,
    pixels: &'static mut [u32],
    step: usize,
}

const VIDEO: Rect = Rect { x: 200, y: 150, width: 320, height: 240 };

/// What the camera moves over.
const WORLD: (usize, usize) = (1024, 512);

/// A quarter of the most that grain changes a pixel, so that noVNC takes about 4 MB/s for it.
const GRAIN: u32 = 5;

impl Video {
    pub(crate) fn new(seed: u64) -> Self {
        let pixels = &mut memory::kept()[..WORLD.0 * WORLD.1];
        Landscape::new(seed).draw(pixels, WORLD.0, 0);
        Self { random: Random::new(seed), pixels, step: 0 }
    }
}

impl Scene for Video {
    fn begin(&mut self, canvas: &mut Canvas) {
        canvas.fill(canvas.all(), 0x20_2020);
    }

    fn step(&mut self, canvas: &mut Canvas) -> u64 {
        self.step += 1;
        let Self { random, pixels, step } = self;
        canvas.paint(VIDEO, |x, y| {
            let (x, y) = ((x + *step * 3) % WORLD.0, (y + *step) % WORLD.1);
            let pixel = pixels[y * WORLD.0 + x];
            let grain = noise(random, GRAIN);
            let part = |shift: u32| ((pixel >> shift & 0xff) as i32 + grain).clamp(0, 255) as u32;
            part(16) << 16 | part(8) << 8 | part(0)
        });
        40
    }
}
