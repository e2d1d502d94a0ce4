//! Rules about VMs' ports, in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podzol_agent::guards::{Change, Filter, Port, listing};
use podzol_rpc::exec::ExecError;

use crate::fault::{Faults, Step};

/// The ports that are guarded on a simulated server.
#[derive(Debug)]
pub struct SimulatedFilter {
    ports: Mutex<BTreeSet<Port>>,
    faults: Arc<Faults>,
}

impl SimulatedFilter {
    pub(crate) fn new(faults: Arc<Faults>) -> Self {
        Self { ports: Mutex::default(), faults }
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports that are guarded.
    pub fn ports(&self) -> BTreeSet<Port> {
        self.all().clone()
    }
}

impl Filter for SimulatedFilter {
    async fn apply(&self, change: &Change) -> Result<(), ExecError> {
        let make = || {
            change.make(&mut self.all());
            Ok(())
        };
        self.faults.run(Step::Guard, make).await
    }

    async fn in_force(&self) -> Result<String, ExecError> {
        Ok(listing(&self.ports()))
    }
}
