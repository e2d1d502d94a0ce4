//! Router advertisements on one link.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use podzol_appliance_ra::{
    ALL_NODES, ALL_ROUTERS, Advert, DefaultRouter, SOLICITATION, Schedule, Solicitation, solicitation,
};
use podzol_vocab::{InterfaceName, LINK_GATEWAY, NetworkId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::sockets::{self, LinkIndex};
use crate::shown::Shown;

/// The longest packet that is read, in bytes. Whoever has more to say in a solicitation is not answered: it is cut short.
const MAX_PACKET: usize = 1500;

/// Tells a network's VMs of their router until a socket fails.
pub(super) async fn serve(
    network: NetworkId,
    link: InterfaceName,
    mut shown: watch::Receiver<Shown>,
) -> io::Result<()> {
    let index = LinkIndex::of(&link)?.number();
    let socket = sockets::icmpv6(&link, LINK_GATEWAY, SOLICITATION)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    let begun = Instant::now();
    let mut schedule = Schedule::new(begun.elapsed(), StdRng::from_os_rng());
    let Some(mut told) = advert(&shown.borrow_and_update(), network) else { return Ok(()) };
    let mut buffer = [0; MAX_PACKET];
    loop {
        let due = schedule.due().saturating_sub(begun.elapsed());
        let to = tokio::select! {
            changed = shown.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let Some(now) = advert(&shown.borrow_and_update(), network) else { return Ok(()) };
                if told != now {
                    told = now;
                    schedule.changed(begun.elapsed());
                }
                continue;
            }
            heard = hear(&socket, &mut buffer) => {
                let Some(to) = heard?.and_then(|asked| schedule.asked(begun.elapsed(), asked)) else { continue };
                to
            }
            () = sleep(due) => {
                schedule.sent(begun.elapsed());
                ALL_NODES
            }
        };
        // One that does not get out is as good as lost on the way; there will be others.
        if let Err(error) = socket.send_to(&told.bytes(), SocketAddrV6::new(to, 0, 0, index)).await {
            tracing::debug!(%to, %link, %error, "an advertisement does not get out");
        }
    }
}

/// What a network's VMs are to be told, if it has IPv6.
fn advert(shown: &Shown, network: NetworkId) -> Option<Advert> {
    let guest = shown.document.guests.get(&network)?;
    let has_outside = shown.document.public.as_ref().is_some_and(|public| public.ipv6.is_some());
    Some(Advert {
        mac: guest.mac,
        mtu: guest.mtu,
        prefix: guest.prefix6?,
        domain: guest.domain.clone(),
        default: if has_outside { DefaultRouter::Yes } else { DefaultRouter::No },
    })
}

/// Waits for a packet. None if it is no question.
async fn hear(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Solicitation>> {
    socket.async_io(Interest::READABLE, || hear_now(socket, buffer)).await
}

fn hear_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Solicitation>> {
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let heard = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let hop_limit = heard.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
        _ => None,
    });
    let from: Option<Ipv6Addr> = heard.address.map(|address| address.ip());
    let (length, is_whole) = (heard.bytes, !heard.flags.contains(MsgFlags::MSG_TRUNC));
    let (Some(from), Some(hop_limit), true) = (from, hop_limit, is_whole) else { return Ok(None) };
    Ok(solicitation(from, hop_limit, &buffer[..length]))
}
