//! What the router says of itself: looked up when it is asked, in the kernel.

use std::fs;
use std::sync::Arc;

use podzol_appliance_api::{Diagnosis, Phase, RouterStatus};
use podzol_appliance_nft::observed;
use podzol_vocab::{ErrorCode, Sha256, WireError};
use sha2::Digest;
use tokio::sync::Mutex;

use crate::links::kernel::Kernel;
use crate::log::Ring;
use crate::nft;
use crate::router::{Router, chain};
use crate::serve::Services;

/// All that the control API shows.
pub(crate) struct Overview {
    pub(crate) router: Arc<Router>,
    pub(crate) services: Services,
    pub(crate) log: Ring,
    /// Looks, and changes nothing.
    pub(crate) kernel: Kernel,
    pub(crate) image: String,
    pub(crate) boot: Vec<Phase>,
    /// Each look lists all rules; however many ask, one at a time does.
    pub(crate) one_look: Mutex<()>,
}

impl Overview {
    pub(crate) async fn status(&self) -> Result<RouterStatus, WireError> {
        let _turn = self.one_look.lock().await;
        let facts = self.router.facts().await.map_err(|error| internal(&error))?;
        Ok(RouterStatus {
            generation: facts.generation,
            image: self.image.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            boot: self.boot.clone(),
            health: self.services.healths(),
            kernel: self.kernel_hash(&facts.listing).await?,
            repairs: facts.repairs,
            nics: facts.nics,
            public: facts.public,
            passwords_set: self.services.passwords_set(),
        })
    }

    /// SHA-256 of links, routes and rules, without what counts.
    async fn kernel_hash(&self, listing: &str) -> Result<Sha256, WireError> {
        let links = self.kernel.observe().await.map_err(|error| internal(&error))?;
        let rules = observed(listing.as_bytes()).map_err(|error| internal(&error))?;
        let hash = sha2::Sha256::digest(format!("{links:?}\n{rules:?}"));
        Ok(Sha256::from_bytes(hash.into()))
    }

    pub(crate) async fn diagnosis(&self) -> Result<Diagnosis, WireError> {
        let _turn = self.one_look.lock().await;
        let observed = self.kernel.observe().await.map_err(|error| internal(&error))?;
        let links = observed.links.iter().map(|link| {
            let addresses: Vec<String> =
                link.addresses.iter().map(|(address, length)| format!("{address}/{length}")).collect();
            let state = if link.up { "up" } else { "down" };
            format!("{} {} {state} mtu {} {}", link.name, link.mac, link.mtu, addresses.join(" "))
        });
        let name = |mac| {
            let link = observed.links.iter().find(|link| link.mac == mac);
            link.map_or("?", |link| link.name.as_str())
        };
        let routes = observed
            .routes
            .iter()
            .map(|route| format!("{} via {} on {}", route.to, route.via, name(route.link)));
        let number = |path: &str| read(path).parse().unwrap_or(0);
        Ok(Diagnosis {
            links: links.collect(),
            routes: routes.collect(),
            rules: nft::for_people().await.map_err(|error| internal(&error))?,
            connections: (
                number("/proc/sys/net/netfilter/nf_conntrack_count"),
                number("/proc/sys/net/netfilter/nf_conntrack_max"),
            ),
            memory_kib: memory(&read("/proc/meminfo")),
        })
    }
}

fn internal(error: &dyn std::error::Error) -> WireError {
    WireError::new(ErrorCode::Internal, chain(error))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Free and total memory in KiB (proc(5), `/proc/meminfo`).
fn memory(meminfo: &str) -> (u64, u64) {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    (of("MemAvailable").unwrap_or(0), of("MemTotal").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_what_can_be_had_of_what_there_is() {
        let meminfo = "MemTotal:       116012 kB\nMemFree:         3000 kB\nMemAvailable:    71000 kB\n";
        assert_eq!(super::memory(meminfo), (71_000, 116_012));
        assert_eq!(super::memory(""), (0, 0));
    }
}
