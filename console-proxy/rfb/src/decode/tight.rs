//! Tight: one colour, a JPEG or PNG image, or filtered and packed pixels (rfbproto, "Tight Encoding", "Tight PNG Encoding").
//!
//! # Design notes
//! - Rectangles wider than 2048 pixels are taken: nothing here needs the limit, and servers send large areas of one colour.
//! - Pixels that are filtered but not packed, which LibVNCServer and TurboVNC send at compression level 0, are in no
//!   specification. They look like Tight PNG's images, so they are taken in plain Tight only.

mod filter;

use super::inflate::{Inflate, Stream};
use super::pen::{Form, Tpixel};
use super::{Painter, image, packed_limit};
use crate::error::Rule;
use crate::frame::{Frame, Rect};
use crate::input::Input;

use filter::Filtered;

/// Filtered pixels of fewer bytes are not packed.
const PACKED: u32 = 12;

/// What an image may keep between rectangles. Servers split what they send into about 64 Ki pixels.
const KEPT: usize = 256 << 10;

/// Tight, or Tight PNG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flavour {
    #[default]
    Plain,
    Png,
}

/// The decoder of Tight rectangles.
#[derive(Debug, Default)]
pub(crate) struct Tight {
    rect: Rect,
    flavour: Flavour,
    step: Step,
    filtered: Filtered,
    image: Vec<u8>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default)]
enum Step {
    #[default]
    Control,
    Colour,
    ImageLength(image::Kind),
    Image(image::Kind, u32),
    Filter(Source),
    PaletteLength(Source),
    Palette(Source, u16),
    DataLength(Source),
    Data(Source, u32),
    Unpacked,
    Done,
}

/// Whether filtered pixels are packed, and in which stream.
#[derive(Debug, Clone, Copy)]
enum Source {
    Packed(Stream),
    Unpacked,
}

impl Tight {
    /// Begins a rectangle.
    pub(crate) fn begin(&mut self, rect: Rect, flavour: Flavour) {
        (self.rect, self.flavour, self.step) = (rect, flavour, Step::Control);
        self.filtered.begin(rect);
    }

    /// Decodes what has come. True when the rectangle is complete.
    ///
    /// # Errors
    /// When a rule is broken.
    pub(crate) fn advance(
        &mut self,
        input: &mut Input,
        inflate: &mut Inflate,
        frame: &mut Frame<'_>,
    ) -> Result<bool, Rule> {
        while !matches!(self.step, Step::Done) {
            match self.next(input, inflate, frame)? {
                Some(step) => self.step = step,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes one step, if its bytes are there.
    fn next(
        &mut self,
        input: &mut Input,
        inflate: &mut Inflate,
        frame: &mut Frame<'_>,
    ) -> Result<Option<Step>, Rule> {
        let next = match self.step {
            Step::Control => input.u8().map(|control| self.control(control, inflate)).transpose()?,
            Step::Colour => input.array().map(|colour: [u8; Tpixel::BYTES]| {
                frame.fill(self.rect, Tpixel::colour(&colour));
                Step::Done
            }),
            Step::ImageLength(kind) => self.length(input)?.map(|length| Step::Image(kind, length)),
            Step::Image(kind, length) => match input.take(length as usize) {
                Some(bytes) => Some(self.paint_image(kind, bytes, frame)?),
                None => None,
            },
            Step::Filter(source) => input.u8().map(|filter| self.filter(filter, source)).transpose()?,
            Step::PaletteLength(source) => input
                .u8()
                .map(|last| self.filtered.use_palette(last))
                .transpose()?
                .map(|()| Step::Palette(source, 0)),
            Step::Palette(source, next) if next == self.filtered.colours() => Some(self.data(source)),
            Step::Palette(source, next) => input.array().map(|colour: [u8; Tpixel::BYTES]| {
                self.filtered.set_colour(next, Tpixel::colour(&colour));
                Step::Palette(source, next + 1)
            }),
            Step::DataLength(source) => match self.length(input)? {
                Some(length) => Some(self.check(source, length)?),
                None => None,
            },
            Step::Data(Source::Packed(stream), mut left) => {
                let done = inflate.paint(stream, &mut left, input, &mut self.filtered, frame)?;
                self.step = Step::Data(Source::Packed(stream), left);
                done.then_some(Step::Done)
            }
            Step::Data(Source::Unpacked, _) | Step::Unpacked => {
                let used = self.filtered.paint(input.rest(), frame)?;
                input.skip(used);
                self.filtered.is_done().then_some(Step::Done)
            }
            Step::Done => None,
        };
        Ok(next)
    }

    fn paint_image(&mut self, kind: image::Kind, bytes: &[u8], frame: &mut Frame<'_>) -> Result<Step, Rule> {
        let painted = image::paint(kind, bytes, self.rect, &mut self.image, frame);
        self.image.clear();
        self.image.shrink_to(KEPT);
        painted.map(|()| Step::Done)
    }

    fn control(&mut self, control: u8, inflate: &mut Inflate) -> Result<Step, Rule> {
        (0..4)
            .filter(|stream| control & 1 << stream != 0)
            .for_each(|stream| inflate.reset(Stream::Tight(stream)));
        let how = control >> 4;
        Ok(match (how, self.flavour) {
            (8, _) => Step::Colour,
            (9, _) => Step::ImageLength(image::Kind::Jpeg),
            (10, Flavour::Png) => Step::ImageLength(image::Kind::Png),
            (10, Flavour::Plain) => self.data(Source::Unpacked),
            (14, Flavour::Plain) => Step::Filter(Source::Unpacked),
            (0..=3, Flavour::Plain) => self.data(Source::Packed(Stream::Tight(how))),
            (4..=7, Flavour::Plain) => Step::Filter(Source::Packed(Stream::Tight(how & 3))),
            _ => return Err(Rule::Subencoding(control)),
        })
    }

    fn filter(&mut self, filter: u8, source: Source) -> Result<Step, Rule> {
        match filter {
            0 => Ok(self.data(source)),
            1 => Ok(Step::PaletteLength(source)),
            2 => {
                self.filtered.use_gradient();
                Ok(self.data(source))
            }
            other => Err(Rule::Filter(other)),
        }
    }

    /// What follows when the filter is known.
    fn data(&self, source: Source) -> Step {
        if self.filtered.bytes() < PACKED { Step::Unpacked } else { Step::DataLength(source) }
    }

    /// The length in one to three bytes, once they are there.
    fn length(&self, input: &mut Input) -> Result<Option<u32>, Rule> {
        let Some((length, used)) = compact_length(input.rest()) else { return Ok(None) };
        input.skip(used);
        let limit = packed_limit(self.rect);
        if u64::from(length) > limit {
            return Err(Rule::TooLong { length: length.into(), limit });
        }
        Ok(Some(length))
    }

    fn check(&self, source: Source, length: u32) -> Result<Step, Rule> {
        let whole = self.filtered.bytes();
        match source {
            Source::Unpacked if length < whole => Err(Rule::Missing),
            Source::Unpacked if length > whole => Err(Rule::Excess),
            _ => Ok(Step::Data(source, length)),
        }
    }
}

/// A length of up to 22 bits, seven of them in each of the first two bytes, and how many bytes it is in.
fn compact_length(bytes: &[u8]) -> Option<(u32, usize)> {
    let byte = |index: usize| bytes.get(index).copied().map(u32::from);
    let first = byte(0)?;
    if first & 0x80 == 0 {
        return Some((first, 1));
    }
    let second = byte(1)?;
    let length = (first & 0x7f) | (second & 0x7f) << 7;
    if second & 0x80 == 0 { Some((length, 2)) } else { Some((length | byte(2)? << 14, 3)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_one_to_three_bytes() {
        assert_eq!(compact_length(&[0x7f, 9]), Some((127, 1)));
        assert_eq!(compact_length(&[0x90, 0x4e]), Some((10_000, 2)));
        assert_eq!(compact_length(&[0xff, 0xff, 0xff]), Some((4_194_303, 3)));
        for part in [&[][..], &[0x80], &[0x80, 0x80]] {
            assert_eq!(compact_length(part), None);
        }
    }
}
