//! Carrying out what is asked of networks, routers and rules.

use serde_json::{Value, json};

use super::{Session, without_nulls};
use crate::arguments::{
    ChangeRouter, EgressCreate, EgressUpdate, FirewallCreate, FirewallUpdate, List, NetworkVerb, Packets,
    PortForwardCreate, PortForwardUpdate, PublicIpVerb, RouterVerb, RuleVerb, StaticNatCreate,
    StaticNatUpdate, Verb, Wait,
};
use crate::output;
use crate::things::{
    ACCOUNT, EGRESS_RULE, FIREWALL_RULE, HELD_ADDRESS, Kind, NETWORK, PORT_FORWARD, PUBLIC_IP, ROUTER,
    STATIC_NAT, VM, ZONE,
};

/// What a rule is to be, and whether to wait for it.
type Asked = (Value, Wait);

impl Session {
    pub(super) async fn network(&self, verb: NetworkVerb) -> anyhow::Result<()> {
        match verb {
            NetworkVerb::Common(Verb::Create(new)) => {
                let account = self.id_if(ACCOUNT, new.account.as_deref()).await?;
                let zone = ZONE.id(&self.api, &new.zone).await?;
                let body = json!({
                    "name": new.name, "zone": zone, "cidr": new.cidr, "account": account,
                    "isolation": new.isolation, "router": new.router.map(|router| router == "yes"),
                    "egress": new.egress, "ipv6": new.ipv6.then_some(true),
                });
                self.create(NETWORK, body, None).await
            }
            NetworkVerb::Common(verb) => self.common(NETWORK, verb).await,
            NetworkVerb::Update { which, egress, ipv6, wait } => {
                let id = NETWORK.id(&self.api, &which).await?;
                let body = without_nulls(json!({"egress": egress, "ipv6": ipv6.then_some(true)}));
                let answer = self.api.patch(&NETWORK.at(&id), &body).await?;
                self.answered(NETWORK, answer, Some(wait)).await
            }
        }
    }

    pub(super) async fn router(&self, verb: RouterVerb) -> anyhow::Result<()> {
        match verb {
            RouterVerb::List(list) => self.list(ROUTER, list).await,
            RouterVerb::Show(router) => {
                let id = self.router_id(&router.which).await?;
                self.print(&self.api.get(&ROUTER.at(&id), &[]).await?).await
            }
            RouterVerb::Restart(router) => self.change_router(router, "restart").await,
            RouterVerb::Replace(router) => self.change_router(router, "replace").await,
            RouterVerb::Diagnose(asked) => self.diagnose_router(asked).await,
            RouterVerb::Capture(asked) => self.capture_router(asked).await,
            RouterVerb::Logs(router) => {
                let id = self.router_id(&router.which).await?;
                let logs = self.api.get(&format!("{}/logs", ROUTER.at(&id)), &[]).await?;
                if self.json {
                    return self.print(&logs).await;
                }
                let lines = logs["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
                Ok(output::print(&lines.map(|line| format!("{line}\n")).collect::<String>())?)
            }
        }
    }

    async fn change_router(&self, router: ChangeRouter, what: &str) -> anyhow::Result<()> {
        let id = self.router_id(&router.which).await?;
        self.act(ROUTER, &id, what, json!({}), Some(router.wait)).await
    }

    /// The id of a router by that, or by the name of its account.
    pub(super) async fn router_id(&self, which: &str) -> anyhow::Result<String> {
        // What looks like an id is one; an account's name never does.
        let id = ACCOUNT.id(&self.api, which).await?;
        if id == which {
            return Ok(id);
        }
        let found = self.api.list(ROUTER.path, &[("account".into(), id)]).await?;
        match found.as_slice() {
            [one] => Ok(one["id"].as_str().unwrap_or_default().to_owned()),
            [] => anyhow::bail!("account {which} has no router now"),
            _ => anyhow::bail!("account {which} has {} routers; give the id of one", found.len()),
        }
    }

    pub(super) async fn public_ip(&self, verb: PublicIpVerb) -> anyhow::Result<()> {
        match verb {
            PublicIpVerb::Allocate { zone, account, wait } => {
                let account = self.id_if(ACCOUNT, account.as_deref()).await?;
                let body = json!({"zone": ZONE.id(&self.api, &zone).await?, "account": account});
                self.create(PUBLIC_IP, body, Some(wait)).await
            }
            PublicIpVerb::List(list) => self.list(PUBLIC_IP, list).await,
            PublicIpVerb::Held => self.list(HELD_ADDRESS, List { filters: vec![] }).await,
            PublicIpVerb::Show(which) => self.print(&PUBLIC_IP.show(&self.api, &which.which).await?).await,
            PublicIpVerb::Release(release) => self.delete(PUBLIC_IP, release).await,
        }
    }

    pub(super) async fn rule<C: clap::Args, U: clap::Args>(
        &self,
        kind: Kind,
        verb: RuleVerb<C, U>,
        create: impl AsyncFnOnce(C) -> anyhow::Result<Asked>,
        update: impl AsyncFnOnce(U) -> anyhow::Result<(String, Asked)>,
    ) -> anyhow::Result<()> {
        match verb {
            RuleVerb::Create(new) => {
                let (body, wait) = create(new).await?;
                self.create(kind, body, Some(wait)).await
            }
            RuleVerb::List(list) => self.list(kind, list).await,
            RuleVerb::Show(which) => self.print(&kind.show(&self.api, &which.which).await?).await,
            RuleVerb::Update(change) => {
                let (which, (body, wait)) = update(change).await?;
                let id = kind.id(&self.api, &which).await?;
                let answer = self.api.patch(&kind.at(&id), &without_nulls(body)).await?;
                self.answered(kind, answer, Some(wait)).await
            }
            RuleVerb::Delete(delete) => self.delete(kind, delete).await,
        }
    }

    pub(super) async fn port_forward(
        &self,
        verb: RuleVerb<PortForwardCreate, PortForwardUpdate>,
    ) -> anyhow::Result<()> {
        let create = async |new: PortForwardCreate| {
            let body = json!({
                "public_ip": PUBLIC_IP.id(&self.api, &new.public_ip).await?, "transport": new.transport,
                "ports": new.ports, "vm": VM.id(&self.api, &new.vm).await?,
                "network": self.id_if(NETWORK, new.network.as_deref()).await?, "to_port": new.to_port,
            });
            Ok((body, new.wait))
        };
        let update = async |new: PortForwardUpdate| {
            let body = json!({
                "transport": new.transport, "ports": new.ports, "to_port": new.to_port,
                "vm": self.id_if(VM, new.vm.as_deref()).await?,
                "network": self.id_if(NETWORK, new.network.as_deref()).await?,
            });
            Ok((new.which, (body, new.wait)))
        };
        self.rule(PORT_FORWARD, verb, create, update).await
    }

    pub(super) async fn static_nat(
        &self,
        verb: RuleVerb<StaticNatCreate, StaticNatUpdate>,
    ) -> anyhow::Result<()> {
        let create = async |new: StaticNatCreate| {
            let body = json!({
                "public_ip": PUBLIC_IP.id(&self.api, &new.public_ip).await?,
                "vm": VM.id(&self.api, &new.vm).await?,
                "network": self.id_if(NETWORK, new.network.as_deref()).await?,
            });
            Ok((body, new.wait))
        };
        let update = async |new: StaticNatUpdate| {
            let body = json!({
                "vm": VM.id(&self.api, &new.vm).await?,
                "network": self.id_if(NETWORK, new.network.as_deref()).await?,
            });
            Ok((new.which, (body, new.wait)))
        };
        self.rule(STATIC_NAT, verb, create, update).await
    }

    pub(super) async fn firewall(
        &self,
        verb: RuleVerb<FirewallCreate, FirewallUpdate>,
    ) -> anyhow::Result<()> {
        let create = async |new: FirewallCreate| {
            let mut body = packets(&new.packets, true);
            body["public_ip"] = self.id_if(PUBLIC_IP, new.public_ip.as_deref()).await?.into();
            body["network"] = self.id_if(NETWORK, new.network.as_deref()).await?.into();
            body["vm"] = self.id_if(VM, new.vm.as_deref()).await?.into();
            body["sources"] = given(new.sources);
            Ok((body, new.wait))
        };
        let update = async |new: FirewallUpdate| {
            let mut body = packets(&new.packets, false);
            body["sources"] = given(new.sources);
            Ok((new.which, (body, new.wait)))
        };
        self.rule(FIREWALL_RULE, verb, create, update).await
    }

    pub(super) async fn egress(&self, verb: RuleVerb<EgressCreate, EgressUpdate>) -> anyhow::Result<()> {
        let create = async |new: EgressCreate| {
            let mut body = packets(&new.packets, true);
            body["network"] = NETWORK.id(&self.api, &new.network).await?.into();
            body["sources"] = given(new.sources);
            body["destinations"] = given(new.destinations);
            Ok((body, new.wait))
        };
        let update = async |new: EgressUpdate| {
            let mut body = packets(&new.packets, false);
            body["sources"] = given(new.sources);
            body["destinations"] = given(new.destinations);
            Ok((new.which, (body, new.wait)))
        };
        self.rule(EGRESS_RULE, verb, create, update).await
    }
}

/// The packets that a rule is about; all, if a new one says nothing.
fn packets(packets: &Packets, is_new: bool) -> Value {
    let protocol = packets.protocol.clone().or_else(|| is_new.then(|| "all".to_owned()));
    json!({
        "protocol": protocol, "ports": packets.ports, "icmp_type": packets.icmp_type,
        "icmp_code": packets.icmp_code,
    })
}

/// What was given several times; nothing if it was not.
fn given(texts: Vec<String>) -> Value {
    if texts.is_empty() { Value::Null } else { texts.into() }
}
