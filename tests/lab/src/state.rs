//! Where a lab's things are, and what stands in `lab.json`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cloud::Cloud;
use crate::ssh::Ssh;

/// What a server of the lab is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It runs VMs.
    Compute,
    /// It exports pools.
    Storage,
}

/// A server of the lab.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its address on the management network.
    pub address: Ipv4Addr,
    /// Its place among all servers, from 1.
    pub number: u8,
}

/// A lab: a folder, and a namespace named after it.
#[derive(Debug, Clone)]
pub struct Lab {
    /// The folder with all its files, such as `target/lab`.
    pub folder: PathBuf,
    /// The folder with the images, such as `target/images`.
    pub images: PathBuf,
    /// The folder with the compiled programs, such as `target/debug`.
    pub programs: PathBuf,
}

/// The contents of `lab.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabJson {
    /// Where the API is.
    pub api_url: String,
    /// The certificate of its authority.
    pub ca_file: PathBuf,
    /// An admin's key.
    pub admin_key: String,
    /// The accounts by name.
    pub accounts: BTreeMap<String, AccountJson>,
    /// The servers by name.
    pub hosts: BTreeMap<String, HostJson>,
}

/// An account in `lab.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountJson {
    /// A key of a user of it.
    pub key: String,
}

/// A server in `lab.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostJson {
    /// What it is for.
    pub role: Role,
    /// The command that logs in to it; a command to run there may follow.
    pub ssh: String,
}

impl Lab {
    /// The lab of a source tree.
    pub fn of(tree: &Path, programs: &Path) -> anyhow::Result<Self> {
        let tree = tree.canonicalize().with_context(|| format!("cannot find {}", tree.display()))?;
        Ok(Self {
            folder: tree.join("target/lab"),
            images: tree.join("target/images"),
            programs: tree.join(programs),
        })
    }

    /// The name of the network namespace: the folder's, shortened to a digest so that two labs do not meet.
    pub fn namespace(&self) -> String {
        // FNV-1a, 32 bits.
        let digest = self
            .folder
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        format!("pzlab-{digest:08x}")
    }

    /// A file or folder of the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The server with that name.
    pub fn ssh(&self, host: &Host) -> Ssh {
        Ssh::new(self, host)
    }

    /// Reads `lab.json`.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn read(&self) -> anyhow::Result<LabJson> {
        let path = self.path("lab.json");
        let text = std::fs::read(&path).with_context(|| {
            format!("cannot read {}: is the lab up? `make lab` brings it up", path.display())
        })?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Writes `lab.json`, for its owner alone: there are keys in it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, contents: &LabJson) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let (path, new) = (self.path("lab.json"), self.path("lab.json.new"));
        std::fs::write(&new, serde_json::to_vec_pretty(contents)?)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        Ok(std::fs::rename(new, path)?)
    }

    /// The running lab's servers, from `lab.json`.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn hosts(&self) -> anyhow::Result<Vec<Host>> {
        let known = self.read()?.hosts;
        let computing = known.values().filter(|host| host.role == Role::Compute).count();
        let all = servers(computing as u8);
        Ok(all.into_iter().filter(|host| known.contains_key(&host.name)).collect())
    }

    /// The server with that name.
    ///
    /// # Errors
    /// When the lab is not up, or has none of that name.
    pub fn host(&self, name: &str) -> anyhow::Result<Host> {
        let hosts = self.hosts()?;
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let message = format!("there is no server {name} in the lab, but {}", names.join(", "));
        hosts.iter().find(|host| host.name == name).cloned().context(message)
    }

    /// The cloud, as its admin sees it.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn cloud(&self) -> anyhow::Result<Cloud> {
        let json = self.read()?;
        Ok(Cloud::new(self, json.api_url, json.admin_key))
    }
}

/// The servers of a lab with that many computing hosts: `h1`, `h2`, … and the storage server `s1`.
pub fn servers(computing: u8) -> Vec<Host> {
    let host = |number: u8| Host {
        name: format!("h{number}"),
        role: Role::Compute,
        address: Ipv4Addr::new(10, 77, 0, 10 + number),
        number,
    };
    let storage =
        Host { name: "s1".into(), role: Role::Storage, address: Ipv4Addr::new(10, 77, 0, 201), number: 201 };
    (1..=computing).map(host).chain([storage]).collect()
}
