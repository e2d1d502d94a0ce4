//! x11vnc on Xvfb: LibVNCServer's encoders.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use podzol_rfb::{Certificate, ClientMessage, Config, Encoding, Event, Security};

use crate::server::{Server, is_there};
use crate::tls;
use crate::viewer::{Viewer, config, with_password};
use crate::x11::X11;
use crate::xvnc::draw;

/// A display, and a server that looks at it.
struct Display {
    x11: X11,
    port: u16,
    vnc: Server,
    trust: tls::Trust,
    _xvfb: Server,
}

impl Display {
    /// Starts them, or tells what is missing.
    fn start(more: &[&str]) -> Option<Self> {
        if !is_there("Xvfb", "xvfb") || !is_there("x11vnc", "x11vnc") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.current_dir(folder.path()).args(["-c", "exec Xvfb -displayfd 3 \"$@\" 3> display", "sh"]);
        command.args(["-ac", "-nolisten", "tcp", "-screen", "0", "400x300x24"]);
        let mut xvfb = Server::start(folder, &mut command);
        let file = xvfb.path("display");
        let number = xvfb.wait(|| fs::read_to_string(&file).ok()?.trim().parse().ok());
        let x11 = xvfb.wait(|| X11::connect(number));

        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("password"), "password\n").unwrap();
        fs::write(path("who"), "name\npassword\n").unwrap();
        let trust = tls::write_rsa(&path("server.pem"));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("x11vnc");
        command.current_dir(folder.path()).args([
            "-display",
            &format!(":{number}"),
            "-rfbport",
            &port.to_string(),
        ]);
        command
            .args([
                "-localhost",
                "-no6",
                "-noipv6",
                "-forever",
                "-shared",
                "-norc",
                "-wait",
                "10",
                "-defer",
                "5",
            ])
            .args(more);
        Some(Self { x11, port, vnc: Server::start(folder, &mut command), trust, _xvfb: xvfb })
    }

    fn viewer(&mut self, config: Config) -> Viewer {
        let line = self.connect();
        Viewer::new(line, config, Some(self.trust.clone()))
    }

    fn connect(&mut self) -> TcpStream {
        let port = self.port;
        self.vnc.wait(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
    }

    fn wait_for_picture(&mut self, viewer: &mut Viewer) {
        viewer.wait("X11's picture", |viewer| {
            let pixels = self.x11.pixels();
            viewer.picture() == (self.x11.size, &pixels[..])
        });
    }
}

/// Debian's is built without PNG. At level 0 it sends pixels that are filtered, but not packed.
#[test]
fn pictures_are_x11s_own_in_every_encoding() {
    let Some(mut display) = Display::start(&["-nopw"]) else { return };
    for encoding in [Encoding::Raw, Encoding::Hextile, Encoding::Zlib, Encoding::Zrle, Encoding::Tight] {
        for level in [0, 1, 9] {
            let mut viewer = display.viewer(config(&[encoding, Encoding::Compression(level)]));
            for round in 0..3 {
                draw(&mut display.x11, round + u32::from(level));
                display.wait_for_picture(&mut viewer);
            }
        }
    }
}

#[test]
fn the_pointer_arrives_and_a_password_is_proved() {
    let Some(mut display) = Display::start(&["-passwdfile", "password"]) else { return };
    let mut viewer = display.viewer(with_password(Security::Vnc, "password"));
    display.wait_for_picture(&mut viewer);
    viewer.client.send(ClientMessage::Pointer { buttons: 0, x: 77, y: 66 }).unwrap();
    viewer.wait("the pointer", |_| display.x11.pointer() == (77, 66, 0));
}

/// Its own check of names and passwords is a program, to which it gives both in a line each.
#[test]
fn vencrypt_proves_a_name_and_a_password_within_tls() {
    let plain = ["-ssl", "server.pem", "-vencrypt", "plain:nodh:only", "-unixpw_cmd", "cmp - who"];
    let Some(mut display) = Display::start(&plain) else { return };
    let config = Config { username: Some("name".into()), ..with_password(Security::X509Plain, "password") };
    let mut viewer = display.viewer(config);
    display.wait_for_picture(&mut viewer);
    assert_eq!(viewer.events[0], Event::StartTls(Certificate::X509));
}
