//! All forms of questions, by dig, over UDP and TCP, IPv4 and IPv6.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::world::{DOMAIN, World, dig};

/// Asks in all ways for a name and a type; each answer must contain all of these.
async fn check(world: &World, name: &str, kind: &str, expected: &[&str]) {
    for at in [world.v4, world.v6] {
        for over in ["+notcp", "+tcp"] {
            let arguments = [over, "+noall", "+comments", "+answer", "+authority", "+norecurse", name, kind];
            let Some(said) = dig(at, &arguments).await else { return };
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in expected {
                assert!(said.contains(part), "{name} {kind} {over} at {at}: {part} is not in: {said}");
            }
        }
    }
}

/// What dig alone prints.
async fn short(at: SocketAddr, arguments: &[&str]) -> Option<String> {
    dig(at, &[&["+short"], arguments].concat()).await.map(|said| said.trim().to_owned())
}

fn below(label: &str) -> String {
    format!("{label}.{DOMAIN}")
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_have_their_addresses() {
    let world = World::start().await;
    let good = ["status: NOERROR", "flags: qr aa;", "ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1"];
    check(&world, &below("192-0-2-7"), "A", &[&good[..], &["60 IN A 192.0.2.7"]].concat()).await;
    check(&world, &below("2001-db8--1"), "AAAA", &[&good[..], &["60 IN AAAA 2001:db8::1"]].concat()).await;
    let opaque = below("c-sg8u91d60breakr08i1tq49vb4");
    check(&world, &opaque, "A", &[&good[..], &["60 IN A 192.0.2.7"]].concat()).await;
    let opaque = below("c-u72fh831b4q1bf1qgn81264fvk");
    check(&world, &opaque, "AAAA", &[&good[..], &["60 IN AAAA 2001:db8::1"]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_from_what_has_no_such_record() {
    let world = World::start().await;
    let none = [
        "flags: qr aa;",
        "ANSWER: 0, AUTHORITY: 1",
        "console.example.org. 5 IN SOA ns1.console.example.org.",
    ];
    check(&world, &below("192-0-2-7"), "AAAA", &[&none[..], &["status: NOERROR"]].concat()).await;
    check(&world, &below("2001-db8--1"), "TXT", &[&none[..], &["status: NOERROR"]].concat()).await;
    check(&world, DOMAIN, "A", &[&none[..], &["status: NOERROR"]].concat()).await;
    for label in ["192-0-2-8", "2001-db8--2", "www", "a.192-0-2-7"] {
        check(&world, &below(label), "A", &[&none[..], &["status: NXDOMAIN"]].concat()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_domain_has_its_servers() {
    let world = World::start().await;
    check(&world, DOMAIN, "NS", &["ANSWER: 1", "3600 IN NS ns1.console.example.org."]).await;
    check(&world, DOMAIN, "SOA", &["3600 IN SOA ns1.console.example.org. hostmaster.console.example.org."])
        .await;
    check(&world, &below("ns1"), "A", &["3600 IN A 192.0.2.1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_answer_and_what_nobody_needs_is_refused() {
    let world = World::start().await;
    let refused = ["status: REFUSED", "ANSWER: 0, AUTHORITY: 0"];
    for name in ["example.org", "192-0-2-7.example.net", "."] {
        check(&world, name, "A", &refused).await;
    }
    check(&world, DOMAIN, "IXFR=1", &refused).await;
    check(&world, &below("192-0-2-7"), "ANY", &["status: NOERROR", "ANSWER: 0"]).await;
    for at in [world.v4, world.v6] {
        let Some(said) = dig(at, &["+noall", "+comments", "CH", "TXT", "version.bind"]).await else { return };
        assert!(said.contains("status: REFUSED"), "{said}");
        let transfer = dig(at, &[DOMAIN, "AXFR"]).await.unwrap();
        assert!(transfer.contains("Transfer failed"), "{transfer}");
        for operation in ["NOTIFY", "UPDATE"] {
            let said =
                dig(at, &["+noall", "+comments", &format!("+opcode={operation}"), DOMAIN, "SOA"]).await;
            let said = said.unwrap();
            assert!(said.contains(&format!("opcode: {operation}, status: REFUSED")), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_are_answered_as_far_as_they_are_known() {
    let world = World::start().await;
    let name = below("192-0-2-7");
    let ask = |arguments: &[&str]| {
        let arguments = [&["+noall", "+comments", "+answer", "+qr", &name, "A"], arguments].concat();
        let (at, arguments) = (world.v4, arguments.into_iter().map(str::to_owned).collect::<Vec<_>>());
        async move { dig(at, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let Some(plain) = ask(&["+noedns"]).await else { return };
    assert!(plain.contains("ADDITIONAL: 0") && plain.contains("192.0.2.7"), "{plain}");
    let usual = ask(&["+bufsize=4096", "+dnssec", "+cookie", "+nsid", "+subnet=0.0.0.0/0"]).await.unwrap();
    assert!(
        usual.contains("EDNS: version: 0, flags: do; udp: 1232") && usual.contains("192.0.2.7"),
        "{usual}"
    );
    let newer = ask(&["+edns=1", "+noednsneg"]).await.unwrap();
    assert!(newer.contains("status: BADVERS") && !newer.contains("\t192.0.2.7"), "{newer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_come_back_as_they_were_asked() {
    let world = World::start().await;
    let name = "192-0-2-7.CoNsOlE.eXaMpLe.OrG.";
    let Some(said) = dig(world.v4, &["+noall", "+question", "+answer", name, "A"]).await else { return };
    assert_eq!(said.matches(name).count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_and_go_with_their_proxies() {
    let world = World::start().await;
    let address = "198.51.100.9".parse().unwrap();
    let name = world.names.name_of(address).to_string();
    let Some(before) = short(world.v4, &[&name, "A"]).await else { return };
    world.names.set(BTreeSet::from([address]));
    let after = short(world.v4, &[&name, "A"]).await.unwrap();
    world.names.set(BTreeSet::new());
    let gone = short(world.v4, &[&name, "A"]).await.unwrap();
    assert_eq!((before.as_str(), after.as_str(), gone.as_str()), ("", "198.51.100.9", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_is_told_to_and_lets_go_of_its_ports() {
    let World { v4, stop, running, .. } = World::alone().await;
    let held = tokio::net::TcpStream::connect(v4).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    drop(held);
    // A dig of another test that is just being started has all of this process' sockets until it is dig.
    let start = tokio::time::Instant::now();
    loop {
        let open = match (tokio::net::TcpStream::connect(v4).await, tokio::net::UdpSocket::bind(v4).await) {
            (Err(_), Ok(_)) => break,
            (Ok(_), _) => "TCP is still listened to".to_owned(),
            (_, Err(error)) => format!("UDP: {error}"),
        };
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "{open}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
