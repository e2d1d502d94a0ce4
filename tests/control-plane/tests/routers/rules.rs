//! What customers ask of their routers comes into force there.

use std::net::Ipv4Addr;

use podzol_appliance_api::Limits;
use podzol_test_support::ControlPlane;
use podzol_vocab::{ErrorCode, WireError};
use serde_json::{Value, json};

use super::{SOON, World, text, wait_for};

/// A router with one VM.
pub(super) struct Served {
    pub(super) world: World,
    pub(super) vm: String,
    network: String,
}

impl Served {
    pub(super) async fn make() -> Self {
        Self::of(World::make().await).await
    }

    /// With another template of routers, which comes first.
    pub(super) async fn with_template(name: &str, extensions: &[&str]) -> Self {
        let world = World::make().await;
        world.admin().router_template_with(name, extensions).await;
        Self::of(world).await
    }

    pub(super) async fn of(world: World) -> Self {
        let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
        let vm = world.pod.vm(&world.acme.api, "web", &network).await;
        Self { world, vm, network }
    }

    /// Asks for something, waits until it is in force, and gives its id.
    pub(super) async fn make_one(&self, path: &str, body: Value) -> String {
        let made = self.world.acme.api.post(path, &body).await.ok();
        self.world.acme.api.succeeded(&text(&made, "operation.id")).await;
        text(&made, "object.id")
    }

    async fn done(&self, answer: Value) {
        self.world.acme.api.succeeded(&text(&answer, "operation.id")).await;
    }
}

#[tokio::test]
async fn a_router_is_told_how_many_connections_there_may_be_if_it_knows_limits() {
    let world = World::with(ControlPlane::with(|config| config.router_connections_per_vm = 1000).await).await;
    // It has a quarter of 256 MiB for connections of 320 bytes.
    let size = json!({ "name": "router", "vcpus": 1, "memory_mib": 512, "disk_gib": 1 });
    world.admin().post("/v1/offerings", &size).await.ok();
    let served = Served::of(world).await;
    let world = &served.world;
    assert_eq!(world.document().await.limits, None);

    world.admin().router_template_with("router-limits", &[]).await;
    let replace = format!("/v1/routers/{}/replace", text(&world.router().await, "id"));
    let replaced = world.admin().post(&replace, &Value::Null).await.ok();
    world.admin().succeeded(&text(&replaced, "operation.id")).await;
    let document = world.document().await;
    assert_eq!(document.limits, Some(Limits { connections: 209_715, connections_per_vm: 1000 }));
    assert_eq!(document.problems(), vec![]);
    assert_eq!(world.router().await["extensions"], json!(["limits"]));
}

#[tokio::test]
async fn rules_are_in_force_when_their_operations_end_and_cost_a_change_each() {
    let served = Served::make().await;
    let (world, api) = (&served.world, &served.world.acme.api);
    let before = world.machine(&world.router().await).await.count_calls();
    let ip = served.make_one("/v1/public-ips", json!({ "zone": world.pod.zone })).await;
    let address: Ipv4Addr =
        text(&api.get(&format!("/v1/public-ips/{ip}")).await.ok(), "address").parse().unwrap();
    let forward = json!({
        "public_ip": ip, "transport": "tcp", "ports": "8000-8009", "vm": served.vm, "to_port": 80,
    });
    let forward = served.make_one("/v1/port-forwards", forward).await;
    let firewall =
        json!({ "public_ip": ip, "protocol": "tcp", "ports": "8000-8009", "sources": ["198.51.100.0/24"] });
    let firewall = served.make_one("/v1/firewall-rules", firewall).await;
    let egress = json!({ "network": served.network, "protocol": "udp", "ports": "53" });
    let egress = served.make_one("/v1/egress-rules", egress).await;
    let balancer = json!({
        "name": "lb", "public_ip": ip, "port": 443, "members": [{ "vm": served.vm, "port": 8443, "weight": 3 }],
        "check": { "http_path": "/healthz" },
    });
    let balancer = served.make_one("/v1/load-balancers", balancer).await;
    let other = served.make_one("/v1/public-ips", json!({ "zone": world.pod.zone })).await;
    let nat = served.make_one("/v1/static-nats", json!({ "public_ip": other, "vm": served.vm })).await;

    let document = world.document().await;
    assert_eq!(document.problems(), vec![]);
    assert_eq!(document.public.as_ref().unwrap().addresses.len(), 3);
    let entry = &document.port_forwards[&forward.parse().unwrap()];
    assert_eq!(
        (entry.public, entry.ports.to_string(), entry.to.to_string(), entry.to_port),
        (address, "8000-8009".into(), "10.1.1.2".into(), 80)
    );
    assert_eq!(document.ingress[&firewall.parse().unwrap()].sources[0].to_string(), "198.51.100.0/24");
    let entry = &document.egress[&egress.parse().unwrap()];
    assert_eq!(
        (entry.sources[0].to_string(), entry.destinations[0].to_string()),
        ("10.1.1.0/24".into(), "0.0.0.0/0".into())
    );
    let entry = &document.balancers[&balancer.parse().unwrap()];
    assert_eq!(
        (entry.port, entry.members.values().next().unwrap().weight, entry.check.is_some()),
        (443, 3, true)
    );
    assert_eq!(document.static_nats[&nat.parse().unwrap()].to.to_string(), "10.1.1.2");
    let machine = world.machine(&world.router().await).await;
    assert_eq!(machine.count_calls().puts, before.puts);
    let works = async |expected: bool| {
        wait_for("it to be shown whether the member works", SOON, async || {
            let shown = api.get(&format!("/v1/load-balancers/{balancer}")).await.ok();
            if shown["members"][0]["works"] == json!(expected) { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    };
    works(true).await;
    let nic = document.balancers[&balancer.parse().unwrap()].members.keys().copied().collect();
    machine.set_down(balancer.parse().unwrap(), nic);
    works(false).await;
    machine.add_public_traffic(
        address,
        podzol_appliance_api::Counters { sent_bytes: 1500, ..Default::default() },
    );
    let id = text(&world.router().await, "id");
    wait_for("it to be measured", SOON, async || {
        let metrics = world.admin().get("/metrics").await.ok().as_str().unwrap_or_default().to_owned();
        let of_router = |what: &str, is: u32| {
            let line = format!("podzol_router_{what}{{router=\"{id}\",zone=\"z1\"}} {is}");
            metrics.lines().any(|found| found == line)
        };
        let is_right = of_router("members_down", 1)
            && of_router("services_down", 0)
            && of_router("generations_behind", 0)
            && of_router("repairs", 0)
            && of_router("sent_bytes", 1500)
            && of_router("received_bytes", 0)
            && metrics.contains("podzol_routers{state=\"running\"} 1");
        if is_right { Ok(()) } else { Err(metrics) }
    })
    .await;

    served
        .done(api.patch(&format!("/v1/port-forwards/{forward}"), &json!({ "to_port": 8080 })).await.ok())
        .await;
    served
        .done(api.patch(&format!("/v1/networks/{}", served.network), &json!({ "egress": "deny" })).await.ok())
        .await;
    let drained = json!({ "members": [{ "vm": served.vm, "port": 8443, "weight": 3, "drains": true }] });
    served.done(api.patch(&format!("/v1/load-balancers/{balancer}"), &drained).await.ok()).await;
    let deleted = api.delete(&format!("/v1/egress-rules/{egress}")).await.ok();
    let ended = api.succeeded(&text(&deleted, "operation.id")).await;
    let document = world.document().await;
    assert_eq!(text(&ended, "step"), format!("generation {} is in force", document.generation.0));
    assert_eq!(ended["generation"], document.generation.0);
    assert_eq!(world.router().await["generation_in_force"], json!(document.generation));
    assert_eq!(document.port_forwards[&forward.parse().unwrap()].to_port, 8080);
    assert_eq!(document.guests.values().next().unwrap().egress, podzol_appliance_api::EgressPolicy::Deny);
    assert!(document.balancers[&balancer.parse().unwrap()].members.values().next().unwrap().drains);
    assert!(document.egress.is_empty());

    // They go with the VM that they lead to.
    api.delete_vm(&served.vm).await;
    wait_for("the rules to be gone", SOON, async || {
        let document = world.document().await;
        let left = (document.port_forwards.len(), document.static_nats.len(), document.vms.len());
        let members = document.balancers[&balancer.parse().unwrap()].members.len();
        if (left, members) == ((0, 0, 0), 0) { Ok(()) } else { Err(format!("{left:?}, {members} members")) }
    })
    .await;
    assert_eq!(api.list("/v1/port-forwards").await, Vec::<Value>::new());
    assert_eq!(api.get("/v1/doctor").await.status, 403);
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));
}

/// The one that was on its way, one with all others, and some that were told again on a machine that is slow.
const A_FEW: u64 = 10;

#[tokio::test]
async fn many_changes_at_once_are_told_together() {
    let served = Served::make().await;
    let (world, api) = (&served.world, &served.world.acme.api);
    let ip = served.make_one("/v1/public-ips", json!({ "zone": world.pod.zone })).await;
    let machine = world.machine(&world.router().await).await;
    let before = machine.count_calls();
    // It is told of the first of them, and takes its time until all the others are there.
    machine.hang();
    let rules = (1..=100).map(|port| {
        let body = json!({ "public_ip": ip, "transport": "udp", "ports": port.to_string(), "vm": served.vm });
        async move { text(&api.post("/v1/port-forwards", &body).await.ok(), "operation.id") }
    });
    let operations = futures_util::future::join_all(rules).await;
    machine.heal();
    for operation in operations {
        api.succeeded(&operation).await;
    }
    assert_eq!(world.document().await.port_forwards.len(), 100);
    let after = machine.count_calls();
    assert_eq!(after.puts, before.puts);
    assert!(after.patches - before.patches <= A_FEW, "{before:?} {after:?}");
}

#[tokio::test]
async fn what_a_router_does_not_take_is_told_to_whoever_asked_and_tried_again() {
    let served = Served::make().await;
    let (world, api) = (&served.world, &served.world.acme.api);
    let router = world.router().await;
    let machine = world.machine(&router).await;
    machine.refuse_next(WireError::new(ErrorCode::Invalid, "port_forwards: are not liked"));
    machine.refuse_next(WireError::new(ErrorCode::Invalid, "port_forwards: are not liked"));
    let made = api.post("/v1/public-ips", &json!({ "zone": world.pod.zone })).await.ok();
    let ended = api.ended(&text(&made, "operation.id")).await;
    let (state, why) = (text(&ended, "state"), text(&ended, "error.detail"));
    assert!(state == "succeeded" || why.contains("are not liked"), "{state}: {why}");
    wait_for("the router to have it all the same", SOON, async || {
        let has = world.document().await.public.unwrap().addresses.len();
        if has == 2 { Ok(()) } else { Err(format!("{has} addresses")) }
    })
    .await;
}

#[tokio::test]
async fn what_a_router_was_told_otherwise_than_the_database_has_it_is_found_and_mended() {
    let served = Served::make().await;
    let world = &served.world;
    let ip = served.make_one("/v1/public-ips", json!({ "zone": world.pod.zone })).await;
    let forward = json!({
        "public_ip": ip, "transport": "tcp", "ports": "8000", "vm": served.vm, "to_port": 80,
    });
    let forward = served.make_one("/v1/port-forwards", forward).await;
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));

    // As no change of the service's is: it notes what it changes.
    let database = rusqlite::Connection::open(world.control_plane.data_dir().join("podzol.sqlite")).unwrap();
    let change = "UPDATE rules SET spec = json_set(spec, '$.to_port', 81) WHERE spec LIKE '%port-forward%'";
    assert_eq!(database.execute(change, ()).unwrap(), 1);
    world.doctor_finds("router_outdated").await;
    assert_eq!(world.document().await.port_forwards[&forward.parse().unwrap()].to_port, 80);

    let repaired = world.admin().post("/v1/doctor/repair", &json!({})).await.ok();
    assert_eq!(repaired["findings"], json!([]), "{repaired:#}");
    assert_eq!(world.document().await.port_forwards[&forward.parse().unwrap()].to_port, 81);
}
