//! What went through routers.

use std::net::Ipv4Addr;

use podzol_vocab::{NicId, PublicIpId, VmId, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;

/// What a network interface or a public address has sent to outside its network and received from there, since it was made.
/// Routers count it; it goes on when a router is started anew or replaced, but for what a router that was killed has counted in its
/// last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
}

impl Traffic {
    /// What has come since an earlier count of the same counters; nothing if that was a later one.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.each(before, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// The later one of two counts of the same counters.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        self.each(other, u64::max)
    }

    fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sent_bytes: of(self.sent_bytes, other.sent_bytes),
            sent_packets: of(self.sent_packets, other.sent_packets),
            received_bytes: of(self.received_bytes, other.received_bytes),
            received_packets: of(self.received_packets, other.received_packets),
        }
    }
}

/// Which time is asked about. Routers' counts are kept by the hour, for 400 days: an hour is in it that begins in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TrafficTime {
    /// From when on; 30 days before its end if left out.
    #[param(inline)]
    pub from: Option<Timestamp>,
    /// Until when, that moment not included; until now if left out.
    #[param(inline)]
    pub to: Option<Timestamp>,
}

/// What went through an account's routers in a time, of one public address or of one network interface of a VM. What a router
/// has counted is added once a minute, and when it ends in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccountTraffic {
    /// Its zone.
    pub zone: ZoneId,
    /// The public address, if it is that of one: each time that the account had it by itself.
    pub public_ip: Option<PublicIpId>,
    /// That address.
    #[schema(value_type = Option<String>, format = "ipv4")]
    pub address: Option<Ipv4Addr>,
    /// The network interface, if it is that of one. It may be no more.
    pub nic: Option<NicId>,
    /// The VM that has it, or had it.
    pub vm: Option<VmId>,
    /// What it sent and received.
    #[serde(flatten)]
    pub traffic: Traffic,
}
