//! The examples of `FORMAT.md`.

use podzol_stripes::decode::{Applied, View};
use podzol_stripes::{Rect, Size};

use crate::world::{ALL, World};

fn letter(x: u16, y: u16) -> u32 {
    if (3..5).contains(&x) && (3..12).contains(&y) { 0xaa_aaaa } else { 0 }
}

/// The bytes of all examples, in their order.
fn examples() -> Vec<Vec<u8>> {
    let text = include_str!("../../FORMAT.md");
    let (_, text) = text.split_once("## An example").unwrap();
    let blocks = text.split("```text\n").skip(1).map(|block| block.split("```").next().unwrap());
    let hex = |line: &str| -> Vec<u8> {
        let bytes = line
            .split_whitespace()
            .map_while(|word| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten());
        bytes.collect()
    };
    blocks.map(|block| block.lines().flat_map(hex).collect()).collect()
}

#[test]
fn bodies_are_as_the_document_says() {
    let mut world = World::new(Size::new(32, 16), 1);
    let mut bodies = vec![];
    for column in [None, Some(16), Some(0)] {
        column.into_iter().for_each(|x| world.paint(Rect::new(x, 0, 16, 16), letter));
        world.ask(0, ALL);
        bodies.push(world.viewers[0].line[0].clone());
        world.viewers[0].arrive();
    }
    assert_eq!(bodies, examples());
}

#[test]
fn the_document_s_bodies_are_decoded() {
    let mut view = View::new(1000);
    examples().iter().for_each(|body| assert_eq!(view.apply(body), Ok(Applied::New)));
    let expected = (0..16).flat_map(|y| (0..32).map(move |x| letter(x % 16, y)));
    assert!(view.pixels().iter().copied().eq(expected));
}
