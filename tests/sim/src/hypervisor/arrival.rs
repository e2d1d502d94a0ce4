//! Domains that come from another host.

use std::path::PathBuf;

use podzol_hypervisor::DomainState;
use podzol_vocab::VmId;

use super::{SimulatedDomain, SimulatedHypervisor, all_exist};

impl SimulatedHypervisor {
    /// Takes in a domain that comes from another host; it stands still until it is let go on.
    pub(crate) fn take_in(
        &self,
        mut domain: SimulatedDomain,
        journey: u64,
        seed: &PathBuf,
    ) -> Result<(), String> {
        let vm = domain.record.plan.vm;
        if self.domain(vm).is_some_and(|domain| domain.is_active()) {
            return Err(format!("domain '{vm}' already exists"));
        }
        let iso = domain.devices.cd.iter().map(|cd| &cd.file);
        all_exist(domain.disks.iter().chain([seed]).chain(iso))?;
        domain.taps = self.plug_all(&domain.bridges)?;
        (domain.state, domain.journey, domain.is_new) = (DomainState::Passing, Some(journey), true);
        self.state().domains.insert(vm, domain);
        Ok(())
    }

    /// Forgets a domain that did not get here, unless somebody else has by now.
    pub(crate) fn did_not_come(&self, vm: VmId, journey: u64) {
        let is_that = |domain: &SimulatedDomain| {
            domain.journey == Some(journey) && domain.state == DomainState::Passing
        };
        if self.domain(vm).is_some_and(|domain| is_that(&domain)) {
            self.forget(vm);
        }
    }

    /// Has a domain that has come go on here.
    pub(crate) fn go_on(&self, vm: VmId, state: DomainState) {
        let disks = self.domain(vm).map(|domain| domain.disks).unwrap_or_default();
        self.locks.hand_over(&disks, &self.host, vm);
        if let Some(domain) = self.state().domains.get_mut(&vm) {
            domain.is_new = false;
        }
        self.settle(vm, state);
    }
}
