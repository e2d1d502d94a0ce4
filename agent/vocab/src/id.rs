//! Ids: UUIDs of version 7, so that they sort by the time they were made, one type per thing.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::{Invalid, string_form};

macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, greater than those made before it.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id of these 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The id as 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match Uuid::try_parse(text) {
                    Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
                    _ => Err(Invalid::new("must be a UUID such as 0193c5a1-7b7e-7c3f-9d56-2f1f0f6f2a11")),
                }
            }
        }

        string_form!($name, "0193c5a1-7b7e-7c3f-9d56-2f1f0f6f2a11");
    )*};
}

typed_id! {
    /// A customer.
    AccountId;
    /// A person or program with credentials in an account.
    UserId;
    /// An API key of a user.
    KeyId;
    /// Pods in one place.
    ZoneId;
    /// Hosts and storage servers on one layer-2 switch.
    PodId;
    /// A computing server.
    HostId;
    /// A server with a storage agent.
    StorageServerId;
    /// A place for volumes on a storage server.
    PoolId;
    /// A named size with limits.
    OfferingId;
    /// A bootable disk image.
    TemplateId;
    /// A customer's private layer-2 segment.
    NetworkId;
    /// A customer's virtual machine.
    VmId;
    /// VMs that keep together or apart.
    AffinityGroupId;
    /// A network interface of a VM.
    NicId;
    /// A virtual disk.
    VolumeId;
    /// A public address that an account has.
    PublicIpId;
    /// An account's router in a zone, whichever VM it is.
    RouterId;
    /// Ports of a public address that lead to a VM.
    PortForwardId;
    /// A public address that is a VM's.
    StaticNatId;
    /// What may come in from outside to a public address.
    FirewallRuleId;
    /// An exception to what a network may send outside.
    EgressRuleId;
    /// A port of a public address that leads to several VMs.
    LoadBalancerId;
    /// One of the servers of a console proxy: a port for browsers.
    ConsoleServerId;
    /// That a user may see one VM's console.
    ConsoleSessionId;
    /// A console proxy: a VM that shows VMs' consoles to browsers.
    ConsoleProxyId;
    /// The work that an asynchronous API call started.
    OperationId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let ids: Vec<VmId> = (0..100).map(|_| VmId::new()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn an_id_is_refused_in_any_form_but_the_hyphenated() {
        assert!("0193c5a17b7e7c3f9d562f1f0f6f2a11".parse::<VmId>().is_err());
        assert!("vm-1".parse::<VmId>().is_err());
    }
}
