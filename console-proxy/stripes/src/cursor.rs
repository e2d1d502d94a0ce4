//! The cursor's shape, which viewers draw themselves.

use std::sync::Arc;

use crate::geometry::Size;

/// The longest side of a shape that is passed on: QEMU's own limit.
pub const MAX_CURSOR: u16 = 512;

/// A cursor's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The column and row of the pixel that points.
    pub hotspot: (u16, u16),
    /// Its size.
    pub size: Size,
    /// Row by row, `0xAARRGGBB`; colours are multiplied with their alpha already.
    pub pixels: Vec<u32>,
}

/// What viewers are told of the cursor; a number tells whether one has been told the newest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) number: u32,
    pub(crate) image: Option<Arc<Image>>,
}

/// A shape as PNG.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) hotspot: (u16, u16),
    pub(crate) png: Vec<u8>,
}

impl Shape {
    /// Takes another shape, or none. One that cannot be is none.
    pub(crate) fn set(&mut self, cursor: Option<&Cursor>) {
        let image = cursor.and_then(image).map(Arc::new);
        if image != self.image {
            self.number += 1;
            self.image = image;
        }
    }
}

fn image(cursor: &Cursor) -> Option<Image> {
    let Size { width, height } = cursor.size;
    let good = (1..=MAX_CURSOR).contains(&width)
        && (1..=MAX_CURSOR).contains(&height)
        && cursor.pixels.len() == cursor.size.pixels()
        && cursor.hotspot.0 < width
        && cursor.hotspot.1 < height;
    let samples: Vec<u8> = cursor.pixels.iter().flat_map(|pixel| straight(*pixel)).collect();
    let png = good.then(|| png(cursor.size, &samples))?.ok()?;
    Some(Image { hotspot: cursor.hotspot, png })
}

/// Colours as they are without alpha, which is what PNG has.
fn straight(pixel: u32) -> [u8; 4] {
    let [alpha, red, green, blue] = pixel.to_be_bytes();
    let divided = |colour: u8| match alpha {
        0 => 0,
        alpha => ((u32::from(colour) * 255 + u32::from(alpha) / 2) / u32::from(alpha)).min(255) as u8,
    };
    [divided(red), divided(green), divided(blue), alpha]
}

fn png(size: Size, samples: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.width.into(), size.height.into());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_cannot_be_is_none() {
        let good = Cursor { hotspot: (1, 0), size: Size::new(2, 1), pixels: vec![0xff01_0203, 0] };
        let mut shape = Shape::default();
        shape.set(Some(&good));
        shape.set(Some(&good));
        assert!(shape.number == 1 && shape.image.is_some());
        shape.set(Some(&Cursor { hotspot: (2, 0), ..good.clone() }));
        assert!(shape.number == 2 && shape.image.is_none());
        shape.set(Some(&Cursor { size: Size::new(513, 1), pixels: vec![0; 513], ..good }));
        assert!(shape.number == 2);
    }

    #[test]
    fn colours_are_divided_by_their_alpha() {
        assert_eq!(straight(0x8040_2010), [0x80, 0x40, 0x20, 0x80]);
        assert_eq!((straight(0x00ff_ffff), straight(0xff01_0203)), ([0; 4], [1, 2, 3, 255]));
    }
}
