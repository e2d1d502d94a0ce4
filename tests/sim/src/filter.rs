//! Rules about VMs' ports, in memory.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use podzol_agent::guards::{Change, Filter, Port, listing};
use podzol_rpc::exec::ExecError;

/// The ports that are guarded on a simulated server.
#[derive(Debug, Default)]
pub struct SimulatedFilter(Mutex<BTreeSet<Port>>);

impl SimulatedFilter {
    /// The ports that are guarded.
    pub fn ports(&self) -> BTreeSet<Port> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Filter for SimulatedFilter {
    async fn apply(&self, change: &Change) -> Result<(), ExecError> {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change.make(&mut ports);
        Ok(())
    }

    async fn in_force(&self) -> Result<String, ExecError> {
        Ok(listing(&self.ports()))
    }
}
