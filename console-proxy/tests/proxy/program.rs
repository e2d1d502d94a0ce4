//! The program itself, as those meet it who write their own requests: over TLS, byte for byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Method;
use podzol_console_proxy_api::{Rights, Session};
use podzol_rpc::tls::anonymous_client_config;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::browser::{HOST, Page, batch, key};
use crate::installation::{DOMAIN, Installation, nobody};
use crate::noting::Noting;
use crate::pictures::socket;
use crate::restart::Program;
use crate::wait::SOON;

/// An installation whose proxy is the program.
async fn program() -> (Installation, Program, TempDir) {
    let (all, folder) = (Installation::without_proxy(), tempfile::tempdir().unwrap());
    Program::prepare(&all, folder.path());
    let program = Program::start(folder.path());
    all.put_soon(all.document(1)).await;
    (all, program, folder)
}

/// A connection from an address, for requests over HTTP/1.1. No TLS session is resumed.
async fn connect(all: &Installation, from: [u8; 4]) -> TlsStream<TcpStream> {
    let mut tls = anonymous_client_config(&all.authority.pem).unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.bind(SocketAddr::from((from, 0))).unwrap();
    let tcp = tcp.connect((Ipv4Addr::LOCALHOST, all.port).into()).await.unwrap();
    let name = ServerName::try_from(format!("{HOST}.{DOMAIN}")).unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap()
}

/// What comes until the connection ends, as text.
async fn rest(mut stream: TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // That it ends without TLS's goodbye is an error, with all that came before in place.
    let _ = tokio::time::timeout(SOON, read).await.expect("the connection ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a request is answered, from an address of its own.
async fn asked(all: &Installation, head: &str) -> String {
    let mut stream = connect(all, [127, 0, 4, 1]).await;
    // It may be closed before all was sent.
    let _ = stream.write_all(head.as_bytes()).await;
    rest(stream).await
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {HOST}.{DOMAIN}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn paths_that_climb_or_hide_lead_nowhere() {
    let (all, _program, _folder) = program().await;
    for path in [
        "/../etc/passwd",
        "/s/../session",
        "//",
        "//assets//index.js",
        "/./",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..",
        "/assets/%2e%2e%2findex.html",
        "/assets/index.html%00.js",
        "/%00",
        &format!("/assets/{}", "../".repeat(3000)),
    ] {
        let answer = asked(&all, &request("GET", path)).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\"not_found\""), "{path}: {answer}");
    }
    for path in ["/\0", "/assets/\0index.js", "/a b"] {
        let answer = asked(&all, &request("GET", path)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path:?}: {answer}");
    }
    let long = asked(&all, &request("GET", &format!("/{}", "x".repeat(100_000)))).await;
    // It may be closed before it was read to its end, and then the answer is lost.
    let is_refused = |status: &&str| long.starts_with(*status);
    assert!(long.is_empty() || ["HTTP/1.1 414 ", "HTTP/1.1 431 "].iter().any(is_refused), "{long}");
    for method in ["PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get"] {
        let answer = asked(&all, &request(method, "/")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{method}: {answer}");
    }
    let fine = asked(&all, &request("GET", "/")).await;
    assert!(fine.starts_with("HTTP/1.1 200 "), "{fine}");
}

#[tokio::test]
async fn a_page_of_another_host_does_nothing_here() {
    let (all, _program, _folder) = program().await;
    let page = all.page(&all.session(nobody()), false).await;
    let (path, cookie) = (format!("{}/leave", page.path), &page.browser.cookie);
    let own = page.browser.origin.strip_prefix("https://").unwrap();
    // One that has the proxy's address behind its own name, and one that says that it is the proxy's.
    for (host, origin) in [("evil.example", page.browser.origin.as_str()), (own, "https://evil.example")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nCookie: {cookie}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = asked(&all, &head).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"origin\""), "{host}: {answer}");
    }
    assert_eq!(page.get("state?after=0").await.status, 200, "it is still there");
}

#[tokio::test]
async fn a_socket_of_whoever_may_only_look_is_closed_when_it_gives_input() {
    let ((all, _program, _folder), noting) = (program().await, Noting::new(true).await);
    let session = Session { rights: Rights::View, ..all.session(noting.way()) };
    let page = all.page(&session, false).await;
    page.on().await;
    let mut socket = socket(&page, "socket?after=0").await;
    let keys = batch(0, 1, &[key(1, 30, 97), key(2, 30, 97)]);
    socket.send(Message::Binary(keys.into())).await.unwrap();
    let closed = loop {
        if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert!(closed.reason.contains("view_only"), "{closed:?}");
    assert!(noting.told().is_empty());
    assert_eq!(page.get("state?after=0").await.status, 200, "it may look on");
}

/// Takes what comes on a stream until the page shows a shade everywhere at its beginning.
async fn stream_shows(stream: &mut reqwest::Response, kept: &mut Vec<u8>, page: &mut Page, shade: u8) {
    while page.view.pixels().first() != Some(&(u32::from(shade) * 0x01_01_01)) {
        let more = tokio::time::timeout(SOON, stream.chunk()).await.expect("something comes").unwrap();
        kept.extend_from_slice(&more.expect("the stream goes on"));
        while let Some((head, body)) = kept.split_at_checked(5) {
            let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
            let Some(body) = body.get(..length) else { break };
            if head[0] == 1 {
                page.apply(body);
            }
            drop(kept.drain(..5 + length));
        }
    }
}

/// The same of a socket.
async fn socket_shows(socket: &mut WebSocketStream<reqwest::Upgraded>, page: &mut Page, shade: u8) {
    while page.view.pixels().first() != Some(&(u32::from(shade) * 0x01_01_01)) {
        let message = tokio::time::timeout(SOON, socket.next()).await.expect("something comes");
        if let Message::Binary(body) = message.unwrap().unwrap() {
            page.apply(&body);
        }
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_under_an_open_stream_and_socket_and_shown_to_those_who_come() {
    let ((all, _program, _folder), noting) = (program().await, Noting::new(true).await);
    let shown = async || {
        let stream = connect(&all, [127, 0, 4, 2]).await;
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut streaming = all.page(&all.session(noting.way()), false).await;
    let mut talking = streaming.another().await;
    let path = format!("{}/stream?after=0", streaming.path);
    let mut stream = streaming.browser.request(Method::GET, &path).send().await.unwrap();
    let (mut socket, mut kept) = (socket(&talking, "socket?after=0").await, Vec::new());
    noting.paint(11);
    stream_shows(&mut stream, &mut kept, &mut streaming, 11).await;
    socket_shows(&mut socket, &mut talking, 11).await;
    let before = shown().await;

    let document = all.document(2);
    all.put(&document).await.unwrap();

    let brought = CertificateDer::from_pem_slice(document.certificate.chain.as_bytes()).unwrap();
    assert_ne!(before, brought);
    assert_eq!(shown().await, brought);
    noting.paint(12);
    stream_shows(&mut stream, &mut kept, &mut streaming, 12).await;
    socket_shows(&mut socket, &mut talking, 12).await;
}

/// More than a connection may take: what is read and written ahead on both of its layers, and a handshake.
const MEMORY_OF_CONNECTION: u64 = 256 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_connections_take_little_memory_and_hold_no_page_up() {
    const COUNT: u32 = 1000;
    let ((all, program, _folder), noting) = (program().await, Noting::new(true).await);
    let mut page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    let before = program.memory();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}.{DOMAIN}\r\nX-Long: {}", "x".repeat(20_000));
    let body = format!(
        "POST /session HTTP/1.1\r\nHost: {HOST}.{DOMAIN}\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{}",
        " ".repeat(3000)
    );
    let many = format!("GET / HTTP/1.1\r\nHost: {HOST}.{DOMAIN}\r\n\r\n").repeat(200);
    let mut slow = Vec::new();
    for number in 0..COUNT {
        let mut stream = connect(&all, [127, 0, 5, (number / 50) as u8 + 1]).await;
        let sent = [&head, &body, &many][number as usize % 3];
        // Whoever reads nothing is not read from either, some time.
        let _ = tokio::time::timeout(Duration::from_millis(20), stream.write_all(sent.as_bytes())).await;
        slow.push(stream);
        if number % 10 == 9 {
            // A page that says nothing is forgotten.
            assert_eq!(page.get("state?after=0").await.status, 200);
        }
        if number % 100 == 99 {
            let shade = (number / 100) as u8 + 20;
            noting.paint(shade);
            while page.view.pixels().first() != Some(&(u32::from(shade) * 0x01_01_01)) {
                page.poll().await;
            }
        }
    }
    let taken = program.memory().saturating_sub(before);
    assert!(taken < u64::from(COUNT) * MEMORY_OF_CONNECTION, "{} MiB", taken >> 20);
    crate::wait::until("the slow ones are gone", || async {
        // A page that asks nothing is forgotten.
        assert_eq!(page.get("state?after=0").await.status, 200);
        (all.status().await.servers[&all.server].connections <= 4).then_some(())
    })
    .await;
    noting.paint(99);
    while page.view.pixels().first() != Some(&0x63_63_63) {
        page.poll().await;
    }
}
