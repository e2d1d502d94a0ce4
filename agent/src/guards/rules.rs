//! The rules that keep a VM from sending what it is not, as text for nft(8): a pure function of the ports.
//!
//! The rules never change; what each port may send stands in sets, so a VM that comes or goes costs a few elements and
//! not a look at all others. A port without elements sends nothing at all: its rules come before it does.
//!
//! ```text
//!   frame from a VM's port ── MAC is the port's ──┬─ a port that routes: passes
//!                                                 ├─ ARP: sender's MAC and address are the port's, or it asks whose an address is
//!                                                 ├─ IPv4: source is the port's, or it asks a DHCP server; it never is one
//!                                                 ├─ IPv6: source is the port's; no router advertisements, no redirects, no
//!                                                 │        DHCP server, no listener queries, neighbour advertisements of its
//!                                                 │        own, and from nobody (`::`) only questions about its own addresses
//!                                                 └─ anything else, VLAN tags too: dropped
//! ```
//!
//! # Design notes
//! Neighbours are told apart by duplicate address detection, in which who asks has no address yet (RFC 4862, 5.4). A VM that
//! may ask so for any address answers each detection of a neighbour by one of its own, and the neighbour never gets an
//! address (5.4.3): so it may ask for its own only.
//!
//! A header that is not in a packet's first fragment hides from all rules (RFC 7112). So fragments have a chain that says what
//! may pass, where the others say what may not: a first one shows its ports or its echo, or it is dropped. None goes to a
//! link-local or multicast address, which is where discovery (RFC 6980) and DHCP happen. What comes of fragments that overlap
//! is left to who joins them; all systems since RFC 5722 drop them.
//!
//! What is behind an authentication header (RFC 4302) no rule sees either. Its receiver takes it only from who has a key for
//! that, as with what is encrypted (ESP); but none of it is from or to a link-local or multicast address.
//!
//! The MAC addresses within discovery are not compared, as they are in ARP: they stand in options, which may be in any place. Who
//! lies there does so of its own address only, and sends away what was for itself.
//!
//! Addresses are compared, and checksums are not looked at: a packet with a wrong one is dropped by who gets it.

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
    /// Its IPv6 address beside the link-local one, in a network that has IPv6.
    pub address6: Option<Ipv6Addr>,
    /// Whether only its MAC address is checked, as of a router's.
    pub may_route: bool,
}

impl Port {
    /// The port of a network interface.
    pub(crate) fn of(nic: &NicPlan) -> Self {
        Self {
            name: port_name(nic.mac),
            mac: nic.mac,
            address: nic.address,
            address6: nic.address6,
            may_route: nic.may_route,
        }
    }

    /// The IPv6 addresses that it may have.
    fn addresses6(&self) -> impl Iterator<Item = Ipv6Addr> + use<> {
        [Some(self.mac.link_local()), self.address6].into_iter().flatten()
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
    for (set, elements) in sets(ports) {
        if !elements.is_empty() {
            let _ = writeln!(text, "{verb} element {TABLE} {set} {{ {} }}", elements.join(", "));
        }
    }
}

/// What the ports have in each set, as nft(8) lists it.
fn sets(ports: &BTreeSet<Port>) -> [(&'static str, Vec<String>); 5] {
    let quoted = |port: &Port| format!("\"{}\"", port.name);
    let each = |of: &dyn Fn(&Port) -> String| -> Vec<String> {
        ports.iter().map(|port| format!("{} . {}", quoted(port), of(port))).collect()
    };
    let each6 = |of: &dyn Fn(Ipv6Addr) -> String| -> Vec<String> {
        let of_port = |port: &Port| {
            let quoted = quoted(port);
            port.addresses6().map(move |address| format!("{quoted} . {}", of(address)))
        };
        ports.iter().flat_map(of_port).collect()
    };
    [
        ("macs", each(&|port| port.mac.to_string())),
        ("addresses", each(&|port| port.address.to_string())),
        ("addresses6", each6(&|address| address.to_string())),
        ("targets6", each6(&|address| format!("{:#034x}", u128::from(address)))),
        ("routers", ports.iter().filter(|port| port.may_route).map(quoted).collect()),
    ]
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
    let in_sets = &listed[..listed.len() - chains(listed).len()];
    let words = in_sets.split(['{', '}', ',', '\n']).map(str::trim).filter(|word| word.starts_with('"'));
    // The same text in two sets would be one here, and there is none: each set has words of its own form.
    let found: BTreeSet<&str> = words.collect();
    let wanted = sets(ports);
    let wanted: BTreeSet<&str> =
        wanted.iter().flat_map(|(_, elements)| elements).map(String::as_str).collect();
    found == wanted
}

/// What nft(8) lists of the table with these ports, near enough for a double of it.
#[cfg(any(test, feature = "sim"))]
pub fn listing(ports: &BTreeSet<Port>) -> String {
    let mut text = String::new();
    for (set, elements) in sets(ports) {
        let _ = writeln!(text, "\tset {set} {{\n\t\telements = {{ {} }}\n\t}}\n", elements.join(",\n"));
    }
    format!("{text}\tchain from_vms {{ drop }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(last: u8, may_route: bool) -> Port {
        let mac: MacAddr = format!("02:00:5e:10:00:{last:02x}").parse().unwrap();
        Port { name: port_name(mac), mac, address: Ipv4Addr::new(10, 1, 1, last), address6: None, may_route }
    }

    fn dual(last: u8) -> Port {
        let address6 = Some(format!("2001:db8:64:10:0:5eff:fe10:{last:x}").parse().unwrap());
        Port { address6, ..port(last, false) }
    }

    #[test]
    fn the_rules_for_two_ports_are_as_agreed() {
        let made = batch(&Change::All([dual(1), port(2, true)].into()));
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
            "exthdr frag exists goto from_vm_ip6_fragment",
            "iifname . ip6 saddr @addresses6 accept",
        ];
        assert!(in_order.map(at).is_sorted());
    }

    #[test]
    fn a_vm_that_comes_or_goes_is_a_few_elements() {
        let change = Change::Some { gone: [port(1, false)].into(), new: [port(2, false)].into() };
        let text = batch(&change);
        assert_eq!(text.lines().count(), 8, "{text}");
        assert!(
            text.contains("delete element bridge podzol macs { \"pzt005e100001\" . 02:00:5e:10:00:01 }"),
            "{text}"
        );
        assert!(
            text.contains("add element bridge podzol addresses { \"pzt005e100002\" . 10.1.1.2 }"),
            "{text}"
        );
        assert_eq!(batch(&Change::Some { gone: BTreeSet::new(), new: BTreeSet::new() }), "");
    }

    #[test]
    fn a_listing_is_told_from_one_with_other_elements_or_chains() {
        let ports: BTreeSet<Port> = [dual(1), port(2, true)].into();
        let listed = include_str!("../../tests/two-ports.listed");
        assert!(has_elements_of(listed, &ports));
        assert!(chains(listed).starts_with("\tchain from_vms {") && chains(listed).ends_with("}\n}\n"));
        assert!(!has_elements_of(listed, &[port(1, false), port(2, false)].into()));
        assert!(!has_elements_of(listed, &[dual(1), port(2, false)].into()));
        assert!(!has_elements_of(listed, &[dual(1), port(3, true)].into()));
        // As many, and an address of IPv6 is another one: in either set, and whichever of the two.
        for address in
            ["fe80::5eff:fe10:1", "2001:db8:64:10:0:5eff:fe10:1", "0x20010db80064001000005efffe100001"]
        {
            assert!(listed.contains(address), "{address}");
            assert!(
                !has_elements_of(&listed.replacen(address, &format!("{address}9"), 1), &ports),
                "{address}"
            );
        }
        assert!(!has_elements_of("", &ports));
        assert_eq!(chains(""), "");
        assert_eq!(guarded(listed), [port(1, false).mac, port(2, true).mac]);
        assert_eq!(guarded(""), []);
    }
}
