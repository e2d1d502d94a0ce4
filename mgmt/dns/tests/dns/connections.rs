//! Connections that are slow, many, or not what they should be.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::World;

/// A question for the address of a proxy, with its length before it.
const QUERY: &[u8] = b"\x00\x2f\x12\x67\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\
    \x09192-0-2-7\x07console\x07example\x03org\x00\x00\x01\x00\x01";

/// A connection from an address of loopback.
async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Asks, and whether there was an answer with one record.
async fn is_answered(stream: &mut TcpStream) -> bool {
    if stream.write_all(QUERY).await.is_err() {
        return false;
    }
    let Ok(length) = stream.read_u16().await else { return false };
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.is_ok() && answer[6..8] == [0, 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_many_queries_however_they_are_cut() {
    let world = World::start().await;
    let mut stream = connect([127, 0, 0, 1], world.v4).await;
    for _ in 0..3 {
        assert!(is_answered(&mut stream).await);
    }
    for byte in QUERY {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert!(stream.read_u16().await.unwrap() > 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_of_one_network_push_away_each_other_alone() {
    let world = World::start().await;
    let mut other = connect([127, 0, 1, 1], world.v4).await;
    assert!(is_answered(&mut other).await);
    let mut slow = Vec::new();
    for number in 0..200_u8 {
        let mut stream = connect([127, 0, 2, number + 1], world.v4).await;
        stream.write_all(&QUERY[..9]).await.unwrap();
        slow.push(stream);
    }
    assert!(is_answered(&mut other).await);
    assert_eq!(slow[0].read(&mut [0]).await.unwrap_or(0), 0, "the oldest is closed");
    let mut newest = connect([127, 0, 2, 250], world.v4).await;
    assert!(is_answered(&mut newest).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_connections_make_room_for_the_next() {
    let world = World::start().await;
    let mut slow = Vec::new();
    for number in 0..1000_u16 {
        let [high, low] = number.to_be_bytes();
        let mut stream = connect([127, 1 + high, low, 1], world.v4).await;
        stream.write_all(&QUERY[..1]).await.unwrap();
        slow.push(stream);
    }
    let mut next = connect([127, 0, 0, 1], world.v4).await;
    assert!(is_answered(&mut next).await);
    assert_eq!(slow[0].read(&mut [0]).await.unwrap_or(0), 0, "the oldest is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_ends_by_itself() {
    let world = World::start().await;
    let mut silent = connect([127, 0, 0, 1], world.v4).await;
    silent.write_all(&QUERY[..5]).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut [0])).await;
    assert_eq!(end.unwrap().unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_is_too_long_or_none_ends_its_connection() {
    let world = World::start().await;
    for packet in [&b"\x10\x01"[..], b"\xff\xff", b"\x00\x00", b"\x00\x02ab", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = connect([127, 0, 0, 1], world.v4).await;
        stream.write_all(packet).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "{packet:?}");
    }
}
