//! What was not asked for, what is not known, and what comes after an error.

use podzol_rfb::{Client, Config, Encoding, Error, Frame, Message, Rule, Size};

use crate::wire::{handshake, rectangle, update};
use crate::world::{World, config};

fn broken(message: Message, rule: Rule) -> Result<(), Error> {
    Err(Error::Broken { message, rule })
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let asked = |encodings: &[Encoding]| {
        let mut world = World::new(Config { encodings: encodings.to_vec(), ..config() });
        world.give(&handshake()).unwrap();
        world
    };
    let jpeg = update(&[rectangle((0, 0, 1, 1), Encoding::Tight, &[0x90])]);
    let refused = broken(Message::Rectangle(Encoding::Tight), Rule::NotOffered);
    assert_eq!(asked(&[Encoding::Hextile]).give(&jpeg), refused);
    assert_eq!(asked(&[Encoding::Tight]).give(&jpeg), Ok(()));
    assert_eq!(asked(&[]).give(&[250, 0, 1, 1]), broken(Message::Xvp, Rule::NotOffered));
    let raw = update(&[rectangle((0, 0, 1, 1), Encoding::Raw, &[0; 4])]);
    assert_eq!(asked(&[]).give(&raw), Ok(()));
    // Without the extension, a length is never negative.
    let long = Rule::TooLong { length: 0xffff_fffc, limit: 256 << 20 };
    assert_eq!(asked(&[]).give(&[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc]), broken(Message::ServerCutText, long));
}

#[test]
fn what_was_asked_for_earlier_may_still_come() {
    let mut world = World::connected();
    world.client.ask(&[Encoding::Hextile]).unwrap();
    world.update(&[rectangle((0, 0, 1, 1), Encoding::Tight, &[0x80, 1, 2, 3])]).unwrap();
}

#[test]
fn messages_and_encodings_that_are_not_known_are_refused() {
    assert_eq!(World::connected().give(&[99]), broken(Message::Unknown, Rule::UnknownMessage(99)));
    let rre = update(&[[&[0; 8][..], &2_i32.to_be_bytes()].concat()]);
    assert_eq!(World::connected().give(&rre), broken(Message::FramebufferUpdate, Rule::UnknownEncoding(2)));
    for encoding in [Encoding::Xvp, Encoding::ExtendedClipboard] {
        let message = Message::Rectangle(encoding);
        let given = World::connected().give(&update(&[rectangle((0, 0, 0, 0), encoding, &[])]));
        assert_eq!(given, broken(message, Rule::UnknownEncoding(encoding.code())));
    }
}

#[test]
fn errors_name_the_message_and_the_rule() {
    let text = |error: Result<(), Error>| error.unwrap_err().to_string();
    let outside = update(&[rectangle((39, 0, 2, 1), Encoding::Hextile, &[])]);
    assert_eq!(text(World::connected().give(&outside)), "Hextile rectangle: 2x1 at 39,0 is not within 40x30");
    assert_eq!(text(World::connected().give(&[99])), "message: type 99 is not known");
    assert_eq!(
        text(World::connected().give(&[3, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff])),
        "ServerCutText: 2147483647 bytes, 268435456 at most are taken"
    );
}

#[test]
fn after_an_error_nothing_is_taken_and_nothing_is_kept() {
    let mut world = World::connected();
    world.give(&[99]).unwrap_err();
    assert_eq!(world.give(&[2]), Err(Error::Failed));
    assert_eq!(world.client.buffered(), 0);
    assert_eq!(world.client.size(), None);
}

#[test]
fn a_frame_of_the_wrong_size_can_be_put_right() {
    let mut client = Client::new(config());
    client.receive(&handshake());
    client.next_event(&mut Frame::empty()).unwrap().unwrap();
    client.receive(&[2]);
    let wrong = Error::Frame { frame: Size::default(), desktop: Size::new(40, 30) };
    assert_eq!(client.next_event(&mut Frame::empty()), Err(wrong));
    let mut pixels = vec![0; 1200];
    let mut frame = Frame::new(&mut pixels, Size::new(40, 30), 40).unwrap();
    assert!(client.next_event(&mut frame).unwrap().is_some());
}
