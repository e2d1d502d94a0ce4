//! Routers that die, are killed, or are put in others' places.

use std::collections::BTreeSet;
use std::time::Duration;

use podzol_appliance_api::{Document, Health};
use podzol_sim::{Fault, Step};
use podzol_test_support::ControlPlane;
use podzol_vocab::VmId;
use serde_json::{Value, json};

use super::{SOON, World, text, wait_for};

/// A document without its number.
fn content(document: Document) -> Document {
    Document { generation: Default::default(), ..document }
}

async fn served(world: &World) -> (String, Document) {
    let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
    let vm = world.pod.vm(&world.acme.api, "web", &network).await;
    (vm, content(world.document().await))
}

/// Waits until the router runs and does what it did.
async fn does_again(world: &World, before: &Document) {
    // It is tried again each minute.
    wait_for("the router to do what it did", SOON * 2, async || {
        let router = world.router().await;
        let vm: VmId = text(&router, "vm").parse().expect("a VM's id is one");
        let machine = world.pod.hosts.iter().find_map(|host| host.router(vm));
        let document = machine.and_then(|machine| machine.document()).map(content);
        let state = text(&router, "state");
        if state == "running" && document.as_ref() == Some(before) {
            Ok(())
        } else {
            Err(format!("{router:#}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_router_that_is_killed_is_started_again_and_does_what_it_did() {
    let world = World::make().await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let vm: VmId = text(&router, "vm").parse().unwrap();
    let host = world.pod.host(&text(&router, "host"));
    let run = host.hypervisor().domain(vm).unwrap().run;
    host.hypervisor().kill_domain(vm);
    wait_for("it to run anew", SOON, async || match host.hypervisor().domain(vm) {
        Some(domain) if domain.run != run && domain.runs() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    does_again(&world, &before).await;
    // One that shuts itself down is no VM that should be stopped.
    host.hypervisor().guest_shuts_down(vm);
    wait_for("it to run once more", SOON, async || match host.hypervisor().domain(vm) {
        Some(domain) if domain.run > run + 1 && domain.runs() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    does_again(&world, &before).await;
}

#[tokio::test]
async fn a_router_whose_host_dies_is_put_on_another_with_the_same_interfaces() {
    let mut world = World::with(ControlPlane::with(|config| config.silent_secs = 2).await).await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let (old, id) = (text(&router, "host"), text(&router, "id"));
    let number = world.pod.hosts.iter().position(|host| host.id == old).unwrap();
    world.pod.hosts[number].kill_agent();
    world.pod.hosts[number].hypervisor().host_crashes();
    wait_for("the router to be on the other host", SOON, async || {
        let router = world.router().await;
        let elsewhere = text(&router, "host") != old && text(&router, "state") == "running";
        if elsewhere { Ok(()) } else { Err(format!("{router:#}")) }
    })
    .await;
    does_again(&world, &before).await;
    assert_eq!(text(&world.router().await, "id"), id);
    world.admin().event_about("router.dead", &id, "its host does not report").await;
    // Its host comes back, and has nothing of it any more.
    world.pod.hosts[number].start_agent();
    let vm: VmId = text(&router, "vm").parse().unwrap();
    wait_for("nothing to be left of it", SOON, async || {
        match world.pod.hosts[number].hypervisor().domain(vm) {
            None => Ok(()),
            Some(domain) => Err(format!("{domain:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_router_that_was_being_restarted_when_its_host_died_is_put_on_another() {
    let mut world = World::with(ControlPlane::with(|config| config.silent_secs = 2).await).await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let old = text(&router, "host");
    let number = world.pod.hosts.iter().position(|host| host.id == old).unwrap();
    world.pod.hosts[number].kill_agent();
    let path = format!("/v1/routers/{}/restart", text(&router, "id"));
    let asked = world.admin().post(&path, &json!({})).await.ok();
    world.pod.hosts[number].hypervisor().host_crashes();
    let ended = world.admin().ended(&text(&asked, "operation.id")).await;
    assert_eq!(ended["error"]["code"], "host_away", "{ended:#}");
    does_again(&world, &before).await;
    assert_ne!(text(&world.router().await, "host"), old);
}

#[tokio::test]
async fn a_service_of_a_router_that_does_not_work_is_seen_everywhere() {
    let world = World::make().await;
    served(&world).await;
    let router = world.router().await;
    let machine = world.machine(&router).await;
    let down = async || {
        let metrics = world.admin().get("/metrics").await.ok();
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        let counted = metrics.lines().find(|line| line.starts_with("podzol_router_services_down{"));
        counted
            .and_then(|line| line.rsplit_once(' '))
            .map(|(_, value)| value.to_owned())
            .expect("it is measured")
    };
    assert_eq!(down().await, "0");

    machine.set_health("dns eth0", Health::Down { why: "out of memory".into() });

    wait_for("it to be seen", SOON, async || {
        let shown = world.router().await;
        let error = shown["error"].as_str().unwrap_or_default();
        if shown["state"] == "degraded" && error.contains("dns eth0") && error.contains("out of memory") {
            Ok(())
        } else {
            Err(format!("{shown:#}"))
        }
    })
    .await;
    assert_eq!(down().await, "1");
    world.doctor_finds("router_unhealthy").await;

    machine.set_health("dns eth0", Health::Up);

    wait_for("it to be well", SOON, async || {
        let shown = world.router().await;
        if shown["state"] == "running" && shown["error"].is_null() {
            Ok(())
        } else {
            Err(format!("{shown:#}"))
        }
    })
    .await;
    assert_eq!(down().await, "0");
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));
    world.admin().event("router.create", "a VM needs it").await;
}

#[tokio::test]
async fn the_doctor_says_that_a_router_which_vms_need_cannot_be_started() {
    let world = World::with(ControlPlane::with(|config| config.vm_start_secs = 15).await).await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let vm: VmId = text(&router, "vm").parse().unwrap();
    let each = || world.pod.hosts.iter().map(|host| host.hypervisor());
    each().for_each(|hypervisor| hypervisor.fault(Step::Start, Fault::Fails(1_000_000)));
    world.pod.host(&text(&router, "host")).hypervisor().kill_domain(vm);
    world.doctor_finds("router_down").await;
    each().for_each(|hypervisor| hypervisor.heal(Step::Start));
    does_again(&world, &before).await;
    world.admin().event_about("router.start", &text(&router, "id"), "it did not run").await;
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));
}

#[tokio::test]
async fn a_router_that_hangs_is_replaced_though_its_host_says_that_it_runs() {
    let world = World::with(ControlPlane::with(|config| config.silent_secs = 2).await).await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    world.machine(&router).await.hang();
    wait_for("another VM to be it", SOON, async || {
        let now = world.router().await;
        if text(&now, "vm") != text(&router, "vm") { Ok(()) } else { Err(format!("{now:#}")) }
    })
    .await;
    does_again(&world, &before).await;
}

#[tokio::test]
async fn of_routers_that_hang_one_after_the_other_is_replaced() {
    let world = World::with(ControlPlane::with(|config| config.silent_secs = 2).await).await;
    served(&world).await;
    let globex = world.admin().customer("globex").await;
    let network = world.pod.network(&globex.api, "net", "10.1.1.0/24").await;
    world.pod.vm(&globex.api, "web", &network).await;
    let before = world.admin().list("/v1/routers").await;
    // None that takes the place of another comes up.
    let each = || world.pod.hosts.iter().map(|host| host.hypervisor());
    each().for_each(|hypervisor| hypervisor.fault(Step::Start, Fault::Hangs));
    for router in &before {
        world.machine(router).await.hang();
    }
    let dead = async || world.admin().list("/v1/events?action=router.dead&limit=500").await.len();
    wait_for("one to be replaced", SOON, async || match dead().await {
        0 => Err("none is".into()),
        _ => Ok(()),
    })
    .await;

    // Twice as long as a router may say nothing.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(dead().await, 1, "the other one waits");

    each().for_each(|hypervisor| hypervisor.heal(Step::Start));
    wait_for("both to have another VM", SOON, async || {
        let now = world.admin().list("/v1/routers").await;
        let is_other = |router: &Value| before.iter().all(|before| text(before, "vm") != text(router, "vm"));
        let runs = |router: &Value| text(router, "state") == "running";
        if now.iter().all(|router| is_other(router) && runs(router)) {
            Ok(())
        } else {
            Err(format!("{now:#?}"))
        }
    })
    .await;
    assert_eq!(dead().await, 2);
}

#[tokio::test]
async fn a_router_that_hung_and_answers_again_before_another_could_take_its_place_goes_on_and_is_well() {
    let control_plane = ControlPlane::with(|config| {
        config.silent_secs = 2;
        config.vm_start_secs = 15;
    });
    let world = World::with(control_plane.await).await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let each = || world.pod.hosts.iter().map(|host| host.hypervisor());
    each().for_each(|hypervisor| hypervisor.fault(Step::Start, Fault::Fails(1_000_000)));
    world.machine(&router).await.hang();
    let findings = async || world.admin().get("/v1/doctor").await.ok()["findings"].clone();
    wait_for("the doctor to say so", SOON, async || {
        let found = findings().await;
        if found.to_string().contains("router_not_replaced") { Ok(()) } else { Err(format!("{found:#}")) }
    })
    .await;

    world.machine(&router).await.heal();

    wait_for("all to be well", SOON, async || match findings().await {
        found if found == json!([]) => Ok(()),
        found => Err(format!("{found:#}")),
    })
    .await;
    assert_eq!(text(&world.router().await, "vm"), text(&router, "vm"));
    does_again(&world, &before).await;
}

#[tokio::test]
async fn a_router_is_replaced_by_one_of_the_newest_template_and_restarted() {
    let world = World::make().await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let path = format!("/v1/routers/{}", text(&router, "id"));
    world.acme.api.post(&format!("{path}/replace"), &json!({})).await.refused(403, "forbidden");
    let newer = world.admin().router_template("newer").await;
    let asked = world.admin().post(&format!("{path}/replace"), &json!({})).await.ok();
    world.admin().post(&format!("{path}/restart"), &json!({})).await.refused(409, "router_busy");
    world.admin().succeeded(&text(&asked, "operation.id")).await;
    let now = world.router().await;
    assert_eq!((text(&now, "template"), text(&now, "id")), (newer, text(&router, "id")));
    assert_ne!(text(&now, "vm"), text(&router, "vm"));
    world.admin().event_about("router.replaced", &text(&now, "id"), "another VM has taken its place").await;
    does_again(&world, &before).await;
    let one_left = || world.pod.hosts.iter().flat_map(|host| host.hypervisor().domains()).count();
    wait_for("the one before to be gone", SOON, async || match one_left() {
        2 => Ok(()),
        domains => Err(format!("{domains} domains")),
    })
    .await;

    let boots = world.machine(&now).await.status().boot_id;
    let asked = world.acme.api.post(&format!("{path}/restart"), &json!({})).await.ok();
    world.acme.api.succeeded(&text(&asked, "operation.id")).await;
    does_again(&world, &before).await;
    assert_ne!(world.machine(&world.router().await).await.status().boot_id, boots);
    let logs = world.admin().get(&format!("{path}/logs")).await.ok();
    assert!(logs["lines"].is_array(), "{logs}");
}

#[tokio::test]
async fn a_router_that_cannot_be_replaced_goes_on_and_the_doctor_says_so_until_it_can() {
    let world = World::with(ControlPlane::with(|config| config.vm_start_secs = 15).await).await;
    let (_, before) = served(&world).await;
    let router = world.router().await;
    let each = || world.pod.hosts.iter().map(|host| host.hypervisor());
    each().for_each(|hypervisor| hypervisor.fault(Step::Start, Fault::Fails(1_000_000)));
    let path = format!("/v1/routers/{}/replace", text(&router, "id"));

    let asked = world.admin().post(&path, &json!({})).await.ok();
    let ended = world.admin().ended(&text(&asked, "operation.id")).await;

    assert_eq!(ended["state"], "failed", "{ended:#}");
    world.doctor_finds("router_not_replaced").await;
    assert_eq!(text(&world.router().await, "vm"), text(&router, "vm"), "the one before stays");
    does_again(&world, &before).await;

    each().for_each(|hypervisor| hypervisor.heal(Step::Start));
    let asked = world.admin().post(&path, &json!({})).await.ok();
    world.admin().succeeded(&text(&asked, "operation.id")).await;
    assert_ne!(text(&world.router().await, "vm"), text(&router, "vm"));
    does_again(&world, &before).await;
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));
}

#[tokio::test]
async fn a_management_service_that_is_killed_in_the_middle_tells_the_router_all_that_was_asked() {
    let mut world = World::make().await;
    let (vm, _) = served(&world).await;
    let api = world.acme.api.clone();
    let made = api.post("/v1/public-ips", &json!({ "zone": world.pod.zone })).await.ok();
    let ip = text(&made, "object.id");
    for round in 0..5 {
        for port in 1..=10 {
            let ports = (round * 10 + port).to_string();
            let body = json!({ "public_ip": ip, "transport": "tcp", "ports": ports, "vm": vm });
            api.post("/v1/port-forwards", &body).await.ok();
        }
        world.control_plane.kill();
        world.control_plane.start_again().await;
    }
    wait_for("all rules to be in force", SOON, async || {
        let document = world.document().await;
        let ports: BTreeSet<_> =
            document.port_forwards.values().map(|forward| forward.ports.first()).collect();
        if ports.len() == 50 { Ok(()) } else { Err(format!("{} rules", ports.len())) }
    })
    .await;
    wait_for("nothing to differ", SOON, async || {
        let diagnosis = world.admin().get("/v1/doctor").await.ok();
        if diagnosis["findings"] == json!([]) { Ok(()) } else { Err(format!("{diagnosis:#}")) }
    })
    .await;
    // What is in force is not stored: the service that was started last has to hear it from the router.
    wait_for("the router to be heard", SOON, async || {
        let router = world.router().await;
        let in_force = &router["generation_in_force"];
        if in_force.is_u64() && *in_force == router["generation"] {
            Ok(())
        } else {
            Err(format!("{router:#}"))
        }
    })
    .await;
}
