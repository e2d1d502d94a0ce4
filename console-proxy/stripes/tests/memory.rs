//! What sessions take of memory, and what a body that lies makes a viewer take. All in one test, as the counter is one for
//! the process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "an allocator that counts can only be unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use podzol_stripes::decode::View;
use podzol_stripes::{CACHE_SLOTS, Composer, MAX_OVERWRITTEN, Rect, Screen, Secret, Size, Viewer};
use scenes::{Canvas, Drag, Scene, Scroll, Typing};

mod scenes;

/// Counts what is asked for.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator, with the arguments as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps its promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps its promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE: Size = Size::new(1024, 768);

/// What the server has of a VM that one viewer looks at.
struct Session {
    screen: Screen,
    viewer: Viewer,
    scene: Box<dyn Scene>,
}

impl Session {
    fn new(scene: Box<dyn Scene>, secret: &Secret) -> Self {
        Self { screen: Screen::new(SIZE, secret.clone()), viewer: Viewer::new(), scene }
    }

    fn play(&mut self, steps: u32, composer: &mut Composer) {
        self.scene.begin(&mut Canvas::new(&mut self.screen));
        for step in 0..steps {
            self.scene.step(&mut Canvas::new(&mut self.screen));
            let now = Duration::from_millis(100) * step;
            while let Some(update) = composer.update(&mut self.screen, &mut self.viewer, usize::MAX, now) {
                self.viewer.acknowledge(update.number);
            }
        }
    }
}

#[test]
fn sessions_and_lies_take_little_memory() {
    let secret = Secret::new([1, 2, 3, 4]);
    let mut composer = Composer::new();
    // What all sessions share is there before.
    Session::new(Box::new(Drag::new()), &secret).play(100, &mut composer);
    let mut kept =
        |scene: Box<dyn Scene>, rest: Rest| kept(Session::new(scene, &secret), &mut composer, rest);
    let idle = kept(Box::new(Scroll::new()), Rest::Yes);
    let typing = kept(Box::new(Typing::new()), Rest::No);
    let scrolling = kept(Box::new(Scroll::new()), Rest::No);
    let dragging = kept(Box::new(Drag::new()), Rest::No);
    let mean = (70 * idle + 20 * typing + 10 * scrolling) / 100;
    eprintln!("idle {idle}, typing {typing}, scrolling {scrolling}, dragging on a photo {dragging} bytes");
    eprintln!("{} sessions for each GiB", (1 << 30) / mean);
    assert!(mean < (1 << 30) / 500 && dragging < 12 << 20);
    let silent = silent(&secret);
    eprintln!("{silent} bytes for a viewer of noise that acknowledges nothing");
    assert!(silent < MAX_OVERWRITTEN + (24 << 20), "{silent} bytes");
    for (name, body) in lies() {
        let most = peak(&body);
        eprintln!("{name}: {} KiB at most", most >> 10);
        assert!(most < 20 << 20, "{name}: {most} bytes");
    }
}

/// Bytes that a viewer of 1920x1080 and its screen take when all changes each time, for as long as updates are made without one
/// being acknowledged. Pixels and a picture of noise have 8 MB each.
fn silent(secret: &Secret) -> usize {
    let before = NOW.load(Relaxed);
    let (size, mut composer) = (Size::new(1920, 1080), Composer::new());
    let (mut screen, mut viewer, mut noise) = (Screen::new(size, secret.clone()), Viewer::new(), 1_u32);
    for step in 0..20 {
        for pixel in screen.pixels() {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *pixel = noise >> 8;
        }
        screen.painted(Rect::new(0, 0, size.width, size.height));
        composer.update(&mut screen, &mut viewer, 1 << 16, Duration::from_millis(100) * step);
    }
    // Its memory is for all.
    drop(composer);
    NOW.load(Relaxed) - before
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Yes,
    No,
}

/// Bytes that a session takes after a hundred steps.
fn kept(mut session: Session, composer: &mut Composer, rest: Rest) -> usize {
    let scene = NOW.load(Relaxed);
    session.play(100, composer);
    if rest == Rest::Yes {
        session.screen.rest(Duration::from_secs(60));
    }
    let kept = NOW.load(Relaxed) - scene;
    let told = session.screen.memory() + session.viewer.memory();
    assert!(told * 2 > kept && told < kept * 2, "{told} bytes told and {kept} taken");
    kept
}

/// The most memory that a viewer of 1024x768 takes for a body, beyond its pixels and cache.
fn peak(body: &[u8]) -> usize {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let mut view = View::new(SIZE.pixels());
    drop(view.apply(body));
    MOST.load(Relaxed) - before
}

/// Bodies that announce much.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let desktop = [1, 0x23, 1, 0x80, 0x08, 0x80, 0x06];
    let image = |kind: u8, image: &[u8]| {
        let length = [image.len() as u8 & 0x7f | 0x80, (image.len() >> 7) as u8];
        [&desktop[..], &[1, kind, 1, 1, 0xfe, 0x17, 64], &length, image].concat()
    };
    let huge = [1, 3, 1, 0xff, 0xff, 0x03, 0xff, 0xff, 0x03];
    let mut png = vec![];
    png::Encoder::new(&mut png, 65_535, 65_535).write_header().unwrap();
    vec![
        ("a desktop", huge.to_vec()),
        ("bits without pixels", image(1, &[1, 2, 3, 4])),
        ("a large PNG", image(2, &png)),
        ("many copies", [&[1, 7, 1, 64, 64, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 64]].concat()),
        (
            "a cache full of tiles",
            image(1, &[&[1, 2, 3, 4][..], &vec![0; usize::from(CACHE_SLOTS)]].concat()),
        ),
    ]
}
