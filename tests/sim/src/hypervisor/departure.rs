//! Domains that leave for another host.

use podzol_hypervisor::{HypervisorError, Route};
use podzol_vocab::VmId;

use super::SimulatedHypervisor;
use crate::fault::Step;
use crate::transit;

impl SimulatedHypervisor {
    /// Moves a domain, and says what became of it.
    pub(super) async fn move_away(&self, vm: VmId, route: &Route) -> Result<(), HypervisorError> {
        self.state().leaving.insert(vm);
        let moved = async {
            self.faults.happen(Step::Move).await?;
            let failed = |reason| HypervisorError::Failed { step: "move the VM", reason };
            if let Some(lost) = transit::send(self, vm, route).await.map_err(failed)? {
                self.state().sent.insert(vm);
                return Err(failed(lost));
            }
            self.forget(vm);
            // It runs there by now; that the answer is lost changes nothing.
            self.faults.happen(Step::Moved).await
        };
        let moved = moved.await;
        self.state().leaving.remove(&vm);
        self.state().called_back.remove(&vm);
        self.changed.notify_one();
        moved
    }
}
