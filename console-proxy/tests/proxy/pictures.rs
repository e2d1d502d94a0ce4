//! What pages show is what QEMU shows, whichever way it comes.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::browser::{Page, batch, key};
use crate::host::Host;
use crate::installation::Installation;
use crate::qemu::{Machine, is_there};

/// Keys whose pictures differ, each with its keysym.
const KEYS: [(u32, u32); 4] = [(0x1e, 97), (0x1f, 115), (0x30, 98), (0x2e, 99)];

struct Scene {
    all: Installation,
    host: Host,
    machine: Machine,
}

impl Scene {
    async fn new() -> Option<Self> {
        if !is_there() {
            return None;
        }
        let machine = tokio::task::spawn_blocking(Machine::start).await.unwrap();
        let all = Installation::new().await;
        let host = Host::new(&all).await;
        host.has(machine.display(), "/nowhere".into());
        Some(Self { all, host, machine })
    }

    async fn page(&self, is_http2: bool) -> Page {
        let page = self.all.page(&self.all.session(self.host.way()), is_http2).await;
        page.on().await;
        page
    }
}

/// Presses all the keys.
async fn press(page: &Page) {
    for (scancode, keysym) in KEYS {
        page.give(&[key(1, scancode, keysym), key(2, scancode, keysym)]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn shows(page: &Page, (size, pixels): &((u16, u16), Vec<u32>)) -> bool {
    (page.view.size().width, page.view.size().height) == *size && page.view.pixels() == pixels
}

#[tokio::test]
async fn polls_show_what_qemu_shows_over_both_versions_of_http() {
    let Some(mut scene) = Scene::new().await else { return };
    for is_http2 in [false, true] {
        let mut page = scene.page(is_http2).await;
        press(&page).await;
        let mut shown = scene.machine.at_rest().await;
        for _ in 0..200 {
            if shows(&page, &shown) {
                break;
            }
            page.poll().await;
            shown = scene.machine.at_rest().await;
        }
        assert!(shows(&page, &shown), "http2: {is_http2}");
        page.post("leave", vec![]).await;
    }
    let log = scene.machine.log();
    assert!(!log.contains("no scancode"), "nudges are no noise in its log: {log}");
}

#[tokio::test]
async fn a_stream_shows_what_qemu_shows_and_tells_the_state_first() {
    let Some(mut scene) = Scene::new().await else { return };
    let mut page = scene.page(true).await;
    let request = page.browser.request(Method::GET, &format!("{}/stream?after=0", page.path));
    let mut parts = request.send().await.unwrap().bytes_stream();
    press(&page).await;
    let shown = scene.machine.at_rest().await;
    let (mut waiting, mut kinds) = (BytesMut::new(), Vec::new());
    while !shows(&page, &shown) {
        let next =
            tokio::time::timeout(Duration::from_secs(20), parts.next()).await.expect("something comes");
        waiting.extend_from_slice(&next.unwrap().unwrap());
        while waiting.len() >= 5
            && waiting.len() >= 5 + u32::from_be_bytes(waiting[1..5].try_into().unwrap()) as usize
        {
            let kind = waiting.get_u8();
            let length = waiting.get_u32() as usize;
            let body = waiting.split_to(length);
            kinds.push(kind);
            match kind {
                1 => page.apply(&body),
                2 => assert!(serde_json::from_slice::<Value>(&body).unwrap()["number"].is_u64()),
                other => assert_eq!(other, 3),
            }
            page.post("input", page.batch(&[])).await;
        }
    }
    assert_eq!(kinds[0], 2);
}

#[tokio::test]
async fn a_socket_shows_what_qemu_shows_and_takes_input() {
    let Some(mut scene) = Scene::new().await else { return };
    let mut page = scene.page(false).await;
    let mut socket = socket(&page, "socket?after=0").await;
    let mut first = 1;
    for (scancode, keysym) in KEYS {
        let body = batch(0, first, &[key(1, scancode, keysym), key(2, scancode, keysym)]);
        socket.send(Message::Binary(body.into())).await.unwrap();
        first += 2;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (mut states, mut applied) = (0, 0);
    let mut shown = scene.machine.at_rest().await;
    while !shows(&page, &shown) || applied < 8 {
        match tokio::time::timeout(Duration::from_secs(20), socket.next())
            .await
            .expect("something comes")
            .unwrap()
            .unwrap()
        {
            Message::Binary(body) => {
                page.apply(&body);
                let body = batch(page.number(), first, &[]);
                socket.send(Message::Binary(body.into())).await.unwrap();
            }
            Message::Text(text) => {
                let told: Value = serde_json::from_str(&text).unwrap();
                states += usize::from(told.get("state").is_some());
                applied = told["applied"].as_u64().unwrap_or(applied);
                shown = scene.machine.at_rest().await;
            }
            _ => {}
        }
    }
    assert!(states > 0);
    // What breaks a rule ends it, and says which.
    socket.send(Message::Binary(vec![2].into())).await.unwrap();
    let ended = loop {
        if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(ended.code), 1008);
    assert!(ended.reason.contains("version: must be 1"), "{}", ended.reason);
}

#[tokio::test]
async fn five_pages_of_different_pace_all_end_with_the_same_picture() {
    let Some(mut scene) = Scene::new().await else { return };
    let session = scene.all.session(scene.host.way());
    let mut pages = Vec::new();
    for number in 0..5 {
        pages.push(scene.all.page(&session, number % 2 == 0).await);
    }
    pages[0].on().await;
    let keys = async {
        for _ in 0..3 {
            press(&pages[0]).await;
        }
    };
    keys.await;
    let shown = scene.machine.at_rest().await;
    for (number, page) in pages.iter_mut().enumerate() {
        for _ in 0..200 {
            if shows(page, &shown) {
                break;
            }
            page.poll().await;
            tokio::time::sleep(Duration::from_millis(number as u64 * 20)).await;
        }
        assert!(shows(page, &shown), "page {number}");
    }
    let status = scene.all.status().await;
    let server = &status.servers[&scene.all.server];
    assert_eq!((server.sessions, server.viewers, server.vms), (5, 5, 1));
    assert!(server.updates > 0 && server.sent_bytes > 0 && server.events > 0);
}

/// A page's socket.
pub(crate) async fn socket(page: &Page, what: &str) -> WebSocketStream<reqwest::Upgraded> {
    let request = page.browser.request(Method::GET, &format!("{}/{what}", page.path));
    let request = request
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("origin", &page.browser.origin);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    WebSocketStream::from_raw_socket(answer.upgrade().await.unwrap(), Role::Client, None).await
}
