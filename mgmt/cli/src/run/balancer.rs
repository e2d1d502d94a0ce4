//! Carrying out what is asked of load balancers.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Session, without_nulls};
use crate::arguments::{Check, Http, LoadBalancerCreate, LoadBalancerUpdate, RuleVerb};
use crate::things::{LOAD_BALANCER, PUBLIC_IP, VM};

impl Session {
    pub(super) async fn load_balancer(
        &self,
        verb: RuleVerb<LoadBalancerCreate, LoadBalancerUpdate>,
    ) -> anyhow::Result<()> {
        let create = async |new: LoadBalancerCreate| {
            let http = http_of(&new.protocol, &new.http)?;
            let transport = if http.is_null() { new.protocol.as_str() } else { "tcp" };
            let body = json!({
                "name": new.name, "public_ip": PUBLIC_IP.id(&self.api, &new.public_ip).await?,
                "transport": transport, "port": new.port, "method": new.method, "http": http,
                "members": self.members(&new.members).await?, "check": check(&new.check)?,
            });
            Ok((body, new.wait))
        };
        let update = async |new: LoadBalancerUpdate| {
            let members = match new.members.is_empty() {
                false => Some(self.members(&new.members).await?),
                true if new.drain.is_empty() && new.undrain.is_empty() => None,
                true => Some(self.drained(&new).await?),
            };
            let mut http = requests(&new.http)?;
            for (switch, is_on) in [("no_cookie", new.no_cookie), ("no_tls", new.no_tls)] {
                if is_on {
                    http[switch] = true.into();
                }
            }
            let body = json!({
                "port": new.port, "method": new.method, "members": members, "check": check(&new.check)?,
                "no_check": new.no_check.then_some(true), "http": says_something(http),
            });
            Ok((new.which, (body, new.wait)))
        };
        self.rule(LOAD_BALANCER, verb, create, update).await
    }

    /// Members as they are given: `VM[:PORT[:WEIGHT]]`.
    async fn members(&self, texts: &[String]) -> anyhow::Result<Vec<Value>> {
        let mut members = Vec::with_capacity(texts.len());
        for text in texts {
            let mut parts = text.split(':');
            let vm = VM.id(&self.api, parts.next().unwrap_or_default()).await?;
            let mut member = json!({ "vm": vm });
            for field in ["port", "weight"] {
                let Some(part) = parts.next() else { break };
                let number: u16 =
                    part.parse().with_context(|| format!("--member {text}: must be VM[:PORT[:WEIGHT]]"))?;
                member[field] = number.into();
            }
            anyhow::ensure!(parts.next().is_none(), "--member {text}: must be VM[:PORT[:WEIGHT]]");
            members.push(member);
        }
        Ok(members)
    }

    /// The members of a balancer as they are, but for who drains.
    async fn drained(&self, new: &LoadBalancerUpdate) -> anyhow::Result<Vec<Value>> {
        let balancer = LOAD_BALANCER.show(&self.api, &new.which).await?;
        let mut members = balancer["members"].as_array().cloned().unwrap_or_default();
        for (names, drains) in [(&new.drain, true), (&new.undrain, false)] {
            for name in names {
                let vm = VM.id(&self.api, name).await?;
                let mut own = members.iter_mut().filter(|member| member["vm"] == *vm).peekable();
                anyhow::ensure!(own.peek().is_some(), "{name} is no member of {}", new.which);
                own.for_each(|member| member["drains"] = drains.into());
            }
        }
        for member in &mut members {
            let vm = VM.show(&self.api, member["vm"].as_str().unwrap_or_default()).await?;
            let nics = vm["nics"].as_array().into_iter().flatten();
            let network =
                nics.filter(|nic| nic["id"] == member["nic"]).map(|nic| nic["network"].clone()).next();
            member["network"] = network.unwrap_or_default();
            for shown in ["nic", "works"] {
                member.as_object_mut().map(|fields| fields.remove(shown));
            }
        }
        Ok(members)
    }
}

/// What a balancer of a protocol does with requests; nothing if it looks at connections alone.
fn http_of(protocol: &str, http: &Http) -> anyhow::Result<Value> {
    let requests = requests(http)?;
    match (protocol, requests["tls"].is_null()) {
        ("http", true) | ("https", false) => Ok(requests),
        ("http", false) => anyhow::bail!("--certificate-file: must come with --protocol https"),
        ("https", true) => {
            anyhow::bail!("--protocol https: must come with --certificate-file and --private-key-file")
        }
        _ if says_something(requests).is_null() => Ok(Value::Null),
        _ => anyhow::bail!("--protocol {protocol}: must be http or https with what is about requests"),
    }
}

/// What is to be done with requests, without what was left out.
fn requests(http: &Http) -> anyhow::Result<Value> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let tls = match (&http.certificate_file, &http.private_key_file) {
        (Some(certificates), Some(key)) => json!({"certificates": read(certificates)?, "key": read(key)?}),
        _ => Value::Null,
    };
    Ok(without_nulls(json!({
        "cookie": http.cookie, "tls": tls, "max_connections": http.max_connections, "idle_secs": http.idle_secs,
    })))
}

/// Nothing in place of a group of nothing.
fn says_something(group: Value) -> Value {
    if group.as_object().is_some_and(serde_json::Map::is_empty) { Value::Null } else { group }
}

/// How members are looked after, as it is given: `tcp`, or `http:/path`.
fn check(check: &Check) -> anyhow::Result<Value> {
    let Some(kind) = &check.check else { return Ok(Value::Null) };
    let mut body = match (kind.as_str(), kind.strip_prefix("http:")) {
        ("tcp", _) => json!({}),
        (_, Some(path)) => json!({ "http_path": path }),
        _ => anyhow::bail!("--check {kind}: must be tcp, or http: and a path"),
    };
    for (field, value) in [("interval_ms", check.check_interval), ("timeout_ms", check.check_timeout)] {
        if let Some(value) = value {
            body[field] = value.into();
        }
    }
    Ok(body)
}
