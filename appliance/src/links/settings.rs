//! What the kernel's network does by itself.

use std::fs;
use std::path::Path;

const SETTINGS: [(&str, &str); 15] = [
    ("ipv4/ip_forward", "1"),
    // An address is answered for on its own link only.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/icmp_echo_ignore_broadcasts", "1"),
    // Customers' networks have no IPv6 yet.
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    // An address that goes takes no others of its range along.
    ("ipv4/conf/all/promote_secondaries", "1"),
    ("ipv4/conf/default/promote_secondaries", "1"),
    // Neighbours in networks of thousands of VMs, without forgetting those in use.
    ("ipv4/neigh/default/gc_thresh3", "16384"),
    // Somewhat over 300 bytes each: 20 MB of a router's memory at most.
    ("netfilter/nf_conntrack_max", "65536"),
    // Connections that a router before this one has followed go on.
    ("netfilter/nf_conntrack_tcp_loose", "1"),
];

/// Sets all of them. Some are a whole machine's, and cannot be set in a network namespace of one.
pub(crate) fn apply() {
    let is_own_machine = std::os::unix::process::parent_id() == 1;
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys/net").join(name);
        match fs::write(&path, value) {
            // A kernel without IPv6 has nothing to turn off, and a namespace has no limits of its own.
            Err(error) if is_own_machine && !name.starts_with("ipv6/") => {
                tracing::warn!(name, %error, "a setting of the kernel stays as it is");
            }
            _ => {}
        }
    }
}
