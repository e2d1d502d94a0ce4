//! What the agent stands on: a real server, or a simulated one in tests.

use podzol_hostnet::{Kernel, Links};
use podzol_hypervisor::{Hypervisor, Libvirt};

use crate::config::Config;
use crate::guards::{Filter, Nft};
use crate::mounts::{Mounts, NfsMounts};

/// A server's hypervisor, links and mounts.
pub trait Platform: Send + Sync + 'static {
    /// Runs VMs.
    type Hypervisor: Hypervisor;
    /// Network links.
    type Links: Links + 'static;
    /// Mounted pools.
    type Mounts: Mounts;
    /// Rules about what VMs send.
    type Filter: Filter;

    /// The hypervisor.
    fn hypervisor(&self) -> &Self::Hypervisor;
    /// The links.
    fn links(&self) -> &Self::Links;
    /// The mounts.
    fn mounts(&self) -> &Self::Mounts;
    /// The rules about what VMs send.
    fn filter(&self) -> &Self::Filter;
    /// Why KVM cannot be used; nothing if it can.
    fn kvm_problem(&self) -> impl Future<Output = Option<String>> + Send;
}

/// This server.
pub struct Server {
    hypervisor: Libvirt,
    links: Kernel,
    mounts: NfsMounts,
    emulator: std::path::PathBuf,
}

impl Server {
    /// This server, with libvirt and the folder for mounts as configured.
    ///
    /// # Errors
    /// When no netlink socket can be opened, or what a crash has left changed in the kernel cannot be put back.
    pub fn new(config: &Config) -> Result<Self, podzol_hostnet::Error> {
        // As /proc/self/mounts names it. Only a folder that is missing has no such name, and then nothing is mounted in it.
        let state_dir = config.state_dir.canonicalize().unwrap_or_else(|_| config.state_dir.clone());
        Ok(Self {
            hypervisor: Libvirt::new(config.libvirt_uri.clone()),
            links: Kernel::open()?.hurrying(config.state_dir.join("hurrying"))?,
            mounts: NfsMounts::new(state_dir.join("pools")),
            emulator: config.emulator.clone(),
        })
    }
}

impl Platform for Server {
    type Hypervisor = Libvirt;
    type Links = Kernel;
    type Mounts = NfsMounts;
    type Filter = Nft;

    fn hypervisor(&self) -> &Libvirt {
        &self.hypervisor
    }

    fn links(&self) -> &Kernel {
        &self.links
    }

    fn mounts(&self) -> &NfsMounts {
        &self.mounts
    }

    fn filter(&self) -> &Nft {
        &Nft
    }

    async fn kvm_problem(&self) -> Option<String> {
        podzol_hypervisor::probe::kvm_problem(&self.emulator).await
    }
}
