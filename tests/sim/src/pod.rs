//! A zone with one simulated pod: hosts, a storage server with a pool, an offering and a template.

use podzol_hypervisor::DomainState;
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use podzol_vocab::VmId;
use serde_json::json;

use crate::{SimHost, SimStorage, SimulatedDomain};

/// What a pod is made of.
#[derive(Debug, Clone)]
pub struct PodPlan {
    /// Each host's name and memory in MiB.
    pub hosts: Vec<(&'static str, u64)>,
    /// The zone's VLAN ids.
    pub vlan_ranges: Vec<&'static str>,
    /// The zone's VXLAN ids.
    pub vxlan_ranges: Vec<&'static str>,
    /// Memory of a VM of the pod's offering, in MiB.
    pub vm_memory_mib: u64,
    /// How often agents report at least, in seconds.
    pub report_secs: u64,
}

impl Default for PodPlan {
    fn default() -> Self {
        Self {
            hosts: vec![("h1", 2048), ("h2", 2048)],
            vlan_ranges: vec!["100-199"],
            vxlan_ranges: vec!["5000-5099"],
            vm_memory_mib: 64,
            report_secs: 1,
        }
    }
}

/// A simulated pod `p1` in the zone `z1`, with the storage server `s1` and its pool `pool`.
pub struct SimPod {
    /// The zone's id.
    pub zone: String,
    /// The pod's id.
    pub pod: String,
    /// The pool's id.
    pub pool: String,
    /// The id of the offering `small`.
    pub offering: String,
    /// The id of the template `tiny`.
    pub template: String,
    /// The hosts.
    pub hosts: Vec<SimHost>,
    /// The storage server.
    pub storage: SimStorage,
}

impl SimPod {
    /// Brings up a pod with two hosts.
    pub async fn start(control_plane: &ControlPlane) -> Self {
        Self::with(control_plane, PodPlan::default()).await
    }

    /// Brings up a pod.
    ///
    /// # Panics
    /// When that fails.
    pub async fn with(control_plane: &ControlPlane, plan: PodPlan) -> Self {
        let admin = &control_plane.admin;
        let zone = admin.zone_with("z1", &plan.vlan_ranges, &plan.vxlan_ranges).await;
        let pod = admin.pod("p1", &zone).await;
        let storage = SimStorage::join(control_plane, &pod, "s1", plan.report_secs).await;
        let mut hosts = Vec::with_capacity(plan.hosts.len());
        for (number, about) in (1..).zip(plan.hosts) {
            hosts.push(
                SimHost::join(control_plane, storage.exports.clone(), &pod, number, about, plan.report_secs)
                    .await,
            );
        }
        for host in &hosts {
            admin.in_state(&format!("/v1/hosts/{}", host.id), "up").await;
        }
        admin.in_state(&format!("/v1/storage-servers/{}", storage.id), "up").await;
        let pool = admin.pool("pool", &storage.id, &storage.pool_folder("pool").display().to_string()).await;
        let offering = admin.offering("small", plan.vm_memory_mib).await;
        let template = admin.template("tiny").await;
        Self { zone, pod, pool, offering, template, hosts, storage }
    }

    /// Another zone `z2` with networks of its own and a pod of one host, `h3`, and the storage server `s2`; with the same offering
    /// and template.
    ///
    /// # Panics
    /// When that fails.
    pub async fn in_another_zone(&self, control_plane: &ControlPlane) -> Self {
        let admin = &control_plane.admin;
        let zone = admin.zone_with("z2", &["300-399"], &[]).await;
        let pod = admin.pod("p2", &zone).await;
        let storage = SimStorage::join(control_plane, &pod, "s2", 1).await;
        let host = SimHost::join(control_plane, storage.exports.clone(), &pod, 3, ("h3", 8192), 1).await;
        admin.in_state(&format!("/v1/hosts/{}", host.id), "up").await;
        admin.in_state(&format!("/v1/storage-servers/{}", storage.id), "up").await;
        let pool = admin.pool("pool2", &storage.id, &storage.pool_folder("pool").display().to_string()).await;
        let networks = json!({
            "management": { "cidr": "10.78.0.0/24", "ranges": ["10.78.0.100-10.78.0.199"] },
            "public": {
                "cidr": "198.51.100.0/24", "gateway": "198.51.100.1", "ranges": ["198.51.100.10-198.51.100.19"],
            },
        });
        admin.patch(&format!("/v1/zones/{zone}"), &networks).await.ok();
        let (offering, template) = (self.offering.clone(), self.template.clone());
        Self { zone, pod, pool, offering, template, hosts: vec![host], storage }
    }

    /// A network.
    pub async fn network(&self, api: &Api, name: &str, cidr: &str) -> String {
        api.network(name, &self.zone, cidr).await
    }

    /// A network of an account on a VXLAN, which an admin makes.
    pub async fn vxlan(&self, admin: &Api, account: &str, name: &str, cidr: &str) -> String {
        let body = json!({
            "name": name, "zone": self.zone, "cidr": cidr, "account": account, "isolation": "vxlan",
        });
        text(&admin.post("/v1/networks", &body).await.ok(), "id")
    }

    /// Asks for a VM, and gives its id.
    pub async fn begin_vm(&self, api: &Api, name: &str, network: &str) -> String {
        text(&api.vm(name, &self.offering, &self.template, network).await.ok(), "object.id")
    }

    /// A VM, once it runs.
    pub async fn vm(&self, api: &Api, name: &str, network: &str) -> String {
        let id = self.begin_vm(api, name, network).await;
        api.vm_in_state(&id, "running").await;
        id
    }

    /// The host with that id.
    ///
    /// # Panics
    /// When there is none.
    pub fn host(&self, id: &str) -> &SimHost {
        self.hosts.iter().find(|host| host.id == id).expect("it is a host of this pod")
    }

    /// The running domains of a VM on all hosts, each with its host's name.
    ///
    /// # Panics
    /// When the id is none.
    pub fn running(&self, vm: &str) -> Vec<(String, SimulatedDomain)> {
        let vm: VmId = vm.parse().expect("a VM's id is one");
        let domains =
            self.hosts.iter().filter_map(|host| Some((host.name.clone(), host.hypervisor().domain(vm)?)));
        domains.filter(|(_, domain)| domain.state == DomainState::Running).collect()
    }

    /// All that VMs have left, on hosts and in the pool.
    pub fn leftovers(&self) -> Vec<String> {
        let volumes = self.storage.volumes("pool").into_iter().map(|file| format!("volume {file}"));
        self.hosts.iter().flat_map(SimHost::leftovers).chain(volumes).collect()
    }

    /// Waits until nothing is left on hosts and in the pool. Nothing may be left for long, but an agent may still be
    /// at it when the management service has stopped to ask.
    pub async fn is_clean(&self) {
        wait_for("nothing to be left over", SOON, async || {
            let left = self.leftovers();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
    }
}
