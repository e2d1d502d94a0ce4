//! What customers ask of their routers, while none runs: everything is checked and kept all the same.

use podzol_sim::SimPod;
use podzol_test_support::{Answer, Api, ControlPlane, Customer, SOON, text, wait_for};
use serde_json::{Value, json};

mod addresses;
mod bodies;
mod http;
mod limits;

/// The kinds of rules: where they are, and what one is called.
const KINDS: [(&str, &str); 5] = [
    ("port-forwards", "port-forward"),
    ("static-nats", "static-nat"),
    ("firewall-rules", "firewall-rule"),
    ("egress-rules", "egress-rule"),
    ("load-balancers", "load-balancer"),
];

/// VMs of acme, all stopped, so that there is no router; and two public addresses.
struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    acme: Customer,
    /// A network with a router, 10.1.1.0/24, and a second one.
    net: String,
    back: String,
    /// A network without a router.
    plain: String,
    /// A VM in the first network, one in both, and one in that without a router.
    web: String,
    db: String,
    lone: String,
    ip: String,
    other: String,
}

impl World {
    async fn make() -> Self {
        let control_plane = ControlPlane::with(|config| config.router_idle_secs = 1).await;
        let pod = SimPod::start(&control_plane).await;
        let admin = &control_plane.admin;
        admin.zone_networks(&pod.zone).await;
        admin.router_template("router").await;
        let acme = admin.customer("acme").await;
        let api = &acme.api;
        let (net, back) =
            (pod.network(api, "net", "10.1.1.0/24").await, pod.network(api, "back", "10.1.2.0/24").await);
        let body = json!({ "name": "plain", "zone": pod.zone, "cidr": "10.1.1.0/24", "router": false });
        let plain = text(&api.post("/v1/networks", &body).await.ok(), "id");
        let networks = [("web", vec![&net]), ("db", vec![&net, &back]), ("lone", vec![&plain])];
        let mut vms = Vec::new();
        for (name, networks) in networks {
            let body = json!({
                "name": name, "offering": pod.offering, "template": pod.template, "networks": networks,
            });
            vms.push(text(&api.post("/v1/vms", &body).await.ok(), "object.id"));
        }
        for vm in &vms {
            api.vm_in_state(vm, "running").await;
            api.stop_vm(vm).await;
        }
        let [web, db, lone] = vms.try_into().expect("there are three");
        wait_for("the router to be gone", SOON, async || {
            let left = admin.list("/v1/routers").await;
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        let (ip, other) = (address(api, &pod.zone).await, address(api, &pod.zone).await);
        Self { control_plane, pod, acme, net, back, plain, web, db, lone, ip, other }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    fn api(&self) -> &Api {
        &self.acme.api
    }

    /// One of each kind that leads to `web`.
    async fn one_of_each(&self) -> Vec<(&'static str, String)> {
        let mut made = Vec::new();
        for (kind, noun) in KINDS {
            let answer = self.api().post(&format!("/v1/{kind}"), &self.body(kind)).await;
            made.push((noun, done(self.api(), answer).await));
        }
        made
    }

    /// A good body of a kind.
    fn body(&self, kind: &str) -> Value {
        let (ip, web) = (&self.ip, &self.web);
        match kind {
            "port-forwards" => json!({
                "public_ip": ip, "transport": "tcp", "ports": "8000-8009", "vm": web, "to_port": 80,
            }),
            "static-nats" => json!({ "public_ip": self.other, "vm": web }),
            "firewall-rules" => json!({ "public_ip": ip, "protocol": "icmp", "icmp_type": 8 }),
            "egress-rules" => json!({ "network": self.net, "protocol": "all" }),
            "load-balancers" => json!({
                "name": "lb", "public_ip": ip, "port": 443, "check": { "http_path": "/up" },
                "members": [{ "vm": web, "port": 8443, "weight": 3 }],
            }),
            _ => panic!("this test knows no {kind}"),
        }
    }
}

/// A public address, once that is in force.
async fn address(api: &Api, zone: &str) -> String {
    done(api, api.post("/v1/public-ips", &json!({ "zone": zone })).await).await
}

/// The id of what an answer is about, whose operation ends well though no router is there to be told.
async fn done(api: &Api, answer: Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    let body = answer.ok();
    api.succeeded(&text(&body, "operation.id")).await;
    text(&body, "object.id")
}

/// Finds that an object has these fields.
#[track_caller]
fn assert_has(object: &Value, fields: &Value) {
    for (field, value) in fields.as_object().expect("fields are an object") {
        assert_eq!(&object[field], value, "{field} of {object:#}");
    }
}

#[tokio::test]
async fn what_was_asked_for_is_shown_listed_changed_and_deleted() {
    let world = World::make().await;
    let (api, web, db, back) = (world.api(), &world.web, &world.db, &world.back);
    for (kind, made, change, changed) in [
        (
            "port-forwards",
            json!({ "address": "203.0.113.10", "transport": "tcp", "ports": "8000-8009", "vm": web, "to_port": 80 }),
            json!({ "transport": "udp", "ports": "53", "vm": db, "network": back, "to_port": 5353 }),
            json!({ "transport": "udp", "ports": "53", "vm": db, "to_port": 5353 }),
        ),
        (
            "static-nats",
            json!({ "address": "203.0.113.11", "vm": web }),
            json!({ "vm": db, "network": back }),
            json!({ "address": "203.0.113.11", "vm": db }),
        ),
        (
            "firewall-rules",
            json!({ "address": "203.0.113.10", "sources": ["0.0.0.0/0"], "protocol": "icmp", "icmp_type": 8 }),
            json!({ "sources": ["198.51.100.0/24"], "protocol": "tcp", "ports": "22" }),
            json!({ "sources": ["198.51.100.0/24"], "protocol": "tcp", "ports": "22", "icmp_type": null }),
        ),
        (
            "egress-rules",
            json!({ "network": world.net, "sources": ["10.1.1.0/24"], "destinations": ["0.0.0.0/0"], "protocol": "all" }),
            json!({ "sources": ["10.1.1.2"], "destinations": ["192.0.2.0/24"], "protocol": "udp", "ports": "53" }),
            json!({ "sources": ["10.1.1.2/32"], "destinations": ["192.0.2.0/24"], "protocol": "udp", "ports": "53" }),
        ),
        (
            "load-balancers",
            json!({ "name": "lb", "transport": "tcp", "port": 443, "method": "round_robin" }),
            json!({
                "port": 444, "method": "source_hash", "no_check": true,
                "members": [{ "vm": web }, { "vm": db, "network": back, "port": 1, "drains": true }],
            }),
            json!({ "name": "lb", "port": 444, "method": "source_hash", "check": null }),
        ),
    ] {
        let path = format!("/v1/{kind}");
        let id = done(api, api.post(&path, &world.body(kind)).await).await;
        let one = format!("{path}/{id}");
        let shown = api.get(&one).await.ok();
        assert_has(&shown, &made);
        assert_has(&shown, &json!({ "account": world.acme.account, "zone": world.pod.zone }));
        assert_eq!(api.list(&path).await, [shown]);
        assert_eq!(done(api, api.patch(&one, &change).await).await, id);
        assert_has(&api.get(&one).await.ok(), &changed);
        // What is left out stays.
        let before = api.get(&one).await.ok();
        let nothing = if kind == "static-nats" { json!({ "vm": db, "network": back }) } else { json!({}) };
        done(api, api.patch(&one, &nothing).await).await;
        assert_eq!(api.get(&one).await.ok(), before);
        assert_eq!(done(api, api.delete(&one).await).await, id);
        api.get(&one).await.refused(404, "not_found");
        assert_eq!(api.list(&path).await, Vec::<Value>::new());
    }
    for (_, noun) in KINDS {
        for verb in ["create", "update", "delete"] {
            let event = world.admin().event(&format!("{noun}.{verb}"), "").await;
            assert_eq!(text(&event, "account"), world.acme.account);
        }
    }
}

#[tokio::test]
async fn members_of_a_balancer_are_shown_as_they_were_asked_for() {
    let world = World::make().await;
    let api = world.api();
    let id = done(api, api.post("/v1/load-balancers", &world.body("load-balancers")).await).await;
    let one = format!("/v1/load-balancers/{id}");
    let shown = api.get(&one).await.ok();
    assert_has(&shown["members"][0], &json!({ "vm": world.web, "port": 8443, "weight": 3, "drains": false }));
    assert_has(&shown["check"], &json!({ "http_path": "/up", "interval_ms": 2000 }));

    let members =
        json!([{ "vm": world.web, "drains": true }, { "vm": world.db, "network": world.net, "weight": 9 }]);
    done(api, api.patch(&one, &json!({ "members": members })).await).await;

    let shown = api.get(&one).await.ok();
    let of = |vm: &str| shown["members"].as_array().unwrap().iter().find(|one| one["vm"] == vm).unwrap();
    // Its port is the balancer's own where none is given.
    assert_has(of(&world.web), &json!({ "port": 443, "weight": 1, "drains": true }));
    assert_has(of(&world.db), &json!({ "port": 443, "weight": 9, "drains": false }));
    assert_has(&shown["check"], &json!({ "http_path": "/up" }));
}

#[tokio::test]
async fn a_request_that_comes_twice_makes_one() {
    let world = World::make().await;
    for (kind, _) in KINDS {
        let path = format!("/v1/{kind}");
        let first = world.api().post_once(&path, kind, &world.body(kind)).await;
        let again = world.api().post_once(&path, kind, &world.body(kind)).await;
        assert_eq!((first.status, again.status), (202, 202));
        assert_eq!(first.body, again.body);
        assert_eq!(world.api().list(&path).await.len(), 1);
    }
    let body = json!({ "zone": world.pod.zone });
    let first = world.api().post_once("/v1/public-ips", "ip", &body).await.ok();
    assert_eq!(world.api().post_once("/v1/public-ips", "ip", &body).await.ok(), first);
    assert_eq!(world.api().list("/v1/public-ips").await.len(), 3);
}

#[tokio::test]
async fn the_stream_of_changes_tells_of_each() {
    let world = World::make().await;
    let mut changes = world.api().changes(None).await;
    let ip = address(world.api(), &world.pod.zone).await;
    let mut made = world.one_of_each().await;
    let last = made.last().unwrap().1.clone();
    made.push(("public-ip", ip));

    let told = changes.until(|change| change["id"] == last.as_str()).await;
    for (noun, id) in &made {
        let change = &told.iter().find(|message| message.change["id"] == id.as_str()).unwrap().change;
        assert_eq!((&change["kind"], &change["object"]["id"]), (&json!(noun), &json!(id)));
    }
    for (noun, id) in made {
        let path = format!("/v1/{noun}s/{id}");
        done(world.api(), world.api().delete(&path).await).await;
        let told = changes.until(|change| change["id"] == id.as_str()).await;
        let gone = &told.last().unwrap().change;
        assert_eq!((&gone["kind"], &gone["object"]), (&json!(noun), &Value::Null));
    }
}

#[tokio::test]
async fn rules_go_with_the_vm_or_the_interface_that_they_lead_to() {
    let world = World::make().await;
    let (api, db) = (world.api(), &world.db);
    let made = world.one_of_each().await;
    // One to each interface of another VM.
    let forward = async |network: &str, port: &str| {
        let body = json!({
            "public_ip": world.ip, "transport": "udp", "ports": port, "vm": db, "network": network,
        });
        done(api, api.post("/v1/port-forwards", &body).await).await
    };
    let (front, back) = (forward(&world.net, "1").await, forward(&world.back, "2").await);
    let members = json!([{ "vm": world.web }, { "vm": db, "network": world.back }]);
    let balancer = format!("/v1/load-balancers/{}", made[4].1);
    done(api, api.patch(&balancer, &json!({ "members": members })).await).await;

    let nics = api.show_vm(db).await["nics"].clone();
    let nic = nics.as_array().unwrap().iter().find(|nic| nic["network"] == world.back.as_str()).unwrap();
    api.delete(&format!("/v1/nics/{}", text(nic, "id"))).await.ok();
    api.get(&format!("/v1/port-forwards/{back}")).await.refused(404, "not_found");
    api.get(&format!("/v1/port-forwards/{front}")).await.ok();
    let members = api.get(&balancer).await.ok()["members"].clone();
    assert_eq!((members.as_array().unwrap().len(), &members[0]["vm"]), (1, &json!(world.web)));

    api.delete_vm(&world.web).await;
    let ids = async |kind: &str| -> Vec<String> {
        api.list(&format!("/v1/{kind}")).await.iter().map(|one| text(one, "id")).collect()
    };
    assert_eq!(ids("port-forwards").await, [front]);
    assert_eq!(ids("static-nats").await, Vec::<String>::new());
    assert_eq!(api.get(&balancer).await.ok()["members"], json!([]));
    // What leads to no VM stays.
    assert_eq!((ids("firewall-rules").await.len(), ids("egress-rules").await.len()), (1, 1));
    let event = world.admin().event_about("static-nat.delete", &made[1].1, "is gone").await;
    assert_eq!(text(&event, "actor"), "management");
    world.admin().event_about("load-balancer.update", &made[4].1, "a member is gone").await;
    done(api, api.delete(&format!("/v1/public-ips/{}", world.other)).await).await;
    api.delete_vm(db).await;
    api.delete(&format!("/v1/networks/{}", world.net)).await.ok();
    world.admin().event_about("egress-rule.delete", &made[3].1, "its network was deleted").await;
}
