//! Network links in memory, which a kernel refuses to change when a test says so.

use std::io;
use std::sync::Arc;

use podzol_hostnet::{Change, Changes, Error, Failure, Interface, Link, Links, SimulatedLinks, Watch};

use crate::fault::{Faults, Step};

/// What the kernel says when it fails: EIO.
const FAILED: i32 = 5;

/// The links of a simulated server.
#[derive(Debug)]
pub(crate) struct FaultyLinks {
    pub(crate) links: Arc<SimulatedLinks>,
    pub(crate) faults: Arc<Faults>,
}

impl Links for FaultyLinks {
    async fn observe(&self) -> Result<Vec<Link>, Error> {
        self.links.observe().await
    }

    async fn apply(&self, changes: &Changes) -> Vec<Failure> {
        let all_failed = || {
            let failed = |change: &Change| Failure {
                change: change.clone(),
                source: io::Error::from_raw_os_error(FAILED),
            };
            changes.steps.iter().map(failed).collect()
        };
        if self.faults.strike(Step::Link).await.is_err() {
            return all_failed();
        }
        let failures = self.links.apply(changes).await;
        if self.faults.unheard(Step::Link).is_err() { all_failed() } else { failures }
    }

    async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        self.links.interfaces().await
    }

    fn watch(&self) -> Result<Watch, Error> {
        self.links.watch()
    }
}
