//! The handshake.

use podzol_rfb::{Certificate, Config, Error, Event, Frame, Message, Rule, Security, Size};

use crate::wire::{handshake, init};
use crate::world::{World, config};

/// A client that allows these, after the version and a list of types.
fn begun(allowed: &[Security], types: &[u8]) -> (World, Result<(), Error>) {
    let mut world = World::new(Config { security: allowed.to_vec(), ..config() });
    world.give(b"RFB 003.008\n").unwrap();
    assert_eq!(world.said(), b"RFB 003.008\n");
    let given = world.give(&[&[types.len() as u8], types].concat());
    (world, given)
}

/// The same, up to VeNCrypt's list of types.
fn vencrypt(allowed: &[Security], types: &[u32]) -> (World, Result<(), Error>) {
    let (mut world, given) = begun(allowed, &[2, 19]);
    given.unwrap();
    assert_eq!(world.said(), [19]);
    world.give(&[0, 2]).unwrap();
    assert_eq!(world.said(), [0, 2]);
    world.give(&[0]).unwrap();
    let list: Vec<u8> = types.iter().flat_map(|code| code.to_be_bytes()).collect();
    let given = world.give(&[&[types.len() as u8][..], &list].concat());
    (world, given)
}

fn broken(message: Message, rule: Rule) -> Result<(), Error> {
    Err(Error::Broken { message, rule })
}

#[test]
fn a_desktop_without_security_is_connected_to_and_shared() {
    let mut world = World::new(config());
    world.give(&handshake()).unwrap();
    assert_eq!(world.events, [Event::Connected { size: Size::new(40, 30), name: "vm".into() }]);
    let said = world.said();
    assert_eq!(said[..14], *b"RFB 003.008\n\x01\x01");
    let format = [0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
    assert_eq!(said[14..34], format);
    assert_eq!(said[34..42], [2, 0, 0, 19, 0, 0, 0, 5], "19 encodings, and Hextile first");
}

#[test]
fn what_the_caller_likes_best_is_taken_and_nothing_that_it_does_not_allow() {
    let (mut world, given) = begun(&[Security::Vnc, Security::None], &[1, 2]);
    given.unwrap();
    assert_eq!(world.said(), [2]);
    let (mut world, given) = begun(&[Security::X509Vnc, Security::None], &[1, 2]);
    given.unwrap();
    assert_eq!(world.said(), [1]);
    let (_, given) = begun(&[Security::X509Vnc], &[1, 2, 5]);
    assert_eq!(given, Err(Error::NoSecurity { offered: vec![1, 2, 5] }));
}

#[test]
fn a_challenge_is_answered_with_the_password() {
    let (mut world, _) = begun(&[Security::Vnc], &[2]);
    world.said();
    world.give(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]).unwrap();
    assert_eq!(world.said()[..4], [0xb8, 0x66, 0x92, 0x41]);
    world.give(&[0; 4]).unwrap();
    assert_eq!(world.said(), [1], "ClientInit");
}

#[test]
fn without_a_password_nothing_is_answered() {
    let mut world = World::new(Config { password: None, security: vec![Security::Vnc], ..config() });
    let given = world.give(&[b"RFB 003.008\n\x01\x02", &[0; 16][..]].concat());
    assert_eq!(given, Err(Error::NoCredentials { security: Security::Vnc }));
}

#[test]
fn vencrypt_starts_tls_and_goes_on_within() {
    let (mut world, given) = vencrypt(&[Security::X509Vnc], &[257, 261, 260]);
    given.unwrap();
    assert_eq!(world.said(), [0, 0, 1, 5]);
    world.give(&[1]).unwrap();
    assert_eq!(world.events, [Event::StartTls(Certificate::X509)]);
    world.give(&[7; 16]).unwrap();
    assert_eq!(world.said().len(), 16);
    world.give(&[&[0; 4], &init(8, 6, b"")[..]].concat()).unwrap();
    assert_eq!(world.events[1], Event::Connected { size: Size::new(8, 6), name: String::new() });
}

#[test]
fn vencrypt_shows_name_and_password_within_tls_only() {
    let (mut world, given) = vencrypt(&[Security::TlsPlain], &[259]);
    given.unwrap();
    assert_eq!(world.said(), [0, 0, 1, 3]);
    world.give(&[1]).unwrap();
    assert_eq!(world.events, [Event::StartTls(Certificate::Anonymous)]);
    assert_eq!(world.said(), b"\0\0\0\x04\0\0\0\x08userpassword");
}

#[test]
fn vencrypt_without_tls_and_rfbs_own_types_within_it_need_no_more_agreement() {
    let (mut world, given) = vencrypt(&[Security::Plain], &[256]);
    given.unwrap();
    assert_eq!(world.said(), b"\0\0\x01\0\0\0\0\x04\0\0\0\x08userpassword");
    let (mut world, given) = vencrypt(&[Security::X509None, Security::Vnc], &[2]);
    given.unwrap();
    assert_eq!(world.said(), [0, 0, 0, 2]);
    world.give(&[0; 16]).unwrap();
    assert_eq!(world.said().len(), 16);
}

#[test]
fn bytes_before_tls_are_refused() {
    let (mut world, _) = vencrypt(&[Security::X509None], &[260]);
    assert_eq!(world.give(&[1, 0]), broken(Message::VeNCrypt, Rule::BeforeTls));
    let (mut world, _) = vencrypt(&[Security::X509None], &[260]);
    world.client.receive(&[1]);
    assert!(matches!(world.client.next_event(&mut Frame::empty()), Ok(Some(Event::StartTls(_)))));
    assert_eq!(world.client.next_event(&mut Frame::empty()), Ok(None));
    assert_eq!(world.give(&[0]), broken(Message::VeNCrypt, Rule::BeforeTls));
}

#[test]
fn vencrypt_that_is_old_or_does_not_agree_is_refused() {
    let (mut world, _) = begun(&[Security::X509None], &[19]);
    assert_eq!(world.give(&[0, 1]), broken(Message::VeNCrypt, Rule::TooOldVeNCrypt(0, 1)));
    let (mut world, _) = begun(&[Security::X509None], &[19]);
    assert_eq!(world.give(&[0, 2, 1]), broken(Message::VeNCrypt, Rule::NotAgreed(1)));
    let (_, given) = vencrypt(&[Security::X509None], &[257, 263]);
    assert_eq!(given, Err(Error::NoSecurity { offered: vec![257, 263] }));
    let (mut world, _) = vencrypt(&[Security::X509None], &[260]);
    assert_eq!(world.give(&[0]), broken(Message::VeNCrypt, Rule::NotAgreed(0)));
}

#[test]
fn a_server_says_why_it_refuses() {
    let refused = |reason: &str| Err(Error::Refused { reason: reason.into() });
    let (mut world, _) = begun(&[Security::None], &[]);
    assert_eq!(world.give(b"\0\0\0\x08too\nmany"), refused("too many"));
    let (mut world, _) = begun(&[Security::None], &[1]);
    assert_eq!(world.give(b"\0\0\0\x01\0\0\0\x03no!"), refused("no!"));
    let (mut world, _) = begun(&[Security::None], &[1]);
    assert_eq!(world.give(b"\0\0\0\x02\0\0\0\x00"), refused(""));
    let (mut world, _) = begun(&[Security::None], &[1]);
    assert_eq!(world.give(&[0, 0, 0, 3]), broken(Message::SecurityResult, Rule::UnknownResult(3)));
}

#[test]
fn versions_of_vendors_are_taken_and_old_ones_and_others_are_not() {
    let given = |line: &[u8]| World::new(config()).give(line);
    for line in [&b"RFB 003.889\n"[..], b"RFB 004.001\n", b"RFB 005.000\n"] {
        assert_eq!(given(line), Ok(()));
    }
    assert_eq!(given(b"RFB 003.003\n"), broken(Message::ProtocolVersion, Rule::TooOld(3)));
    for line in [&b"RFB 003-008\n"[..], b"RFB +03.008\n", b"RFB 003.008 ", b"SSH", b"RFc"] {
        assert_eq!(given(line), broken(Message::ProtocolVersion, Rule::NotRfb), "{line:?}");
    }
}

#[test]
fn a_desktop_or_a_name_that_is_too_large_is_refused() {
    let given = |init: &[u8]| World::new(config()).give(&[b"RFB 003.008\n\x01\x01\0\0\0\0", init].concat());
    let (size, limit) = (Size::new(65_535, 65_535), 10_000);
    assert_eq!(
        given(&init(65_535, 65_535, b"")),
        broken(Message::ServerInit, Rule::TooLarge { size, limit })
    );
    let mut long = init(1, 1, b"");
    long[20..24].copy_from_slice(&[0xff; 4]);
    let rule = Rule::TooLong { length: u32::MAX.into(), limit: 4096 };
    assert_eq!(given(&long), broken(Message::ServerInit, rule));
}
