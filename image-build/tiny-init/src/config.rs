//! The settings a drive can give: meta-data, network-config version 2 and user-data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use podzol_vocab::MacAddr;

use crate::yaml::{self, Node, YamlError};

/// Why a file of the drive cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("only version 2 is known")]
    Version,
    #[error("bad {what} `{text}`")]
    Value { what: &'static str, text: String },
    #[error("{link}: {source}")]
    Link { link: String, source: Box<ConfigError> },
}

/// An address or a network with its prefix length.
pub(crate) type Prefix = (IpAddr, u8);

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) instance_id: String,
    pub(crate) hostname: String,
    /// Empty means: DHCP on every link.
    pub(crate) links: Vec<Link>,
    pub(crate) user_data: String,
}

/// One entry of `ethernets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The key in the file. It is also the name of the link when no MAC is given.
    pub(crate) name: String,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: Option<u32>,
    pub(crate) dhcp: bool,
    pub(crate) addresses: Vec<Prefix>,
    pub(crate) routes: Vec<Route>,
    pub(crate) nameservers: Vec<IpAddr>,
}

/// A route through a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Prefix,
    pub(crate) via: IpAddr,
    pub(crate) on_link: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            hostname: String::from("tiny"),
            links: Vec::new(),
            user_data: String::new(),
        }
    }
}

impl Settings {
    /// Takes `instance-id` and `local-hostname` from the text of meta-data.
    pub(crate) fn read_meta(&mut self, text: &str) -> Result<(), ConfigError> {
        let meta = yaml::parse(text)?;
        meta.get("instance-id").text().clone_into(&mut self.instance_id);
        let name = meta.get("local-hostname").text();
        if !name.is_empty() {
            name.clone_into(&mut self.hostname);
        }
        Ok(())
    }

    /// Takes the links from the text of network-config, with or without an outer `network:`.
    pub(crate) fn read_network(&mut self, text: &str) -> Result<(), ConfigError> {
        let root = yaml::parse(text)?;
        let network = if root.get("network").pairs().is_empty() { &root } else { root.get("network") };
        if network.get("version").text() != "2" {
            return Err(ConfigError::Version);
        }
        for (name, node) in network.get("ethernets").pairs() {
            let wrong = |source| ConfigError::Link { link: name.to_owned(), source: Box::new(source) };
            self.links.push(Link::read(name, node).map_err(wrong)?);
        }
        Ok(())
    }

    /// User-data, if it is a script.
    pub(crate) fn script(&self) -> Option<&str> {
        self.user_data.starts_with("#!").then_some(self.user_data.as_str())
    }
}

impl Link {
    fn read(name: &str, node: &Node) -> Result<Self, ConfigError> {
        Ok(Self {
            name: name.to_owned(),
            mac: optional("MAC address", node.get("match").get("macaddress"))?,
            mtu: optional("mtu", node.get("mtu"))?,
            dhcp: matches!(node.get("dhcp4").text(), "true" | "yes"),
            addresses: node
                .get("addresses")
                .items()
                .iter()
                .map(|item| prefix(item.text()))
                .collect::<Result<_, _>>()?,
            routes: routes(node)?,
            nameservers: (node.get("nameservers").get("addresses").items().iter())
                .map(|item| value("address", item.text()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// An entry that asks for DHCP on the link of this name.
    pub(crate) fn by_dhcp(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mac: None,
            mtu: None,
            dhcp: true,
            addresses: Vec::new(),
            routes: Vec::new(),
            nameservers: Vec::new(),
        }
    }
}

/// The routes of a link, in both of their forms: `gateway4` and `gateway6`, and the list `routes`.
fn routes(node: &Node) -> Result<Vec<Route>, ConfigError> {
    let mut routes = Vec::new();
    for key in ["gateway4", "gateway6"] {
        if let Some(via) = optional("address", node.get(key))? {
            routes.push(Route { to: everywhere(via), via, on_link: false });
        }
    }
    for route in node.get("routes").items() {
        let via: IpAddr = value("address", route.get("via").text())?;
        let to = match route.get("to").text() {
            "default" => everywhere(via),
            text => prefix(text)?,
        };
        routes.push(Route { to, via, on_link: route.get("on-link").text() == "true" });
    }
    Ok(routes)
}

/// The prefix that holds all addresses of this one's family.
fn everywhere(like: IpAddr) -> Prefix {
    match like {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

fn value<T: FromStr>(what: &'static str, text: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| ConfigError::Value { what, text: text.to_owned() })
}

fn optional<T: FromStr>(what: &'static str, node: &Node) -> Result<Option<T>, ConfigError> {
    Some(node.text()).filter(|text| !text.is_empty()).map(|text| value(what, text)).transpose()
}

/// Reads `ADDRESS/LENGTH`; a bare address gets the full length.
fn prefix(text: &str) -> Result<Prefix, ConfigError> {
    let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
    let ip: IpAddr = value("address", ip)?;
    let full = if ip.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(full), |length| value("prefix length", length))?;
    match length > full {
        true => Err(ConfigError::Value { what: "prefix length", text: text.to_owned() }),
        false => Ok((ip, length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_link_is_read() {
        let text = "version: 2\nethernets:\n  a:\n    match:\n      macaddress: 52:54:00:AA:00:01\n    addresses: [10.1.0.2/24]\n    \
            gateway4: 10.1.0.1\n    mtu: 1400\n    nameservers:\n      addresses: [10.1.0.1]\n";
        let mut settings = Settings::default();
        settings.read_network(text).unwrap();
        let link = &settings.links[0];
        assert_eq!(link.mac, Some("52:54:00:aa:00:01".parse().unwrap()));
        assert_eq!(link.mtu, Some(1400));
        assert_eq!(link.addresses[0].1, 24);
        assert_eq!(link.routes[0].to.1, 0);
        assert_eq!(link.nameservers.len(), 1);
    }

    #[test]
    fn wrong_values_are_refused() {
        let read = |text: &str| Settings::default().read_network(text);
        assert!(read("version: 1\n").is_err());
        assert!(read("version: 2\nethernets:\n  a:\n    addresses: [10.0.0.1/33]\n").is_err());
        assert!(read("version: 2\nethernets:\n  a:\n    mtu: big\n").is_err());
    }
}
