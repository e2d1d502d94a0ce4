//! The guards of VMs' ports in force in the kernel: two VMs and a router at one bridge, and frames of the first VM that reach
//! the second one or do not. A network namespace of its own; skipped where there is none to be had.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod frames;
mod link;

use frames::{ALL_NODES, Frame, SECOND, VM, VM6};
use link::Link;

/// A way of lying, or of speaking rightly.
type Case = (&'static str, Frame);

#[test]
fn what_a_vm_says_rightly_over_ipv6_reaches_its_neighbours() {
    check(
        true,
        vec![
            ("asks whether its link-local address is free", frames::solicits("::", VM)),
            ("asks whether its address is free", frames::solicits("::", VM6)),
            ("asks where another is", frames::solicits(VM, SECOND)),
            ("asks where another is, from its address", frames::solicits(VM6, SECOND)),
            ("says where it is", frames::advertises(VM, VM)),
            ("says where its address is", frames::advertises(VM6, VM6)),
            ("asks for a router", frames::icmp("::", "ff02::2", 133, &[])),
            ("joins a group", frames::icmp("::", "ff02::16", 143, &[])),
            ("asks for a lease", frames::udp(VM, "ff02::1:2", 546, 547)),
            ("speaks", frames::udp(VM6, SECOND, 5000, 53)),
            ("speaks over TCP", frames::ip(VM6, SECOND, 6, &[0; 20])),
        ],
    );
}

#[test]
fn a_vm_is_nobody_else_over_ipv6() {
    check(
        false,
        vec![
            ("has another's address", frames::udp("2001:db8:64:10:0:5eff:fe10:2", SECOND, 5000, 53)),
            ("has another's link-local address", frames::udp("fe80::5eff:fe10:2", SECOND, 5000, 53)),
            ("has an address of its choice", frames::udp("2001:db8:64:10::77", SECOND, 5000, 53)),
            ("says that another is here", frames::advertises(VM, SECOND)),
            ("says that the gateway is here", frames::advertises(VM6, "2001:db8:64:10::1")),
            ("is a router", frames::icmp(VM, ALL_NODES, 134, &[0; 8])),
            ("knows a better way", frames::icmp(VM, SECOND, 137, &[0; 32])),
            ("gives leases", frames::udp(VM, SECOND, 547, 546)),
            ("gives leases from another port", frames::udp(VM6, SECOND, 5000, 546)),
            ("asks who listens", frames::icmp(VM, ALL_NODES, 130, &[0; 20])),
            ("speaks from nowhere", frames::udp("::", SECOND, 5000, 53)),
        ],
    );
}

/// RFC 4862, 5.4.3: who hears the question that it asks itself from somebody else has no address.
#[test]
fn a_vm_does_not_keep_its_neighbours_from_their_addresses() {
    check(
        false,
        vec![
            ("asks for a link-local address, too", frames::solicits("::", "fe80::5eff:fe10:2")),
            ("asks for an address, too", frames::solicits("::", SECOND)),
            ("asks for the gateway's", frames::solicits("::", "fe80::1")),
            ("asks behind an option", frames::solicits("::", SECOND).behind_options()),
        ],
    );
}

#[test]
fn a_vm_does_not_hide_what_it_says_behind_other_headers() {
    let behind = |what: &'static str, frame: Frame| {
        let one = frames::HEADERS.map(|(kind, rest)| (what, frame.clone().behind(kind, rest)));
        let all = frames::HEADERS.iter().rev().fold(frame, |frame, (kind, rest)| frame.behind(*kind, rest));
        one.into_iter().chain([(what, all)])
    };
    let lies = [
        ("is a router", frames::icmp(VM, ALL_NODES, 134, &[0; 8])),
        ("knows a better way", frames::icmp(VM, SECOND, 137, &[0; 32])),
        ("gives leases", frames::udp(VM, SECOND, 547, 546)),
        ("says that another is here", frames::advertises(VM, SECOND)),
        ("asks for another's address", frames::solicits("::", SECOND)),
        ("asks who listens", frames::icmp(VM, ALL_NODES, 130, &[0; 20])),
    ];
    check(false, lies.into_iter().flat_map(|(what, frame)| behind(what, frame)).collect());
    check(true, behind("speaks", frames::udp(VM6, SECOND, 5000, 53)).collect());
}

#[test]
fn a_vm_does_not_hide_headers_in_fragments() {
    let lease = || frames::udp(VM6, SECOND, 5000, 546);
    let router = || frames::icmp(VM6, SECOND, 134, &[0; 8]);
    check(
        false,
        vec![
            ("gives leases in fragments", lease().fragment(0..8)),
            ("gives leases in a fragment without ports", lease().fragment(0..0)),
            ("hides the ports behind options", lease().behind_options().fragment(0..8)),
            ("hides what it is behind options", lease().behind_options().fragment(0..0)),
            ("is a router in fragments", router().fragment(0..8)),
            ("is a router in a fragment without a type", router().fragment(0..0)),
            ("is a router behind options", router().behind_options().fragment(0..8)),
            ("is here and another in fragments", frames::advertises(VM6, SECOND).fragment(0..24)),
            ("sends the rest to all", frames::udp(VM6, ALL_NODES, 5000, 53).fragment(8..8)),
            ("gives leases in fragments of fragments", lease().fragment(0..8).fragment(0..16)),
            ("hides the ports in fragments of fragments", lease().fragment(0..8).fragment(0..8)),
            ("has another's address in fragments", frames::udp(SECOND, SECOND, 5000, 53).fragment(0..8)),
        ],
    );
    check(
        true,
        vec![
            ("sends the first part of much", frames::udp(VM6, SECOND, 5000, 53).fragment(0..8)),
            ("sends the rest", frames::udp(VM6, SECOND, 5000, 53).fragment(8..8)),
            ("sends the first part of much over TCP", frames::ip(VM6, SECOND, 6, &[0; 20]).fragment(0..16)),
            ("asks for an echo of much", frames::icmp(VM6, SECOND, 128, &[0; 32]).fragment(0..16)),
            ("asks for more of the echo", frames::icmp(VM6, SECOND, 128, &[0; 32]).fragment(16..32)),
        ],
    );
}

#[test]
fn a_router_advertises_and_gives_leases() {
    link::in_namespace(|link: Link| {
        for (what, frame) in [
            ("advertises", frames::icmp("fe80::1", ALL_NODES, 134, &[0; 8])),
            ("gives a lease", frames::udp("fe80::1", SECOND, 547, 546)),
            ("routes", frames::udp("2001:db8:ffff::7", SECOND, 53, 5000)),
        ] {
            assert!(link.passes(&frame.of_router()), "a router {what}");
        }
    });
}

fn check(passes: bool, cases: Vec<Case>) {
    link::in_namespace(move |link: Link| {
        for (what, frame) in cases {
            assert_eq!(link.passes(&frame), passes, "a VM {what}");
        }
    });
}
