//! The serial console.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use podzol_console_proxy_api::{Rights, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio_tungstenite::tungstenite::Message;

use crate::browser::key;
use crate::host::Host;
use crate::installation::Installation;
use crate::noting::{Noting, Told};
use crate::pictures::socket;
use crate::wait::until;

/// Bytes of a request for the serial port.
const SIZE: u64 = 16 << 10;

/// A port that greets, and gives back what it gets in capitals.
pub(crate) fn port(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("serial");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"login: ").await.unwrap();
            let mut bytes = [0; 100];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                stream.write_all(&bytes[..count].to_ascii_uppercase()).await.unwrap();
            }
        }
    });
    path
}

#[tokio::test]
async fn a_serial_console_is_read_and_written_by_polls_and_by_a_socket() {
    let all = Installation::new().await;
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has("/nowhere".into(), port(folder.path()));
    let page = all.page(&all.session(host.way()), true).await;
    let greeting = page.get("serial?after=0").await;
    assert_eq!((&*greeting.body, greeting.headers["podzol-from"].to_str().unwrap()), (&b"login: "[..], "0"));
    page.state_when("it is there", |state| state["serial"] == "on").await;

    assert_eq!(page.post("serial/input?first=0", b"abc".to_vec()).await.json()["applied"], 3);
    assert_eq!(
        page.post("serial/input?first=0", b"abcd".to_vec()).await.json()["applied"],
        4,
        "a repeat, and more"
    );
    let mut got = Vec::new();
    while got.len() < 4 {
        got.extend(page.get(&format!("serial?after={}", 7 + got.len())).await.body);
    }
    assert_eq!(got, b"ABCD");

    let other = crate::browser::Browser::new(&all, false);
    let page = crate::browser::Page::new(
        crate::browser::Browser { cookie: page.browser.cookie.clone(), ..other },
        &page.opened,
    );
    let mut socket = socket(&page, "serial/socket?after=7").await;
    socket.send(Message::Binary(b"\x04efg".as_slice().into())).await.unwrap();
    let (mut texts, mut got) = (Vec::new(), Vec::new());
    while got.len() < 7 || texts.len() < 2 {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => texts.push(text.to_string()),
            Message::Binary(bytes) => got.extend(bytes),
            _ => {}
        }
    }
    texts.sort();
    assert_eq!(
        (got.as_slice(), texts),
        (&b"ABCDEFG"[..], vec![r#"{"applied":7}"#.to_owned(), r#"{"from":7}"#.to_owned()])
    );
}

#[tokio::test]
async fn a_serial_socket_of_whoever_may_only_look_shows_and_is_closed_when_it_gives_input() {
    let all = Installation::new().await;
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has("/nowhere".into(), port(folder.path()));
    let session = all.session(host.way());
    let looks = all.page(&Session { rights: Rights::View, ..session.clone() }, false).await;
    let mut socket = socket(&looks, "serial/socket?after=0").await;
    let mut shown = Vec::new();
    while shown != b"login: " {
        if let Message::Binary(bytes) = socket.next().await.unwrap().unwrap() {
            shown.extend(bytes);
        }
    }
    socket.send(Message::Binary(b"\x00id".as_slice().into())).await.unwrap();
    let closed = loop {
        if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert!(closed.reason.contains("view_only"), "{closed:?}");
    // Nothing comes back before what another types.
    let types = all.page(&session, true).await;
    assert_eq!(types.post("serial/input?first=0", b"x".to_vec()).await.json()["applied"], 1);
    assert_eq!(types.get("serial?after=7").await.body, &b"X"[..]);
}

#[tokio::test]
async fn a_serial_port_that_no_page_shows_any_more_is_left_to_others_and_had_again_when_one_does() {
    let all = Installation::new().await;
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    let port = folder.path().join("serial");
    let listener = UnixListener::bind(&port).unwrap();
    host.has("/nowhere".into(), port);
    let page = all.page(&all.session(host.way()), true).await;
    for (greeting, after) in [(&b"one"[..], 0), (b"two", 3)] {
        let path = format!("serial?after={after}");
        let (shown, stream) = tokio::join!(page.get(&path), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting).await.unwrap();
            stream
        });
        assert_eq!(shown.body, greeting);
        let mut stream = stream;
        let gave_back = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 1])).await;
        assert_eq!(gave_back.expect("it is given back").unwrap(), 0);
    }
}

#[tokio::test]
async fn a_vm_that_does_not_read_its_serial_port_still_gets_keys() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    let port = folder.path().join("serial");
    let listener = UnixListener::bind(&port).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"login: ").await.unwrap();
        std::future::pending::<()>().await;
    });
    host.has(noting.bridge(folder.path()), port);
    let page = all.page(&all.session(host.way()), true).await;
    page.on().await;
    page.get("serial?after=0").await;
    let (mut first, mut refused) = (0, 0);
    // Until neither the system nor the proxy takes more, and again: one who is slow may have been waited for.
    while refused < 3 {
        let answer = page.post(&format!("serial/input?first={first}"), vec![b'x'; SIZE as usize]).await;
        let taken = answer.json()["applied"].as_u64().unwrap() - first;
        refused = if taken == 0 { refused + 1 } else { 0 };
        first += taken;
    }
    let path = format!("serial/input?first={first}");
    let (late, given) = tokio::join!(page.post(&path, vec![b'x'; SIZE as usize]), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let given = page.give(&[key(1, 30, 97)]).await;
        until("the key is down", || async {
            noting.told().contains(&Told::Scancode(true, 30, 97)).then_some(())
        })
        .await;
        given
    });
    assert_eq!((given.json()["applied"].as_u64(), late.json()["applied"].as_u64()), (Some(1), Some(first)));
}
