//! Random things to converge to, and from.

use super::*;

pub(super) fn random_desired(random: &mut StdRng) -> Desired {
    let letters = ['A', 'B', 'C'];
    let segments: Vec<_> = (0..random.random_range(0..4))
        .map(|_| (random_number(random), letters[random.random_range(0..3)]))
        .collect();
    let mtu = if random.random() { MtuRule::Trunk } else { MtuRule::AtMost(1400) };
    let desired = Desired { mtu, ..desired(&segments) };
    if random.random() {
        desired
    } else {
        with_peers(desired, random.random_range(0..3), &random_peers(random))
    }
}

/// A VLAN's or a VXLAN's.
fn random_number(random: &mut StdRng) -> u32 {
    let id = random.random_range(1..5);
    if random.random_bool(0.3) { 5000 + id } else { id }
}

fn random_peers(random: &mut StdRng) -> Vec<u8> {
    (2..5).filter(|_| random.random()).collect()
}

/// A trunk and up to twelve links with anything wrong about them that a kernel permits.
pub(super) fn random_links(random: &mut StdRng) -> Vec<Link> {
    let mut links = vec![Link { up: random.random_bool(0.95), ..trunk() }];
    for index in 10..random.random_range(10..22) {
        let link = random_link(random, index, &links);
        let same = |other: &Link| {
            other.name == link.name
                || other.tag().is_some() && (other.tag(), other.parent) == (link.tag(), link.parent)
        };
        if !links.iter().any(same) {
            links.push(link);
        }
    }
    links
}

fn random_link(random: &mut StdRng, index: u32, others: &[Link]) -> Link {
    let (id, tag) = (random.random_range(1..5), random.random_range(1..5));
    let (number, peers) = (random_number(random), random_peers(random));
    let letter = ['A', 'B', 'C'][random.random_range(0..3)];
    let bridges: Vec<_> =
        others.iter().filter(|link| link.kind == Kind::Bridge).map(|link| link.index).collect();
    let master =
        (!bridges.is_empty() && random.random()).then(|| bridges[random.random_range(0..bridges.len())]);
    let mut link = match random.random_range(0..8) {
        0 | 1 => bridge(index, number, letter),
        6 => vxlan_interface(index, 5000 + id, letter, master, &peers),
        7 => {
            let elsewhere =
                Vxlan { id: VxlanId::try_from(5000 + id).ok(), peers: addresses(&peers), ..Vxlan::default() };
            Link {
                kind: Kind::Vxlan(elsewhere),
                ..vxlan_interface(index, 5000 + u32::from(tag), letter, master, &peers)
            }
        }
        2 => vlan_interface(index, id, letter, master),
        3 => Link { kind: Kind::Vlan(Some(vlan(tag))), ..vlan_interface(index, id, letter, master) },
        4 => Link {
            kind: Kind::Other("dummy".into()),
            parent: None,
            ..vlan_interface(index, id, letter, master)
        },
        _ => Link { master, ..tap(index, LinkIndex(0)) },
    };
    link.up = random.random_bool(0.7) && others[0].up;
    link.mtu = [1280, 1400, 1500][random.random_range(0..3)];
    link.deaf = random.random_bool(0.5);
    link.ipv6 = [Ipv6::Absent, Ipv6::Off, Ipv6::On][random.random_range(0..3)];
    match random.random_range(0..7) {
        6 => link.alias = Some(alias(network(letter), Some(Generation(random.random_range(0..3))))),
        0 => link.alias = None,
        1 => link.group = 0,
        2 => (link.alias, link.group) = (None, 0),
        3 => (link.alias, link.group) = (None, REMOVAL_GROUPS.start() + 1),
        4 => link.name = name(&format!("odd{index}")),
        _ => {}
    }
    link
}
