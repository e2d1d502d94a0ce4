//! What the classic stripe costs, as a measure of how much a scene has in it: tiles of 64 pixels that have changed, one above
//! the other in one PNG image, with a palette if there are few colours.

use std::collections::HashMap;

use podzol_stripes::Size;

const SIDE: usize = 64;

pub(crate) fn stripe(before: &[u32], now: &[u32], size: Size) -> usize {
    let width = usize::from(size.width);
    let tiles =
        (0..now.len() / width / SIDE).flat_map(|y| (0..width / SIDE).map(move |x| (y * width + x) * SIDE));
    let rows = |start: usize| (0..SIDE).map(move |row| start + row * width..start + row * width + SIDE);
    let changed = tiles.filter(|start| rows(*start).any(|row| before[row.clone()] != now[row]));
    let pixels: Vec<u32> = changed.flat_map(rows).flat_map(|row| now[row].iter().copied()).collect();
    if pixels.is_empty() { 0 } else { png(&pixels) }
}

fn png(pixels: &[u32]) -> usize {
    let mut palette = HashMap::new();
    let numbers: Vec<usize> = pixels
        .iter()
        .map(|pixel| {
            let next = palette.len();
            *palette.entry(*pixel).or_insert(next)
        })
        .collect();
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, SIDE as u32, (pixels.len() / SIDE) as u32);
    let samples: Vec<u8> = if palette.len() <= 256 {
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![0; palette.len() * 3]);
        numbers.iter().map(|number| *number as u8).collect()
    } else {
        encoder.set_color(png::ColorType::Rgb);
        pixels.iter().flat_map(|pixel| pixel.to_be_bytes()[1..].to_vec()).collect()
    };
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&samples).unwrap();
    writer.finish().unwrap();
    bytes.len()
}
