//! A router in a network namespace of its own, with two guest networks, an outside and a management network in others.
//!
//! ```text
//!  lan ─── eth0 10.1.1.1 ┐                   ┌ eth2 203.0.113.5, .6 ─── outside 203.0.113.1, 192.0.2.7, 198.51.100.7 …
//!                        ├──── router ───────┤
//!  far ─── eth3 10.1.2.1 ┘                   └ eth1 172.16.0.2 ─── management 172.16.0.1
//! ```

mod ipv6;
mod namespace;
mod traffic;
mod udp;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::SndBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
};
use podzol_appliance_api::{Counters, Document};
use podzol_appliance_nft::{
    Batch, BatchError, Change, Counted, Dump, LIST, MANAGEMENT_GROUP, OUTSIDE_GROUP, Observed, Ruleset,
    Shape, Step, observed, skeleton,
};

pub(crate) use namespace::Namespace;
pub(crate) use traffic::Address;
pub(crate) use udp::hears;

use crate::sample::{mac, ruleset};

/// The one who manages.
pub(crate) const MANAGER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
/// The router's address on its management network.
pub(crate) const MANAGED: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
/// Those outside.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// Those outside, by IPv6.
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 1, 0, 0, 0, 7);
pub(crate) const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 2, 0, 0, 0, 8);
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 2, 0, 0, 0, 7);

/// The router and what is around it. All of it goes with this.
pub(crate) struct Router {
    pub(crate) router: Namespace,
    pub(crate) lan: Namespace,
    pub(crate) far: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) management: Namespace,
    /// What was listed after the skeleton was loaded.
    pub(crate) good: Shape,
    in_force: Ruleset,
}

impl Router {
    /// A router with the skeleton and links, and no document.
    pub(crate) fn empty() -> Self {
        let router = Namespace::new();
        router
            .nft(skeleton())
            .expect("nft and a kernel with nf_tables, nat, fib, numgen, hash and concatenated intervals");
        let good = observed(router.run("nft", &LIST).unwrap().as_bytes()).unwrap().shape;
        let [lan, far, outside, management] = std::array::from_fn(|_| Namespace::new());
        for (link, address, peer, addresses) in [
            ("eth0", "10.1.1.1/24", &lan, &["10.1.1.5/24", "10.1.1.6/24", "10.1.1.7/24"][..]),
            ("eth3", "10.1.2.1/24", &far, &["10.1.2.5/24"]),
            ("eth1", "172.16.0.2/24", &management, &["172.16.0.1/24"]),
            (
                "eth2",
                "203.0.113.5/24",
                &outside,
                &["203.0.113.1/24", "198.51.100.7/32", "192.0.2.7/32", "192.0.2.8/32", "10.1.1.99/32"],
            ),
        ] {
            router.ip(&format!("link add {link} type veth peer name eth0 netns {}", peer.path()));
            router.ip(&format!("address add {address} dev {link}"));
            addresses.iter().for_each(|address| peer.ip(&format!("address add {address} dev eth0")));
            match link {
                "eth0" => peer.ip(&format!("link set eth0 address {}", mac(5))),
                "eth3" => peer.ip(&format!("link set eth0 address {}", mac(8))),
                _ => {}
            }
            peer.ip("link set eth0 up");
            router.ip(&format!("link set {link} up"));
        }
        for (link, group) in [("eth1", MANAGEMENT_GROUP), ("eth2", OUTSIDE_GROUP)] {
            router.ip(&format!("link set {link} group {group}"));
        }
        router.ip("address add 203.0.113.6/24 dev eth2");
        router.ip("route add default via 203.0.113.1");
        for (peer, gateway) in [(&lan, "10.1.1.1"), (&far, "10.1.2.1"), (&management, "172.16.0.2")] {
            peer.ip(&format!("route add default via {gateway}"));
        }
        router.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        ipv6::link(&router, &lan, &far, &outside);
        Self { router, lan, far, outside, management, good, in_force: Ruleset::default() }
    }

    /// A router with a document.
    pub(crate) fn with(document: &Document) -> Self {
        let mut router = Self::empty();
        router.put(&ruleset(document));
        router
    }

    /// Brings a rule set into force by what is different, and finds it in force.
    pub(crate) fn put(&mut self, wanted: &Ruleset) {
        for step in wanted.change_from(&self.in_force).iter().flat_map(Change::steps) {
            match step {
                Step::Script(script) => {
                    self.router.nft(script).unwrap_or_else(|error| panic!("{error}\n{script}"));
                }
                Step::Batch(batch) => self.router.inside(|| commit(batch)).unwrap(),
            }
        }
        self.in_force = wanted.clone();
        self.assert_in_force();
    }

    /// Finds the last rule set in force, and nothing else changed.
    pub(crate) fn assert_in_force(&self) {
        let Observed { ruleset, shape } = self.observed();
        assert_eq!(ruleset, self.in_force);
        assert_eq!(shape.differences(&self.good), Vec::<String>::new());
    }

    pub(crate) fn observed(&self) -> Observed {
        observed(self.router.run("nft", &LIST).unwrap().as_bytes()).unwrap()
    }

    pub(crate) fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for dump in Dump::all() {
            let answers = self.router.inside(|| ask(dump.bytes()));
            dump.read(&answers, &mut counted).unwrap();
        }
        counted
    }

    /// The counters of a VM's address.
    pub(crate) fn nic(&self, address: Ipv4Addr) -> Counters {
        self.counted().nics[&address]
    }

    /// The same answer from a port of the VM in `namespace` at each of these addresses, as long as the test runs.
    pub(crate) fn serve<A: Address>(&self, namespace: &Namespace, addresses: &[A], port: u16) {
        addresses.iter().for_each(|address| traffic::serve(namespace, (*address, port)));
    }
}

/// Has the kernel take a batch.
pub(crate) fn commit(batch: &Batch) -> Result<(), BatchError> {
    batch.outcome(&ask(batch.bytes()))
}

/// All that the kernel answers to messages of nfnetlink.
fn ask(messages: &[u8]) -> Vec<u8> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), protocol).unwrap();
    setsockopt(&socket, SndBufForce, &(2 * messages.len() + 4096)).unwrap();
    sendto(socket.as_raw_fd(), messages, &NetlinkAddr::new(0, 0), MsgFlags::empty()).unwrap();
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 65536]);
    while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        answers.extend_from_slice(&buffer[..length]);
    }
    answers
}
