//! Domains that are routers: they answer while their guests run, and only then.

use std::sync::Arc;
use std::time::Duration;

use podzol_test_support::Process;
use podzol_vocab::VmId;

use super::{SimulatedHypervisor, State};
use crate::router::{BOOT, SimulatedRouter};

impl SimulatedHypervisor {
    /// The router that a VM is, while it has a process here: it may be on its way too.
    pub fn router(&self, vm: VmId) -> Option<Arc<SimulatedRouter>> {
        self.state().domains.get(&vm)?.router.clone()
    }

    /// Has routers take this long to boot from now on, each that has not begun to.
    pub fn routers_boot_in(&self, time: Duration) {
        self.state().router_boot = Some(time);
    }

    /// Has a router do what its domain does.
    pub(super) fn attend(&self, vm: VmId) {
        // What has ended is waited for without the lock.
        let _ended = self.state().attend(vm, &self.host);
    }

    /// Reboots a domain.
    pub(super) fn reset(&self, vm: VmId) {
        let _ended = {
            let mut state = self.state();
            let Some(domain) = state.domains.get_mut(&vm) else { return };
            domain.reboots += 1;
            domain.router.as_ref().and_then(|router| router.reset())
        };
        self.attend(vm);
    }
}

impl State {
    fn attend(&self, vm: VmId, host: &str) -> Option<Process> {
        let domain = self.domains.get(&vm)?;
        let router = domain.router.as_ref()?;
        router.plug(domain.devices.nics.iter().map(|nic| nic.mac).collect());
        if domain.runs() {
            router.go_on(host, self.router_boot.unwrap_or(BOOT))
        } else {
            router.stand_still(host)
        }
    }
}
