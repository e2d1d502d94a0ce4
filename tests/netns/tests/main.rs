//! The routing appliance on a real kernel, each test in namespaces of its own. They need root, bridges, veth, nftables and
//! Debian's clients: busybox, dhclient, dhcpcd, dhcrelay, dig and curl.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod balancer;
mod balancer_l7;
mod cloud_init;
mod control;
mod dhcp;
mod dhcp_clients;
mod diagnosis;
mod dns;
mod flood;
mod metadata;
mod ra_dhcp6;
mod rules;
mod rules6;
mod upkeep;
