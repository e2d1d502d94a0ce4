//! Balancers of HTTP come into force on routers that can balance it, and harm no other.

use std::time::Duration;

use podzol_appliance_api::{HttpBalancerStatus, HttpCounters};
use podzol_sim::{Fault, Step};
use podzol_test_support::ControlPlane;
use podzol_test_support::certificate::certificate as certificate_for;
use podzol_vocab::{ErrorCode, WireError};
use serde_json::{Value, json};

use super::rules::Served;
use super::{SOON, World, text, wait_for};

fn certificate() -> Value {
    certificate_for("shop.example")
}

impl Served {
    /// A balancer of HTTP that was asked for; and the operation that brings it into force.
    async fn begin_http(&self, tls: &Value) -> (String, String) {
        let ip = self.make_one("/v1/public-ips", json!({ "zone": self.world.pod.zone })).await;
        let body = json!({
            "name": "shop", "public_ip": ip, "port": 443, "members": [{ "vm": self.vm, "port": 80, "weight": 7 }],
            "check": { "http_path": "/up" }, "http": { "cookie": "SRV", "tls": tls },
        });
        let made = self.world.acme.api.post("/v1/load-balancers", &body).await.ok();
        (text(&made, "object.id"), text(&made, "operation.id"))
    }

    async fn balancer(&self, id: &str) -> Value {
        self.world.acme.api.get(&format!("/v1/load-balancers/{id}")).await.ok()
    }

    /// Waits until a balancer is in force.
    async fn is_in_force(&self, id: &str) {
        let key = id.parse().expect("a balancer's id is one");
        wait_for("the balancer to be in force", SOON, async || {
            let router = self.world.router().await;
            let vm = text(&router, "vm").parse().expect("a VM's id is one");
            let machine = self.world.pod.hosts.iter().find_map(|host| host.router(vm));
            let document = machine.and_then(|machine| machine.document()).unwrap_or_default();
            if document.http_balancers.contains_key(&key) { Ok(()) } else { Err(format!("{router:#}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_plain_router_is_replaced_by_one_that_balances_http_when_that_is_asked_for() {
    let served = Served::make().await;
    let world = &served.world;
    let before = world.router().await;
    assert_eq!(before["extensions"], json!([]));
    let l7 = world.admin().router_template_with("router-l7", &["l7"]).await;
    // The one that takes its place is for a while in no network.
    let plugging = Fault::Takes(Duration::from_millis(300));
    world.pod.hosts.iter().for_each(|host| host.hypervisor().fault(Step::Change, plugging));
    let tls = certificate();
    let (id, operation) = served.begin_http(&tls).await;
    world.acme.api.succeeded(&operation).await;

    let now = world.router().await;
    assert_eq!((&now["extensions"], text(&now, "template")), (&json!(["l7"]), l7));
    assert_ne!(now["vm"], before["vm"]);
    let document = world.document().await;
    assert_eq!(document.problems(), vec![]);
    let balancer = &document.http_balancers[&id.parse().unwrap()];
    let member = balancer.members.values().next().unwrap();
    assert_eq!((member.port, member.weight, member.drains), (80, 7, false));
    let termination = balancer.tls.as_ref().unwrap();
    assert_eq!(*termination.key.expose(), text(&tls, "key"));
    assert_eq!(balancer.cookie.as_ref().unwrap().as_str(), "SRV");
    world.admin().event("router.replace", "a balancer of HTTP takes one that can").await;
    // It has more memory than others.
    let (_, domain) = world.pod.running(&text(&now, "vm")).pop().unwrap();
    assert_eq!(domain.record.plan.memory_mib, 256);
    assert_eq!(served.balancer(&id).await["error"], Value::Null);
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));
}

#[tokio::test]
async fn a_new_certificate_and_a_member_that_drains_are_changes_of_the_document() {
    let served = Served::with_template("router-l7", &["l7"]).await;
    let world = &served.world;
    let (id, operation) = served.begin_http(&certificate()).await;
    world.acme.api.succeeded(&operation).await;
    let machine = world.machine(&world.router().await).await;
    let before = machine.count_calls();
    let tls = certificate();
    let members = json!([{ "vm": served.vm, "port": 80, "weight": 7, "drains": true }]);
    let change = json!({ "members": members, "http": { "tls": tls } });
    let made = world.acme.api.patch(&format!("/v1/load-balancers/{id}"), &change).await.ok();
    world.acme.api.succeeded(&text(&made, "operation.id")).await;

    let document = world.document().await;
    let balancer = &document.http_balancers[&id.parse().unwrap()];
    assert!(balancer.members.values().next().unwrap().drains);
    assert_eq!(balancer.tls.as_ref().unwrap().certificates, text(&tls, "certificates"));
    assert_eq!(machine.count_calls().puts, before.puts);

    let made = world.acme.api.delete(&format!("/v1/load-balancers/{id}")).await.ok();
    world.acme.api.succeeded(&text(&made, "operation.id")).await;
    assert!(world.document().await.http_balancers.is_empty());
}

#[tokio::test]
async fn what_a_router_says_of_a_balancer_and_its_members_is_shown() {
    let served = Served::with_template("router-l7", &["l7"]).await;
    let world = &served.world;
    let (id, operation) = served.begin_http(&certificate()).await;
    world.acme.api.succeeded(&operation).await;
    let nic = text(&served.balancer(&id).await, "members.0.nic");
    let counters =
        HttpCounters { connections: 3, requests: 12, failures: 2, received_bytes: 400, sent_bytes: 9000 };
    let status = HttpBalancerStatus { counters, open: 1, down: [nic.parse().unwrap()].into() };
    world.machine(&world.router().await).await.set_http(id.parse().unwrap(), status);

    wait_for("the counters to be shown", SOON, async || {
        let shown = served.balancer(&id).await;
        let traffic = json!({
            "open": 1, "connections": 3, "requests": 12, "failures": 2, "received_bytes": 400, "sent_bytes": 9000,
        });
        let is_right = shown["traffic"] == traffic && shown["members"][0]["works"] == json!(false);
        if is_right { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(world.acme.api.list("/v1/load-balancers").await, [served.balancer(&id).await]);
}

#[tokio::test]
async fn a_template_that_says_too_much_harms_no_other_rule_and_the_balancer_says_why_it_is_not_in_force() {
    let served = Served::make().await;
    let world = &served.world;
    // There is no `l7` in its image.
    world.admin().router_template_with("liar", &["l7"]).await;
    let (id, operation) = served.begin_http(&certificate()).await;
    world.acme.api.succeeded(&operation).await;
    wait_for("the balancer to say so", SOON, async || {
        let shown = served.balancer(&id).await;
        let error = shown["error"].as_str().unwrap_or_default();
        if error.contains("has no extension l7") { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    let router = world.router().await;

    let ip = served.make_one("/v1/public-ips", json!({ "zone": world.pod.zone })).await;
    let forward = json!({ "public_ip": ip, "transport": "tcp", "ports": "22", "vm": served.vm });
    let forward = served.make_one("/v1/port-forwards", forward).await;
    let document = world.document().await;
    assert!(document.port_forwards.contains_key(&forward.parse().unwrap()));
    assert!(document.http_balancers.is_empty());
    // It is not replaced by another of the same.
    assert_eq!(world.router().await["vm"], router["vm"]);
    served.world.doctor_finds("router_lacks_l7").await;

    // But by one that can, as soon as there is a template of it.
    world.admin().router_template_with("router-l7", &["l7"]).await;
    served.is_in_force(&id).await;
    assert_eq!(served.balancer(&id).await["error"], Value::Null);
}

#[tokio::test]
async fn a_balancer_that_a_router_does_not_take_is_laid_aside_and_all_else_comes_into_force() {
    let served = Served::with_template("router-l7", &["l7"]).await;
    let (world, api) = (&served.world, &served.world.acme.api);
    let (id, operation) = served.begin_http(&certificate()).await;
    api.succeeded(&operation).await;
    let machine = world.machine(&world.router().await).await;
    let says = format!("http_balancers.{id}.tls: haproxy refuses it: it does not like it");
    machine.refuse_next(WireError::new(ErrorCode::Invalid, says));
    let path = format!("/v1/load-balancers/{id}");
    let made = api.patch(&path, &json!({ "http": { "idle_secs": 9 } })).await.ok();
    api.succeeded(&text(&made, "operation.id")).await;

    let shown = served.balancer(&id).await;
    assert!(text(&shown, "error").contains("does not take it: http_balancers."), "{shown}");
    assert!(world.document().await.http_balancers.is_empty());
    let forward =
        json!({ "public_ip": shown["public_ip"], "transport": "tcp", "ports": "22", "vm": served.vm });
    let forward = served.make_one("/v1/port-forwards", forward).await;
    assert!(world.document().await.port_forwards.contains_key(&forward.parse().unwrap()));
    assert_eq!(world.router().await["state"], "running");
    served.world.doctor_finds("balancer_refused").await;

    // It is tried again when it is another one.
    let made = api.patch(&path, &json!({ "http": { "tls": certificate() } })).await.ok();
    api.succeeded(&text(&made, "operation.id")).await;
    assert_eq!(world.document().await.http_balancers[&id.parse().unwrap()].idle_secs, 9);
    assert_eq!(served.balancer(&id).await["error"], Value::Null);
}

#[tokio::test]
async fn a_router_that_comes_again_is_of_the_kind_that_its_account_needs() {
    let world = World::with(ControlPlane::with(|config| config.router_idle_secs = 1).await).await;
    let served = Served::of(world).await;
    let world = &served.world;
    let l7 = world.admin().router_template_with("router-l7", &["l7"]).await;
    let api = &world.acme.api;
    api.stop_vm(&served.vm).await;
    wait_for("the router to be gone", SOON, async || {
        let left = world.admin().list("/v1/routers").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let (id, operation) = served.begin_http(&certificate()).await;
    api.succeeded(&operation).await;
    api.start_vm(&served.vm).await;
    api.vm_in_state(&served.vm, "running").await;
    assert_eq!(text(&world.router().await, "template"), l7);
    served.is_in_force(&id).await;

    // Another account balances no HTTP, and has a router of the smaller kind, though that is the older one.
    let globex = world.admin().customer("globex").await;
    let network = world.pod.network(&globex.api, "net", "10.1.1.0/24").await;
    world.pod.vm(&globex.api, "web", &network).await;
    let routers = world.admin().list("/v1/routers").await;
    let other = routers.iter().find(|router| text(router, "account") == globex.account).unwrap();
    assert_ne!(text(other, "template"), l7);
}
