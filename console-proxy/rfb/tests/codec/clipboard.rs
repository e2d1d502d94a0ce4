//! The server's clipboard.

use podzol_rfb::{Clipboard, Contents, Error, Event, Message, Rule};

use crate::wire::{Packer, cut_text, extended, zlib};
use crate::world::World;

const CAPS: u32 = 1 << 24;
const REQUEST: u32 = 1 << 25;
const PEEK: u32 = 1 << 26;
const NOTIFY: u32 = 1 << 27;
const PROVIDE: u32 = 1 << 28;

/// What a message tells.
fn told(bytes: &[u8]) -> Result<Vec<Clipboard>, Rule> {
    let mut world = World::connected();
    match world.give(bytes) {
        Ok(()) => Ok(world.events.into_iter().map(clipboard).collect()),
        Err(Error::Broken { message: Message::ServerCutText, rule }) => Err(rule),
        Err(other) => panic!("{other}"),
    }
}

fn clipboard(event: Event) -> Clipboard {
    match event {
        Event::Clipboard(clipboard) => clipboard,
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Clipboard {
    Clipboard::Text(text.into())
}

/// A text as the extended clipboard has it, before it is packed.
fn plain(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text].concat()
}

#[test]
fn cut_text_is_latin_1() {
    assert_eq!(told(&cut_text(5, b"a\xe4\r\nb")), Ok(vec![text("aä\nb")]));
    assert_eq!(told(&cut_text(0, b"")), Ok(vec![text("")]));
}

#[test]
fn a_text_that_is_too_long_is_passed_over_and_all_goes_on() {
    let long = [cut_text(1001, &[b'a'; 1001]), cut_text(1, b"b")].concat();
    assert_eq!(told(&long), Ok(vec![Clipboard::TooLong, text("b")]));
    let packed = [extended(PROVIDE | 1, &[0; 1000]), cut_text(1, b"b")].concat();
    assert_eq!(told(&packed), Ok(vec![Clipboard::TooLong, text("b")]));
    assert_eq!(told(&cut_text(i32::MAX, b"")), Err(Rule::TooLong { length: 0x7fff_ffff, limit: 256 << 20 }));
    assert_eq!(told(&cut_text(i32::MIN, b"")), Err(Rule::TooLong { length: 0x8000_0000, limit: 256 << 20 }));
}

#[test]
fn the_server_offers_it_and_is_told_once_what_this_client_can_do() {
    let mut world = World::connected();
    let offer = extended(CAPS | REQUEST | NOTIFY | PROVIDE | 1, &[0, 0, 0, 0]);
    world.give(&offer).unwrap();
    assert_eq!(world.said(), [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8, 0x1f, 0, 0, 1, 0, 0, 0, 0]);
    world.give(&offer).unwrap();
    assert!(world.said().is_empty());
    assert_eq!(world.events, [Event::Clipboard(Clipboard::Extended)]);
}

#[test]
fn flags_say_what_it_is_about() {
    assert_eq!(told(&extended(NOTIFY | 0b101, &[])), Ok(vec![Clipboard::Changed(Contents::Text)]));
    assert_eq!(told(&extended(NOTIFY | 0b100, &[])), Ok(vec![Clipboard::Changed(Contents::Nothing)]));
    assert_eq!(told(&extended(REQUEST | 1, &[])), Ok(vec![Clipboard::Request]));
    assert_eq!(told(&extended(REQUEST | 2, &[])), Ok(vec![]));
    assert_eq!(told(&extended(PEEK, &[])), Ok(vec![Clipboard::Peek]));
    assert_eq!(told(&extended(PROVIDE | 2, &zlib(&plain(b"rtf")))), Ok(vec![]));
    for flags in [0, 1, REQUEST | PEEK, 1 << 29] {
        assert_eq!(told(&extended(flags, &[])), Err(Rule::Flags(flags)));
    }
    assert_eq!(told(&cut_text(-3, &[0; 3])), Err(Rule::TooShort { length: 3 }));
}

#[test]
fn text_is_unpacked_whether_or_not_its_stream_has_ended() {
    let contents = "ä€\r\nb\0".as_bytes();
    for packed in [zlib(&plain(contents)), Packer::new().pack(&plain(contents))] {
        assert_eq!(told(&extended(PROVIDE | 1, &packed)), Ok(vec![text("ä€\nb")]));
    }
    let with_html = [plain(b"text\0"), plain(b"<b>")].concat();
    assert_eq!(told(&extended(PROVIDE | 0b101, &zlib(&with_html))), Ok(vec![text("text")]));
    let long = [&[b'x'; 999][..], &[0]].concat();
    assert_eq!(told(&extended(PROVIDE | 1, &zlib(&plain(&long)))), Ok(vec![text(&"x".repeat(999))]));
}

#[test]
fn a_text_that_unpacks_to_more_than_is_taken_is_too_long() {
    let bomb = zlib(&plain(&vec![0; 100_000]));
    assert!(bomb.len() < 1000);
    assert_eq!(told(&extended(PROVIDE | 1, &bomb)), Ok(vec![Clipboard::TooLong]));
}

#[test]
fn a_broken_text_is_refused() {
    assert_eq!(told(&extended(PROVIDE | 1, b"nozlib")), Err(Rule::Zlib));
    assert_eq!(told(&extended(PROVIDE | 1, &[])), Err(Rule::Missing));
    assert_eq!(told(&extended(PROVIDE | 1, &zlib(&[0, 0, 0]))), Err(Rule::Missing));
    assert_eq!(told(&extended(PROVIDE | 1, &zlib(&[0, 0, 0, 9, 1]))), Err(Rule::Missing));
    let cut = Packer::new().pack(&plain(&[b'x'; 500]));
    assert_eq!(told(&extended(PROVIDE | 1, &cut[..cut.len() / 2])), Err(Rule::Missing));
}
