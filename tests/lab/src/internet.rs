//! The server outside: HTTP, DNS and echo, at the gateway and at the place on the internet behind it; HTTP and echo at the
//! place on the internet of IPv6.
//!
//! It does as much as a customer's machine needs to see whom it reaches and as whom it is seen, and no more: one request
//! a connection, one question a DNS message.

use std::net::IpAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::outside::{GATEWAY, INTERNET, INTERNET6, NAME, has_ipv6};

/// The longest head of an HTTP request, in bytes.
const HEAD: usize = 8 << 10;

/// How much of an answer's body is written at once, in bytes.
const CHUNK: usize = 64 << 10;

/// The length of a DNS message's header (RFC 1035, 4.1.1).
const DNS_HEADER: usize = 12;

/// The longest DNS message: over UDP a packet, over TCP what its length can say.
const DNS_MESSAGE: usize = u16::MAX as usize;

/// How long an address may be remembered, in seconds: a test that asks again may want to be heard.
const TTL: u32 = 5;

/// Serves for ever, in the namespace in which it was started.
///
/// # Errors
/// When an address cannot be bound.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut servers = JoinSet::new();
        // Not on all addresses at once: a packet's answer would come from the one nearest to the asker.
        let of_ipv6 = has_ipv6().then_some(IpAddr::from(INTERNET6));
        for address in [GATEWAY, INTERNET].map(IpAddr::from).into_iter().chain(of_ipv6) {
            servers.spawn(accept(listener(address, 80).await?, http));
            servers.spawn(accept(listener(address, 7).await?, echo));
        }
        for address in [GATEWAY, INTERNET] {
            servers.spawn(accept(listener(address.into(), 53).await?, dns_over_tcp));
            let socket = UdpSocket::bind((address, 53)).await;
            servers.spawn(dns_over_udp(socket.with_context(|| format!("cannot bind {address}:53/udp"))?));
        }
        servers.join_all().await;
        Ok(())
    })
}

async fn listener(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, port))
        .await
        .with_context(|| format!("cannot listen on {address} port {port}"))
}

async fn accept<T>(listener: TcpListener, talk: impl Fn(TcpStream) -> T)
where
    T: Future<Output = std::io::Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(talk(stream))),
            // Such as too many open files: some will be closed.
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut from, mut to) = stream.split();
    copy(&mut from, &mut to).await?;
    Ok(())
}

async fn http(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head);
    let path = line.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let caller = format!("{}\n", stream.peer_addr()?.ip());
    let zeros = path.strip_prefix("/bytes/").and_then(|number| number.parse::<usize>().ok());
    match (path, zeros) {
        ("/", _) => {
            start_answer(&mut stream, "200 OK", caller.len()).await?;
            stream.write_all(caller.as_bytes()).await?;
        }
        (_, Some(mut left)) => {
            start_answer(&mut stream, "200 OK", left).await?;
            let zeros = vec![0; CHUNK.min(left)];
            while left > 0 {
                left -= stream.write(&zeros[..CHUNK.min(left)]).await?;
            }
        }
        _ => start_answer(&mut stream, "404 Not Found", 0).await?,
    }
    stream.shutdown().await
}

async fn start_answer(stream: &mut TcpStream, status: &str, length: usize) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await
}

async fn dns_over_tcp(stream: TcpStream) -> std::io::Result<()> {
    let (mut from, mut to) = split(stream);
    loop {
        let mut query = vec![0; usize::from(from.read_u16().await?)];
        from.read_exact(&mut query).await?;
        let Some(answer) = answer(&query) else { return Ok(()) };
        to.write_u16(answer.len() as u16).await?;
        to.write_all(&answer).await?;
    }
}

async fn dns_over_udp(socket: UdpSocket) {
    let mut packet = vec![0; DNS_MESSAGE];
    loop {
        // An error is about an asker who went away (ICMP), not about the socket.
        if let Ok((length, asker)) = socket.recv_from(&mut packet).await
            && let Some(answer) = answer(&packet[..length])
        {
            let _ = socket.send_to(&answer, asker).await;
        }
    }
}

/// The answer to a DNS query with one question: the address of [`NAME`], or that there is no such name. `None` for what
/// is no such query.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = query.split_at_checked(DNS_HEADER)?;
    let is_query = header[2] & 0xf8 == 0;
    if !is_query || header[4..6] != [0, 1] {
        return None;
    }
    let (name, behind) = name(rest)?;
    let asks_for_address = behind.get(..4)? == [0, 1, 0, 1];
    let question = &rest[..rest.len() - behind.len() + 4];
    let is_known = name.eq_ignore_ascii_case(NAME);
    let has_record = is_known && asks_for_address;
    // It is an answer of a recursive server; the wish for recursion comes back. NXDOMAIN is code 3.
    let flags = [0x80 | header[2] & 1, 0x80 | if is_known { 0 } else { 3 }];
    let mut answer = [&header[..2], &flags, &[0, 1, 0, u8::from(has_record), 0, 0, 0, 0], question].concat();
    if has_record {
        // The name is the one behind the header; A, IN.
        answer.extend([0xc0, DNS_HEADER as u8, 0, 1, 0, 1]);
        answer.extend(TTL.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(INTERNET.octets());
    }
    Some(answer)
}

/// The name at the beginning, without the last dot, and what is behind it. `None` if it is broken, or not in one piece.
fn name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut labels = Vec::new();
    loop {
        let (length, rest) = bytes.split_first()?;
        if *length == 0 {
            return Some((labels.join("."), rest));
        }
        if *length > 63 {
            return None;
        }
        let (label, behind) = rest.split_at_checked(usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        bytes = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query with id 0x0102 that wishes for recursion.
    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn the_one_name_has_an_address_however_it_is_spelled() {
        let query = query("wWw.Example.com", 1);
        let answer = answer(&query).unwrap();
        assert_eq!(answer[..12], [1, 2, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        let (question, record) = answer[12..].split_at(query.len() - 12);
        assert_eq!(question, &query[12..]);
        assert_eq!(record, [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 198, 51, 100, 1]);
    }

    #[test]
    fn it_has_nothing_else_and_other_names_are_not_there() {
        let header = |name, kind| answer(&query(name, kind)).unwrap()[..12].to_vec();
        assert_eq!(header("www.example.com", 28), [1, 2, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header("example.com", 1), [1, 2, 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn options_behind_the_question_are_left_out_of_the_answer() {
        let mut with_options = query("www.example.com", 1);
        with_options[11] = 1;
        with_options.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer(&with_options), answer(&query("www.example.com", 1)));
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let whole = query("www.example.com", 1);
        assert!((0..whole.len()).all(|length| answer(&whole[..length]).is_none()));
        let mut is_answer = whole.clone();
        is_answer[2] |= 0x80;
        assert_eq!(answer(&is_answer), None);
        let mut has_pointer = whole;
        has_pointer[12] = 0xc0;
        assert_eq!(answer(&has_pointer), None);
    }
}
