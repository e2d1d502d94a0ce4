//! Routers of a cloud, and rules about them: what is asked for, and what must hold.

use std::collections::BTreeSet;

use podzol_test_support::text;
use podzol_vocab::VmId;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::World;

/// All kinds of rules, as they stand in the API's paths.
const KINDS: [&str; 5] = ["port-forwards", "static-nats", "firewall-rules", "egress-rules", "load-balancers"];

/// The template of routers.
pub(crate) const TEMPLATE: &str = "router";

/// How long a router is kept that no VM needs.
pub(crate) const IDLE_SECS: u64 = 15;

/// What a user asks for that routers have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Address,
    Release,
    Forward,
    StaticNat,
    Firewall,
    Egress,
    Balancer,
    Members,
    Unmake,
    Restart,
    Replace,
}

/// Has there be routers in the zone from now on.
pub(crate) async fn prepare(world: &World) {
    world.admin().zone_networks(&world.pod.zone).await;
    world.admin().router_template(TEMPLATE).await;
}

/// The routers' VMs, with what stands in an answer about a customer's VM that is looked at here.
pub(crate) async fn vms(world: &World) -> Vec<Value> {
    let routers = world.admin().list("/v1/routers").await;
    let vm = |router: &Value| {
        let vm: VmId = router["vm"].as_str()?.parse().ok()?;
        let domain = world.pod.hosts.iter().find_map(|host| host.hypervisor().domain(vm))?;
        let plan = &domain.record.plan;
        let size = json!({ "vcpus": plan.vcpus, "memory_mib": plan.memory_mib });
        Some(json!({ "id": router["vm"], "host": router["host"], "state": "running", "size": size }))
    };
    routers.iter().filter_map(vm).collect()
}

/// A router that is not yet as it should be.
pub(crate) async fn wrong(world: &World) -> Option<String> {
    let routers = world.admin().list("/v1/routers").await;
    let is_wrong = |router: &&Value| {
        router["state"] != "running"
            || !router["next_vm"].is_null()
            || router["generation"] != router["generation_in_force"]
    };
    routers.iter().find(is_wrong).map(|router| format!("router {router}"))
}

/// Whether the routers have exactly the rules that are about networks that they are in, and serve exactly the interfaces in those.
pub(crate) async fn documents_are(world: &World, vms: &[Value]) -> Result<(), String> {
    let routers = world.admin().list("/v1/routers").await;
    if routers.is_empty() {
        // What rules say comes true when there is one.
        return Ok(());
    }
    let (mut found, mut served, mut networks) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for router in &routers {
        let vm: VmId = text(router, "vm").parse().map_err(|error| format!("{router}: {error}"))?;
        let machine = world.pod.hosts.iter().find_map(|host| host.router(vm));
        let document = machine.and_then(|machine| machine.document());
        let Some(document) = document else { return Err(format!("router {router} has no document")) };
        found.extend(ids(document.port_forwards.keys()));
        found.extend(ids(document.static_nats.keys()));
        found.extend(ids(document.ingress.keys()));
        found.extend(ids(document.egress.keys()));
        found.extend(ids(document.balancers.keys()));
        served.extend(ids(document.nics.keys()));
        networks.extend(ids(document.guests.keys()));
    }
    let nics = vms.iter().flat_map(|vm| vm["nics"].as_array().into_iter().flatten());
    let nics = nics.filter(|nic| networks.contains(&text(nic, "network"))).map(|nic| text(nic, "id"));
    let nics: BTreeSet<String> = nics.collect();
    if nics != served {
        return Err(format!("routers serve the interfaces {served:?} for {nics:?}"));
    }
    let is_known = |rule: &Value, field: &str, known: &BTreeSet<String>| {
        rule[field].as_str().is_none_or(|id| known.contains(id))
    };
    let mut wanted = BTreeSet::new();
    for kind in KINDS {
        let rules = world.admin().list(&format!("/v1/{kind}?limit=500")).await;
        let theirs =
            rules.iter().filter(|rule| is_known(rule, "network", &networks) && is_known(rule, "nic", &nics));
        wanted.extend(theirs.map(|rule| text(rule, "id")));
    }
    if wanted == found { Ok(()) } else { Err(format!("routers have the rules {found:?} for {wanted:?}")) }
}

fn ids<T: ToString>(ids: impl Iterator<Item = T>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

/// Removes all rules and addresses.
pub(crate) async fn clean(world: &World) {
    for kind in KINDS {
        for rule in world.admin().list(&format!("/v1/{kind}?limit=500")).await {
            let path = format!("/v1/{kind}/{}", text(&rule, "id"));
            world.ask(Method::DELETE, &path, &Value::Null).await;
        }
    }
    for address in world.admin().list("/v1/public-ips?limit=500").await {
        if address["source_nat"] == false {
            let path = format!("/v1/public-ips/{}", text(&address, "id"));
            world.ask(Method::DELETE, &path, &Value::Null).await;
        }
    }
}

/// The request of a wish as things are: none if there is nothing that it could be about.
pub(crate) async fn request(
    world: &World,
    wish: Wish,
    number: usize,
    networks: &[String],
    random: &mut StdRng,
) -> Option<(Method, String, Value)> {
    let admin = world.admin();
    let addresses = admin.list("/v1/public-ips?limit=500").await;
    let own: Vec<Value> = addresses.into_iter().filter(|address| address["source_nat"] == false).collect();
    let vms = admin.list("/v1/vms").await;
    let mut any = |things: &[Value]| things.choose(random).map(|thing| text(thing, "id"));
    let (address, vm) = (any(&own), any(&vms));
    let post = |path: &str, body: Value| Some((Method::POST, path.to_owned(), body));
    // Ports of a kind of their own, so that rules may stand side by side.
    let port = 1000 + 10 * number as u64;
    match wish {
        Wish::Address => {
            post("/v1/public-ips", json!({ "zone": world.pod.zone, "account": world.acme.account }))
        }
        Wish::Release => Some((Method::DELETE, format!("/v1/public-ips/{}", address?), Value::Null)),
        Wish::Forward => {
            let ports = format!("{port}-{}", port + random.random_range(0..5));
            let body = json!({
                "public_ip": address?, "transport": "tcp", "ports": ports, "vm": vm?, "network": networks[0],
            });
            post("/v1/port-forwards", body)
        }
        Wish::StaticNat => {
            let body = json!({ "public_ip": address?, "vm": vm?, "network": networks[0] });
            post("/v1/static-nats", body)
        }
        Wish::Firewall => {
            let body = json!({ "public_ip": address?, "protocol": "tcp", "ports": port.to_string() });
            post("/v1/firewall-rules", body)
        }
        Wish::Egress => {
            let body = json!({ "network": networks[0], "protocol": "udp", "ports": port.to_string() });
            post("/v1/egress-rules", body)
        }
        Wish::Balancer => {
            let members: Vec<Value> =
                vm.iter().map(|vm| json!({ "vm": vm, "network": networks[0] })).collect();
            let body = json!({
                "name": format!("balancer-{number}"), "public_ip": address?, "port": port, "members": members,
            });
            post("/v1/load-balancers", body)
        }
        Wish::Members => {
            let balancer = any(&admin.list("/v1/load-balancers").await)?;
            let members: Vec<Value> =
                vm.iter().map(|vm| json!({ "vm": vm, "network": networks[0] })).collect();
            Some((Method::PATCH, format!("/v1/load-balancers/{balancer}"), json!({ "members": members })))
        }
        Wish::Unmake => {
            let kind = KINDS.choose(random).expect("there are some");
            let rules = admin.list(&format!("/v1/{kind}")).await;
            let rule = text(rules.choose(random)?, "id");
            Some((Method::DELETE, format!("/v1/{kind}/{rule}"), Value::Null))
        }
        Wish::Restart | Wish::Replace => {
            let router = any(&admin.list("/v1/routers").await)?;
            let what = if wish == Wish::Restart { "restart" } else { "replace" };
            post(&format!("/v1/routers/{router}/{what}"), json!({}))
        }
    }
}
