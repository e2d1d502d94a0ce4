//! Carrying a command out.

mod balancer;
mod console;
mod network;
mod router;
mod template;
mod vm;
mod zone;

use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::arguments::{
    AccountVerb, Arguments, Command, Delete, EventVerb, HostVerb, List, OfferingVerb, OperationVerb,
    SetLimits, Verb, Wait,
};
use crate::names::Names;
use crate::things::{
    ACCOUNT, AFFINITY_GROUP, CAPACITY, EVENT, FINDING, HOST, KEY, Kind, NETWORK, OFFERING, OPERATION, POD,
    POOL, STORAGE_SERVER, TRAFFIC, USER, VM, ZONE,
};
use crate::{output, wait};

struct Session {
    api: Api,
    json: bool,
    names: Names,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let session = Session { api: Api::new(&arguments)?, json: arguments.json, names: Names::default() };
    let api = &session.api;
    match arguments.command {
        Command::Zone(verb) => session.zone(verb).await,
        Command::Pod(Verb::Create(new)) => {
            let body = json!({"name": new.name, "zone": ZONE.id(api, &new.zone).await?});
            session.create(POD, body, None).await
        }
        Command::Pod(verb) => session.common(POD, verb).await,
        Command::Host(verb) => session.host(verb).await,
        Command::StorageServer(Verb::Create(new)) => {
            let body = json!({"name": new.name, "pod": POD.id(api, &new.pod).await?});
            session.create(STORAGE_SERVER, body, None).await
        }
        Command::StorageServer(verb) => session.common(STORAGE_SERVER, verb).await,
        Command::Pool(Verb::Create(new)) => {
            let server = STORAGE_SERVER.id(api, &new.storage_server).await?;
            let body = json!({"name": new.name, "storage_server": server, "path": new.path});
            session.create(POOL, body, Some(new.wait)).await
        }
        Command::Pool(verb) => session.common(POOL, verb).await,
        Command::Offering(verb) => session.offering(verb).await,
        Command::Template(verb) => session.template(verb).await,
        Command::Account(verb) => session.account(verb).await,
        Command::User(Verb::Create(new)) => {
            let account = session.id_if(ACCOUNT, new.account.as_deref()).await?;
            session.create(USER, json!({"name": new.name, "account": account, "role": new.role}), None).await
        }
        Command::User(verb) => session.common(USER, verb).await,
        Command::Key(Verb::Create(new)) => {
            let user = session.id_if(USER, new.user.as_deref()).await?;
            session.create(KEY, json!({"name": new.name, "user": user}), None).await
        }
        Command::Key(verb) => session.common(KEY, verb).await,
        Command::Network(verb) => session.network(verb).await,
        Command::Router(verb) => session.router(verb).await,
        Command::PublicIp(verb) => session.public_ip(verb).await,
        Command::PortForward(verb) => session.port_forward(verb).await,
        Command::StaticNat(verb) => session.static_nat(verb).await,
        Command::Firewall(verb) => session.firewall(verb).await,
        Command::Egress(verb) => session.egress(verb).await,
        Command::LoadBalancer(verb) => session.load_balancer(verb).await,
        Command::AffinityGroup(Verb::Create(new)) => {
            let account = session.id_if(ACCOUNT, new.account.as_deref()).await?;
            let body = json!({"name": new.name, "policy": new.policy, "account": account});
            session.create(AFFINITY_GROUP, body, None).await
        }
        Command::AffinityGroup(verb) => session.common(AFFINITY_GROUP, verb).await,
        Command::Doctor { repair } => session.doctor(repair).await,
        Command::Capacity => session.capacity().await,
        Command::Vm(verb) => session.vm(verb).await,
        Command::Console(console) => session.console(console).await,
        Command::ConsoleSession(verb) => session.console_session(verb).await,
        Command::ConsoleProxy(verb) => session.console_proxy(verb).await,
        Command::ConsoleCertificate(verb) => session.console_certificate(verb).await,
        Command::Volume(verb) => session.volume(verb).await,
        Command::Operation(verb) => session.operation(verb).await,
        Command::Event(EventVerb::List(list)) => session.list(EVENT, list).await,
        Command::Completion { .. } => Ok(()),
    }
}

impl Session {
    /// Prints one thing: as the API gave it, or for people, with names in place of ids.
    async fn print(&self, thing: &Value) -> anyhow::Result<()> {
        if self.json {
            return Ok(output::print(&format!("{thing:#}\n"))?);
        }
        let mut thing = thing.clone();
        self.names.put(&self.api, &mut thing).await;
        Ok(output::print(&output::show(&thing))?)
    }

    async fn id_if(&self, kind: Kind, which: Option<&str>) -> anyhow::Result<Option<String>> {
        match which {
            Some(which) => Ok(Some(kind.id(&self.api, which).await?)),
            None => Ok(None),
        }
    }

    async fn common<C: clap::Args>(&self, kind: Kind, verb: Verb<C>) -> anyhow::Result<()> {
        match verb {
            Verb::Create(_) => Ok(()),
            Verb::List(list) => self.list(kind, list).await,
            Verb::Show(which) => self.print(&kind.show(&self.api, &which.which).await?).await,
            Verb::Delete(delete) => self.delete(kind, delete).await,
        }
    }

    async fn create(&self, kind: Kind, body: Value, wait: Option<Wait>) -> anyhow::Result<()> {
        let answer = self.api.post(kind.path, &without_nulls(body)).await?;
        if let Some(secret) = lost_secret(&answer) {
            let noun = kind.noun;
            anyhow::bail!(
                "the {noun} was made, but the answer with its {secret} was lost: delete it, and make another"
            );
        }
        self.answered(kind, answer, wait).await
    }

    /// Prints what a call that started work answered, after waiting for it if asked to.
    async fn answered(&self, kind: Kind, answer: Value, wait: Option<Wait>) -> anyhow::Result<()> {
        let Some(operation) = answer.get("operation") else {
            return self.print(&answer).await;
        };
        if let Some(Wait { wait: true, timeout }) = wait {
            wait::wait(&self.api, operation, Duration::from_secs(timeout)).await?;
            let id = answer["object"]["id"].as_str().unwrap_or_default();
            match self.api.get(&kind.at(id), &[]).await {
                Ok(now) => return self.print(&now).await,
                Err(crate::api::ApiError::Refused(problem)) if problem.status == 404 => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.print(if self.json { &answer } else { &answer["object"] }).await?;
        if !self.json {
            eprintln!("operation {} goes on", operation["id"].as_str().unwrap_or_default());
        }
        Ok(())
    }

    async fn list(&self, kind: Kind, list: List) -> anyhow::Result<()> {
        let mut filters = Vec::new();
        for filter in &list.filters {
            let (field, value) =
                filter.split_once('=').with_context(|| format!("--filter {filter}: must be FIELD=VALUE"))?;
            let value = match field {
                "account" => ACCOUNT.id(&self.api, value).await?,
                "network" => NETWORK.id(&self.api, value).await?,
                "host" => HOST.id(&self.api, value).await?,
                "pod" => POD.id(&self.api, value).await?,
                "vm" => VM.id(&self.api, value).await?,
                _ => value.to_owned(),
            };
            filters.push((field.to_owned(), value));
        }
        self.print_list(kind, self.api.list(kind.path, &filters).await?).await
    }

    async fn print_list(&self, kind: Kind, mut things: Vec<Value>) -> anyhow::Result<()> {
        if self.json {
            return Ok(output::print(&format!("{:#}\n", Value::Array(things)))?);
        }
        for thing in &mut things {
            self.names.put(&self.api, thing).await;
        }
        Ok(output::print(&output::list(kind, &things))?)
    }

    async fn delete(&self, kind: Kind, delete: Delete) -> anyhow::Result<()> {
        let id = kind.id(&self.api, &delete.which).await?;
        let answer = self.api.delete(&kind.at(&id)).await?;
        if answer.is_null() {
            return Ok(());
        }
        self.answered(kind, answer, Some(delete.wait)).await
    }

    async fn act(
        &self,
        kind: Kind,
        which: &str,
        verb: &str,
        body: Value,
        wait: Option<Wait>,
    ) -> anyhow::Result<()> {
        let id = kind.id(&self.api, which).await?;
        let answer = self.api.act(&format!("{}/{verb}", kind.at(&id)), &body).await?;
        self.answered(kind, answer, wait).await
    }

    async fn capacity(&self) -> anyhow::Result<()> {
        let mut answer = self.api.get("/v1/capacity", &[]).await?;
        if self.json {
            return self.print(&answer).await;
        }
        let rows = answer["items"].as_array_mut().map(std::mem::take);
        let mut rows = rows.ok_or_else(|| anyhow::anyhow!("the answer has no list"))?;
        for row in &mut rows {
            self.names.put(&self.api, row).await;
        }
        Ok(output::print(&output::list(CAPACITY, &rows))?)
    }

    async fn doctor(&self, repair: bool) -> anyhow::Result<()> {
        let diagnosis = match repair {
            true => self.api.act("/v1/doctor/repair", &Value::Null).await?,
            false => self.api.get("/v1/doctor", &[]).await?,
        };
        let findings = diagnosis["findings"].as_array().map(Vec::as_slice);
        let findings = findings.ok_or_else(|| anyhow::anyhow!("the answer says nothing of findings"))?;
        if self.json {
            self.print(&diagnosis).await?;
        } else if findings.is_empty() {
            let asked = |what: &str| counted(diagnosis[what].as_u64().unwrap_or_default(), what);
            output::print(&format!("all is well: {} and {} asked\n", asked("hosts"), asked("pools")))?;
        } else {
            output::print(&output::list(FINDING, findings))?;
        }
        anyhow::ensure!(findings.is_empty(), counted(findings.len() as u64, "differences"));
        Ok(())
    }

    async fn offering(&self, verb: OfferingVerb) -> anyhow::Result<()> {
        match verb {
            OfferingVerb::Common(Verb::Create(new)) => {
                let mut body = json!({
                    "name": new.name, "vcpus": new.vcpus, "memory_mib": new.memory_mib, "disk_gib": new.disk_gib,
                    "network_mbps": new.network_mbps, "iops": new.iops, "tags": new.tags,
                });
                if let Some(share) = new.cpu_share {
                    body["cpu_share"] = share.into();
                }
                self.create(OFFERING, body, None).await
            }
            OfferingVerb::Common(verb) => self.common(OFFERING, verb).await,
            OfferingVerb::Limit(SetLimits { which, limits }) => {
                self.set(OFFERING, &which, "limits", &limits).await
            }
        }
    }

    async fn account(&self, verb: AccountVerb) -> anyhow::Result<()> {
        match verb {
            AccountVerb::Create(new) => self.create(ACCOUNT, json!({"name": new.name}), None).await,
            AccountVerb::List(list) => self.list(ACCOUNT, list).await,
            AccountVerb::Show(which) => self.print(&ACCOUNT.show(&self.api, &which.which).await?).await,
            AccountVerb::Delete(delete) => self.delete(ACCOUNT, delete).await,
            AccountVerb::Limit(SetLimits { which, limits }) => {
                self.set(ACCOUNT, &which, "limits", &limits).await
            }
            AccountVerb::Traffic { which, from, to } => {
                let path = format!("{}/traffic", ACCOUNT.at(&ACCOUNT.id(&self.api, &which).await?));
                let time = [("from", from), ("to", to)];
                let time = time.into_iter().filter_map(|(field, at)| Some((field.to_owned(), at?)));
                self.print_list(TRAFFIC, self.api.list(&path, &time.collect::<Vec<_>>()).await?).await
            }
            AccountVerb::Quota { which, quotas } => self.set(ACCOUNT, &which, "quotas", &quotas).await,
        }
    }

    /// Changes numbers in a group of them, such as `vms=5` or `vms=none`; the others stay.
    async fn set(&self, kind: Kind, which: &str, group: &str, changes: &[String]) -> anyhow::Result<()> {
        let mut numbers = kind.show(&self.api, which).await?;
        let id = numbers["id"].as_str().unwrap_or_default().to_owned();
        let mut numbers = match numbers.get_mut(group) {
            Some(numbers) => numbers.take(),
            // An offering shows its limits among its sizes.
            None => json!({"network_mbps": numbers["network_mbps"], "iops": numbers["iops"]}),
        };
        for change in changes {
            let (what, most) =
                change.split_once('=').with_context(|| format!("{change}: must be WHAT=MOST"))?;
            numbers[what] = match most {
                "none" => Value::Null,
                most => {
                    most.parse::<u64>().with_context(|| format!("{change}: must be a number or none"))?.into()
                }
            };
        }
        self.print(&self.api.patch(&kind.at(&id), &json!({ group: numbers })).await?).await
    }

    async fn host(&self, verb: HostVerb) -> anyhow::Result<()> {
        match verb {
            HostVerb::Create(new) => {
                let body = json!({"name": new.name, "pod": POD.id(&self.api, &new.pod).await?});
                self.create(HOST, body, None).await
            }
            HostVerb::List(list) => self.list(HOST, list).await,
            HostVerb::Show(which) => self.print(&HOST.show(&self.api, &which.which).await?).await,
            HostVerb::Delete(delete) => self.delete(HOST, delete).await,
            HostVerb::Tag { which, tags } => {
                let id = HOST.id(&self.api, &which).await?;
                let answer = self.api.patch(&HOST.at(&id), &json!({"tags": tags})).await?;
                self.print(&answer["object"]).await
            }
            HostVerb::Maintenance { which, switch, wait } => {
                let id = HOST.id(&self.api, &which).await?;
                let body = json!({"maintenance": switch == "on"});
                let answer = self.api.patch(&HOST.at(&id), &body).await?;
                if answer["operation"].is_null() {
                    return self.print(if self.json { &answer } else { &answer["object"] }).await;
                }
                self.answered(HOST, answer, Some(wait)).await
            }
        }
    }

    async fn operation(&self, verb: OperationVerb) -> anyhow::Result<()> {
        match verb {
            OperationVerb::List(list) => self.list(OPERATION, list).await,
            OperationVerb::Show(which) => {
                self.print(&self.api.get(&OPERATION.at(&which.which), &[]).await?).await
            }
            OperationVerb::Wait { which, timeout } => {
                let operation = self.api.get(&OPERATION.at(&which), &[]).await?;
                wait::wait(&self.api, &operation, Duration::from_secs(timeout)).await
            }
            OperationVerb::Cancel(which) => {
                self.act(OPERATION, &which.which, "cancel", json!({}), None).await
            }
            OperationVerb::Retry(Delete { which, wait }) => {
                let path = OPERATION.at(&which);
                let operation = self.api.act(&format!("{path}/retry"), &json!({})).await?;
                if !wait.wait {
                    return self.print(&operation).await;
                }
                wait::wait(&self.api, &operation, Duration::from_secs(wait.timeout)).await?;
                self.print(&self.api.get(&path, &[]).await?).await
            }
        }
    }
}

/// What is told once, in the first answer, and is not in this one, which came when that was asked for again.
fn lost_secret(answer: &Value) -> Option<&'static str> {
    ["secret", "join_token"].into_iter().find(|field| answer[*field] == "")
}

/// A body without the fields that were left out.
fn without_nulls(body: Value) -> Value {
    match body {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
        }
        body => body,
    }
}

/// So many things, of which `things` is the plural.
fn counted(number: u64, things: &str) -> String {
    let one = if number == 1 { things.trim_end_matches('s') } else { things };
    format!("{number} {one}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_secret_is_known() {
        assert_eq!(lost_secret(&json!({ "key": {}, "secret": "" })), Some("secret"));
        assert_eq!(lost_secret(&json!({ "host": {}, "join_token": "" })), Some("join_token"));
        assert_eq!(lost_secret(&json!({ "key": {}, "secret": "podzol.x" })), None);
        assert_eq!(lost_secret(&json!({ "name": "web" })), None);
    }
}
