//! The way to a display: lost, moved, and found again.

use std::time::Duration;

use podzol_console_proxy_api::{Document, Line, Session, Upstream, UpstreamSecurity};
use podzol_vocab::{Generation, Secret};
use serde_json::json;

use crate::browser::Browser;
use crate::host::Host;
use crate::installation::{Installation, free_port};
use crate::noting::{Noting, SIZE};
use crate::qemu::{Machine, is_there};
use crate::wait::until;

fn grey(shade: u8) -> u32 {
    u32::from_be_bytes([0, shade, shade, shade])
}

#[tokio::test]
async fn a_display_that_is_lost_is_found_again_and_its_picture_stays_meanwhile() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let mut page = all.page(&all.session(noting.way()), true).await;
    noting.paint(7);
    while page.view.pixels().first() != Some(&grey(7)) {
        page.poll().await;
    }
    let number = page.state_when("it is on", |state| state["line"] == "on").await["number"].clone();
    noting.cut();
    let state = page.state_when("it was away", |state| state["number"] != number).await;
    assert!(state["line"] == "waiting" || state["line"] == "on", "{state}");
    noting.paint(9);
    while page.view.pixels().first() != Some(&grey(9)) {
        page.poll().await;
    }
    page.on().await;
}

#[tokio::test]
async fn a_vm_that_moves_to_another_host_is_followed_and_the_page_stays() {
    if !is_there() {
        return;
    }
    let all = Installation::new().await;
    let (first, second) = (Host::new(&all).await, Host::new(&all).await);
    let (mut here, mut there) =
        tokio::task::spawn_blocking(|| (Machine::start(), Machine::start())).await.unwrap();
    first.has(here.display(), "/nowhere".into());
    second.has(there.display(), "/nowhere".into());
    let session = all.session(first.way());
    let (id, ticket) = all.ticket_for(&session).await;
    let mut page = Browser::new(&all, true).open(&ticket).await;
    page.on().await;
    assert_eq!(all.status().await.session(all.server, id).unwrap().line, Line::On);
    drop(here.at_rest().await);

    first.has_none();
    drop(here);
    let moved = Session { generation: Generation(2), upstream: second.way(), ..session.clone() };
    let moved = all.granted(moved);
    all.put_session(id, &moved).await.unwrap();

    page.on().await;
    let (size, pixels) = there.at_rest().await;
    while page.view.pixels() != pixels {
        page.poll().await;
    }
    assert_eq!((page.view.size().width, page.view.size().height), size);

    let off = Session { generation: Generation(3), upstream: Upstream::Off, ..session };
    all.put_session(id, &off).await.unwrap();
    let state = page.state_when("it is off", |state| state["line"] == "off").await;
    assert_eq!(state["reason"], json!("the VM is not running"));
}

#[tokio::test]
async fn a_display_on_the_network_is_shown_if_its_certificate_and_the_password_are_right() {
    if !is_there() {
        return;
    }
    let (all, folder, port) = (Installation::new().await, tempfile::tempdir().unwrap(), free_port());
    let (certificate, key) = all.authority.certify("display.example");
    for (name, text) in [
        ("ca-cert.pem", &all.authority.pem),
        ("server-cert.pem", &certificate),
        ("server-key.pem", key.expose()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let start = move || {
        let mut machine = Machine::start_on_port(folder, port);
        let shown = tokio::runtime::Handle::current().block_on(machine.at_rest());
        (machine, shown)
    };
    let (_machine, (_, pixels)) = tokio::task::spawn_blocking(start).await.unwrap();
    let way = |name: &str, password: &str| Upstream::Rfb {
        address: format!("127.0.0.1:{port}").parse().unwrap(),
        security: vec![UpstreamSecurity::X509Vnc],
        username: None,
        password: Some(Secret::new(password.into())),
        authority: Some(all.authority.pem.clone()),
        server_name: Some(name.into()),
    };
    for (name, password) in [("other.example", "password"), ("display.example", "wrong")] {
        let page = all.page(&all.session(way(name, password)), true).await;
        let state = page.state_when("it is refused", |state| state["line"] == "waiting").await;
        assert!(!state["reason"].as_str().unwrap().contains("127.0.0.1"), "{state}");
    }
    let mut page = all.page(&all.session(way("display.example", "password")), true).await;
    while page.view.pixels() != pixels {
        page.poll().await;
    }
}

#[tokio::test]
async fn a_picture_that_comes_in_pieces_after_a_long_rest_is_whole() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let mut page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    while page.view.pixels().is_empty() {
        page.poll().await;
    }
    tokio::time::sleep(Duration::from_millis(3500)).await;
    noting.paint(42);
    while page.view.pixels()[SIZE.0 as usize * SIZE.1 as usize - 1] != grey(42) {
        page.poll().await;
    }
    assert!(page.view.pixels().iter().all(|pixel| *pixel == grey(42)));
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_page_noticing() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let mut page = all.page(&all.session(noting.way()), true).await;
    while page.view.pixels().is_empty() {
        page.poll().await;
    }
    all.put(&all.document(2)).await.unwrap();
    noting.paint(3);
    while page.view.pixels()[0] != grey(3) {
        page.poll().await;
    }
    let after = all.page(&all.session(noting.way()), true).await;
    after.on().await;
}

#[tokio::test]
async fn pages_hear_of_one_another_and_of_a_proxy_that_goes() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let session = all.session(noting.way());
    let ada = all.page(&session, true).await;
    let eve = all.page(&Session { viewer: "eve".into(), ..session.clone() }, true).await;
    let of_two = |state: &serde_json::Value| state["viewers"].as_array().unwrap().len() == 2;
    let state = ada.state_when("there are two", of_two).await;
    assert_eq!((&state["viewers"][0]["you"], &state["viewers"][1]["name"]), (&json!(true), &json!("eve")));
    assert_eq!(eve.post("leave", vec![]).await.status, 204);
    ada.state_when("there is one", |state| !of_two(state)).await;
    assert_eq!(eve.get("state?after=0").await.refusal(), (404, "viewer_unknown".into()));

    let mut document = all.document(2);
    document.servers.values_mut().for_each(|server| server.draining = true);
    all.put(&document).await.unwrap();
    ada.state_when("it drains", |state| state["draining"] == true).await;
    assert!(all.put_session(podzol_vocab::ConsoleSessionId::new(), &session).await.is_err());
}

#[tokio::test]
async fn a_display_is_not_nudged_where_that_is_switched_off() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    all.put(&Document { nudge: false, ..all.document(2) }).await.unwrap();
    let mut page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    noting.paint(9);
    while page.view.pixels().first() != Some(&0x09_09_09) {
        page.poll().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(noting.nudges(), 0);
}

#[tokio::test]
async fn a_display_is_left_a_while_after_the_last_page_and_nudged_only_while_one_looks() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    until("it is nudged", || async { (noting.nudges() > 20).then_some(()) }).await;
    let mut hidden = page.batch(&[]);
    hidden[1] = 1;
    page.post("input", hidden).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = noting.nudges();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(noting.nudges(), before);
    page.post("leave", vec![]).await;
    until("nobody looks", || async {
        let status = all.status().await;
        (status.servers[&all.server].vms == 0).then_some(())
    })
    .await;
}
