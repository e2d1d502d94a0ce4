//! The words that every part of Podzol uses: typed ids, VLAN ids, MAC addresses, names, sizes, generations and
//! the error body that goes over the wire.
//!
//! A value of one of these types is valid: it is checked when it is parsed, and the error says the rule it broke.
//! This crate does no I/O and knows no part of the system.

mod address;
mod address6;
mod domain;
mod generation;
mod id;
mod interface;
mod name;
mod ports;
mod secret;
mod size;
mod traffic;
mod vlan;
mod vxlan;
mod wire_error;

pub use address::{AddressRange, Cidr, Ipv4Range, MacAddr};
pub use address6::{IpRange, Ipv6Range, LINK_GATEWAY, Prefix64};
pub use domain::{DomainName, HostName};
pub use generation::{Generation, Order};
pub use id::{
    AccountId, AffinityGroupId, ConsoleProxyId, ConsoleServerId, ConsoleSessionId, EgressRuleId,
    FirewallRuleId, HostId, KeyId, LoadBalancerId, NetworkId, NicId, OfferingId, OperationId, PodId, PoolId,
    PortForwardId, PublicIpId, RouterId, StaticNatId, StorageServerId, TemplateId, UserId, VmId, VolumeId,
    ZoneId,
};
pub use interface::InterfaceName;
pub use name::Name;
pub use ports::{PortRange, Transport};
pub use secret::Secret;
pub use size::{ByteSize, Sha256};
pub use traffic::TrafficType;
pub use vlan::VlanId;
pub use vxlan::{Tag, VxlanId};
pub use wire_error::{ErrorCode, WireError};

/// Why a text is not a valid value: the rule it broke, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl Invalid {
    /// An error with the rule that was broken, such as "must be 1 to 4094".
    pub fn new(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// Makes a newtype read and write itself as a string, through `FromStr` and `Display`.
macro_rules! string_form {
    ($type:ty, $example:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .examples([$example])
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $type {}
    };
}
use string_form;
