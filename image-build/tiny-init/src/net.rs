//! Links: finding them by MAC, applying the settings, listing what is there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;
use podzol_vocab::MacAddr;

use crate::config::{Link, Settings};
use crate::dhcp;
use crate::netlink::Netlink;

/// Links the kernel makes by itself are not ours to configure.
const LOOPBACK: &str = "lo";

/// One link of the machine.
struct Device {
    name: String,
    index: u32,
    /// `None` for a link that is no Ethernet.
    mac: Option<MacAddr>,
}

/// Applies the network settings. Every problem becomes one note; the other links are set up all the same.
pub(crate) fn apply(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let devices = devices().unwrap_or_else(|error| {
        notes.push(format!("links: {error}"));
        Vec::new()
    });
    let mut netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => return vec![format!("netlink: {error}")],
    };
    notes.extend(netlink.link_up(1, None).err().map(|error| format!("lo: {error}")));
    let mut links = settings.links.clone();
    if links.is_empty() {
        links.extend(devices.iter().map(|device| Link::by_dhcp(&device.name)));
    }
    let mut leased = Vec::new();
    for link in &links {
        let Some(device) = devices.iter().find(|device| device.is(link)) else {
            notes.push(format!("{}: no such link", link.name));
            continue;
        };
        notes.extend(
            configure(&mut netlink, device, link).err().map(|error| format!("{}: {error}", link.name)),
        );
        leased.extend(link.dhcp.then_some(device.name.as_str()));
    }
    notes.extend(write_resolvers(&links).err().map(|error| format!("resolv.conf: {error}")));
    notes.extend(dhcp::obtain(&leased, &settings.hostname));
    notes
}

fn write_resolvers(links: &[Link]) -> io::Result<()> {
    let mut text = String::new();
    for server in links.iter().flat_map(|link| &link.nameservers) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    fs::create_dir_all("/etc")?;
    fs::write("/etc/resolv.conf", text)
}

impl Device {
    /// Whether this is the link that the settings mean: by its MAC, else by its name.
    fn is(&self, link: &Link) -> bool {
        link.mac.map_or(self.name == link.name, |mac| self.mac == Some(mac))
    }
}

fn configure(netlink: &mut Netlink, device: &Device, link: &Link) -> io::Result<()> {
    let told =
        |what: String| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    netlink.link_up(device.index, link.mtu).map_err(told(String::from("up")))?;
    for address in &link.addresses {
        netlink.add_address(device.index, *address).map_err(told(format!("address {}", address.0)))?;
    }
    for route in &link.routes {
        netlink.add_route(device.index, *route).map_err(told(format!("route via {}", route.via)))?;
    }
    Ok(())
}

fn devices() -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let index = attribute(&entry.path(), "ifindex")?.parse();
        if let (true, Ok(index)) = (name != LOOPBACK, index) {
            devices.push(Device { name, index, mac: attribute(&entry.path(), "address")?.parse().ok() });
        }
    }
    devices.sort_by_key(|device| device.index);
    Ok(devices)
}

fn attribute(link: &Path, name: &str) -> io::Result<String> {
    fs::read_to_string(link.join(name)).map(|text| text.trim().to_owned())
}

/// The index of the link with this name.
pub(crate) fn index_of(name: &str) -> io::Result<u32> {
    devices()?
        .into_iter()
        .find(|device| device.name == name)
        .map(|device| device.index)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such link"))
}

/// One line per link: name, MAC, state, MTU, addresses.
pub(crate) fn list() -> io::Result<Vec<String>> {
    let mut addresses = addresses()?;
    devices()?
        .into_iter()
        .map(|device| {
            let path = Path::new("/sys/class/net").join(&device.name);
            // `operstate` lags up to a second behind, and `carrier` cannot be read while the link is down.
            let state = match attribute(&path, "carrier").as_deref() {
                Ok("1") => "up",
                Ok(_) => "no-carrier",
                Err(_) => "down",
            };
            let mtu = attribute(&path, "mtu")?;
            let mac = device.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
            let mut words = vec![device.name.clone(), mac, state.to_owned(), format!("mtu {mtu}")];
            words.extend(addresses.remove(&device.name).unwrap_or_default());
            Ok(words.join(" "))
        })
        .collect()
}

/// All addresses by link name.
fn addresses() -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in getifaddrs()? {
        if let Some(text) = with_length(&entry) {
            map.entry(entry.interface_name).or_default().push(text);
        }
    }
    Ok(map)
}

/// `ADDRESS/LENGTH`, for the two families that have both.
fn with_length(entry: &InterfaceAddress) -> Option<String> {
    let length = match ip_of(entry.netmask.as_ref()?)? {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    Some(format!("{}/{length}", ip_of(entry.address.as_ref()?)?))
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}
