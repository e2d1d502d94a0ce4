//! What decoding takes of memory: nothing for a rectangle, and a bounded amount for a server that lies. All in one test, as
//! the counter is one for the process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "an allocator that counts can only be unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use flate2::{Compress, Compression, FlushCompress};
use podzol_rfb::{Client, Config, Encoding, Event, Frame, Limits, Security, Size};

/// Counts what is asked for.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator, with the arguments as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
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

/// The desktop of all connections here.
const SIZE: Size = Size::new(640, 480);

#[test]
fn a_rectangle_allocates_nothing_and_a_lie_little() {
    for encoding in [Encoding::Raw, Encoding::Hextile, Encoding::Zrle, Encoding::Zlib, Encoding::Tight] {
        // The queue of bytes that have come grows for the larger update, whatever is in it.
        let (few, many) = (calls(encoding, 10), calls(encoding, 1000));
        assert!(many <= few + 3, "{encoding:?}: {few} for 10 rectangles and {many} for 1000");
    }
    let lies = lies().into_iter().map(|(name, bytes)| (name, peak(connected, &bytes)));
    let earlier = early_lies().into_iter().map(|(name, bytes)| (name, peak(unconnected, &bytes)));
    for (name, most) in lies.chain(earlier) {
        eprintln!("{name}: {} KiB at most", most >> 10);
        assert!(most < 12 << 20, "{name}: {most} bytes");
    }
}

/// How often an update of rectangles allocates, when the first update has made all that stays.
fn calls(encoding: Encoding, rectangles: u16) -> usize {
    let mut packer = Compress::new(Compression::new(1), true);
    let [first, second] = [0, 1].map(|_| {
        let rectangles = (0..rectangles).map(|row| rectangle(encoding, row % SIZE.height, &mut packer));
        [&[0, 0][..], &rectangles.len().to_be_bytes()[6..], &rectangles.collect::<Vec<_>>().concat()].concat()
    });
    let (mut client, mut pixels) = (connected(), vec![0; SIZE.pixels() as usize]);
    let mut frame = Frame::new(&mut pixels, SIZE, SIZE.width.into()).unwrap();
    let mut painted = 0;
    let mut give = |bytes: &[u8]| {
        client.receive(bytes);
        while let Some(event) = client.next_event(&mut frame).unwrap() {
            painted += usize::from(matches!(event, Event::Painted(_)));
        }
    };
    give(&first);
    let before = CALLS.load(Relaxed);
    give(&second);
    let calls = CALLS.load(Relaxed) - before;
    assert_eq!(painted, usize::from(rectangles) * 2);
    calls
}

/// A rectangle of 16x1, as QEMU sends them.
fn rectangle(encoding: Encoding, y: u16, packer: &mut Compress) -> Vec<u8> {
    let mut pack = |plain: &[u8]| {
        let mut packed = Vec::with_capacity(1000);
        packer.compress_vec(plain, &mut packed, FlushCompress::Sync).unwrap();
        packed
    };
    let body = match encoding {
        Encoding::Hextile => vec![2 | 4 | 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0x20, 0x30],
        Encoding::Raw => vec![7; 64],
        Encoding::Tight => [&[0][..], &short(&pack(&[9; 48]))].concat(),
        Encoding::Zlib => long(&pack(&[y as u8; 64])),
        _ => long(&pack(&[130, 1, 2, 3, 4, 5, 6, 0x80, 9, 0x81, 5])),
    };
    let place = [16, y, 16, 1].map(u16::to_be_bytes).concat();
    [&place, &encoding.code().to_be_bytes()[..], &body].concat()
}

fn long(packed: &[u8]) -> Vec<u8> {
    [&(packed.len() as u32).to_be_bytes(), packed].concat()
}

fn short(packed: &[u8]) -> Vec<u8> {
    [&[packed.len() as u8], packed].concat()
}

/// The most memory that these bytes take, each of which comes 64 KiB at a time.
fn peak(client: fn() -> Client, bytes: &[u8]) -> usize {
    let mut pixels = vec![0; SIZE.pixels() as usize];
    let mut frame = Frame::new(&mut pixels, SIZE, SIZE.width.into()).unwrap();
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let mut client = client();
    for piece in bytes.chunks(65_536) {
        client.receive(piece);
        while let Ok(Some(_)) = client.next_event(&mut frame) {}
    }
    MOST.load(Relaxed) - before
}

/// What announces much, each followed by as many bytes as somebody would send.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let rectangle = |place: [u16; 4], encoding: Encoding, body: &[u8]| {
        let place = place.map(u16::to_be_bytes).concat();
        let head = [&[0, 0, 0xff, 0xff][..], &place, &encoding.code().to_be_bytes(), body].concat();
        [head, vec![0x5a; 20 << 20]].concat()
    };
    let whole = [0, 0, SIZE.width, SIZE.height];
    vec![
        ("cut text", [&[3, 0, 0, 0, 0x0f, 0xff, 0xff, 0xff][..], &vec![b'a'; 20 << 20]].concat()),
        (
            "cut text within its limit",
            [&[3, 0, 0, 0, 0, 0x0f, 0xff, 0xff][..], &vec![b'a'; 1 << 20]].concat(),
        ),
        ("extended clipboard", extended_bomb()),
        ("map of colours", [&[1, 0, 0, 0, 0xff, 0xff][..], &vec![0; 20 << 20]].concat()),
        ("cursor", rectangle([0, 0, 512, 512], Encoding::Cursor, &[])),
        ("largest cursor", rectangle([0, 0, 0xffff, 0xffff], Encoding::Cursor, &[])),
        ("cursor with transparency", rectangle([0, 0, 512, 512], Encoding::CursorAlpha, &[0; 4])),
        (
            "largest cursor with transparency",
            rectangle([0, 0, 0xffff, 0xffff], Encoding::CursorAlpha, &[0; 4]),
        ),
        ("raw", rectangle(whole, Encoding::Raw, &[])),
        ("zlib", rectangle(whole, Encoding::Zlib, &[0, 0x10, 0, 0])),
        ("zlib bomb", rectangle(whole, Encoding::Zlib, &zlib_bomb())),
        ("zrle", rectangle(whole, Encoding::Zrle, &[0xff; 4])),
        ("zrle bomb", rectangle(whole, Encoding::Zrle, &zlib_bomb())),
        ("hextile", rectangle(whole, Encoding::Hextile, &[0x1f])),
        ("tight", rectangle(whole, Encoding::Tight, &[0, 0xff, 0xff, 0x7f])),
        ("tight bomb", rectangle(whole, Encoding::Tight, &tight_bomb(&[0]))),
        ("tight bomb of a palette", rectangle(whole, Encoding::Tight, &tight_bomb(&palette()))),
        ("tight bomb of a gradient", rectangle(whole, Encoding::Tight, &tight_bomb(&[0x40, 2]))),
        ("image", rectangle(whole, Encoding::Tight, &[0x90, 0xff, 0xff, 0x7f])),
        ("png", rectangle(whole, Encoding::TightPng, &[0xa0, 0xff, 0xff, 0x7f])),
        ("copy", rectangle(whole, Encoding::CopyRect, &[0xff; 4])),
        ("name", rectangle([0; 4], Encoding::DesktopName, &[0xff; 4])),
        ("desktop", rectangle([0, 0, 0xffff, 0xffff], Encoding::DesktopSize, &[])),
        ("screens", rectangle([0, 0, 0xffff, 0xffff], Encoding::ExtendedDesktopSize, &[0xff, 0, 0, 0])),
    ]
}

/// The same before a server is known.
fn early_lies() -> Vec<(&'static str, Vec<u8>)> {
    let after = |head: &[u8]| [b"RFB 003.008\n", head, &vec![b'a'; 20 << 20]].concat();
    let desktop = [&[1, 1, 0, 0, 0, 0][..], &[0xff; 4], &[0; 16]].concat();
    let named = [&[1, 1, 0, 0, 0, 0, 2, 0x80, 1, 0xe0][..], &[0; 16], &[0xff; 4]].concat();
    vec![
        ("version", vec![b'a'; 20 << 20]),
        ("kinds of security", after(&[0xff])),
        ("reason without security", after(&[0, 0xff, 0xff, 0xff, 0xff])),
        ("reason of a refusal", after(&[1, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])),
        ("first desktop", after(&desktop)),
        ("first name", after(&named)),
    ]
}

/// The head of pixels of a palette with all colours that there may be.
fn palette() -> Vec<u8> {
    [&[0x40, 1, 255][..], &[7; 256 * 3]].concat()
}

/// Packed zeros after this head, with their length as Tight has it.
fn tight_bomb(head: &[u8]) -> Vec<u8> {
    let bomb = zlib_bomb().split_off(4);
    let length = [bomb.len() | 0x80, bomb.len() >> 7 | 0x80, bomb.len() >> 14].map(|part| part as u8);
    [head, &length, &bomb].concat()
}

/// Many zeros.
fn zlib_bomb() -> Vec<u8> {
    let mut packed = Vec::with_capacity(1 << 20);
    Compress::new(Compression::new(9), true)
        .compress_vec(&vec![0; 50 << 20], &mut packed, FlushCompress::Sync)
        .unwrap();
    long(&packed)
}

/// A text that says it is short, and is not.
fn extended_bomb() -> Vec<u8> {
    let bomb = zlib_bomb().split_off(4);
    let length = -(bomb.len() as i32 + 4);
    [&[3, 0, 0, 0][..], &length.to_be_bytes(), &[0x10, 0, 0, 1], &bomb].concat()
}

fn unconnected() -> Client {
    use Encoding::*;
    let config = Config {
        security: vec![Security::None],
        username: None,
        password: None,
        encodings: [&[CopyRect, Hextile, Zrle, Zlib, Tight, TightPng][..], Encoding::EXTENSIONS].concat(),
        limits: Limits { pixels: SIZE.pixels(), clipboard: 1 << 20 },
    };
    Client::new(config)
}

fn connected() -> Client {
    let mut client = unconnected();
    let size = [SIZE.width, SIZE.height].map(u16::to_be_bytes).concat();
    client.receive(&[b"RFB 003.008\n\x01\x01\0\0\0\0", &size[..], &[0; 20]].concat());
    client.next_event(&mut Frame::empty()).unwrap().unwrap();
    client
}
