//! The generation of the kernel's rules: a number that each transaction makes greater by one, whoever's it is
//! (`linux/netfilter/nf_tables.h`, `NFT_MSG_GETGEN`). As long as it is the same, so are the rules, and nobody has to list
//! ten thousand elements to know that.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// The subsystem `NFNL_SUBSYS_NFTABLES` in the upper byte, and the message in the lower.
const GET: u16 = 10 << 8 | 16;
const NEW: u16 = 10 << 8 | 15;
const NLM_F_REQUEST: u16 = 1;
/// The attribute that has it, as a big-endian number.
const NFTA_GEN_ID: u16 = 1;

/// `struct nlmsghdr`, and `struct nfgenmsg` after it.
const HEADER: usize = 16 + 4;

/// Where the kernel is asked.
#[derive(Debug)]
pub(crate) struct Generations(OwnedFd);

impl Generations {
    /// For the network namespace of this thread.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkNetFilter;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?))
    }

    /// That of this moment. The kernel answers at once, so nobody waits.
    pub(crate) fn now(&self) -> io::Result<u32> {
        let mut request = [0; HEADER];
        request[..4].copy_from_slice(&(HEADER as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&GET.to_ne_bytes());
        request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        sendto(self.0.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = [0; 512];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        read(&answer[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// The generation in an answer.
fn read(answer: &[u8]) -> Option<u32> {
    if u16::from_ne_bytes(bytes(answer, 4)?) != NEW {
        return None;
    }
    let mut rest = answer.get(HEADER..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes(rest, 0)?));
        if u16::from_ne_bytes(bytes(rest, 2)?) == NFTA_GEN_ID {
            return Some(u32::from_be_bytes(bytes(rest, 4)?));
        }
        // Attributes begin at multiples of four.
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn bytes<const N: usize>(all: &[u8], at: usize) -> Option<[u8; N]> {
    all.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; HEADER];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        answer.extend(attributes);
        answer
    }

    #[test]
    fn the_number_is_found_among_other_attributes() {
        // The name of a process, which takes two bytes of padding, and then the number.
        let attributes = [6, 0, 3, 0, b'n', 0, 0, 0, 8, 0, 1, 0, 0, 0, 1, 7];
        assert_eq!(read(&answer(NEW, &attributes)), Some(263));
    }

    #[test]
    fn what_is_no_such_answer_has_no_number() {
        let number = [8, 0, 1, 0, 0, 0, 1, 7];
        assert_eq!(read(&answer(2, &number)), None);
        for length in 0..HEADER + number.len() {
            assert_eq!(read(&answer(NEW, &number)[..length]), None, "{length}");
        }
        assert_eq!(read(&answer(NEW, &[0; 8])), None);
    }
}
