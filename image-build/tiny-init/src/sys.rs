//! The two system calls that neither std nor nix has a safe form for. All unsafe code of this program is here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Opens a socket of any protocol: nix knows neither the kernel's ping sockets nor packet sockets without a protocol.
pub(crate) fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: no memory is passed, and the new descriptor is owned by the returned value alone.
    unsafe {
        let descriptor = Errno::result(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol))?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Sends one Ethernet frame as it is, on the link with this index. Gives the bytes sent.
pub(crate) fn send_frame(link: u32, frame: &[u8]) -> io::Result<usize> {
    let socket = File::from(socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?);
    #[expect(unsafe_code, reason = "nix cannot make the address of a link")]
    // SAFETY: the address is plain data for which zero is a value; each pointer is passed with the size of what it
    // points to; and the descriptor is open.
    let sent = unsafe {
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = link.cast_signed();
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), size)
    };
    Ok(Errno::result(sent)?.cast_unsigned())
}
