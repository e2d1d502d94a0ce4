//! What links have of IPv6.
//!
//! ```text
//!  lan ─── eth0 fe80::1, 2001:db8:64:10::1 ┐          ┌ eth2 fe80::1:1, 2001:db8:64:1f::1 ─── outside fe80::ffff, 2001:db8:ffff:…
//!                                          ├─ router ─┤
//!  far ─── eth3 fe80::1, 2001:db8:64:11::1 ┘          └ eth1, without
//! ```

use super::{CLIENT6, Namespace, SERVER6, STRANGER6};
use crate::sample::{FAR6, OTHER6, OWN6, WEB6};

/// Gives the router and its peers their addresses and routes.
pub(super) fn link(router: &Namespace, lan: &Namespace, far: &Namespace, outside: &Namespace) {
    let add = Namespace::add_address6;
    for (link, prefix) in [("eth0", "2001:db8:64:10::1/64"), ("eth3", "2001:db8:64:11::1/64")] {
        [prefix, "fe80::1/64"].iter().for_each(|address| add(router, address, link));
    }
    ["fe80::1:1/64", "2001:db8:64:1f::1/128"].iter().for_each(|address| add(router, address, "eth2"));
    router.ip("route add default via fe80::ffff dev eth2 src 2001:db8:64:1f::1");
    router.ip("route add unreachable 2001:db8:64:10::/60 metric 4096");
    for address in [WEB6, OTHER6, OWN6] {
        add(lan, &format!("{address}/64"), "eth0");
    }
    add(far, &format!("{FAR6}/64"), "eth0");
    for address in [CLIENT6, STRANGER6, SERVER6] {
        add(outside, &format!("{address}/128"), "eth0");
    }
    add(outside, "fe80::ffff/64", "eth0");
    outside.ip("route add 2001:db8:64:10::/60 via fe80::1:1 dev eth0");
    for vms in [lan, far] {
        add(vms, "fe80::5/64", "eth0");
        vms.ip("route add default via fe80::1 dev eth0");
    }
    for all in [router, outside] {
        all.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap());
    }
}
