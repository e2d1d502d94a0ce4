//! What is kept of a VM in libvirt's metadata.
//!
//! It outlives the agent that wrote it: an older and a newer agent must be able to read it. So what they do not know of
//! it is passed over, and what an older one has not written has a value all the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use podzol_agent_api::vm::{CdromPlan, DiskPlan, DiskSource, NicPlan, Seed, VmPlan};
use podzol_vocab::{
    ByteSize, Generation, MacAddr, Name, NetworkId, NicId, Secret, Sha256, Tag, VmId, VolumeId,
};
use serde::{Deserialize, Serialize};
use sha2::Digest;

/// A VM's description without its secrets, and a digest of all of it, to tell the same from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The description, its seed left out.
    pub plan: VmPlan,
    /// SHA-256 of the whole description.
    pub digest: Sha256,
}

/// Why a record that is there cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its record in libvirt cannot be read: {0}")]
pub struct RecordError(pub(crate) String);

impl Record {
    /// What is kept of a description.
    ///
    /// # Panics
    /// Never: a description has a JSON form.
    pub fn of(plan: &VmPlan) -> Self {
        let text = serde_json::to_vec(plan).expect("a description has a JSON form");
        let digest = Sha256::from_bytes(sha2::Sha256::digest(text).into());
        Self { plan: VmPlan { seed: nothing(), ..plan.clone() }, digest }
    }

    /// The record in a JSON text.
    pub(crate) fn from_json(text: &str) -> Result<Self, RecordError> {
        let stored: StoredRecord =
            serde_json::from_str(text).map_err(|error| RecordError(error.to_string()))?;
        Ok(stored.into())
    }
}

fn nothing() -> Seed {
    Seed { meta_data: String::new(), user_data: Secret::new(String::new()), network_config: String::new() }
}

/// A record as it is read: with what an agent of another version may have written.
#[derive(Deserialize)]
struct StoredRecord {
    plan: StoredPlan,
    digest: Sha256,
}

#[derive(Deserialize)]
struct StoredPlan {
    vm: VmId,
    generation: Generation,
    name: Name,
    vcpus: u32,
    cpu_share: u32,
    memory_mib: u64,
    disks: Vec<StoredDisk>,
    #[serde(default)]
    nics: Vec<StoredNic>,
    #[serde(default)]
    reboots: u64,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    cdrom: Option<StoredCdrom>,
}

#[derive(Deserialize)]
struct StoredDisk {
    volume: VolumeId,
    source: StoredSource,
    iops: Option<u64>,
    #[serde(default)]
    size: Option<ByteSize>,
}

#[derive(Deserialize)]
struct StoredCdrom {
    source: StoredSource,
    #[serde(default)]
    boots: bool,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum StoredSource {
    Nfs { server: String, export: String, file: String },
}

#[derive(Deserialize)]
struct StoredNic {
    nic: NicId,
    network: NetworkId,
    vlan: Tag,
    mac: MacAddr,
    address: Ipv4Addr,
    #[serde(default)]
    address6: Option<Ipv6Addr>,
    rate_mbps: Option<u64>,
    #[serde(default)]
    may_route: bool,
}

impl From<StoredRecord> for Record {
    fn from(StoredRecord { plan, digest }: StoredRecord) -> Self {
        let plan = VmPlan {
            vm: plan.vm,
            generation: plan.generation,
            name: plan.name,
            vcpus: plan.vcpus,
            cpu_share: plan.cpu_share,
            memory_mib: plan.memory_mib,
            disks: plan.disks.into_iter().map(DiskPlan::from).collect(),
            nics: plan.nics.into_iter().map(NicPlan::from).collect(),
            seed: nothing(),
            reboots: plan.reboots,
            paused: plan.paused,
            cdrom: plan.cdrom.map(CdromPlan::from),
        };
        Self { plan, digest }
    }
}

impl From<StoredDisk> for DiskPlan {
    fn from(StoredDisk { volume, source, iops, size }: StoredDisk) -> Self {
        Self { volume, source: source.into(), iops, size }
    }
}

impl From<StoredCdrom> for CdromPlan {
    fn from(StoredCdrom { source, boots }: StoredCdrom) -> Self {
        Self { source: source.into(), boots }
    }
}

impl From<StoredSource> for DiskSource {
    fn from(StoredSource::Nfs { server, export, file }: StoredSource) -> Self {
        Self::Nfs { server, export, file }
    }
}

impl From<StoredNic> for NicPlan {
    fn from(
        StoredNic { nic, network, vlan, mac, address, address6, rate_mbps, may_route }: StoredNic,
    ) -> Self {
        Self { nic, network, tag: vlan, mac, address, address6, rate_mbps, may_route }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000-0000-0000-0000-000000000001";

    fn stored(more: &str) -> String {
        format!(
            r#"{{"plan":{{"vm":"{ID}","generation":3,"name":"web","vcpus":1,"cpu_share":100,"memory_mib":64,
            "disks":[{{"volume":"{ID}","source":{{"kind":"nfs","server":"s","export":"/e","file":"f"{more}}}{more}}}],
            "nics":[{{"nic":"{ID}","network":"{ID}","vlan":100,"mac":"02:00:5e:10:00:01","address":"10.1.1.2"{more}}}]
            ,"cdrom":{{"source":{{"kind":"nfs","server":"s","export":"/e","file":"f"{more}}}{more}}}
            {more}}},"digest":"{}"{more}}}"#,
            "0".repeat(64)
        )
    }

    #[test]
    fn what_a_newer_agent_has_written_is_passed_over() {
        let plain = Record::from_json(&stored("")).unwrap();
        assert_eq!(Record::from_json(&stored(r#","colour":"green""#)).unwrap(), plain);
        assert_eq!((plain.plan.reboots, plain.plan.disks[0].iops), (0, None));
        assert_eq!(plain.plan.cdrom.map(|cdrom| cdrom.boots), Some(false));
    }

    #[test]
    fn a_record_without_what_it_must_have_is_an_error_that_says_so() {
        let error = Record::from_json(&stored("").replace("\"vcpus\":1,", "")).unwrap_err();
        assert!(error.to_string().contains("missing field `vcpus`"), "{error}");
    }
}
