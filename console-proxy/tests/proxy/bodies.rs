//! Bodies that are larger than they may be, whatever they are for and however they come: refused, and nothing of them is done.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::browser::{Answer, Browser, batch, clipboard, key};
use crate::host::Host;
use crate::installation::Installation;
use crate::noting::{Noting, Told};
use crate::pictures::socket;
use crate::wait::{SOON, until};

/// What a page's batches may have, in all, and what its bytes for the serial port and JSON may.
const BATCH: usize = (64 << 10) + (256 << 10);
const SERIAL: usize = 16 << 10;
const JSON: usize = 4 << 10;

/// A request's body, whose length is said before it comes or not.
fn body(bytes: Vec<u8>, is_announced: bool) -> reqwest::Body {
    if is_announced {
        return bytes.into();
    }
    let parts: Vec<_> = bytes.chunks(1000).map(|part| std::io::Result::Ok(part.to_vec())).collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(parts))
}

/// JSON of this length.
fn padded(value: &serde_json::Value, length: usize) -> Vec<u8> {
    let mut text = value.to_string();
    text.extend(std::iter::repeat_n(' ', length - text.len()));
    text.into_bytes()
}

async fn post(browser: &Browser, path: &str, kind: &str, body: reqwest::Body) -> Answer {
    let request = browser.request(Method::POST, path).header("origin", &browser.origin);
    browser.send(request.header("content-type", kind).body(body)).await
}

#[tokio::test]
async fn requests_with_too_much_are_refused_and_those_with_all_they_may_have_are_not() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has(noting.bridge(folder.path()), crate::serial::port(folder.path()));
    let mut all_told = Vec::new();
    for (is_http2, is_announced) in [(false, false), (false, true), (true, false), (true, true)] {
        let how = format!("http2: {is_http2}, announced: {is_announced}");
        let page = all.page(&all.session(host.way()), is_http2).await;
        page.on().await;
        let browser = &page.browser;
        let viewers = format!("/s/{}/viewers", page.session);
        let of_page = |what: &str| format!("{}/{what}", page.path);
        let (json, binary) = ("application/json", "application/octet-stream");

        let ticket = json!({ "ticket": "x.y" });
        for (path, kind, most, full) in [
            ("/session".to_owned(), json, JSON, padded(&ticket, JSON)),
            (viewers, json, JSON, padded(&json!({}), JSON)),
            (of_page("input"), binary, BATCH, vec![0; BATCH]),
            (of_page("serial/input?first=0"), binary, SERIAL, vec![0; SERIAL]),
        ] {
            let with = |more: usize| {
                let bytes = [&full[..], &vec![b' '; more]].concat();
                post(browser, &path, kind, body(bytes, is_announced))
            };
            for more in [1, most] {
                let refused = with(more).await;
                assert_eq!(refused.refusal(), (413, "too_large".into()), "{path}, {more} more, {how}");
                let message = format!("the body must have at most {most} bytes");
                assert_eq!(refused.json()["message"], message, "{path}, {how}");
            }
            assert_ne!(with(0).await.status, 413, "{path}, {how}");
        }
        // What comes without an end is not read to its end: the connection may go before the answer is heard.
        let endless = futures_util::stream::repeat_with(|| std::io::Result::Ok(vec![0_u8; 16 << 10]));
        let request = browser.request(Method::POST, &of_page("input")).header("content-type", binary);
        let answer = request.body(reqwest::Body::wrap_stream(endless)).send();
        let answer = tokio::time::timeout(SOON, answer).await.expect("it is cut off");
        assert!(answer.is_err() || answer.unwrap().status() == 413, "{how}");

        // The page goes on, and its keys have the numbers that nothing was given for.
        let keys = [key(1, 30, 97), key(2, 30, 97)];
        assert_eq!(page.give(&keys).await.json()["applied"], 2, "{how}");
        let told = [true, false].map(|is_down| Told::Scancode(is_down, 30, 97));
        all_told.extend(told);
        until("the display has both", || async { (noting.told().len() == all_told.len()).then_some(()) })
            .await;
        assert_eq!(noting.told(), all_told, "{how}");
    }
}

/// The code and the reason with which a socket is closed.
async fn closed<S>(socket: &mut WebSocketStream<S>) -> (u16, String)
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    loop {
        if let Message::Close(frame) = socket.next().await.expect("it says why").expect("it says why") {
            let frame = frame.expect("it says why");
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

fn binary(bytes: Vec<u8>) -> Message {
    Message::Binary(bytes.into())
}

#[tokio::test]
async fn sockets_with_messages_that_are_too_large_are_closed_and_nothing_of_them_is_done() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has(noting.bridge(folder.path()), crate::serial::port(folder.path()));
    let page = all.page(&all.session(host.way()), false).await;
    page.on().await;
    let keys: Vec<_> = (0..BATCH / 3).map(|_| key(1, 30, 97)).collect();
    let part = |opcode, bytes: Vec<u8>, is_last| {
        Message::Frame(Frame::message(Bytes::from(bytes), OpCode::Data(opcode), is_last))
    };
    let in_parts = vec![
        part(Data::Binary, batch(0, 1, &[key(1, 30, 97)]), false),
        part(Data::Continue, vec![0; BATCH / 2], false),
        part(Data::Continue, vec![0; BATCH / 2], true),
    ];
    for (what, messages) in [
        ("socket?after=0", vec![binary(batch(0, 1, &keys))]),
        ("socket?after=0", in_parts),
        ("socket?after=0", vec![binary(batch(0, 1, &[clipboard(&"x".repeat((256 << 10) + 1))]))]),
        ("serial/socket?after=0", vec![binary([&[0][..], &vec![b'x'; SERIAL + 1]].concat())]),
        ("serial/socket?after=0", vec![binary(vec![0; BATCH + 1])]),
    ] {
        let mut socket = socket(&page, what).await;
        for message in messages {
            match socket.send(message).await {
                Ok(()) | Err(tungstenite::Error::Io(_)) => {}
                Err(other) => panic!("{what}: {other}"),
            }
        }
        let (code, reason) = closed(&mut socket).await;
        assert!(
            code == 1008 && (reason.contains("too_large") || reason.contains("invalid")),
            "{what}: {reason}"
        );
    }
    assert!(noting.told().is_empty(), "{:?}", noting.told());
    assert_eq!(page.give(&[key(1, 30, 97)]).await.json()["applied"], 1);
    assert_eq!(page.post("serial/input?first=0", b"a".to_vec()).await.json()["applied"], 1);
    assert_eq!(page.get("serial?after=7").await.body, b"A");
}
