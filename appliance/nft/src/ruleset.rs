//! All elements of sets and maps, and all balancers' chains.

use std::collections::BTreeMap;

use podzol_vocab::LoadBalancerId;

use crate::balancer::Chain;
use crate::limit::Limit;

/// The table of rules, in each family, and the one that counts.
const FILTER: &str = "podzol";
pub(crate) const COUNT: &str = "podzol_count";

/// What stands in the skeleton's sets and maps, the balancers' chains, and how many connections a VM may have begun.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    pub(crate) sets: BTreeMap<Set, Elements>,
    /// A chain that is somebody's but not as any is made has nothing.
    pub(crate) chains: BTreeMap<LoadBalancerId, Option<Chain>>,
    pub(crate) limit: Limit,
}

/// Elements by their keys, as nft(8) lists them; those of maps with their values.
pub(crate) type Elements = BTreeMap<String, Option<String>>;

/// A set or map of the skeleton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    Guests,
    SameLink,
    Gateways,
    Vms,
    IngressPort,
    Ingress,
    IngressAll,
    EgressPolicy,
    Egress,
    EgressAll,
    ForwardPort,
    ForwardRange,
    Balancers,
    StaticIn,
    Refused,
    Answered,
    StaticOut,
    SourceNat,
    Guests6,
    Gateways6,
    Own6,
    Sources6,
    IngressPort6,
    IngressLink6,
    Ingress6,
    IngressAll6,
    EgressPolicy6,
    Egress6,
    EgressAll6,
    CountedSameLink,
    NicSent,
    NicReceived,
    NicSent6,
    NicReceived6,
    PublicSent,
    PublicReceived,
}

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ip,
    Ip6,
    /// Both.
    Inet,
}

impl Family {
    /// As nft(8) has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        }
    }
}

/// Where a set is: its table, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) family: Family,
    pub(crate) table: &'static str,
    pub(crate) name: &'static str,
}

impl Set {
    /// All of them.
    const ALL: [Self; 36] = [
        Self::Guests,
        Self::SameLink,
        Self::Gateways,
        Self::Vms,
        Self::IngressPort,
        Self::Ingress,
        Self::IngressAll,
        Self::EgressPolicy,
        Self::Egress,
        Self::EgressAll,
        Self::ForwardPort,
        Self::ForwardRange,
        Self::Balancers,
        Self::StaticIn,
        Self::Refused,
        Self::Answered,
        Self::StaticOut,
        Self::SourceNat,
        Self::Guests6,
        Self::Gateways6,
        Self::Own6,
        Self::Sources6,
        Self::IngressPort6,
        Self::IngressLink6,
        Self::Ingress6,
        Self::IngressAll6,
        Self::EgressPolicy6,
        Self::Egress6,
        Self::EgressAll6,
        Self::CountedSameLink,
        Self::NicSent,
        Self::NicReceived,
        Self::NicSent6,
        Self::NicReceived6,
        Self::PublicSent,
        Self::PublicReceived,
    ];

    /// Those whose elements count what is let through.
    pub(crate) const COUNTING: [Self; 6] = [
        Self::NicSent,
        Self::NicReceived,
        Self::NicSent6,
        Self::NicReceived6,
        Self::PublicSent,
        Self::PublicReceived,
    ];

    /// The set of this name in this table.
    pub(crate) fn named(family: &str, table: &str, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| {
            let place = set.place();
            (place.family.name(), place.table, place.name) == (family, table, name)
        })
    }

    /// Where it is.
    pub(crate) const fn place(self) -> Place {
        let (family, table, name) = match self {
            Self::Guests => (Family::Ip, FILTER, "guests"),
            Self::SameLink => (Family::Ip, FILTER, "same_link"),
            Self::Gateways => (Family::Ip, FILTER, "gateways"),
            Self::Vms => (Family::Ip, FILTER, "vms"),
            Self::IngressPort => (Family::Ip, FILTER, "ingress_port"),
            Self::Ingress => (Family::Ip, FILTER, "ingress"),
            Self::IngressAll => (Family::Ip, FILTER, "ingress_all"),
            Self::EgressPolicy => (Family::Ip, FILTER, "egress_policy"),
            Self::Egress => (Family::Ip, FILTER, "egress"),
            Self::EgressAll => (Family::Ip, FILTER, "egress_all"),
            Self::ForwardPort => (Family::Ip, FILTER, "forward_port"),
            Self::ForwardRange => (Family::Ip, FILTER, "forward_range"),
            Self::Balancers => (Family::Ip, FILTER, "balancers"),
            Self::StaticIn => (Family::Ip, FILTER, "static_in"),
            Self::Refused => (Family::Ip, FILTER, "refused"),
            Self::Answered => (Family::Ip, FILTER, "answered"),
            Self::StaticOut => (Family::Ip, FILTER, "static_out"),
            Self::SourceNat => (Family::Ip, FILTER, "source_nat"),
            Self::Guests6 => (Family::Ip6, FILTER, "guests"),
            Self::Gateways6 => (Family::Ip6, FILTER, "gateways"),
            Self::Own6 => (Family::Ip6, FILTER, "own"),
            Self::Sources6 => (Family::Ip6, FILTER, "sources"),
            Self::IngressPort6 => (Family::Ip6, FILTER, "ingress_port"),
            Self::IngressLink6 => (Family::Ip6, FILTER, "ingress_link"),
            Self::Ingress6 => (Family::Ip6, FILTER, "ingress"),
            Self::IngressAll6 => (Family::Ip6, FILTER, "ingress_all"),
            Self::EgressPolicy6 => (Family::Ip6, FILTER, "egress_policy"),
            Self::Egress6 => (Family::Ip6, FILTER, "egress"),
            Self::EgressAll6 => (Family::Ip6, FILTER, "egress_all"),
            Self::CountedSameLink => (Family::Inet, COUNT, "same_link"),
            Self::NicSent => (Family::Inet, COUNT, "nic_sent"),
            Self::NicReceived => (Family::Inet, COUNT, "nic_received"),
            Self::NicSent6 => (Family::Inet, COUNT, "nic_sent6"),
            Self::NicReceived6 => (Family::Inet, COUNT, "nic_received6"),
            Self::PublicSent => (Family::Inet, COUNT, "public_sent"),
            Self::PublicReceived => (Family::Inet, COUNT, "public_received"),
        };
        Place { family, table, name }
    }

    /// Whether its elements have names of links, which nft(8) has in quotes.
    pub(crate) fn is_of_links(self) -> bool {
        matches!(
            self,
            Self::Guests
                | Self::SameLink
                | Self::Gateways
                | Self::Guests6
                | Self::Gateways6
                | Self::Sources6
                | Self::IngressLink6
                | Self::CountedSameLink
        )
    }

    /// Whether its elements count, and so outlive a repair.
    pub(crate) fn is_counted(self) -> bool {
        self.place().table == COUNT && self != Self::CountedSameLink
    }
}
