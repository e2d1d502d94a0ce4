//! What must hold of a cloud once all has converged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use podzol_test_support::text;
use serde_json::{Value, json};

use super::World;
use crate::routers;

impl World {
    /// What must hold when all has converged: what is wanted is there, and nothing else; nothing is given twice, and what
    /// accounts have in use is the sum of what they have.
    pub(crate) async fn holds(&mut self) -> Result<(), String> {
        let admin = self.admin();
        let vms = admin.list("/v1/vms?limit=500").await;
        let volumes = admin.list("/v1/volumes?limit=500").await;
        let networks = admin.list("/v1/networks?limit=500").await;
        // That of source NAT comes with the router, and is nobody's to count.
        let mut public_ips = admin.list("/v1/public-ips?limit=500").await;
        public_ips.retain(|address| address["source_nat"] == false);
        let consoles = admin.list("/v1/console-sessions?limit=500").await;
        routers::documents_are(self, &vms).await?;
        let all: Vec<Value> = vms.iter().cloned().chain(routers::vms(self).await).collect();
        self.domains_are(&all)?;
        self.drives_are(&vms)?;
        self.files_are(&volumes)?;
        self.templates_are(&admin.list("/v1/templates?limit=500").await, volumes.is_empty())?;
        self.exports_are().await?;
        self.given_is_sum(&all, &volumes).await?;
        let nics: Vec<&Value> = vms.iter().flat_map(|vm| list(&vm["nics"])).collect();
        once("MAC address", nics.iter().map(|nic| nic["mac"].to_string()))?;
        once("address", nics.iter().map(|nic| format!("{} {}", nic["network"], nic["address"])))?;
        let tag = |network: &Value| format!("{} {} {}", network["zone"], network["vlan"], network["vxlan"]);
        once("VLAN or VXLAN", networks.iter().map(tag))?;
        for account in admin.list("/v1/accounts").await {
            if account["name"] == "system" {
                // It has the zone's networks for routers, which no list shows.
                continue;
            }
            let shown = admin.get(&format!("/v1/accounts/{}", text(&account, "id"))).await.ok();
            let own = |things: &[Value]| -> Vec<Value> {
                things.iter().filter(|thing| thing["account"] == shown["id"]).cloned().collect()
            };
            let (vms, volumes) = (own(&vms), own(&volumes));
            let sum = |things: &[Value], path: &str| -> u64 {
                things.iter().map(|thing| thing.pointer(path).and_then(Value::as_u64).unwrap_or(0)).sum()
            };
            let expected = json!({
                "vms": vms.len(), "vcpus": sum(&vms, "/size/vcpus"), "memory_mib": sum(&vms, "/size/memory_mib"),
                "volumes": volumes.len(), "storage_bytes": sum(&volumes, "/size_bytes"),
                "networks": own(&networks).len(), "addresses": vms.iter().flat_map(|vm| list(&vm["nics"])).count(),
                "public_ips": own(&public_ips).len(), "console_sessions": own(&consoles).len(),
            });
            if shown["in_use"] != expected {
                return Err(format!(
                    "{} uses {} by its account, {expected} by sum",
                    shown["name"], shown["in_use"]
                ));
            }
        }
        Ok(())
    }

    /// Whether hosts and pools have given out what those take that are on them, and no more or less.
    async fn given_is_sum(&self, vms: &[Value], volumes: &[Value]) -> Result<(), String> {
        for host in self.admin().list("/v1/hosts?limit=500").await {
            let on_it: Vec<_> =
                vms.iter().filter(|vm| vm["host"] == host["id"] || vm["moving_to"] == host["id"]).collect();
            let sum = |of: &str| on_it.iter().filter_map(|vm| vm["size"][of].as_u64()).sum::<u64>();
            let sums = json!([on_it.len(), sum("vcpus"), sum("memory_mib")]);
            let given = json!([host["vms"], host["cpus_allocated"], host["memory_allocated_mib"]]);
            if given != sums {
                return Err(format!("host {} has given out {given}, its VMs take {sums}", host["name"]));
            }
        }
        for pool in self.admin().list("/v1/pools?limit=500").await {
            let in_it = volumes.iter().filter(|volume| volume["pool"] == pool["id"]);
            let sum = in_it.filter_map(|volume| volume["size_bytes"].as_u64()).sum::<u64>();
            if pool["allocated_bytes"] != sum {
                return Err(format!(
                    "pool {} has given out {}, not {sum}",
                    pool["name"], pool["allocated_bytes"]
                ));
            }
        }
        Ok(())
    }

    /// Whether exactly the VMs that should run do, each on its host.
    fn domains_are(&self, vms: &[Value]) -> Result<(), String> {
        let host_name = |id: &str| self.pod.host(id).name.clone();
        let wanted: BTreeSet<(String, String)> = vms
            .iter()
            .filter(|vm| ["running", "paused"].iter().any(|state| vm["state"] == *state))
            .map(|vm| (text(vm, "id"), host_name(vm["host"].as_str().unwrap_or_default())))
            .collect();
        let found: BTreeSet<(String, String)> = self
            .pod
            .hosts
            .iter()
            .flat_map(|host| {
                host.hypervisor().domains().into_iter().map(|domain| (domain, host.name.clone()))
            })
            .map(|(domain, host)| (domain.record.plan.vm.to_string(), host))
            .collect();
        if wanted == found { Ok(()) } else { Err(format!("hosts have {found:?} for {wanted:?}")) }
    }

    /// Whether exactly the VMs that run with an ISO have one in their drive.
    fn drives_are(&self, vms: &[Value]) -> Result<(), String> {
        let wanted: BTreeSet<String> =
            vms.iter().filter(|vm| !vm["iso"].is_null()).map(|vm| text(vm, "id")).collect();
        let domains = self.pod.hosts.iter().flat_map(|host| host.hypervisor().domains());
        let wrong = domains.map(|domain| (domain.record.plan.vm.to_string(), domain.devices.cd));
        match wrong.into_iter().find(|(vm, cd)| cd.is_some() != wanted.contains(vm)) {
            Some((vm, cd)) => Err(format!("VM {vm} has {cd:?} in its drive")),
            None => Ok(()),
        }
    }

    /// Whether the pool has the files of all volumes that are whole, and of no others.
    fn files_are(&self, volumes: &[Value]) -> Result<(), String> {
        let files: BTreeSet<String> = self.pod.storage.volumes("pool").into_iter().collect();
        let file = |volume: &Value| format!("{}.qcow2", text(volume, "id"));
        let note = |volume: &Value| format!("{}.json", text(volume, "id"));
        let wanted: BTreeSet<String> =
            volumes.iter().flat_map(|volume| [file(volume), note(volume)]).collect();
        // One whose making was called off is made by the next start.
        let whole = volumes.iter().filter(|volume| volume["state"] == "ready").map(file);
        let missing: Vec<String> = whole.filter(|file| !files.contains(file)).collect();
        let foreign: Vec<&String> = files.difference(&wanted).collect();
        if missing.is_empty() && foreign.is_empty() {
            return Ok(());
        }
        Err(format!("the pool lacks {missing:?} and has {foreign:?} for nobody"))
    }

    /// Whether the pool has the files of all templates that are ready, and of no others: of those that were deleted, files
    /// may stay for a while, but not once no volume is there that could be based on them.
    fn templates_are(&self, templates: &[Value], without_volumes: bool) -> Result<(), String> {
        let suffix = |template: &Value| if template["format"] == "iso" { "iso" } else { "qcow2" };
        let ready = templates.iter().filter(|template| template["state"] == "ready");
        let wanted: BTreeSet<String> =
            ready.map(|template| format!("{}.{}", text(template, "sha256"), suffix(template))).collect();
        let found: BTreeSet<String> = self.pod.storage.templates("pool").into_iter().collect();
        let is_whole = if without_volumes { wanted == found } else { wanted.is_subset(&found) };
        if is_whole { Ok(()) } else { Err(format!("the pool has templates {found:?} for {wanted:?}")) }
    }

    /// Whether exactly the pools that there are are exported, each to all hosts.
    async fn exports_are(&self) -> Result<(), String> {
        let hosts = self.admin().list("/v1/hosts?limit=500").await;
        let addresses = hosts.iter().filter_map(|host| host["address"].as_str()?.rsplit_once(':'));
        let mut addresses: Vec<String> = addresses.map(|(address, _)| address.to_owned()).collect();
        addresses.sort();
        let pools = self.admin().list("/v1/pools?limit=500").await;
        let wanted: BTreeMap<PathBuf, Vec<String>> =
            pools.iter().map(|pool| (text(pool, "path").into(), addresses.clone())).collect();
        let found = self.pod.storage.exports.all_of_them();
        if wanted == found { Ok(()) } else { Err(format!("exported are {found:?} for {wanted:?}")) }
    }
}

/// The items of a JSON array; none of anything else.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn once(what: &str, all: impl Iterator<Item = String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for one in all {
        if !seen.insert(one.clone()) {
            return Err(format!("{what} {one} is given twice"));
        }
    }
    Ok(())
}
