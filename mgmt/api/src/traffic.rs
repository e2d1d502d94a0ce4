//! What went through routers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
