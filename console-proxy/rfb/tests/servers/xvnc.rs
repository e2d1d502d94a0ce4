//! TigerVNC's Xvnc: pictures against X11's own, copies, cursors, sizes, VeNCrypt.

use std::fs;
use std::process::Command;

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use podzol_rfb::{Certificate, ClientMessage, Config, Encoding, Event, Origin, Press, Security, Size};

use crate::server::{Server, is_there};
use crate::tls;
use crate::viewer::{Viewer, config, with_password};
use crate::x11::X11;

/// A display that viewers see.
struct Display {
    server: Server,
    x11: X11,
    trust: tls::Trust,
}

impl Display {
    /// Starts it, or tells that there is no Xvnc.
    fn start(more: &[&str]) -> Option<Self> {
        if !is_there("Xtigervnc", "tigervnc-standalone-server") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let trust = tls::write(folder.path());
        fs::write(path("password"), hidden(b"password")).unwrap();
        // Xvnc writes the number of the display that it has found to be free.
        let program = "Xtigervnc -displayfd 3 \"$@\" 3> display";
        let mut command = Command::new("sh");
        command.current_dir(folder.path()).args(["-c", &format!("exec {program}"), "sh"]);
        command.args([
            "-ac",
            "-geometry",
            "400x300",
            "-depth",
            "24",
            "-nolisten",
            "tcp",
            "-rfbunixpath",
            "vnc",
        ]);
        command.args(["-rfbport", "-1", "-PasswordFile", "password"]);
        command.args(["-X509Cert", "server-cert.pem", "-X509Key", "server-key.pem"]).args(more);
        let mut server = Server::start(folder, &mut command);
        let file = server.path("display");
        let x11 = server.wait(|| X11::connect(fs::read_to_string(&file).ok()?.trim().parse().ok()?));
        Some(Self { server, x11, trust })
    }

    fn viewer(&mut self, config: Config) -> Viewer {
        Viewer::new(self.server.connect("vnc"), config, Some(self.trust.clone()))
    }

    fn wait_for_picture(&mut self, viewer: &mut Viewer) {
        viewer.wait("X11's picture", |viewer| {
            let pixels = self.x11.pixels();
            viewer.picture() == (self.x11.size, &pixels[..])
        });
    }
}

/// A password as vncpasswd(1) keeps it: encrypted with a key that everybody knows.
fn hidden(password: &[u8; 8]) -> [u8; 8] {
    let key = [23, 82, 107, 6, 35, 78, 88, 7_u8].map(u8::reverse_bits);
    let mut block = (*password).into();
    Des::new(&key.into()).encrypt_block(&mut block);
    block.into()
}

/// Draws areas of one colour, few colours, a photograph's and noise, each of which servers encode in another way.
pub(crate) fn draw(x11: &mut X11, round: u32) {
    x11.fill((0, 0, 400, 300), 0x20_4060 + round);
    x11.fill((10, 10, 100, 80), 0xff_8000);
    x11.put((120, 10, 130, 90), |x, y| {
        if (u32::from(x / 3 + y / 5) + round).is_multiple_of(3) { 0xffffff } else { 0 }
    });
    x11.put((10, 110, 150, 90), |x, y| [0xff_0000, 0x00_ff00, 0x00_00ff, 0x12_3456][usize::from(x ^ y) % 4]);
    x11.put((170, 110, 200, 90), |x, y| {
        u32::from(x) << 16 | u32::from(y * 2) << 8 | (u32::from(x + y) + round) & 0xff
    });
    let noise = |x: u16, y: u16| {
        (u32::from(x) * 7919 + u32::from(y) * 104_729 + round).wrapping_mul(2_654_435_761) >> 8
    };
    x11.put((10, 210, 380, 80), noise);
}

#[test]
fn pictures_are_x11s_own_in_every_encoding() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "None"]) else { return };
    for encoding in [Encoding::Raw, Encoding::Hextile, Encoding::Zrle, Encoding::Tight] {
        let mut viewer = display.viewer(config(&[encoding]));
        for round in 0..4 {
            draw(&mut display.x11, round);
            display.wait_for_picture(&mut viewer);
        }
    }
}

#[test]
fn a_photograph_comes_as_jpeg_and_is_nearly_the_same() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "None"]) else { return };
    let mut viewer = display.viewer(config(&[Encoding::Tight, Encoding::Quality(6)]));
    let smooth = |x: u16, y: u16| {
        let wave = |a: f64| {
            ((f64::from(x) / a).sin() * 60.0 + (f64::from(y) / (a + 7.0)).cos() * 60.0 + 128.0) as u32
        };
        wave(23.0) << 16 | wave(31.0) << 8 | wave(41.0)
    };
    display.x11.put((0, 0, 400, 300), smooth);
    let difference =
        |a: &u32, b: &u32| a.to_be_bytes().iter().zip(b.to_be_bytes()).map(|(a, b)| a.abs_diff(b)).max();
    viewer.wait("nearly X11's picture", |viewer| {
        let (size, pixels) = viewer.picture();
        let wanted = display.x11.pixels();
        size == display.x11.size && pixels.iter().zip(&wanted).all(|(a, b)| difference(a, b) < Some(40))
    });
    assert!(viewer.received.windows(3).any(|bytes| bytes == [0xff, 0xd8, 0xff]), "there is a JPEG image");
}

#[test]
fn what_moves_is_copied() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "None"]) else { return };
    let mut viewer = display.viewer(config(&[Encoding::CopyRect, Encoding::Zrle]));
    draw(&mut display.x11, 0);
    display.wait_for_picture(&mut viewer);
    for to in [(20, 30), (5, 5), (200, 150)] {
        display.x11.copy((10, 10), to, (150, 120));
        display.wait_for_picture(&mut viewer);
    }
    assert!(viewer.copies > 0);
}

#[test]
fn cursors_and_bells_are_told() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "None"]) else { return };
    for (at, encodings) in
        [(5, &[Encoding::Zrle, Encoding::CursorAlpha][..]), (15, &[Encoding::Zrle, Encoding::Cursor])]
    {
        let mut viewer = display.viewer(Config { encodings: encodings.to_vec(), ..config(&[]) });
        // Xvnc draws the cursor itself for viewers that did not put it where it is, and thinks again when it moves.
        viewer.client.send(ClientMessage::Pointer { buttons: 0, x: at, y: at }).unwrap();
        viewer.wait("the pointer", |_| display.x11.pointer() == (at, at, 0));
        // 68 is an arrow to the left and up, 34 a crosshair.
        for shape in [68, 34] {
            viewer.events.clear();
            display.x11.cursor(shape);
            let is_cursor = |event: &Event| matches!(event, Event::Cursor(Some(cursor)) if cursor.pixels.contains(&0xffff_ffff));
            viewer.wait("a cursor", |viewer| viewer.events.iter().any(is_cursor));
        }
        display.x11.bell();
        display.x11.pointer();
        viewer.wait_for(&Event::Bell);
    }
}

#[test]
fn the_pointer_and_keys_arrive() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "None"]) else { return };
    let mut viewer = display.viewer(config(&[Encoding::Raw]));
    viewer.client.send(ClientMessage::Pointer { buttons: 1, x: 123, y: 45 }).unwrap();
    viewer.wait("the pointer", |_| display.x11.pointer() == (123, 45, 1));
    viewer.client.send(ClientMessage::Pointer { buttons: 0, x: 7, y: 8 }).unwrap();
    viewer.wait("the pointer", |_| display.x11.pointer() == (7, 8, 0));
    viewer.wait_for(&Event::ExtendedKeys);
    // The scancode of 'a', and eight more in X11.
    viewer.client.send(ClientMessage::Scancode { press: Press::Down, keysym: 0x61, scancode: 0x1e }).unwrap();
    viewer.wait("a key", |_| display.x11.keys() == [0x1e + 8]);
    viewer.client.send(ClientMessage::Scancode { press: Press::Up, keysym: 0x61, scancode: 0x1e }).unwrap();
    viewer.client.send(ClientMessage::Key { press: Press::Down, keysym: 0x62 }).unwrap();
    viewer.wait("another key", |_| display.x11.keys().len() == 1 && display.x11.keys() != [0x1e + 8]);
}

#[test]
fn a_viewer_changes_the_desktops_size_and_another_is_told() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "None"]) else { return };
    let mut viewers = [0, 1].map(|_| display.viewer(config(&[Encoding::Zrle])));
    let [viewer, other] = &mut viewers;
    let screens = |event: &Event| match event {
        Event::Desktop(desktop) if desktop.screens.len() == 1 => Some(desktop.screens.clone()),
        _ => None,
    };
    viewer.wait("screens", |viewer| viewer.events.iter().any(|event| screens(event).is_some()));
    let mut screens = viewer.events.iter().find_map(screens).unwrap();
    let size = Size::new(640, 360);
    (screens[0].area.width, screens[0].area.height) = (640, 360);
    viewer.client.send(ClientMessage::Resize { size, screens: &screens }).unwrap();
    let is_told = |origin| {
        move |viewer: &mut Viewer| {
            viewer.events.iter().any(|event| matches!(event, Event::Desktop(desktop) if (desktop.origin, desktop.size) == (origin, size)))
        }
    };
    viewer.wait("the new size", is_told(Origin::Asked));
    other.wait("the new size", is_told(Origin::OtherClient));
    display.x11.size = size;
    display.x11.fill((600, 300, 40, 60), 0x12_3456);
    display.wait_for_picture(viewer);
    display.wait_for_picture(other);
}

#[test]
fn a_password_is_proved_by_its_challenge() {
    let Some(mut display) = Display::start(&["-SecurityTypes", "VncAuth"]) else { return };
    let mut viewer = display.viewer(with_password(Security::Vnc, "password"));
    display.wait_for_picture(&mut viewer);
}

#[test]
fn vencrypt_goes_on_within_tls_with_and_without_a_password() {
    for (name, security) in [("X509None", Security::X509None), ("X509Vnc", Security::X509Vnc)] {
        let Some(mut display) = Display::start(&["-SecurityTypes", name]) else { return };
        let mut viewer = display.viewer(with_password(security, "password"));
        draw(&mut display.x11, 0);
        display.wait_for_picture(&mut viewer);
        assert_eq!(viewer.events[0], Event::StartTls(Certificate::X509));
    }
}

/// How TLS without a certificate goes on is tested with bytes alone: rustls has no anonymous key exchange.
#[test]
fn tls_without_a_certificate_is_asked_for_as_such() {
    for (name, security) in
        [("TLSNone", Security::TlsNone), ("TLSVnc", Security::TlsVnc), ("TLSPlain", Security::TlsPlain)]
    {
        let Some(mut display) = Display::start(&["-SecurityTypes", name]) else { return };
        let socket = display.server.connect("vnc");
        assert_eq!(Viewer::until_tls(socket, with_password(security, "password")), Certificate::Anonymous);
    }
}
