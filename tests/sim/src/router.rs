//! A router in memory: it answers the management service as the routing appliance does, over the same TLS.
//!
//! A VM is a router if the `user-data` on its config drive is a router's seed. What it knows and answers is an
//! [`Appliance`]'s, which is one boot's; this module is the machine that it runs on.
//!
//! ```text
//!  start ─▶ boots ─▶ answers ◀──────▶ stands still ─▶ end
//!             ▲         │ reboot       (paused, or on its way)
//!             └─────────┘
//! ```
//! - **boots**: takes a while, and waits for the interface to the management network. It knows no document.
//! - **answers**: on a port of its own, which is noted in [`elsewhere`](podzol_rpc::elsewhere).
//! - **stands still**: connections break, and nobody answers; it keeps its memory. One that has moved answers from its
//!   new host.
//! - **reboot**, and an interface to the management network that is plugged in again: it begins with an empty memory.
//!
//! It passes no packet: what there is to count, a test says. It balances HTTP if its template's label says `l7`, and knows IPv6
//! if that says `ipv6`.

mod appliance;
mod image;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_agent_api::vm::VmPlan;
use podzol_appliance_api::{Counters, Document, Health, HttpBalancerStatus, RouterSeed, RouterStatus};
use podzol_test_support::Process;
use podzol_vocab::{LoadBalancerId, MacAddr, NicId, VmId, WireError};
use tokio::sync::watch;

use crate::console_proxy::SimulatedConsoleProxy;
use appliance::Appliance;

/// How long a boot takes, unless a test says otherwise.
pub(crate) const BOOT: Duration = Duration::from_millis(50);

/// A router in memory: one run of a VM, from its start to its end, on whichever host.
pub struct SimulatedRouter {
    seed: RouterSeed,
    around: Arc<Surroundings>,
    /// The console proxy in it, if it is one's.
    console_proxy: Option<Arc<SimulatedConsoleProxy>>,
    machine: Mutex<Machine>,
}

/// How often a router was asked to change what it does, whatever it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// How often a whole document was put.
    pub puts: u64,
    /// How often one was changed.
    pub patches: u64,
}

/// What is around the appliance and stays when it boots.
#[derive(Debug, Default)]
struct Surroundings {
    /// What its image has beside what all have.
    extensions: BTreeSet<String>,
    /// The MAC addresses of the interfaces that are plugged in.
    links: watch::Sender<BTreeSet<MacAddr>>,
    hangs: watch::Sender<bool>,
    refusals: Mutex<VecDeque<WireError>>,
    calls: Mutex<Calls>,
}

struct Machine {
    appliance: Arc<Appliance>,
    serving: Option<Serving>,
}

/// A router that boots or answers.
struct Serving {
    /// The address of the host that it does so on.
    host: String,
    process: Process,
}

impl SimulatedRouter {
    /// The document in force.
    pub fn document(&self) -> Option<Document> {
        self.appliance().document()
    }

    /// What it says of itself, whether or not anybody can ask it.
    pub fn status(&self) -> RouterStatus {
        self.appliance().status()
    }

    /// The MAC addresses of the interfaces that are plugged in.
    pub fn links(&self) -> BTreeSet<MacAddr> {
        self.around.links.borrow().clone()
    }

    /// How often it was asked to change what it does since the VM's start.
    pub fn count_calls(&self) -> Calls {
        *lock(&self.around.calls)
    }

    /// Has it take calls and not answer them, until [`SimulatedRouter::heal`]. It does not carry them out before, and not
    /// at all if the caller has gone.
    pub fn hang(&self) {
        self.around.hangs.send_replace(true);
    }

    /// Has it answer again.
    pub fn heal(&self) {
        self.around.hangs.send_replace(false);
    }

    /// Has it refuse a change, the next one after those that were told before. Other calls are answered.
    pub fn refuse_next(&self, error: WireError) {
        lock(&self.around.refusals).push_back(error);
    }

    /// Counts what an interface of a VM has sent and received, until the next boot.
    pub fn add_traffic(&self, nic: NicId, traffic: Counters) {
        self.appliance().add_traffic(nic, traffic);
    }

    /// Counts what has gone through a public address, until the next boot.
    pub fn add_public_traffic(&self, address: Ipv4Addr, traffic: Counters) {
        self.appliance().add_public_traffic(address, traffic);
    }

    /// Has a balancer of HTTP be like this until the next boot.
    pub fn set_http(&self, balancer: LoadBalancerId, status: HttpBalancerStatus) {
        self.appliance().set_http(balancer, status);
    }

    /// Has members of a balancer not work, by its check, until the next boot.
    pub fn set_down(&self, balancer: LoadBalancerId, down: BTreeSet<NicId>) {
        self.appliance().set_down(balancer, down);
    }

    /// Has a service, such as `dhcp eth0`, be like this until the next boot.
    pub fn set_health(&self, service: &str, health: Health) {
        self.appliance().set_health(service, health);
    }

    /// A VM fetches its password, if it is given one, and sets it.
    pub fn vm_sets_password(&self, vm: VmId) {
        self.appliance().password_is_set(vm);
    }

    /// The router that a VM is, if it is one. It does not run yet.
    pub(crate) fn of(plan: &VmPlan, disks: &[PathBuf]) -> Option<Arc<Self>> {
        let seed: RouterSeed = serde_json::from_str(plan.seed.user_data.expose()).ok()?;
        let extensions = image::extensions(disks);
        let around = Arc::new(Surroundings { extensions, ..Surroundings::default() });
        let appliance = Appliance::new(&seed.management, &around);
        let machine = Mutex::new(Machine { appliance, serving: None });
        let console_proxy = seed.console_proxy.is_some().then(SimulatedConsoleProxy::new);
        Some(Arc::new(Self { seed, around, console_proxy, machine }))
    }

    /// Tells it which interfaces are plugged in.
    pub(crate) fn plug(&self, links: BTreeSet<MacAddr>) {
        self.around.links.send_if_modified(|now| {
            let is_other = *now != links;
            *now = links;
            is_other
        });
    }

    /// Has it go on on a host, if it does not. What is given has ended, and its connections break when it is dropped.
    pub(crate) fn go_on(&self, host: &str, boot: Duration) -> Option<Process> {
        let mut machine = lock(&self.machine);
        if !self.links().contains(&self.seed.management.mac) {
            // Nobody reaches it any more; with another interface it starts anew.
            machine.appliance = self.anew();
            return machine.serving.take().map(|serving| serving.process);
        }
        if machine.serving.as_ref().is_some_and(|serving| serving.host == host) {
            return None;
        }
        let proxy = self.console_proxy.clone();
        let serve = server::serve(self.seed.clone(), Arc::clone(&machine.appliance), proxy, boot);
        let serving = Serving { host: host.to_owned(), process: Process::start("router", |_| serve) };
        machine.serving.replace(serving).map(|serving| serving.process)
    }

    /// Has it stand still on a host, or end there: it does not if it has gone on on another. What is given has ended, and
    /// its connections break when it is dropped.
    pub(crate) fn stand_still(&self, host: &str) -> Option<Process> {
        let serving = lock(&self.machine).serving.take_if(|serving| serving.host == host);
        serving.map(|serving| serving.process)
    }

    /// Has it begin with an empty memory when it goes on. What is given has ended, and its connections break when it is
    /// dropped.
    pub(crate) fn reset(&self) -> Option<Process> {
        let mut machine = lock(&self.machine);
        machine.appliance = self.anew();
        machine.serving.take().map(|serving| serving.process)
    }

    /// The console proxy that runs in it, if it is one's VM.
    pub fn console_proxy(&self) -> Option<Arc<SimulatedConsoleProxy>> {
        self.console_proxy.clone()
    }

    /// What it is after a boot: nothing is left of the one before.
    fn anew(&self) -> Arc<Appliance> {
        self.console_proxy.iter().for_each(|proxy| proxy.restarts());
        Appliance::new(&self.seed.management, &self.around)
    }

    fn appliance(&self) -> Arc<Appliance> {
        Arc::clone(&lock(&self.machine).appliance)
    }
}

impl fmt::Debug for SimulatedRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedRouter").field("management", &self.seed.management).finish_non_exhaustive()
    }
}

/// One run of a VM is equal to itself alone.
impl PartialEq for SimulatedRouter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
