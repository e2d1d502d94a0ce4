//! The network of a host: from the networks that should exist on it, the 802.1q interfaces and bridges; compared
//! with what the kernel has; the difference applied in one pass over netlink, without ever forking a program.
//!
//! It converges to this, per [`Segment`] (one customer network on one VLAN of the trunk, or on one VXLAN):
//!
//! ```text
//!   VM ── tap ─┐
//!   VM ── tap ─┴─ pzb100 (bridge) ── pzv100 (VLAN 100) ── eth1 (the trunk)
//!
//!   VM ── tap ─┐
//!   VM ── tap ─┴─ pzb5000 (bridge) ── pzx5000 (VXLAN 5000) ── UDP to each peer
//! ```
//!
//! and to nothing else that carries Podzol's mark. [`difference`] says what to change, and why; [`Links`] is the
//! kernel ([`Kernel`]) or its double for tests (`SimulatedLinks`, with the feature `sim`).
//!
//! **What it does not know**: VMs, addresses, packet filters, and who decided that a network belongs here. A link without
//! the mark is never changed, whatever its name, but for the taps that it is told of: the hypervisor makes and removes them
//! and plugs them in, and one that somebody has taken out of its bridge, or whose bridge somebody has removed, goes back.
//! That bridge can be one of the operator's, on a network of the host itself; nothing else is done with such a one.
//!
//! **How it fails**: per link. What cannot be planned is a [`Refused`] segment, a removal that would cut off a VM is
//! an [`InUse`], what the kernel refuses is a [`Failure`]; the rest is applied all the same. The next pass starts
//! from what is there then, so a crash between any two messages costs nothing but that pass.

mod change;
mod difference;
mod links;
mod model;
mod netlink;
mod observed;
#[cfg(any(test, feature = "sim"))]
mod sim;

pub use change::{Change, Changes, InUse, LinkRef, Mark, NewLink, Reason, Refused, Settings};
pub use difference::difference;
pub use links::{Converged, Error, Failure, Interface, Links, Watch, converge};
pub use model::{Desired, MARK_GROUP, MtuRule, Peers, Segment, Tunnel, alias, bridge_name, uplink_name};
pub use netlink::Kernel;
pub use observed::{Ipv6, Kind, Link, LinkIndex, Vxlan};
#[cfg(any(test, feature = "sim"))]
pub use sim::SimulatedLinks;
