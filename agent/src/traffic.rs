//! The operator's bridges on the host's own networks: which there are, and what keeps a VM from being plugged into one.
//!
//! They are looked up whenever they are needed, as an operator may make or remove them at any time.

use std::collections::BTreeSet;

use podzol_hostnet::Link;
use podzol_vocab::{InterfaceName, TrafficType};

use crate::config::Traffic;

/// Why a VM cannot be on one of the host's own networks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBridge {
    #[error("traffic.{0}: this host has no bridge on the {0} network, as its configuration names none")]
    NotConfigured(TrafficType),
    #[error("traffic.{0}: there is no bridge {1} on this host")]
    Missing(TrafficType, InterfaceName),
    #[error("traffic.{0}: {1} is no bridge of the operator's")]
    NoneOfTheOperators(TrafficType, InterfaceName),
}

/// The bridge of one of the host's own networks, among the links that there are.
pub(crate) fn bridge(
    config: &Traffic,
    traffic: TrafficType,
    links: &[Link],
) -> Result<InterfaceName, NoBridge> {
    let name = config.bridge(traffic).ok_or(NoBridge::NotConfigured(traffic))?.clone();
    match links.iter().find(|link| link.name == name) {
        None => Err(NoBridge::Missing(traffic, name)),
        Some(link) if !link.is_operators_bridge() => Err(NoBridge::NoneOfTheOperators(traffic, name)),
        Some(_) => Ok(name),
    }
}

/// Which of its own networks the host has a bridge on now.
pub(crate) fn present<'a>(config: &Traffic, links: impl Iterator<Item = &'a Link>) -> BTreeSet<TrafficType> {
    let bridges: BTreeSet<&InterfaceName> =
        links.filter(|link| link.is_operators_bridge()).map(|link| &link.name).collect();
    config.bridges().filter(|(_, name)| bridges.contains(name)).map(|(traffic, _)| traffic).collect()
}

#[cfg(test)]
mod tests {
    use podzol_hostnet::{Kind, Links, MARK_GROUP, SimulatedLinks};

    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_host_has_a_network_if_the_configured_bridge_is_there_and_somebody_elses() {
        let host = SimulatedLinks::with_trunk(name("eth1"));
        let config = Traffic { management: None, public: Some(name("br0")) };
        let look = async || {
            let links = host.observe().await.unwrap();
            let public = bridge(&config, TrafficType::Public, &links);
            assert_eq!(present(&config, links.iter()).contains(&TrafficType::Public), public.is_ok());
            public.map_err(|error| error.to_string())
        };
        assert_eq!(look().await.unwrap_err(), "traffic.public: there is no bridge br0 on this host");
        host.add_bridge(name("br0"));
        assert_eq!(look().await, Ok(name("br0")));
        for spoil in [
            |link: &mut Link| link.group = MARK_GROUP,
            |link: &mut Link| (link.group, link.kind) = (0, Kind::Physical),
        ] {
            host.edit(&name("br0"), spoil);
            assert_eq!(look().await.unwrap_err(), "traffic.public: br0 is no bridge of the operator's");
        }
        assert_eq!(
            bridge(&config, TrafficType::Management, &[]).unwrap_err().to_string(),
            "traffic.management: this host has no bridge on the management network, as its configuration names none"
        );
    }
}
