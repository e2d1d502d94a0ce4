//! JPEG images of photographic tiles, as good as they have to be.
//!
//! No quality setting says how near the pixels are: a smooth picture is good at 60, grain is not at 90. So each image is
//! decoded again and compared; one that is too bad is made anew, better. The next one starts at what was enough, and a little
//! lower when it was more than enough, so it is rarely made twice.
//!
//! What changes often is replaced as a whole soon, so there all tiles together are to be good enough. Of other photographs some
//! tiles may be all that is left to be seen of an image, so there each of them is.
//!
//! # Design notes
//! What moves is quantised alike at all frequencies. The usual tables are coarse where eyes are, and fine elsewhere: so an image with
//! grain, which is as strong everywhere, needs a fifth more bytes for as many decibels. Smooth pictures that stay are smaller with them.

use jpeg_encoder::{ColorType, Encoder, QuantizationTableType, SamplingFactor};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

use super::Loss;
use super::sheet::{Sheet, place};
use crate::geometry::{TILE, TILE_PIXELS};

const SIDE: usize = TILE as usize;

/// What is promised for pictures that move is 35 dB of PSNR.
const ENOUGH: f64 = 35.1;

/// How much less the worst tile of a video may have.
const SLACK: f64 = 1.5;

/// From here on the next image may be worse.
const MORE_THAN_ENOUGH: f64 = 35.6;

/// Below this, blocks are seen whatever the PSNR is.
const LOWEST: u8 = 50;

/// From here on it is colour that is too coarse.
const HIGHEST_COARSE: u8 = 94;

const HIGHEST: u8 = 100;

/// After so many images with full colour, coarse colour is tried again.
const PATIENCE: u8 = 200;

/// The quality that was enough lately.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    setting: u8,
    /// Images that will have as many pixels of colour as of light. At zero, colour has a quarter.
    full: u8,
}

impl Quality {
    pub(crate) const fn new() -> Self {
        Self { setting: 80, full: 0 }
    }

    /// An image that is good enough; none if JPEG cannot be.
    pub(crate) fn encode(&mut self, sheet: &Sheet<'_>, loss: Loss) -> Option<Vec<u8>> {
        let samples = sheet.samples();
        loop {
            let bytes = self.attempt(sheet, &samples, loss)?;
            let decibels = decibels(sheet, &samples, &bytes, loss)?;
            if decibels >= ENOUGH {
                self.relax(decibels);
                return Some(bytes);
            }
            self.improve(decibels)?;
        }
    }

    fn attempt(&self, sheet: &Sheet<'_>, samples: &[u8], loss: Loss) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, self.setting);
        let coarse = self.full == 0;
        encoder.set_sampling_factor(if coarse { SamplingFactor::F_2_2 } else { SamplingFactor::F_1_1 });
        encoder.set_optimized_huffman_tables(true);
        if loss == Loss::Moving {
            encoder.set_quantization_tables(QuantizationTableType::Flat, QuantizationTableType::Flat);
        }
        let (width, height) = (u16::try_from(sheet.width()).ok()?, u16::try_from(sheet.height()).ok()?);
        encoder.encode(samples, width, height, ColorType::Rgb).ok()?;
        Some(bytes)
    }

    fn relax(&mut self, decibels: f64) {
        self.full = self.full.saturating_sub(1);
        if decibels > MORE_THAN_ENOUGH {
            let step = if decibels > MORE_THAN_ENOUGH + 2.0 { 4 } else { 1 };
            self.setting = (self.setting - step).max(LOWEST);
        }
    }

    fn improve(&mut self, decibels: f64) -> Option<()> {
        let step = ((ENOUGH - decibels) * 3.0).clamp(2.0, 20.0) as u8;
        match self.setting {
            HIGHEST if self.full > 0 => return None,
            setting if self.full == 0 && setting + step > HIGHEST_COARSE => {
                self.full = PATIENCE;
                self.setting = 85;
            }
            setting => self.setting = (setting + step).min(HIGHEST),
        }
        Some(())
    }
}

/// The PSNR of an image: of its worst tile, or of all together if its worst is little less.
fn decibels(sheet: &Sheet<'_>, samples: &[u8], bytes: &[u8], loss: Loss) -> Option<f64> {
    let decoded = JpegDecoder::new(ZCursor::new(bytes)).decode().ok().filter(|d| d.len() == samples.len())?;
    let error_of = |tile: usize| -> u64 {
        let rows = (0..SIDE).map(|row| (place(tile, sheet.columns()) + row * sheet.width()) * 3);
        rows.map(|start| start..start + SIDE * 3)
            .map(|row| squares(&samples[row.clone()], &decoded[row]))
            .sum()
    };
    let errors: Vec<u64> = (0..sheet.tiles()).map(error_of).collect();
    let worst = psnr(*errors.iter().max()?, 1);
    match loss {
        Loss::Moving => Some(psnr(errors.iter().sum(), errors.len()).min(worst + SLACK)),
        Loss::None | Loss::Still => Some(worst),
    }
}

fn psnr(squares: u64, tiles: usize) -> f64 {
    let mean = squares as f64 / (tiles * TILE_PIXELS * 3) as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-6)).log10()
}

fn squares(one: &[u8], other: &[u8]) -> u64 {
    let square = |(one, other): (&u8, &u8)| u32::from(one.abs_diff(*other)).pow(2);
    one.iter().zip(other).map(square).sum::<u32>().into()
}
