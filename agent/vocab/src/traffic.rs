//! The hosts' own networks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What goes over a network that the hosts themselves are on, and that VMs of the operator's own can be on, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficType {
    /// Between Podzol's own parts.
    Management,
    /// To and from the world outside.
    Public,
}

impl TrafficType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Management, Self::Public];

    /// Its number among those of networks: the first ones that are too large for a VXLAN's 24 bits.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Management => 0x100_0000,
            Self::Public => 0x100_0001,
        }
    }
}

impl fmt::Display for TrafficType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Management => "management",
            Self::Public => "public",
        })
    }
}
