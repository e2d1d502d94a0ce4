//! Painting at random, for viewers of different speed who skip, lose and repeat what they are sent: at rest all of them see
//! the same.

use std::time::Duration;

use podzol_stripes::decode::{Applied, Error};
use podzol_stripes::{Cursor, MAX_SENT, Rect, Size};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::scenes::Canvas;
use crate::world::{ALL, World};

/// A size whose last tiles are padded.
const SIZE: Size = Size::new(203, 147);

fn any_rect(random: &mut StdRng, size: Size) -> Rect {
    let (x, y) = (random.random_range(0..size.width), random.random_range(0..size.height));
    Rect::new(x, y, random.random_range(1..=size.width - x), random.random_range(1..=size.height - y))
}

/// One of the things that happen on a screen.
fn paint(world: &mut World, random: &mut StdRng) {
    let rect = any_rect(random, world.screen.size());
    let (a, b, mut grain) =
        (random.random::<u32>() & 0xff_ffff, random.random::<u32>() & 0xff_ffff, random.clone());
    match random.random_range(0..7) {
        0 => world.paint(rect, |_, _| a),
        1 => world.paint(rect, |x, y| if ((x * 7) ^ (y * 3)) % 11 < 3 { a } else { b }),
        2 => world
            .paint(rect, |x, y| 0x40_4040 + u32::from(x / 3 + y / 5) + grain.random_range(0..40) * 0x01_0101),
        3 => world.paint(rect, |_, _| grain.random::<u32>() & 0xff_ffff),
        4 | 5 if rect.height > 1 => {
            Canvas::new(&mut world.screen).scroll(rect, random.random_range(1..rect.height));
        }
        _ => move_rect(world, random, rect),
    }
    if random.random_range(0..20) == 0 {
        let size = Size::new(random.random_range(1..400), random.random_range(1..300));
        world.screen.resize(if random.random() { size } else { SIZE });
    }
    if random.random_range(0..10) == 0 {
        let pixels = vec![random.random::<u32>() | 0xff00_0000; 12];
        let cursor = Cursor { hotspot: (1, 2), size: Size::new(4, 3), pixels };
        world.screen.set_cursor(random.random::<bool>().then_some(&cursor));
    }
}

/// A rectangle goes elsewhere.
fn move_rect(world: &mut World, random: &mut StdRng, rect: Rect) {
    let size = world.screen.size();
    let mut canvas = Canvas::new(&mut world.screen);
    let pixels = canvas.copy(rect);
    canvas.fill(rect, 0x12_3456);
    let place = |random: &mut StdRng, most: u16| random.random_range(0..=most);
    let (x, y) = (place(random, size.width - rect.width), place(random, size.height - rect.height));
    canvas.paint(Rect { x, y, ..rect }, |x, y| {
        pixels[usize::from(y) * usize::from(rect.width) + usize::from(x)]
    });
}

/// What becomes of what a viewer was sent.
fn transport(world: &mut World, random: &mut StdRng, number: usize) {
    let seat = &mut world.viewers[number];
    match random.random_range(0..20) {
        // The line breaks: nothing arrives of what is on it, and the viewer says what it has.
        0 => {
            seat.line.clear();
            seat.viewer.resume(seat.view.number().unwrap_or_default());
        }
        // One is lost, and the viewer knows nothing of it until the next one arrives.
        1 => drop(seat.line.pop_front()),
        // One comes twice.
        2 => seat.line.front().cloned().into_iter().for_each(|body| seat.line.push_front(body)),
        // The page is loaded again.
        3 if random.random_range(0..4) == 0 => {
            seat.line.clear();
            seat.view = podzol_stripes::decode::View::new(2000 * 2000);
            seat.viewer.resume(0);
        }
        _ => (0..=number).for_each(|_| seat.arrive()),
    }
}

fn run(seed: u64, steps: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(SIZE, 4);
    for _ in 0..steps {
        world.now += Duration::from_millis(random.random_range(0..300));
        (0..random.random_range(0..3)).for_each(|_| paint(&mut world, &mut random));
        for number in 0..4 {
            if random.random_range(0..=number) == 0 {
                world.ask(number, [0, 2000, 20_000, ALL][random.random_range(0..4)]);
            }
            transport(&mut world, &mut random, number);
        }
        if random.random_range(0..30) == 0 {
            world.screen.rest(world.now);
        }
    }
    for number in 0..4 {
        world.settle(number);
        world.assert_same(number);
    }
}

#[test]
fn whatever_is_painted_and_lost_all_viewers_see_the_same_at_rest() {
    podzol_fuzz::rounds(60, crate::hostile::BEGINNING, |_, random| {
        let seed = random.random();
        eprintln!("painting from {seed}");
        run(seed, 60);
    });
}

#[test]
fn a_long_session_stays_exact() {
    run(1000, 1500);
}

#[test]
fn what_is_shown_is_exact_but_for_soft_tiles_after_each_update() {
    let mut random = StdRng::seed_from_u64(7);
    let mut world = World::new(SIZE, 1);
    for step in 0..400 {
        world.now += Duration::from_millis(random.random_range(0..300));
        paint(&mut world, &mut random);
        world.ask(0, ALL);
        world.viewers[0].arrive();
        let decibels = world.decibels(0).unwrap_or(f64::INFINITY);
        // Of what moved some tiles may be left, of which each is a little worse than all together.
        assert!(decibels >= 33.5, "{decibels} after {step} steps");
    }
}

#[test]
fn nothing_more_is_made_for_a_viewer_that_does_not_acknowledge() {
    let mut world = World::new(SIZE, 1);
    let mut sent = 0;
    for step in 0..20 {
        world.paint(Rect::new(0, 0, 50, 50), |x, _| u32::from(x) * step);
        sent += usize::from(world.ask(0, ALL));
    }
    assert_eq!((sent, world.viewers[0].viewer.sent()), (MAX_SENT, MAX_SENT));
    world.viewers[0].arrive();
    assert!(world.ask(0, ALL));
    world.settle(0);
    world.assert_same(0);
}

#[test]
fn a_body_that_was_given_up_and_comes_late_does_no_harm() {
    let mut world = World::new(SIZE, 1);
    world.paint(Rect::new(0, 0, 90, 90), |x, y| u32::from(x * y));
    world.settle(0);
    world.paint(Rect::new(0, 0, 90, 90), |x, y| u32::from(x + y));
    world.ask(0, ALL);
    let late = world.viewers[0].line.pop_front().unwrap();
    let have = world.viewers[0].view.number().unwrap();
    world.viewers[0].viewer.resume(have);
    world.paint(Rect::new(0, 0, 90, 90), |x, y| u32::from(x * 3 + y));
    world.ask(0, ALL);
    let newest = world.viewers[0].line.pop_front().unwrap();
    let view = &mut world.viewers[0].view;
    assert_eq!(view.apply(&late), Ok(Applied::New));
    assert!(
        matches!(view.apply(&newest), Err(Error::OutOfOrder { have: Some(_), base: Some(base) }) if base == have)
    );
    let have = view.number().unwrap();
    world.viewers[0].viewer.resume(have);
    world.settle(0);
    world.assert_same(0);
}

#[test]
fn a_small_budget_sends_the_hottest_tiles_first_and_leaves_none_for_ever() {
    let mut world = World::new(Size::new(640, 480), 1);
    world.settle(0);
    let noise = StdRng::seed_from_u64(1);
    for step in 0..40_u32 {
        let mut random = noise.clone();
        world.now += Duration::from_millis(40);
        // All is painted once, and a corner again and again.
        if step == 10 {
            world.paint(Rect::new(0, 0, 640, 480), |x, y| {
                if (x ^ y) & 3 == 0 { 0 } else { random.random::<u32>() & 7 }
            });
        }
        world.paint(Rect::new(600, 440, 32, 32), |x, _| u32::from(x) * step);
        world.ask(0, 500);
        world.viewers[0].arrive();
        let same = |world: &mut World, place: usize| {
            world.viewers[0].view.pixels()[place] == world.screen.pixels()[place]
        };
        assert!(step < 5 || same(&mut world, 450 * 640 + 610), "the corner after {step} steps");
    }
    world.settle(0);
    world.assert_same(0);
}

#[test]
fn what_a_line_had_no_room_for_of_a_picture_is_given_up_when_a_newer_one_comes() {
    const BUDGET: usize = 16 << 10;
    let all = Rect::new(0, 0, 640, 480);
    let mut world = World::new(Size::new(640, 480), 1);
    world.settle(0);
    let mut random = StdRng::seed_from_u64(1);
    let mut bytes = world.viewers[0].bytes;
    let mut sent = |world: &mut World| {
        world.ask(0, BUDGET);
        world.viewers[0].arrive();
        let before = std::mem::replace(&mut bytes, world.viewers[0].bytes);
        world.viewers[0].bytes - before
    };
    // Each picture is noise of sixteen shades of one channel, which takes about 150 kilobytes.
    for channel in [0, 8, 16] {
        world.now += Duration::from_millis(40);
        world.paint(all, |_, _| ((random.random::<u32>() & 0xf) + 0x10) << (channel + 3));
        let first = sent(&mut world);
        assert!((1..3 * BUDGET).contains(&first), "{first} bytes");
    }
    // Of those before the last, nothing comes any more: all that is shown of them came in the first part of each.
    let of_older = |world: &World| {
        let is_older = |pixel: &&u32| **pixel != 0 && **pixel & 0xff_0000 < 0x40_0000;
        world.viewers[0].view.pixels().iter().filter(is_older).count()
    };
    let mut older = of_older(&world);
    assert!((1..640 * 480 / 2).contains(&older), "{older} pixels of pictures that were overwritten");
    while older > 0 {
        assert!(sent(&mut world) > 0);
        let left = of_older(&world);
        assert!(left <= older, "{left} after {older}");
        older = left;
    }
    world.settle(0);
    world.assert_same(0);
}

#[test]
fn viewers_at_the_same_version_share_images() {
    let mut world = World::new(Size::new(640, 480), 2);
    let mut random = StdRng::seed_from_u64(1);
    world.paint(Rect::new(3, 5, 600, 400), |_, _| random.random::<u32>() & 0xff_ffff);
    (0..2).for_each(|number| assert!(world.ask(number, ALL)));
    assert_eq!(world.viewers[0].line, world.viewers[1].line);
}
