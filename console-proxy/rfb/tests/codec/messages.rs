//! What the client says.

use podzol_rfb::{ClientMessage, Contents, Encoding, Power, Press, Screen, SendError, Size};

use crate::wire::{extended, rect, rectangle};
use crate::world::{World, config};

/// The bytes of a message to a server that understands everything.
fn bytes(message: ClientMessage<'_>) -> Vec<u8> {
    let mut world = able();
    world.client.send(message).unwrap();
    world.said()
}

fn able() -> World {
    let mut world = World::connected();
    let keys = rectangle((0, 0, 0, 0), Encoding::ExtendedKeys, &[]);
    world.update(&[keys, rectangle((0, 0, 40, 30), Encoding::ExtendedDesktopSize, &[0; 4])]).unwrap();
    world.give(&[250, 0, 1, 1]).unwrap();
    world.give(&extended(1 << 24, &[])).unwrap();
    world.said();
    world
}

#[test]
fn each_message_has_its_bytes() {
    let area = rect(1, 2, 0x300, 4);
    assert_eq!(bytes(ClientMessage::Changes(area)), [3, 1, 0, 1, 0, 2, 3, 0, 0, 4]);
    assert_eq!(bytes(ClientMessage::All(area)), [3, 0, 0, 1, 0, 2, 3, 0, 0, 4]);
    let key = ClientMessage::Key { press: Press::Down, keysym: 0xff0d };
    assert_eq!(bytes(key), [4, 1, 0, 0, 0, 0, 0xff, 0x0d]);
    let scancode = ClientMessage::Scancode { press: Press::Up, keysym: 0x61, scancode: 0x9d };
    assert_eq!(bytes(scancode), [255, 0, 0, 0, 0, 0, 0, 0x61, 0, 0, 0, 0x9d]);
    assert_eq!(bytes(ClientMessage::Pointer { buttons: 5, x: 0x102, y: 3 }), [5, 5, 1, 2, 0, 3]);
    assert_eq!(bytes(ClientMessage::Power(Power::Reset)), [250, 0, 1, 4]);
}

#[test]
fn moves_are_from_the_middle() {
    let moved = |dx, dy| bytes(ClientMessage::Move { buttons: 0, dx, dy })[2..].to_vec();
    assert_eq!(moved(0, 0), [0x7f, 0xff, 0x7f, 0xff]);
    assert_eq!(moved(1, -1), [0x80, 0x00, 0x7f, 0xfe]);
    assert_eq!(moved(i16::MAX, i16::MIN), [0xff, 0xfe, 0, 0]);
}

#[test]
fn cut_text_is_in_latin_1() {
    assert_eq!(bytes(ClientMessage::CutText("aä\r\n€")), b"\x06\0\0\0\0\0\0\x04a\xe4\n?");
    assert_eq!(bytes(ClientMessage::CutText("")), [6, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn another_size_is_asked_for_with_its_screens() {
    let screens = [Screen { id: 7, area: rect(0, 0, 640, 480), flags: 1 }];
    let resize = bytes(ClientMessage::Resize { size: Size::new(640, 480), screens: &screens });
    let screen = [0, 0, 0, 7, 0, 0, 0, 0, 2, 0x80, 1, 0xe0, 0, 0, 0, 1];
    assert_eq!(resize, [&[251, 0, 2, 0x80, 1, 0xe0, 1, 0][..], &screen].concat());
}

#[test]
fn the_extended_clipboard_has_flags_and_packed_text() {
    let flags = |bytes: &[u8]| u32::from_be_bytes(bytes[8..12].try_into().unwrap());
    let changed = bytes(ClientMessage::ClipboardChanged(Contents::Text));
    assert_eq!(changed, [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 0x08, 0, 0, 1]);
    assert_eq!(flags(&bytes(ClientMessage::ClipboardChanged(Contents::Nothing))), 1 << 27);
    assert_eq!(flags(&bytes(ClientMessage::ClipboardRequest)), 1 << 25 | 1);
    assert_eq!(flags(&bytes(ClientMessage::ClipboardPeek)), 1 << 26);
    let text = bytes(ClientMessage::ClipboardText("ä\n€\r\n"));
    assert_eq!(flags(&text), 1 << 28 | 1);
    assert_eq!(-i32::from_be_bytes(text[4..8].try_into().unwrap()), text.len() as i32 - 8);
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&text[12..]), &mut plain).unwrap();
    assert_eq!(plain, "\0\0\0\x0aä\r\n€\r\n\0".as_bytes());
}

#[test]
fn what_a_server_has_not_shown_to_understand_is_not_said() {
    let mut world = World::connected();
    let messages = [
        ClientMessage::Scancode { press: Press::Down, keysym: 0, scancode: 1 },
        ClientMessage::Power(Power::Shutdown),
        ClientMessage::Resize { size: Size::new(1, 1), screens: &[] },
        ClientMessage::ClipboardRequest,
        ClientMessage::ClipboardText("a"),
    ];
    for message in messages {
        assert!(matches!(world.client.send(message), Err(SendError::NotOffered(_))));
    }
    assert!(world.said().is_empty());
    let mut early = World::new(config());
    assert_eq!(early.client.send(ClientMessage::CutText("")), Err(SendError::NoSession));
    assert_eq!(early.client.ask(&[]), Err(SendError::NoSession));
}

#[test]
fn other_encodings_can_be_asked_for_at_any_time() {
    let mut world = World::connected();
    world.client.ask(&[Encoding::Zrle, Encoding::Compression(1), Encoding::Quality(9)]).unwrap();
    let codes = [0, 0, 0, 16, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xe9];
    assert_eq!(world.said(), [&[2, 0, 0, 3][..], &codes].concat());
}

#[test]
fn output_stays_until_it_is_sent() {
    let mut world = World::connected();
    world.client.send(ClientMessage::Pointer { buttons: 0, x: 1, y: 2 }).unwrap();
    world.client.sent(4);
    assert_eq!(world.client.output(), [0, 2]);
}
