//! The services other machines can reach: "who am I" on port 80 (HTTP) and echo on port 7.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::machine;

const WHO_PORT: u16 = 80;
const ECHO_PORT: u16 = 7;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Starts both services, on IPv4 and IPv6. Gives notes about those that could not start.
pub(crate) fn start() -> Vec<String> {
    [(WHO_PORT, who_am_i as fn(TcpStream) -> io::Result<()>), (ECHO_PORT, echo)]
        .into_iter()
        .filter_map(|(port, answer)| listen(port, answer).err().map(|error| format!("port {port}: {error}")))
        .collect()
}

fn listen(port: u16, answer: fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A visitor that fails harms only itself.
            thread::spawn(move || answer(stream).ok());
        }
    });
    Ok(())
}

/// Reads one request and answers with the host name and the address of the visitor.
fn who_am_i(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut request = [0_u8; 2048];
    let _ = stream.read(&mut request)?;
    let peer = stream.peer_addr()?.ip().to_canonical();
    let body = format!("{}\n{peer}\n", machine::hostname());
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn echo(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    io::copy(&mut stream.try_clone()?, &mut &stream).map(drop)
}

/// Asks the machine with this address for its host name.
pub(crate) fn who(ip: IpAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, WHO_PORT), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    body.lines()
        .next()
        .map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no name in the answer"))
}
