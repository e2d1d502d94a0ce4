//! Routers: they come with the first VM that needs one, do what the database says, and go when nobody needs them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use podzol_appliance_api::Document;
use podzol_sim::{PodPlan, SimPod, SimulatedRouter};
use podzol_test_support::{Api, ControlPlane, Customer, SOON, text, wait_for};
use podzol_vocab::VmId;
use serde_json::{Value, json};

mod dead;
mod diagnosis;
mod held;
mod http;
mod identity;
mod ipv6;
mod passwords;
mod room;
mod rules;
mod traffic;
mod zones;

/// A pod whose zone can have routers, and a customer.
struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    acme: Customer,
}

impl World {
    async fn make() -> Self {
        Self::with(ControlPlane::start().await).await
    }

    async fn with(control_plane: ControlPlane) -> Self {
        let hosts = vec![("h1", 8192), ("h2", 8192)];
        let pod = SimPod::with(&control_plane, PodPlan { hosts, ..PodPlan::default() }).await;
        let admin = &control_plane.admin;
        admin.zone_networks(&pod.zone).await;
        admin.router_template("router").await;
        let acme = admin.customer("acme").await;
        Self { control_plane, pod, acme }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    /// The one router that there is, as an admin sees it.
    async fn router(&self) -> Value {
        let mut routers = self.admin().list("/v1/routers").await;
        assert_eq!(routers.len(), 1, "{routers:#?}");
        routers.remove(0)
    }

    /// The machine that a router is.
    async fn machine(&self, router: &Value) -> Arc<SimulatedRouter> {
        let vm: VmId = text(router, "vm").parse().expect("a VM's id is one");
        let find = || self.pod.hosts.iter().find_map(|host| host.router(vm));
        find().unwrap_or_else(|| panic!("no host has the router {vm}"))
    }

    async fn document(&self) -> Document {
        let router = self.router().await;
        self.machine(&router).await.document().expect("the router was told a document")
    }

    /// Waits until the doctor has this to say of the router, with which nothing is being done any more, and nothing else.
    async fn doctor_finds(&self, code: &str) {
        wait_for("the doctor to say so", SOON, async || {
            let diagnosis = self.admin().get("/v1/doctor").await.ok();
            let found = diagnosis["findings"].as_array().expect("a diagnosis has findings");
            let codes: Vec<String> = found.iter().map(|finding| text(finding, "code")).collect();
            if codes == [code] { Ok(()) } else { Err(format!("{diagnosis:#}")) }
        })
        .await;
    }

    /// Waits until there is no router, and nothing of it.
    async fn has_no_router(&self) {
        wait_for("the router to be gone", SOON, async || {
            let left = self.admin().list("/v1/routers").await;
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        self.pod.is_clean().await;
    }
}

#[tokio::test]
async fn the_first_vm_of_a_network_brings_its_router_which_knows_it_before_it_boots() {
    let world = World::make().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let network = pod.network(api, "net", "10.1.1.0/24").await;
    let shown = api.get(&format!("/v1/networks/{network}")).await.ok();
    assert_eq!((&shown["router"], &shown["egress"]), (&json!(true), &json!("allow")));
    assert_eq!(world.admin().list("/v1/routers").await, Vec::<Value>::new());

    let vm = pod.vm(api, "web", &network).await;

    let router = world.router().await;
    assert_eq!(
        (text(&router, "state").as_str(), text(&router, "account")),
        ("running", world.acme.account.clone())
    );
    assert_eq!(router["networks"], json!([network]));
    assert_eq!(
        (text(&router, "source_nat").as_str(), text(&router, "image")),
        ("203.0.113.10", "simulated".into())
    );
    assert_eq!(router["generation"], router["generation_in_force"]);
    let document = world.document().await;
    let guest = document.guests.values().next().unwrap();
    assert_eq!(
        (guest.domain.to_string(), guest.source_nat),
        ("net.acme.internal".into(), Some(Ipv4Addr::new(203, 0, 113, 10)))
    );
    let public = document.public.as_ref().unwrap();
    assert_eq!((public.gateway, document.forwarders.len()), (Ipv4Addr::new(203, 0, 113, 1), 1));
    let nic = document.nics.values().next().unwrap();
    assert_eq!(
        (nic.vm.to_string(), nic.address.to_string(), nic.primary),
        (vm.clone(), "10.1.1.2".into(), true)
    );
    assert_eq!(document.vms.values().next().unwrap().name.as_str(), "web");
    assert_eq!(document.problems(), vec![]);
    // Its links are those that it was told of, and the one by which it was told.
    let machine = world.machine(&router).await;
    let told: BTreeSet<_> = [guest.mac, public.mac].into_iter().collect();
    assert!(machine.links().is_superset(&told));
    assert_eq!(machine.links().len(), 3);
    // The VM asks the router for its address.
    let host = pod.host(&text(&world.admin().show_vm(&vm).await, "host"));
    let seed = std::fs::read(host.seed(vm.parse().unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&seed).contains("\"dhcp4\":true"));
    let timing = api.show_vm(&vm).await["start_timing"].to_string();
    assert!(timing.contains("\"router\""), "{timing}");

    // It is nobody's VM.
    let id = text(&router, "vm");
    assert_eq!(world.admin().list("/v1/vms").await.len(), 1);
    world.admin().get(&format!("/v1/vms/{id}")).await.refused(404, "not_found");
    let own = api.get(&format!("/v1/accounts/{}", world.acme.account)).await.ok();
    assert_eq!((&own["in_use"]["vms"], &own["in_use"]["public_ips"]), (&json!(1), &json!(0)));
    // Its account sees it, and not where it is; others see nothing of it.
    let seen = api.list("/v1/routers").await.remove(0);
    assert_eq!((&seen["host"], &seen["vm"], &seen["id"]), (&Value::Null, &Value::Null, &router["id"]));
    let globex = world.admin().customer("globex").await;
    globex.api.get(&format!("/v1/routers/{}", text(&router, "id"))).await.refused(404, "not_found");
}

#[tokio::test]
async fn fifty_vms_that_start_at_once_have_one_router_that_knows_them_all() {
    let world = World::make().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let network = pod.network(api, "net", "10.1.1.0/24").await;
    let names: Vec<String> = (0..50).map(|number| format!("vm{number}")).collect();
    let begun = names.iter().map(|name| pod.begin_vm(api, name, &network));
    let vms = futures_util::future::join_all(begun).await;
    for vm in &vms {
        api.vm_in_state(vm, "running").await;
    }
    let document = world.document().await;
    let leases: BTreeSet<Ipv4Addr> = document.nics.values().map(|nic| nic.address).collect();
    assert_eq!((document.vms.len(), leases.len(), document.problems()), (50, 50, vec![]));
    let calls = world.machine(&world.router().await).await.count_calls();
    assert_eq!(calls.puts, 1, "{calls:?}");
    for vm in &vms {
        let (_, domain) = pod.running(vm).pop().unwrap();
        let nic = &domain.record.plan.nics[0];
        let known = document.nics.values().find(|known| known.mac == nic.mac).unwrap();
        assert_eq!((known.address, known.vm.to_string()), (nic.address, vm.clone()));
    }
}

#[tokio::test]
async fn vms_that_start_at_once_are_told_together() {
    let world = World::make().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let network = pod.network(api, "net", "10.1.1.0/24").await;
    pod.vm(api, "first", &network).await;
    let machine = world.machine(&world.router().await).await;
    let before = machine.count_calls();
    // It is told of the first of them, and takes its time until all the others are there.
    machine.hang();
    let names: Vec<String> = (1..50).map(|number| format!("vm{number}")).collect();
    let vms =
        futures_util::future::join_all(names.iter().map(|name| pod.begin_vm(api, name, &network))).await;
    machine.heal();
    for vm in &vms {
        api.vm_in_state(vm, "running").await;
    }
    assert_eq!(world.document().await.vms.len(), 50);
    let after = machine.count_calls();
    assert_eq!(after.puts, before.puts);
    assert!(after.patches - before.patches <= 10, "{before:?} {after:?}");
}

#[tokio::test]
async fn a_router_that_no_vm_needs_goes_with_all_that_it_had_and_comes_again() {
    let world = World::with(ControlPlane::with(|config| config.router_idle_secs = 1).await).await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let network = pod.network(api, "net", "10.1.1.0/24").await;
    let vm = pod.vm(api, "web", &network).await;
    let first = text(&world.router().await, "id");
    api.stop_vm(&vm).await;
    wait_for("the router to be gone", SOON, async || {
        let left = world.admin().list("/v1/routers").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(world.admin().list("/v1/public-ips").await, Vec::<Value>::new());
    world.admin().event("router.collect", "no VM needs it").await;
    for action in ["public-ip.create", "public-ip.delete"] {
        world.admin().event(action, "which the account's router uses").await;
    }
    api.start_vm(&vm).await;
    api.vm_in_state(&vm, "running").await;
    assert_ne!(text(&world.router().await, "id"), first);
    assert_eq!(world.document().await.nics.values().next().unwrap().address.to_string(), "10.1.1.2");
    api.delete_vm(&vm).await;
    world.has_no_router().await;
    let diagnosis = world.admin().get("/v1/doctor").await.ok();
    assert_eq!(diagnosis["findings"], json!([]));
}

#[tokio::test]
async fn two_accounts_with_the_same_addresses_have_a_router_each() {
    let world = World::make().await;
    let globex = world.admin().customer("globex").await;
    for customer in [&world.acme, &globex] {
        let network = world.pod.network(&customer.api, "net", "10.1.1.0/24").await;
        world.pod.vm(&customer.api, "web", &network).await;
    }
    let routers = world.admin().list("/v1/routers").await;
    assert_eq!(routers.len(), 2);
    let mut sources = BTreeSet::new();
    for router in &routers {
        let document = world.machine(router).await.document().unwrap();
        assert_eq!((document.vms.len(), document.guests.len()), (1, 1));
        sources.insert(document.guests.values().next().unwrap().source_nat);
    }
    assert_eq!(sources.len(), 2);
}

#[tokio::test]
async fn a_second_network_is_plugged_into_the_router_while_it_runs_and_out_when_it_goes() {
    let world = World::make().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let first = pod.network(api, "one", "10.1.1.0/24").await;
    pod.vm(api, "web", &first).await;
    let second = pod.network(api, "two", "10.1.2.0/24").await;
    // Nobody is in it yet.
    assert_eq!(world.document().await.guests.len(), 1);
    let vm = pod.vm(api, "db", &second).await;
    let (router, document) = (world.router().await, world.document().await);
    assert_eq!((document.guests.len(), document.nics.len()), (2, 2));
    assert_eq!(world.machine(&router).await.links().len(), 4);
    // Networks of a router do not overlap.
    let body = json!({ "name": "three", "zone": pod.zone, "cidr": "10.1.0.0/16" });
    api.post("/v1/networks", &body).await.refused(422, "invalid_field");

    api.delete(&format!("/v1/networks/{second}")).await.refused(409, "in_use");
    api.delete_vm(&vm).await;
    api.delete(&format!("/v1/networks/{second}")).await.ok();
    api.get(&format!("/v1/networks/{second}")).await.refused(404, "not_found");
    // Its name is free at once, its VLAN when the router has let go of it.
    pod.network(api, "two", "10.1.3.0/24").await;
    wait_for("the router to let go of it", SOON, async || {
        let (links, guests) =
            (world.machine(&router).await.links().len(), world.document().await.guests.len());
        if (links, guests) == (3, 1) { Ok(()) } else { Err(format!("{links} links, {guests} networks")) }
    })
    .await;
    // Its last network takes the router along.
    let vm = text(&api.list("/v1/vms").await[0], "id");
    api.delete_vm(&vm).await;
    api.delete(&format!("/v1/networks/{first}")).await.ok();
    world.has_no_router().await;
}

#[tokio::test]
async fn a_vm_whose_router_cannot_be_made_is_refused_with_the_reason_and_nothing_is_left() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let acme = admin.customer("acme").await;
    // A zone without a public network has no routers, unless somebody insists.
    let plain = pod.network(&acme.api, "plain", "10.2.1.0/24").await;
    let shown = acme.api.get(&format!("/v1/networks/{plain}")).await.ok();
    assert_eq!(shown["router"], json!(false));
    let body = json!({ "name": "x", "zone": pod.zone, "cidr": "10.3.1.0/24", "router": true });
    let refused = acme.api.post("/v1/networks", &body).await.refused(422, "invalid_field");
    assert_eq!(text(&refused, "field"), "router");

    admin.zone_networks(&pod.zone).await;
    let network = pod.network(&acme.api, "net", "10.1.1.0/24").await;
    let create = || acme.api.vm("web", &pod.offering, &pod.template, &network);
    create().await.refused(409, "no_router_template");
    admin.router_template("router").await;
    // No host is for routing but one that is full.
    admin.patch(&format!("/v1/hosts/{}", pod.hosts[0].id), &json!({ "tags": ["routing"] })).await.ok();
    admin.patch(&format!("/v1/hosts/{}", pod.hosts[0].id), &json!({ "maintenance": true })).await.ok();
    let refused = create().await.refused(409, "no_host_fits");
    assert!(text(&refused, "detail").contains("the router of its network"), "{refused}");
    assert_eq!((admin.list("/v1/vms").await, admin.list("/v1/routers").await), (vec![], vec![]));
    assert_eq!(admin.list("/v1/public-ips").await, Vec::<Value>::new());
    pod.is_clean().await;

    admin.patch(&format!("/v1/hosts/{}", pod.hosts[0].id), &json!({ "maintenance": false })).await.ok();
    let vm = text(&create().await.ok(), "object.id");
    acme.api.vm_in_state(&vm, "running").await;
    let router = admin.list("/v1/routers").await.remove(0);
    assert_eq!(text(&router, "host"), pod.hosts[0].id);
}

#[tokio::test]
async fn a_page_of_routers_takes_as_many_queries_as_one_router() {
    let world = World::make().await;
    for name in ["acme", "globex", "initech", "umbrella"] {
        let customer = if name == "acme" { &world.acme } else { &world.admin().customer(name).await };
        let network = world.pod.network(&customer.api, "net", "10.1.1.0/24").await;
        world.pod.vm(&customer.api, "web", &network).await;
    }
    let reads = async || -> u64 {
        let metrics = world.admin().get("/metrics").await.ok();
        let mut lines = metrics.as_str().unwrap_or_default().lines();
        let line = lines.find_map(|line| line.strip_prefix("podzol_database_reads_total "));
        line.expect("it is counted").trim().parse().expect("it is a number")
    };
    // What else goes on reads too, now and then: the least of many is what the page takes.
    let least = async |path: &str| {
        let mut least = u64::MAX;
        for _ in 0..30 {
            let before = reads().await;
            world.admin().get(path).await.ok();
            least = least.min(reads().await - before);
        }
        least
    };
    assert_eq!(world.admin().list("/v1/routers").await.len(), 4);
    let one = least(&format!("/v1/routers?account={}", world.acme.account)).await;
    let all = least("/v1/routers").await;
    assert!(all <= one, "{all} queries for four routers, {one} for one");
}
