//! Connections that mean no good hold nobody up.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::browser::Browser;
use crate::host::Host;
use crate::installation::Installation;
use crate::noting::Noting;

async fn connect(from: [u8; 4], port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap()
}

#[tokio::test]
async fn a_thousand_connections_that_say_nothing_hold_no_page_up_and_are_closed() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let mut page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    let mut silent = Vec::new();
    for number in 0..1000_u32 {
        let mut stream = connect([127, 0, 1, (number / 60) as u8 + 1], all.port).await;
        // Some begin a handshake and do not go on.
        if number % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2]).await.unwrap();
        }
        silent.push(stream);
    }
    noting.paint(42);
    while page.view.pixels().first() != Some(&0x2a_2a_2a) {
        page.poll().await;
    }
    let other = Browser::from(&all, true, [127, 0, 0, 9].into());
    let (_, ticket) = all.ticket_for(&all.session(noting.way())).await;
    other.open(&ticket).await.on().await;
    for mut stream in silent {
        let mut bytes = [0; 100];
        let read = stream.read(&mut bytes);
        let ended = tokio::time::timeout(crate::wait::SOON, read).await.expect("it is closed");
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let all = Installation::new().await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(connect([127, 0, 2, 1], all.port).await);
    }
    crate::wait::until("those that are too many were refused", || async {
        (all.status().await.servers[&all.server].refused >= 36).then_some(())
    })
    .await;
    let other = Browser::from(&all, false, [127, 0, 2, 2].into());
    assert_eq!(other.get("/").await.status, 200);
}

#[tokio::test]
async fn a_socket_keeps_the_place_of_its_connection_and_gives_it_back() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), false).await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        let another = page.another().await;
        sockets.push(crate::pictures::socket(&another, "socket?after=0").await);
    }
    let connections = || async { all.status().await.servers[&all.server].connections };
    assert!(connections().await >= 6);
    drop(sockets);
    crate::wait::until("they are gone", || async { (connections().await <= 2).then_some(()) }).await;
}

#[tokio::test]
async fn answers_that_a_browser_does_not_take_are_few_and_end_its_connection() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    // It takes heads, and nothing of any body.
    let closed = Browser::with(&all, true, |http| http.http2_initial_stream_window_size(0));
    let closed = Browser { cookie: page.browser.cookie.clone(), ..closed };
    let path = format!("{}/updates?after=0&resume=1", page.path);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(closed.request(http::Method::GET, &path).send().await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(page.get("updates?after=0&resume=1").await.refusal(), (429, "too_many".into()));
    for answer in answers {
        let body = tokio::time::timeout(crate::wait::SOON, answer.bytes()).await.expect("it ends");
        assert!(body.is_err());
    }
    assert_eq!(page.get("updates?after=0&resume=1").await.status, 200);
}

#[tokio::test]
async fn a_page_that_does_not_read_its_stream_costs_no_memory_for_what_it_misses() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), false).await;
    page.on().await;
    let path = format!("{}/stream?after=0", page.path);
    let stalled = page.browser.request(http::Method::GET, &path).send().await.unwrap();
    for number in 0..200_u8 {
        noting.paint(number);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let updates = all.status().await.servers[&all.server].updates;
    assert!(updates <= 8, "none is made that is not acknowledged: {updates}");
    drop(stalled);
}

#[tokio::test]
async fn a_page_that_begins_anew_all_the_time_is_told_to_wait() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    // Those of long ago do not count.
    let mut begun = 0;
    let refused = loop {
        let answer = page.get("updates?after=0&resume=1").await;
        if answer.status != 200 {
            break answer;
        }
        begun += 1;
        assert!(begun < 3000, "it is never told to wait");
    };
    assert!(begun >= 99, "{begun}");
    assert_eq!(refused.refusal(), (429, "too_many".into()));
    assert_eq!(refused.headers["retry-after"], "2");
}

#[tokio::test]
async fn a_serial_console_is_shown_one_way_at_a_time() {
    let all = Installation::new().await;
    let (host, folder) = (Host::new(&all).await, tempfile::tempdir().unwrap());
    host.has("/nowhere".into(), crate::serial::port(folder.path()));
    let page = all.page(&all.session(host.way()), false).await;
    let mut first = crate::pictures::socket(&page, "serial/socket?after=0").await;
    let _second = crate::pictures::socket(&page, "serial/socket?after=0").await;
    let ended = loop {
        if let Message::Close(frame) = first.next().await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(ended.code), 1013);
}
