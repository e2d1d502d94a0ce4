//! QEMU: pictures against its own screendumps, keys, power, sizes, clipboard, VeNCrypt.

use std::fs;
use std::process::Command;

use podzol_rfb::{
    Certificate, ClientMessage, Clipboard, Contents, Encoding, Event, Leds, Origin, PointerMode, Power,
    Security, Size, Xvp,
};
use serde_json::json;

use crate::guest;
use crate::qmp::Qmp;
use crate::server::{Server, is_there};
use crate::tls;
use crate::viewer::{Viewer, config, with_password};

/// A guest that draws, seen through a VNC server with these options.
struct Machine {
    server: Server,
    qmp: Qmp,
    trust: tls::Trust,
}

impl Machine {
    /// Starts it, or tells that there is no QEMU.
    fn start(vnc: &str, more: &[&str]) -> Option<Self> {
        if !is_there("qemu-system-x86_64", "qemu-system-x86") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("disk"), guest::disk()).unwrap();
        let trust = tls::write(folder.path());
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "pc,accel=tcg",
            "-m",
            "16",
            "-vga",
            "std",
        ]);
        command.args(["-drive", &format!("file={},format=raw,if=ide", path("disk"))]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", path("qmp"))]);
        command.args([
            "-object",
            &format!("tls-creds-x509,id=tls,endpoint=server,verify-peer=off,dir={}", folder.path().display()),
        ]);
        command.args(["-object", "secret,id=password,data=password"]);
        command.args(["-vnc", &format!("unix:{}{vnc}", path("vnc"))]).args(more);
        let mut server = Server::start(folder, &mut command);
        let qmp = Qmp::new(server.connect("qmp"));
        Some(Self { server, qmp, trust })
    }

    fn viewer(&mut self, config: podzol_rfb::Config) -> Viewer {
        Viewer::new(self.server.connect("vnc"), config, Some(self.trust.clone()))
    }

    /// Goes on until a viewer sees what QEMU sees, and that has as many colours as expected.
    fn wait_for_picture(&mut self, viewer: &mut Viewer, colours: usize) {
        let path = self.server.path("dump");
        viewer.wait("QEMU's picture", |viewer| {
            let (size, pixels) = self.qmp.screendump(&path);
            let mut seen = pixels.clone();
            seen.sort_unstable();
            seen.dedup();
            seen.len() >= colours && viewer.picture() == (size, &pixels[..])
        });
    }
}

/// Keys of the guest: 'a' draws, 's' scrolls.
const A: (u32, u32) = (0x1e, 0x61);
const S: (u32, u32) = (0x1f, 0x73);
const B: (u32, u32) = (0x30, 0x62);

/// Colours that the guest draws, when it does: 256 of noise in its palette, of which some are the same.
const DRAWN: usize = 100;

/// All ways in which QEMU sends pixels.
const WAYS: [Encoding; 6] =
    [Encoding::Raw, Encoding::Hextile, Encoding::Zlib, Encoding::Zrle, Encoding::Tight, Encoding::TightPng];

#[test]
fn before_a_guest_runs_there_is_a_picture_that_says_so() {
    let Some(mut machine) = Machine::start("", &["-S"]) else { return };
    for encoding in WAYS {
        let mut viewer = machine.viewer(config(&[encoding]));
        machine.wait_for_picture(&mut viewer, 2);
        assert_eq!(viewer.picture().0, Size::new(640, 480));
    }
}

#[test]
fn pictures_are_qemus_own_in_every_encoding() {
    let Some(mut machine) = Machine::start("", &[]) else { return };
    let mut raw = 0;
    for encoding in WAYS {
        let mut viewer = machine.viewer(config(&[encoding, Encoding::Compression(1)]));
        machine.wait_for_picture(&mut viewer, DRAWN);
        viewer.wait_for(&Event::ExtendedKeys);
        for (scancode, keysym) in [A, S, S, B, S] {
            let before = viewer.picture().1.to_vec();
            viewer.press(scancode, keysym);
            viewer.wait("another picture", |viewer| viewer.picture().1 != before);
            machine.wait_for_picture(&mut viewer, DRAWN);
        }
        // Nothing but the encoding that was asked for and raw is ever taken, and raw costs more.
        match encoding {
            Encoding::Raw => raw = viewer.received.len(),
            _ => assert!(viewer.received.len() < raw, "{encoding:?}: {}", viewer.received.len()),
        }
    }
}

#[test]
fn a_viewer_that_asks_for_all_sees_the_same_as_one_next_to_it() {
    let Some(mut machine) = Machine::start("", &[]) else { return };
    let mut viewers = [Encoding::NEAR, Encoding::FAR].map(|encodings| machine.viewer(config(encodings)));
    for viewer in &mut viewers {
        machine.wait_for_picture(viewer, DRAWN);
    }
    viewers[0].wait_for(&Event::ExtendedKeys);
    viewers[0].press(B.0, B.1);
    for viewer in &mut viewers {
        machine.wait_for_picture(viewer, DRAWN);
    }
}

#[test]
fn keys_lights_and_the_pointers_mode_are_those_of_the_machine() {
    let Some(mut machine) = Machine::start("", &[]) else { return };
    let mut viewer = machine.viewer(config(&[Encoding::Hextile]));
    machine.wait_for_picture(&mut viewer, DRAWN);
    viewer.wait_for(&Event::ExtendedKeys);
    viewer.wait_for(&Event::Pointer(PointerMode::Relative));
    viewer.client.send(ClientMessage::Move { buttons: 0, dx: 5, dy: -5 }).unwrap();
    // The guest shows the lowest bits of the scancode.
    viewer.press(A.0, A.1);
    viewer.wait_for(&Event::Leds(Leds { caps: true, num: true, scroll: false }));
    machine.wait_for_picture(&mut viewer, DRAWN);
}

#[test]
fn a_tablet_makes_the_pointer_absolute() {
    let Some(mut machine) = Machine::start("", &["-usb", "-device", "usb-tablet"]) else { return };
    let mut viewer = machine.viewer(config(&[Encoding::Hextile]));
    viewer.wait_for(&Event::Pointer(PointerMode::Relative));
    // The guest has no driver that would make it the pointer that counts.
    let run = |command: &str| json!({ "command-line": command });
    let mice = machine.qmp.run("human-monitor-command", run("info mice"));
    let tablet = mice.as_str().unwrap().lines().find(|line| line.contains("Tablet")).unwrap();
    let number = tablet.split(['#', ':']).nth(1).unwrap();
    machine.qmp.run("human-monitor-command", run(&format!("mouse_set {number}")));
    viewer.client.send(ClientMessage::Move { buttons: 0, dx: 1, dy: 1 }).unwrap();
    viewer.wait_for(&Event::Pointer(PointerMode::Absolute));
    viewer.client.send(ClientMessage::Pointer { buttons: 0, x: 1, y: 1 }).unwrap();
    machine.wait_for_picture(&mut viewer, DRAWN);
}

#[test]
fn power_control_resets_the_machine_where_it_is_allowed() {
    let Some(mut machine) = Machine::start(",power-control=on", &[]) else { return };
    let mut viewer = machine.viewer(config(&[Encoding::Hextile]));
    viewer.wait_for(&Event::Xvp(Xvp::Offered));
    viewer.client.send(ClientMessage::Power(Power::Reset)).unwrap();
    viewer.pump();
    machine.qmp.wait_for("RESET");
}

#[test]
fn a_wish_for_another_size_is_answered() {
    let Some(mut machine) = Machine::start("", &[]) else { return };
    let mut viewer = machine.viewer(config(&[Encoding::Hextile]));
    machine.wait_for_picture(&mut viewer, DRAWN);
    let screens = viewer.events.iter().rev().find_map(|event| match event {
        Event::Desktop(desktop) if !desktop.screens.is_empty() => Some(desktop.screens.clone()),
        _ => None,
    });
    let mut screens = screens.expect("QEMU tells its screens");
    (screens[0].area.width, screens[0].area.height) = (800, 600);
    viewer.client.send(ClientMessage::Resize { size: Size::new(800, 600), screens: &screens }).unwrap();
    // The guest has no driver that would do it, so it is denied or handed on.
    let is_answer = |event: &Event| matches!(event, Event::Desktop(desktop) if matches!(desktop.origin, Origin::Denied(_)));
    viewer.wait("an answer", |viewer| viewer.events.iter().any(is_answer));
    machine.wait_for_picture(&mut viewer, DRAWN);
}

#[test]
fn text_goes_from_viewer_to_viewer_through_qemus_clipboard() {
    let agent = [
        "-device",
        "virtio-serial",
        "-chardev",
        "qemu-vdagent,id=agent,clipboard=on",
        "-device",
        "virtserialport,chardev=agent,name=com.redhat.spice.0",
    ];
    let Some(mut machine) = Machine::start("", &agent) else { return };
    let mut viewers = [0, 1].map(|_| machine.viewer(config(&[Encoding::Hextile])));
    let [giver, taker] = &mut viewers;
    let text = "Grüße, 世界\nzweite Zeile";
    giver.wait_for(&Event::Clipboard(Clipboard::Extended));
    taker.wait_for(&Event::Clipboard(Clipboard::Extended));
    giver.client.send(ClientMessage::ClipboardChanged(Contents::Text)).unwrap();
    giver.pump();
    taker.wait_for(&Event::Clipboard(Clipboard::Changed(Contents::Text)));
    taker.client.send(ClientMessage::ClipboardRequest).unwrap();
    taker.pump();
    giver.wait_for(&Event::Clipboard(Clipboard::Request));
    giver.client.send(ClientMessage::ClipboardText(text)).unwrap();
    giver.pump();
    taker.wait_for(&Event::Clipboard(Clipboard::Text(text.into())));
}

#[test]
fn a_password_is_proved_by_its_challenge() {
    let Some(mut machine) = Machine::start(",password-secret=password", &[]) else { return };
    let mut viewer = machine.viewer(with_password(Security::Vnc, "password"));
    machine.wait_for_picture(&mut viewer, DRAWN);
}

#[test]
fn vencrypt_encrypts_the_line_to_a_server_with_a_certificate() {
    let Some(mut machine) = Machine::start(",tls-creds=tls", &[]) else { return };
    let none =
        podzol_rfb::Config { security: vec![Security::X509None, Security::None], ..config(Encoding::NEAR) };
    let mut viewer = machine.viewer(none);
    machine.wait_for_picture(&mut viewer, DRAWN);
    assert_eq!(viewer.events[0], Event::StartTls(Certificate::X509));
}

#[test]
fn vencrypt_proves_a_password_within_tls() {
    let Some(mut machine) = Machine::start(",tls-creds=tls,password-secret=password", &[]) else { return };
    let mut viewer = machine.viewer(with_password(Security::X509Vnc, "password"));
    machine.wait_for_picture(&mut viewer, DRAWN);
    assert_eq!(viewer.events[0], Event::StartTls(Certificate::X509));
}
