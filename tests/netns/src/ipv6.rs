//! IPv6, which a world has when a test wants it.
//!
//! ```text
//!   VMs 2001:db8:64:10::/64 ── eth0 fe80::1, 2001:db8:64:10::1 ┐
//!                                                              router
//!   outside fe80::ffff, 2001:db8:ffff::7 ── eth2 fe80::1:1 ────┘
//! ```

use std::net::Ipv6Addr;

use podzol_appliance_api::{Prefix64, PublicSide6};

use crate::wait::wait_for;
use crate::world::{NETWORK, Vm, World};

/// Somebody outside.
pub const INTERNET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);
/// The router's address in the network of VMs.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0x10, 0, 0, 0, 1);

impl World {
    /// Gives the outside IPv6, and the network a prefix; VMs that come from then on have an address of it.
    ///
    /// # Panics
    /// When the router does not take it.
    pub fn add_ipv6(&mut self) {
        self.outside.ip("address add fe80::ffff/64 dev eth0 nodad");
        self.outside.ip(&format!("address add {INTERNET6}/128 dev lo"));
        self.outside.ip("route add 2001:db8:64:10::/60 via fe80::1:1 dev eth0");
        self.put(|document| {
            let guest = document.guests.get_mut(&NETWORK).expect("it is there");
            guest.prefix6 = Some(prefix());
            document.public.as_mut().expect("it is there").ipv6 = Some(PublicSide6 {
                next_hop: "fe80::1:1".parse().expect("an address"),
                own: "2001:db8:64:1f::1".parse().expect("an address"),
                gateway: "fe80::ffff".parse().expect("an address"),
                slot: "2001:db8:64:10::/60".parse().expect("a range"),
            });
        });
    }
}

impl Vm {
    /// The IPv6 address that it should get.
    pub fn address6(&self) -> Ipv6Addr {
        prefix().of(self.mac)
    }

    /// Sets its address by hand, with the length of the prefix of its link.
    pub fn add_address6(&self, length: u8) {
        self.space.ip(&format!("address add {}/{length} dev eth0 nodad", self.address6()));
        self.hears_at_its_address();
    }

    /// Waits until its kernel takes what is sent to its address. It sends from there as soon as the address is added, and
    /// what is answered before the address is known as its own too, which is other work (`addrconf_dad_work`), is lost.
    pub fn hears_at_its_address(&self) {
        let own = format!("local {} dev eth0 ", self.address6());
        wait_for("the address to be its own", || {
            let routes = self.space.run("ip -6 route show table local");
            if routes.contains(&own) { Ok(()) } else { Err(routes) }
        });
    }

    /// Sets its address and its route by hand, as a VM without DHCP has it.
    pub fn configure6(&self) {
        self.add_address6(64);
        self.space.ip("route replace default via fe80::1 dev eth0 metric 10");
    }
}

fn prefix() -> Prefix64 {
    "2001:db8:64:10::/64".parse().expect("a prefix")
}
