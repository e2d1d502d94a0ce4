//! Carrying out what is asked of VMs and volumes.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::{Session, without_nulls};
use crate::arguments::{Delete, IsoVerb, NicVerb, VmCreate, VmVerb, VolumeVerb};
use crate::things::{ACCOUNT, AFFINITY_GROUP, HOST, NETWORK, NIC, OFFERING, TEMPLATE, VM, VOLUME, ZONE};
use crate::{output, wait};

impl Session {
    pub(super) async fn vm(&self, verb: VmVerb) -> anyhow::Result<()> {
        match verb {
            VmVerb::Create(new) => self.vm_create(new).await,
            VmVerb::List(list) => self.list(VM, list).await,
            VmVerb::Show(which) => self.print(&VM.show(&self.api, &which.which).await?).await,
            VmVerb::Delete { which, expunge, wait } => {
                let id = VM.id(&self.api, &which).await?;
                let query = if expunge { "?expunge=true" } else { "" };
                let answer = self.api.delete(&format!("{}{query}", VM.at(&id))).await?;
                self.answered(VM, answer, Some(wait)).await
            }
            VmVerb::Recover(vm) => self.act(VM, &vm.which, "recover", json!({}), Some(vm.wait)).await,
            VmVerb::Resize { which, offering, wait } => {
                let body = json!({"offering": OFFERING.id(&self.api, &offering).await?});
                self.act(VM, &which, "resize", body, Some(wait)).await
            }
            VmVerb::Start(vm) => self.act(VM, &vm.which, "start", json!({}), Some(vm.wait)).await,
            VmVerb::Stop { which, grace, wait } => {
                self.act(VM, &which, "stop", without_nulls(json!({"grace_secs": grace})), Some(wait)).await
            }
            VmVerb::Explain(which) => {
                let id = VM.id(&self.api, &which.which).await?;
                self.print(&self.api.get(&format!("{}/placement", VM.at(&id)), &[]).await?).await
            }
            VmVerb::Reboot(vm) => self.act(VM, &vm.which, "reboot", json!({}), Some(vm.wait)).await,
            VmVerb::Pause(vm) => self.act(VM, &vm.which, "pause", json!({}), Some(vm.wait)).await,
            VmVerb::Resume(vm) => self.act(VM, &vm.which, "resume", json!({}), Some(vm.wait)).await,
            VmVerb::Migrate { which, to, wait } => {
                let body = json!({"host": self.id_if(HOST, to.as_deref()).await?});
                self.act(VM, &which, "migrate", without_nulls(body), Some(wait)).await
            }
            VmVerb::ResetPassword(vm) => self.reset_password(vm).await,
            VmVerb::Nic(NicVerb::Add { which, network, wait }) => {
                let body = json!({"network": NETWORK.id(&self.api, &network).await?});
                self.act(VM, &which, "nics", body, Some(wait)).await
            }
            VmVerb::Nic(NicVerb::Route { nic, switch, wait }) => {
                let answer = self.api.patch(&NIC.at(&nic), &json!({"may_route": switch == "on"})).await?;
                self.answered(VM, answer, Some(wait)).await
            }
            VmVerb::Nic(NicVerb::Remove { nic, wait }) => {
                let answer = self.api.delete(&NIC.at(&nic)).await?;
                self.answered(VM, answer, Some(wait)).await
            }
            VmVerb::Iso(IsoVerb::Attach { which, iso, boot, wait }) => {
                let body = json!({"template": TEMPLATE.id(&self.api, &iso).await?, "boot": boot});
                self.act(VM, &which, "iso", body, Some(wait)).await
            }
            VmVerb::Iso(IsoVerb::Detach(vm)) => {
                let id = VM.id(&self.api, &vm.which).await?;
                let answer = self.api.delete(&format!("{}/iso", VM.at(&id))).await?;
                self.answered(VM, answer, Some(vm.wait)).await
            }
            VmVerb::ConsoleLog { which, bytes } => {
                let id = VM.id(&self.api, &which).await?;
                let query = [("bytes".to_owned(), bytes.to_string())];
                let log = self.api.get(&format!("{}/console-log", VM.at(&id)), &query).await?;
                if self.json {
                    return self.print(&log).await;
                }
                Ok(output::print(log["text"].as_str().unwrap_or_default())?)
            }
        }
    }

    /// Prints a new password at once: should the wait for it come to nothing, it is not lost.
    async fn reset_password(&self, vm: Delete) -> anyhow::Result<()> {
        let id = VM.id(&self.api, &vm.which).await?;
        let answer = self.api.act(&format!("{}/reset-password", VM.at(&id)), &json!({})).await?;
        self.print(if self.json { &answer } else { &answer["object"] }).await?;
        if !vm.wait.wait {
            return Ok(());
        }
        wait::wait(&self.api, &answer["operation"], Duration::from_secs(vm.wait.timeout)).await
    }

    pub(super) async fn volume(&self, verb: VolumeVerb) -> anyhow::Result<()> {
        match verb {
            VolumeVerb::Create(new) => {
                let body = json!({
                    "name": new.name,
                    "zone": ZONE.id(&self.api, &new.zone).await?,
                    "size_gib": new.size_gib,
                    "account": self.id_if(ACCOUNT, new.account.as_deref()).await?,
                });
                self.create(VOLUME, body, Some(new.wait)).await
            }
            VolumeVerb::List(list) => self.list(VOLUME, list).await,
            VolumeVerb::Show(which) => self.print(&VOLUME.show(&self.api, &which.which).await?).await,
            VolumeVerb::Delete(delete) => self.delete(VOLUME, delete).await,
            VolumeVerb::Resize { which, size_gib, wait } => {
                self.act(VOLUME, &which, "resize", json!({"size_gib": size_gib}), Some(wait)).await
            }
            VolumeVerb::Attach { which, vm, wait } => {
                let body = json!({"vm": VM.id(&self.api, &vm).await?});
                self.act(VOLUME, &which, "attach", body, Some(wait)).await
            }
            VolumeVerb::Detach(volume) => {
                self.act(VOLUME, &volume.which, "detach", json!({}), Some(volume.wait)).await
            }
        }
    }

    async fn vm_create(&self, new: VmCreate) -> anyhow::Result<()> {
        let api = &self.api;
        let mut networks = Vec::new();
        for network in &new.networks {
            networks.push(NETWORK.id(api, network).await?);
        }
        let text = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let keys = new.ssh_key_file.as_deref().map(text).transpose()?.unwrap_or_default();
        let keys: Vec<&str> =
            keys.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let body = json!({
            "name": new.name,
            "offering": OFFERING.id(api, &new.offering).await?,
            "template": TEMPLATE.id(api, &new.template).await?,
            "networks": networks,
            "ssh_keys": keys,
            "user_data": new.user_data_file.as_deref().map(text).transpose()?,
            "affinity_group": self.id_if(AFFINITY_GROUP, new.affinity_group.as_deref()).await?,
            "account": self.id_if(ACCOUNT, new.account.as_deref()).await?,
        });
        if new.dry_run {
            return self.print(&self.api.post("/v1/placements", &without_nulls(body)).await?).await;
        }
        self.create(VM, body, Some(new.wait)).await
    }
}
