//! The kernel as the rest of the agent sees it: observe, apply, report, watch.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;

use podzol_vocab::InterfaceName;
use tokio::sync::watch;

use crate::change::{Change, InUse, Refused};
use crate::difference::difference;
use crate::model::Desired;
use crate::observed::{Link, LinkIndex};

/// The links of a host: the kernel's, or simulated ones.
pub trait Links: Send + Sync {
    /// All links, by one dump.
    fn observe(&self) -> impl Future<Output = Result<Vec<Link>, Error>> + Send;

    /// Applies changes in order, and goes on after a failure with all that does not depend on it. The changes must
    /// come from a difference to what was observed just before, by the only task that applies changes.
    fn apply(&self, changes: &crate::Changes) -> impl Future<Output = Vec<Failure>> + Send;

    /// All links for a report, with their addresses and speeds.
    fn interfaces(&self) -> impl Future<Output = Result<Vec<Interface>, Error>> + Send;

    /// Starts to watch for changes of links and addresses, by whomever.
    fn watch(&self) -> Result<Watch, Error>;
}

/// One pass: observes, computes the difference and applies it.
pub async fn converge(links: &impl Links, desired: &Desired) -> Result<Converged, Error> {
    let changes = difference(desired, &links.observe().await?);
    let failures = if changes.is_empty() { Vec::new() } else { links.apply(&changes).await };
    Ok(Converged { changes: changes.steps, failures, refused: changes.refused, in_use: changes.in_use })
}

/// What a pass came to.
#[derive(Debug)]
pub struct Converged {
    /// The changes that were attempted.
    pub changes: Vec<Change>,
    /// Those that the kernel refused.
    pub failures: Vec<Failure>,
    /// Segments that cannot exist as things are.
    pub refused: Vec<Refused>,
    /// Links left because something uses them.
    pub in_use: Vec<InUse>,
}

/// Why links cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The netlink socket could not be opened.
    #[error("could not open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel's way to wait, which a crash had left changed, could not be put back.
    #[error("could not put the kernel's way to wait back")]
    Hurry(#[source] io::Error),
    /// The dump of links failed.
    #[error("could not list the links")]
    Observe(#[source] io::Error),
    /// The dump of the peers of VXLANs failed.
    #[error("could not list the peers of VXLANs")]
    Peers(#[source] io::Error),
    /// The dump of addresses failed.
    #[error("could not list the addresses")]
    Addresses(#[source] io::Error),
}

/// A change that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("could not {change}")]
pub struct Failure {
    /// The change, with the link's name.
    pub change: Change,
    /// The kernel's error.
    #[source]
    pub source: io::Error,
}

/// A link as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The link.
    pub link: Link,
    /// The bridge or bond that it is a port of.
    pub master: Option<InterfaceName>,
    /// Its speed in Mbit/s, if it says.
    pub speed_mbps: Option<u32>,
    /// Its addresses, with prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// Joins links with the addresses on them and with what is known of their speed.
    pub(crate) fn join(
        links: Vec<Link>,
        mut addresses: HashMap<LinkIndex, Vec<(IpAddr, u8)>>,
        speed: impl Fn(&Link) -> Option<u32>,
    ) -> Vec<Self> {
        let names: HashMap<_, _> = links.iter().map(|link| (link.index, link.name.clone())).collect();
        let interface = |link: Link| Self {
            master: link.master.and_then(|index| names.get(&index).cloned()),
            speed_mbps: speed(&link),
            addresses: addresses.remove(&link.index).unwrap_or_default(),
            link,
        };
        links.into_iter().map(interface).collect()
    }
}

/// Wakes up when a link or an address changed. It says no more than that: whoever wakes up looks again, so that
/// changes in a row, or ones that the kernel had no room to tell, cost one look.
#[derive(Debug)]
pub struct Watch(pub(crate) watch::Receiver<u64>);

impl Watch {
    /// Waits for a change after the last that was seen. False: there will be none any more, watch anew.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
