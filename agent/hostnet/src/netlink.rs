//! The kernel, over netlink: the only module here that talks to it.
//!
//! It knows nothing of what should exist. A dump that fails is an [`Error`]; a change that fails is a [`Failure`]
//! with the kernel's errno. The socket belongs to the network namespace of the thread that opened it, and so does
//! `/proc/sys/net`: open and use a [`Kernel`] in one namespace.
//!
//! # Design notes
//!
//! Requests are sent without waiting for the answer to the one before (see `apply`). The kernel handles them one by
//! one all the same, so what counts is the number of messages, and above all of removals: for each the kernel waits
//! until no processor can still see the link. Links that are removed as a group share most of these waits. Two are
//! left per segment, for the port and for the bridge, some 10 ms each; see [`Kernel::hurrying`]. Refused: to set the
//! host's switch for good, which would cost every program on the host its interrupts for nothing.

mod apply;
mod dump;
mod grace;
mod read;
mod socket;
mod watch;

use std::path::PathBuf;

use podzol_vocab::InterfaceName;

use crate::change::Changes;
use crate::links::{Error, Failure, Interface, Links, Watch};
use crate::observed::Link;
use grace::Hurry;
use socket::Socket;

/// The kernel's links in one network namespace.
#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    hurry: Option<Hurry>,
}

impl Kernel {
    /// Opens a netlink socket in the network namespace of this thread. Needs a tokio runtime, and `CAP_NET_ADMIN`
    /// for changes.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open()?, hurry: None })
    }

    /// The same, and the whole kernel hurries (`rcu_expedited`) while several links are removed. That this is so is
    /// noted in a file meanwhile; a switch that a crash has left set is put back here.
    pub fn hurrying(mut self, note: PathBuf) -> Result<Self, Error> {
        self.hurry = Some(Hurry::new(note).map_err(Error::Hurry)?);
        Ok(self)
    }
}

impl Links for Kernel {
    async fn observe(&self) -> Result<Vec<Link>, Error> {
        read::links(&self.socket).await
    }

    async fn apply(&self, changes: &Changes) -> Vec<Failure> {
        apply::apply(&self.socket, changes, self.hurry.as_ref()).await
    }

    async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let links = self.observe().await?;
        let addresses = read::addresses(&self.socket).await?;
        Ok(Interface::join(links, addresses, |link| speed_mbps(&link.name)))
    }

    fn watch(&self) -> Result<Watch, Error> {
        watch::watch()
    }
}

/// The speed of a link, which only NICs with a carrier and bonds of them tell
/// (Documentation/ABI/testing/sysfs-class-net).
fn speed_mbps(name: &InterfaceName) -> Option<u32> {
    // -1, which means unknown, is no u32.
    std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs no privileges: the loopback is everywhere.
    #[tokio::test]
    async fn all_links_and_addresses_of_this_host_are_listed() {
        let kernel = Kernel::open().unwrap();
        let interfaces = kernel.interfaces().await.unwrap();
        let loopback = interfaces.iter().find(|interface| interface.link.name.as_str() == "lo").unwrap();
        assert!(loopback.addresses.contains(&(std::net::Ipv4Addr::LOCALHOST.into(), 8)), "{interfaces:?}");
        assert_eq!(kernel.observe().await.unwrap().len(), interfaces.len());
    }
}
