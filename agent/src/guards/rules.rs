//! The rules that keep a VM from sending what it is not, as text for nft(8): a pure function of the ports.
//!
//! The rules never change; what each port may send stands in sets, so a VM that comes or goes costs a few elements and
//! not a look at all others. A port without elements sends nothing at all: its rules come before it does.
//!
//! ```text
//!   frame from a VM's port ── MAC is the port's ──┬─ a port that routes: passes
//!                                                 ├─ ARP: sender's MAC and address are the port's, or it asks whose an address is
//!                                                 ├─ IPv4: source is the port's, or it asks a DHCP server; it never is one
//!                                                 ├─ IPv6: source is the port's link-local one; no router advertisements,
//!                                                 │        no redirects, no DHCP server, neighbour advertisements of its own
//!                                                 └─ anything else, VLAN tags too: dropped
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use podzol_agent_api::vm::NicPlan;
use podzol_hypervisor::port_name;
use podzol_vocab::{InterfaceName, MacAddr};

/// A VM's port in a bridge, and what may come from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The name of its link.
    pub name: InterfaceName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Whether only its MAC address is checked, as of a router's.
    pub may_route: bool,
}

impl Port {
    /// The port of a network interface.
    pub(crate) fn of(nic: &NicPlan) -> Self {
        Self { name: port_name(nic.mac), mac: nic.mac, address: nic.address, may_route: nic.may_route }
    }
}

/// How the ports change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These are all, whatever there was.
    All(BTreeSet<Port>),
    /// These go and those come.
    Some {
        /// Those that go.
        gone: BTreeSet<Port>,
        /// Those that come.
        new: BTreeSet<Port>,
    },
}

impl Change {
    /// Makes the change among ports in memory.
    pub fn make(&self, ports: &mut BTreeSet<Port>) {
        match self {
            Self::All(all) => *ports = all.clone(),
            Self::Some { gone, new } => {
                ports.retain(|port| !gone.contains(port));
                ports.extend(new.iter().cloned());
            }
        }
    }
}

/// The table of Podzol's rules.
const TABLE: &str = "bridge podzol";

/// One batch for nft(8): all of it comes into force at once, or nothing.
pub(crate) fn batch(change: &Change) -> String {
    let mut text = String::new();
    match change {
        Change::All(ports) => {
            // The first line makes the second one good where there is no table yet.
            let _ = write!(text, "table {TABLE}\ndelete table {TABLE}\n{}", include_str!("podzol.nft"));
            elements(&mut text, "add", ports);
        }
        Change::Some { gone, new } => {
            elements(&mut text, "delete", gone);
            elements(&mut text, "add", new);
        }
    }
    text
}

fn elements(text: &mut String, verb: &str, ports: &BTreeSet<Port>) {
    let mut set = |name: &str, elements: Vec<String>| {
        if !elements.is_empty() {
            let _ = writeln!(text, "{verb} element {TABLE} {name} {{ {} }}", elements.join(", "));
        }
    };
    let each = |of: &dyn Fn(&Port) -> String| ports.iter().map(of).collect::<Vec<_>>();
    set("macs", each(&|port| format!("{} . {}", port.name, port.mac)));
    set("addresses", each(&|port| format!("{} . {}", port.name, port.address)));
    set("addresses6", each(&|port| format!("{} . {}", port.name, link_local(port.mac))));
    let target = |port: &Port| format!("{} . {:#034x}", port.name, u128::from(link_local(port.mac)));
    set("targets6", each(&target));
    set("routers", ports.iter().filter(|port| port.may_route).map(|port| port.name.to_string()).collect());
}

/// The chains in a listing of the table: what does not change with the ports.
pub(crate) fn chains(listed: &str) -> &str {
    listed.find("\tchain ").map_or("", |at| &listed[at..])
}

/// The MAC addresses of the ports that are guarded, as a listing of the table has them.
pub(crate) fn guarded(listed: &str) -> Vec<MacAddr> {
    let set =
        listed.split("set macs {").nth(1).and_then(|rest| rest.split("\tset ").next()).unwrap_or_default();
    let words = set.split([' ', ',', '\n', '\t', '}']);
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Whether the sets in a listing of the table hold what these ports have in them, and nothing else.
pub(crate) fn has_elements_of(listed: &str, ports: &BTreeSet<Port>) -> bool {
    let sets = &listed[..listed.len() - chains(listed).len()];
    let expected = 4 * ports.len() + ports.iter().filter(|port| port.may_route).count();
    let has = |port: &Port| {
        sets.contains(&format!("\"{}\" . {}", port.name, port.mac))
            && sets.contains(&format!("\"{}\" . {}", port.name, port.address))
    };
    sets.matches("\"pzt").count() == expected && ports.iter().all(has)
}

/// What nft(8) lists of the table with these ports, near enough for a double of it.
#[cfg(any(test, feature = "sim"))]
pub fn listing(ports: &BTreeSet<Port>) -> String {
    let mut text = String::new();
    elements(&mut text, "add", ports);
    let sets =
        text.replace("{ pzt", "elements = { \"pzt").replace(", pzt", ", \"pzt").replace(" . ", "\" . ");
    let sets = sets.replace("add element bridge podzol ", "\tset ").replace("elements", "{ elements");
    format!("{sets}\tchain from_vms {{ drop }}\n")
}

/// The link-local address that a MAC address makes (RFC 4291, appendix A).
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(last: u8, may_route: bool) -> Port {
        let mac: MacAddr = format!("02:00:5e:10:00:{last:02x}").parse().unwrap();
        Port { name: port_name(mac), mac, address: Ipv4Addr::new(10, 1, 1, last), may_route }
    }

    #[test]
    fn the_rules_for_two_ports_are_as_agreed() {
        let made = batch(&Change::All([port(1, false), port(2, true)].into()));
        let golden = include_str!("../../tests/two-ports.nft");
        assert!(made == golden, "tests/two-ports.nft differs; made:\n{made}");
    }

    #[test]
    fn a_port_that_routes_is_asked_for_its_mac_address_and_for_nothing_else() {
        let rules = include_str!("podzol.nft");
        let chain = rules.split("chain from_vm {").nth(1).unwrap().split('}').collect::<Vec<_>>().join("}");
        let at = |rule: &str| chain.find(rule).unwrap_or_else(|| panic!("{rule} is not in {chain}"));
        let in_order = [
            "iifname . ether saddr != @macs drop",
            "iifname @routers ether type { arp, ip, ip6 } accept",
            "jump from_vm_arp",
            "jump from_vm_ip4",
            "udp sport 67 udp dport 68 drop",
        ];
        assert!(in_order.map(at).is_sorted());
    }

    #[test]
    fn a_vm_that_comes_or_goes_is_a_few_elements() {
        let change = Change::Some { gone: [port(1, false)].into(), new: [port(2, false)].into() };
        let text = batch(&change);
        assert_eq!(text.lines().count(), 8, "{text}");
        assert!(
            text.contains("delete element bridge podzol macs { pzt005e100001 . 02:00:5e:10:00:01 }"),
            "{text}"
        );
        assert!(text.contains("add element bridge podzol addresses { pzt005e100002 . 10.1.1.2 }"), "{text}");
        assert_eq!(batch(&Change::Some { gone: BTreeSet::new(), new: BTreeSet::new() }), "");
    }

    #[test]
    fn a_listing_is_told_from_one_with_other_elements_or_chains() {
        let ports: BTreeSet<Port> = [port(1, false), port(2, true)].into();
        let listed = include_str!("../../tests/two-ports.listed");
        assert!(has_elements_of(listed, &ports));
        assert!(chains(listed).starts_with("\tchain from_vms {") && chains(listed).ends_with("}\n}\n"));
        assert!(!has_elements_of(listed, &[port(1, false), port(2, false)].into()));
        assert!(!has_elements_of(listed, &[port(1, false), port(3, true)].into()));
        assert!(!has_elements_of("", &ports));
        assert_eq!(chains(""), "");
        assert_eq!(guarded(listed), [port(1, false).mac, port(2, true).mac]);
        assert_eq!(guarded(""), []);
    }

    #[test]
    fn a_mac_address_makes_a_link_local_address() {
        assert_eq!(link_local("02:00:5e:10:00:01".parse().unwrap()).to_string(), "fe80::5eff:fe10:1");
        assert_eq!(link_local("52:54:00:12:34:56".parse().unwrap()).to_string(), "fe80::5054:ff:fe12:3456");
    }
}
