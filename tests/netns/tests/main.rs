//! The routing appliance on a real kernel, each test in namespaces of its own. They need root, bridges, veth, nftables and
//! Debian's clients: busybox, dhclient, dig and curl.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod balancer;
mod cloud_init;
mod control;
mod dhcp;
mod dns;
mod metadata;
mod rules;
