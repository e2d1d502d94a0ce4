//! One client's flood, and damaged packets, beside those who just ask.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::world::World;

/// A question for the address of a proxy.
const QUERY: &[u8] = b"\x12\x67\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\
    \x09192-0-2-7\x07console\x07example\x03org\x00\x00\x01\x00\x01";

async fn client(from: [u8; 4], to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((from, 0))).await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

/// Asks until there is an answer, as resolvers do; the answer's flags and how many records it has.
async fn ask(socket: &UdpSocket) -> ([u8; 2], u8) {
    let mut buffer = [0; 512];
    for _ in 0..10 {
        socket.send(QUERY).await.unwrap();
        if let Ok(received) = timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await {
            received.unwrap();
            return ([buffer[2], buffer[3]], buffer[7]);
        }
    }
    panic!("no answer to ten questions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_client_leaves_others_answered() {
    let world = World::with_rate(50).await;
    let to = world.v4;
    let flood = tokio::spawn(async move {
        let socket = client([127, 0, 9, 9], to).await;
        loop {
            // What comes back is not taken; the kernel throws it away.
            let _ = socket.send(QUERY).await;
        }
    });
    while world.counted("udp", "dropped") < 1000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let other = client([127, 0, 1, 1], to).await;
    for _ in 0..20 {
        assert_eq!(ask(&other).await, ([0x84, 0], 1));
    }
    flood.abort();
    let (answered, slipped) = (world.counted("udp", "answered"), world.counted("udp", "slipped"));
    assert!(answered < slipped, "{answered} answered, {slipped} told to come by TCP");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_told_to_come_by_tcp_and_answered_there() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::with_rate(1).await;
    let socket = client([127, 0, 0, 1], world.v4).await;
    let mut flags = Vec::new();
    // On a machine that stands still there is room again.
    while flags.last() != Some(&([0x82, 0], 0)) && flags.len() < 20 {
        flags.push(ask(&socket).await);
    }
    assert_eq!(flags[..2], [([0x84, 0], 1), ([0x84, 0], 1)]);
    assert_eq!(flags.last(), Some(&([0x82, 0], 0)));
    let mut stream = tokio::net::TcpStream::connect(world.v4).await.unwrap();
    stream.write_all(&[&(QUERY.len() as u16).to_be_bytes()[..], QUERY].concat()).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[7], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_packets_for_a_while_and_the_next_question_is_answered() {
    let world = World::start().await;
    let socket = client([127, 0, 3, 1], world.v4).await;
    let mut random = StdRng::seed_from_u64(1034);
    for _ in 0..20_000 {
        let mut packet = QUERY.to_vec();
        for _ in 0..random.random_range(1..5) {
            let place = random.random_range(0..packet.len());
            packet[place] = random.random();
        }
        packet.truncate(random.random_range(0..=packet.len()));
        socket.send(&packet).await.unwrap();
    }
    socket.send(&[0; 9000]).await.unwrap();
    assert_eq!(ask(&client([127, 0, 0, 1], world.v4).await).await, ([0x84, 0], 1));
    assert_eq!(world.counted("udp", "failed"), 0);
}
