//! What the kernel's network does by itself.

use std::path::Path;
use std::{fs, io};

use podzol_appliance_api::Limits;

use super::Ipv6;

const SETTINGS: [(&str, &str); 16] = [
    ("ipv4/ip_forward", "1"),
    // An address is answered for on its own link only.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/icmp_echo_ignore_broadcasts", "1"),
    // A link has IPv6 when it is given that, and none before.
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // An address that goes takes no others of its range along.
    ("ipv4/conf/all/promote_secondaries", "1"),
    ("ipv4/conf/default/promote_secondaries", "1"),
    // Neighbours in networks of thousands of VMs, without forgetting those in use.
    ("ipv4/neigh/default/gc_thresh3", "16384"),
    ("ipv6/neigh/default/gc_thresh3", "16384"),
    // Connections that a router before this one has followed go on.
    ("netfilter/nf_conntrack_tcp_loose", "1"),
];

/// What a link with IPv6 has, in this order, so that it never has an address of its own making, and never learns a way or an
/// address from its neighbours. Hosts keep VMs from having the router's addresses: it does not ask first whether somebody has
/// (a router in whose place it comes may have them a moment longer).
const WITH_IPV6: [(&str, &str); 6] = [
    ("addr_gen_mode", "1"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
    ("accept_dad", "0"),
    ("forwarding", "1"),
    ("disable_ipv6", "0"),
];

/// Gives a link IPv6, or takes it away with all its addresses.
///
/// # Errors
/// When the kernel does not take it, as for a link that is not there.
pub(super) fn ipv6(link: &str, wanted: Ipv6) -> io::Result<()> {
    let folder = Path::new("/proc/sys/net/ipv6/conf").join(link);
    match wanted {
        Ipv6::On => WITH_IPV6.iter().try_for_each(|(name, value)| fs::write(folder.join(name), value)),
        Ipv6::Off => match fs::write(folder.join("disable_ipv6"), "1") {
            // A kernel without IPv6, or a link whose MTU is too small for it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    }
}

/// How many connections are followed: the one setting that goes by the document.
const FOLLOWED: &str = "netfilter/nf_conntrack_max";

/// Sets those again that somebody has changed: which.
pub(crate) fn repair(limits: Limits) -> Vec<&'static str> {
    let is_other = |(name, value): &(&str, String)| {
        let path = Path::new("/proc/sys/net").join(name);
        let Ok(now) = fs::read_to_string(&path) else { return false };
        now.trim() != *value && fs::write(&path, value).is_ok()
    };
    all(limits).filter(is_other).map(|(name, _)| name).collect()
}

/// Sets all of them. Some are a whole machine's, and cannot be set in a network namespace of one.
pub(crate) fn apply() {
    all(Limits::default()).for_each(|(name, value)| set(name, &value));
}

/// Sets how many connections are followed. More than that may be there already; they end when they would.
pub(crate) fn limit(limits: Limits) {
    set(FOLLOWED, &limits.connections.to_string());
}

fn all(limits: Limits) -> impl Iterator<Item = (&'static str, String)> {
    let followed = (FOLLOWED, limits.connections.to_string());
    SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).chain([followed])
}

fn set(name: &str, value: &str) {
    let is_own_machine = std::os::unix::process::parent_id() == 1;
    match fs::write(Path::new("/proc/sys/net").join(name), value) {
        // A kernel without IPv6 has nothing to turn off, and a namespace has no limits of its own.
        Err(error) if is_own_machine && !name.starts_with("ipv6/") => {
            tracing::warn!(name, %error, "a setting of the kernel stays as it is");
        }
        _ => {}
    }
}
