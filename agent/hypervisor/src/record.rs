//! What is kept of a VM in libvirt's metadata.

use podzol_agent_api::vm::{Seed, VmPlan};
use podzol_vocab::{Secret, Sha256};
use serde::{Deserialize, Serialize};
use sha2::Digest;

/// A VM's description without its secrets, and a digest of all of it, to tell the same from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The description, its seed left out.
    pub plan: VmPlan,
    /// SHA-256 of the whole description.
    pub digest: Sha256,
}

impl Record {
    /// What is kept of a description.
    ///
    /// # Panics
    /// Never: a description has a JSON form.
    pub fn of(plan: &VmPlan) -> Self {
        let text = serde_json::to_vec(plan).expect("a description has a JSON form");
        let digest = Sha256::from_bytes(sha2::Sha256::digest(text).into());
        let nothing = Seed {
            meta_data: String::new(),
            user_data: Secret::new(String::new()),
            network_config: String::new(),
        };
        Self { plan: VmPlan { seed: nothing, ..plan.clone() }, digest }
    }
}
