//! Many questions for names of VMs, a few of each client on their way at a time, and a check of each answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use podzol_netns_tests::{Namespace, wait_for};

use crate::services::{LINKS, VMS, address, domain, gateway, sources, vm_name};

/// Questions of one client on their way; there are two clients on each link.
const AT_ONCE: usize = 4;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks so many questions from all links until each is answered rightly, and gives how many had to be asked again.
pub(crate) fn ask(space: &Namespace, questions: usize) -> Result<usize> {
    let clients = clients(space)?;
    let all: Vec<Question> =
        (0..LINKS).flat_map(|link| (0..VMS).map(move |vm| Question::new(link, vm))).collect();
    let mut next = all.iter().cycle();
    let (mut answered, mut again) = (0, 0);
    let mut lost: Vec<&Question> = Vec::new();
    while answered < questions {
        let mut waiting = Vec::with_capacity(clients.len() * AT_ONCE);
        for client in clients.iter().cycle().take(clients.len() * AT_ONCE).take(questions - answered) {
            let Some(question) = lost.pop().or_else(|| next.next()) else { break };
            client.send(&question.packet)?;
            waiting.push((client, question));
        }
        for (client, question) in waiting {
            if hear(client, question)? {
                answered += 1;
            } else {
                lost.push(question);
                again += 1;
                ensure!(again < questions / 100 + AT_ONCE, "more than one in a hundred is not answered");
            }
        }
    }
    Ok(again)
}

/// Waits until names are answered for.
pub(crate) fn wait(space: &Namespace) {
    wait_for("names to be answered for", || ask(space, 1).map_err(|error| error.to_string()));
}

fn clients(space: &Namespace) -> Result<Vec<UdpSocket>> {
    space.inside(|| {
        let mut clients = Vec::new();
        for link in 0..LINKS {
            for source in sources(link) {
                let client = UdpSocket::bind(SocketAddrV4::new(source, 0))?;
                client.connect(SocketAddrV4::new(gateway(link), 53))?;
                client.set_read_timeout(Some(PATIENCE))?;
                clients.push(client);
            }
        }
        Ok(clients)
    })
}

/// Whether the answer to a question comes, and is right.
fn hear(client: &UdpSocket, question: &Question) -> Result<bool> {
    let mut buffer = [0; 512];
    loop {
        let length = match client.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let answer = &buffer[..length];
        // One that comes after all, to a question that was given up, is passed over.
        if !answer.starts_with(&question.packet[..2]) {
            continue;
        }
        let is_answer =
            length > 16 && answer[2] & 0x80 != 0 && answer[3] & 0x0f == 0 && answer[6..8] == [0, 1];
        // The address ends it, as nothing is added for those who did not ask for it.
        return Ok(is_answer && answer.ends_with(&question.address.octets()));
    }
}

/// A question for the address of a VM, and what it is.
struct Question {
    packet: Vec<u8>,
    address: Ipv4Addr,
}

impl Question {
    fn new(link: u8, vm: u16) -> Self {
        let [high, low] = (u16::from(link) * VMS + vm).to_be_bytes();
        let mut packet = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in format!("{}.{}", vm_name(link, vm), domain(link)).split('.') {
            packet.push(label.len() as u8);
            packet.extend(label.as_bytes());
        }
        packet.extend([0, 0, 1, 0, 1]);
        Self { packet, address: address(link, vm) }
    }
}
