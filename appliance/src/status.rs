//! What the router says of itself: looked up when it is asked, in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use podzol_appliance_api::{
    Capture, CapturedLink, Diagnosis, EXTENSION_CONSOLE, EXTENSION_IPV6, EXTENSION_L7, EXTENSION_LIMITS,
    Health, HttpBalancerStatus, Phase, RouterStatus,
};
use podzol_appliance_haproxy::Shown;
use podzol_vocab::{ErrorCode, InterfaceName, LoadBalancerId, NicId, Sha256, WireError};
use sha2::Digest;
use tokio::sync::Mutex;

use crate::capture::{Captured, Captures};
use crate::conntrack;
use crate::console::{self, ConsoleProxy};
use crate::haproxy::Balancing;
use crate::links::kernel::Kernel;
use crate::links::{MANAGEMENT, PUBLIC};
use crate::log::Ring;
use crate::nft;
use crate::router::{Facts, Router, chain};
use crate::serve::Services;

/// All that the control API shows.
pub(crate) struct Overview {
    pub(crate) router: Arc<Router>,
    pub(crate) services: Services,
    pub(crate) balancing: Option<Balancing>,
    pub(crate) console: Option<ConsoleProxy>,
    pub(crate) log: Ring,
    /// Looks, and changes nothing.
    pub(crate) kernel: Kernel,
    pub(crate) image: String,
    pub(crate) boot: Vec<Phase>,
    /// Each look may list all rules; however many ask, one at a time does.
    pub(crate) one_look: Mutex<()>,
    /// One looks at everything at a time, which may take long; nobody who looks at the status waits for all of it.
    pub(crate) one_diagnosis: Mutex<()>,
    pub(crate) captures: Captures,
}

impl Overview {
    pub(crate) async fn status(&self) -> Result<RouterStatus, WireError> {
        let _turn = self.one_look.lock().await;
        if let Some(balancing) = &self.balancing {
            balancing.look().await;
        }
        let facts = self.router.facts().await.map_err(|error| internal(&error))?;
        Ok(RouterStatus {
            generation: facts.generation,
            image: self.image.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            boot: self.boot.clone(),
            health: self.healths(&facts),
            kernel: self.kernel_hash(&facts.rules).await?,
            extensions: self.extensions(),
            http_balancers: self.http_balancers(&facts),
            checked: checked(&facts),
            repairs: facts.repairs,
            nics: facts.nics,
            public: facts.public,
            passwords_set: self.services.passwords_set(),
        })
    }

    fn extensions(&self) -> BTreeSet<String> {
        let l7 = self.balancing.iter().map(|_| EXTENSION_L7);
        let console = console::is_here().then_some(EXTENSION_CONSOLE);
        l7.chain(console).chain([EXTENSION_IPV6, EXTENSION_LIMITS]).map(str::to_owned).collect()
    }

    fn healths(&self, facts: &Facts) -> BTreeMap<String, Health> {
        let mut healths = self.services.healths();
        let balancing = self.balancing.as_ref().filter(|_| !facts.document.http_balancers.is_empty());
        healths.extend(balancing.map(|balancing| ("haproxy".to_owned(), balancing.health())));
        healths.extend(self.console.iter().map(|console| ("console-proxy".to_owned(), console.health())));
        healths
    }

    fn http_balancers(&self, facts: &Facts) -> BTreeMap<LoadBalancerId, HttpBalancerStatus> {
        let Some(balancing) = &self.balancing else { return BTreeMap::new() };
        let of = |id: &LoadBalancerId| {
            let Shown { counters, open } = balancing.shown(*id);
            HttpBalancerStatus { counters, open, down: down(facts, *id) }
        };
        facts.document.http_balancers.keys().map(|id| (*id, of(id))).collect()
    }

    /// SHA-256 of links, routes and rules, without what counts.
    async fn kernel_hash(&self, rules: &Sha256) -> Result<Sha256, WireError> {
        let links = self.kernel.observe().await.map_err(|error| internal(&error))?;
        let hash = sha2::Sha256::digest(format!("{links:?}\n{rules}"));
        Ok(Sha256::from_bytes(hash.into()))
    }

    pub(crate) async fn diagnosis(&self) -> Result<Diagnosis, WireError> {
        let _turn = self.one_diagnosis.lock().await;
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
        let rules = {
            let _look = self.one_look.lock().await;
            nft::for_people().await.map_err(|error| internal(&error))?
        };
        // Without it the rest still says something.
        let tracked = conntrack::count(&self.services.networks()).await;
        let tracked = tracked.inspect_err(|error| tracing::warn!(%error, "connections cannot be counted"));
        Ok(Diagnosis {
            links: links.collect(),
            routes: routes.collect(),
            rules,
            connections: (
                number("/proc/sys/net/netfilter/nf_conntrack_count"),
                number("/proc/sys/net/netfilter/nf_conntrack_max"),
            ),
            memory_kib: memory_kib(),
            leases: self.services.leases(),
            tracked: tracked.ok(),
        })
    }
}

impl Overview {
    /// Begins a capture; gives what it captures, as it comes.
    pub(crate) fn capture(&self, capture: &Capture) -> Result<Captured, WireError> {
        if let Some(problem) = capture.problem() {
            return Err(WireError::new(ErrorCode::Invalid, problem.to_string()));
        }
        let absent = |what: &str| WireError::new(ErrorCode::NotFound, format!("link: {what}"));
        let link = match capture.link {
            CapturedLink::Management => MANAGEMENT.parse().ok(),
            CapturedLink::Public => PUBLIC.parse().ok(),
            CapturedLink::Guest(network) => self.services.link(network),
        };
        let link: InterfaceName = link.ok_or_else(|| absent("the router has no link to this network"))?;
        self.captures.begin(capture, &link, self.router.address())
    }
}

fn internal(error: &dyn std::error::Error) -> WireError {
    WireError::new(ErrorCode::Internal, chain(error))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Free and total memory of this machine in KiB.
pub(crate) fn memory_kib() -> (u64, u64) {
    memory(&read("/proc/meminfo"))
}

/// The same, as the kernel tells it (proc(5), `/proc/meminfo`).
fn memory(meminfo: &str) -> (u64, u64) {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    (of("MemAvailable").unwrap_or(0), of("MemTotal").unwrap_or(0))
}

/// The members that do not work of each balancer that has a check and is none of HTTP.
fn checked(facts: &Facts) -> BTreeMap<LoadBalancerId, BTreeSet<NicId>> {
    let checked = facts.document.balancers.iter().filter(|(_, balancer)| balancer.check.is_some());
    checked.map(|(id, _)| (*id, down(facts, *id))).collect()
}

/// The members of a balancer that do not work.
fn down(facts: &Facts, of: LoadBalancerId) -> BTreeSet<NicId> {
    facts.down.iter().filter(|(balancer, _)| *balancer == of).map(|(_, nic)| *nic).collect()
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
