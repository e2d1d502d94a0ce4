//! IPv6: prefixes of a zone's own, routers and hosts that are told of them, and rules over IPv6.

use podzol_vocab::{MacAddr, Prefix64};
use serde_json::{Value, json};

use super::{SOON, World, text, wait_for};

mod hosts;

const PREFIX: &str = "2001:db8:64::/56";

impl World {
    /// Whose zone has IPv6 and whose routers know it.
    async fn with_ipv6() -> Self {
        let world = Self::make().await;
        world.admin().zone_ipv6(&world.pod.zone, PREFIX).await;
        world.admin().router_template_with("router-ipv6", &["ipv6"]).await;
        world
    }

    fn network6(&self, name: &str, cidr: &str) -> Value {
        json!({ "name": name, "zone": self.pod.zone, "cidr": cidr, "ipv6": true })
    }

    async fn done(&self, answer: Value) -> Value {
        self.acme.api.succeeded(&text(&answer, "operation.id")).await;
        answer
    }

    async fn make_rule(&self, path: &str, body: Value) -> String {
        text(&self.done(self.acme.api.post(path, &body).await.ok()).await, "object.id")
    }

    /// The IPv6 address that a VM's host guards.
    fn guarded(&self, vm: &str) -> Option<String> {
        let (_, domain) = self.pod.running(vm).remove(0);
        domain.record.plan.nics[0].address6.map(|address| address.to_string())
    }
}

/// The address that a VM's MAC address makes of a prefix.
fn address_of(vm: &Value, prefix: &str) -> String {
    let mac: MacAddr = text(&vm["nics"][0], "mac").parse().expect("a MAC address is one");
    prefix.parse::<Prefix64>().expect("a prefix is one").of(mac).to_string()
}

#[tokio::test]
async fn a_network_with_ipv6_has_a_prefix_of_its_zones_which_router_and_hosts_know() {
    let world = World::with_ipv6().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let made = api.post("/v1/networks", &world.network6("net", "10.1.1.0/24")).await.ok();
    assert_eq!((&made["ipv6"], &made["ipv6_problem"]), (&json!("2001:db8:64::/64"), &Value::Null));

    let vm = pod.vm(api, "web", &text(&made, "id")).await;

    let shown = api.show_vm(&vm).await;
    let address = address_of(&shown, "2001:db8:64::/64");
    assert_eq!(text(&shown["nics"][0], "address6"), address);
    assert_eq!(world.guarded(&vm), Some(address.clone()));
    let host = pod.host(&text(&world.admin().show_vm(&vm).await, "host"));
    let seed = std::fs::read(host.seed(vm.parse().unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&seed).contains("\"dhcp6\":true"));
    let document = world.document().await;
    assert_eq!(document.problems(), vec![]);
    let guest = document.guests.values().next().unwrap();
    assert_eq!(guest.prefix6.unwrap().to_string(), "2001:db8:64::/64");
    assert_eq!(document.nics.values().next().unwrap().address6.unwrap().to_string(), address);
    let public = document.public.as_ref().unwrap().ipv6.unwrap();
    assert_eq!(
        [
            public.next_hop.to_string(),
            public.own.to_string(),
            public.gateway.to_string(),
            public.slot.to_string()
        ],
        ["fe80::1:0", "2001:db8:64:f::1", "fe80::ffff", "2001:db8:64::/60"]
    );
    // Its next network is of the same part, and another account's is of the next.
    let more = api.post("/v1/networks", &world.network6("more", "10.1.2.0/24")).await.ok();
    assert_eq!(text(&more, "ipv6"), "2001:db8:64:1::/64");
    let globex = world.admin().customer("globex").await;
    let other = globex.api.post("/v1/networks", &world.network6("net", "10.1.1.0/24")).await.ok();
    assert_eq!(text(&other, "ipv6"), "2001:db8:64:10::/64");
}

#[tokio::test]
async fn a_zones_prefix_runs_out_and_a_deleted_network_gives_its_part_back() {
    let world = World::with_ipv6().await;
    let zone = format!("/v1/zones/{}", world.pod.zone);
    world.admin().zone_ipv6(&world.pod.zone, "2001:db8:64::/60").await;
    let body = world.network6("net", "10.1.1.0/24");
    let first = text(&world.acme.api.post("/v1/networks", &body).await.ok(), "id");
    let globex = world.admin().customer("globex").await;
    let problem = globex.api.post("/v1/networks", &body).await.refused(409, "no_prefix_left");
    assert!(text(&problem, "detail").contains("all 1 parts of the zone's 2001:db8:64::/60"), "{problem}");
    // What is given out keeps the prefix where it is, and the gateway may change.
    let mut public = world.admin().get(&zone).await.ok()["public"].take();
    public["ipv6"]["prefix"] = json!("2001:db8:65::/56");
    let problem = world.admin().patch(&zone, &json!({ "public": public })).await.refused(409, "in_use");
    assert!(text(&problem, "detail").contains("networks of an account have parts of it"), "{problem}");
    public["ipv6"] = Value::Null;
    world.admin().patch(&zone, &json!({ "public": public })).await.refused(409, "in_use");
    public["ipv6"] = json!({ "prefix": "2001:db8:64::/60", "gateway": "2001:db8:1::1" });
    world.admin().patch(&zone, &json!({ "public": public })).await.ok();

    world.acme.api.delete(&format!("/v1/networks/{first}")).await.ok();
    let second = globex.api.post("/v1/networks", &body).await.ok();
    assert_eq!(text(&second, "ipv6"), "2001:db8:64::/64");
}

/// A router that was not told would go on answering for the next hop of its part, whoever has that.
#[tokio::test]
async fn a_part_of_a_prefix_is_its_accounts_until_its_router_was_told_that_it_is_not() {
    let world = World::with_ipv6().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let plain = pod.network(api, "plain", "10.1.9.0/24").await;
    pod.vm(api, "stays", &plain).await;
    let network = text(&api.post("/v1/networks", &world.network6("net", "10.1.1.0/24")).await.ok(), "id");
    let vm = pod.vm(api, "goes", &network).await;
    api.delete_vm(&vm).await;
    let machine = world.machine(&world.router().await).await;
    let links = machine.links().len();

    machine.hang();
    api.delete(&format!("/v1/networks/{network}")).await.ok();
    wait_for("the router to be unplugged", SOON, async || {
        if machine.links().len() < links { Ok(()) } else { Err(format!("{:?}", machine.links())) }
    })
    .await;
    wait_for("the management service to know that", SOON, async || {
        let router = world.router().await;
        if router["networks"] == json!([plain]) { Ok(()) } else { Err(router.to_string()) }
    })
    .await;
    world.admin().post("/v1/doctor/repair", &Value::Null).await.ok();
    let globex = world.admin().customer("globex").await;
    let body = world.network6("net", "10.1.1.0/24");
    let other = globex.api.post("/v1/networks", &body).await.ok();
    assert_eq!(text(&other, "ipv6"), "2001:db8:64:10::/64");

    machine.heal();
    globex.api.delete(&format!("/v1/networks/{}", text(&other, "id"))).await.ok();
    wait_for("the part to be anybody's", SOON, async || {
        let other = globex.api.post("/v1/networks", &body).await.ok();
        let has_first = text(&other, "ipv6") == "2001:db8:64::/64";
        globex.api.delete(&format!("/v1/networks/{}", text(&other, "id"))).await.ok();
        if has_first { Ok(()) } else { Err(other.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_routes_to_a_zones_prefix_are_known_before_there_is_any_router() {
    let world = World::make().await;
    let path = format!("/v1/zones/{}/routes6", world.pod.zone);
    world.admin().get(&path).await.refused(404, "not_found");
    world.admin().zone_ipv6(&world.pod.zone, PREFIX).await;
    let routes = world.admin().get(&path).await.ok();
    assert_eq!((&routes["count"], &routes["prefix"]), (&json!(16), &json!(PREFIX)));
    assert_eq!(routes["routes"][15], json!({ "prefix": "2001:db8:64:f0::/60", "via": "fe80::1:f" }));
    world.acme.api.get(&path).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_router_of_an_older_image_is_told_what_it_was_always_told() {
    let world = World::make().await;
    world.admin().zone_ipv6(&world.pod.zone, PREFIX).await;
    // It says more than it is.
    world.admin().router_template_with("router-new", &["ipv6"]).await;
    let api = &world.acme.api;
    let network = text(&api.post("/v1/networks", &world.network6("net", "10.1.1.0/24")).await.ok(), "id");
    let vm = world.pod.vm(api, "web", &network).await;
    let rule = json!({ "network": network, "protocol": "tcp", "ports": "22" });
    world.make_rule("/v1/firewall-rules", rule.clone()).await;

    let document = world.document().await;
    assert!(!document.has_ipv6());
    let told = serde_json::to_string(&document).unwrap();
    for word in ["prefix6", "address6", "ingress6", "egress6", "ipv6", "limits"] {
        assert!(!told.contains(word), "{word}: {told}");
    }
    let shown = api.get(&format!("/v1/networks/{network}")).await.ok();
    assert!(text(&shown, "ipv6_problem").contains("of an older image"), "{shown}");
    let listed = api.list("/v1/networks").await.remove(0);
    assert_eq!(listed["ipv6_problem"], shown["ipv6_problem"]);
    world.doctor_finds("router_lacks_ipv6").await;

    world.admin().router_template_with("router-ipv6", &["ipv6"]).await;
    let replace = format!("/v1/routers/{}/replace", text(&world.router().await, "id"));
    let replaced = world.admin().post(&replace, &Value::Null).await.ok();
    world.admin().succeeded(&text(&replaced, "operation.id")).await;
    let document = world.document().await;
    assert_eq!((document.problems(), document.ingress6.len()), (vec![], 1));
    let shown = api.get(&format!("/v1/networks/{network}")).await.ok();
    assert_eq!(shown["ipv6_problem"], Value::Null);
    assert!(world.guarded(&vm).is_some());
}

#[tokio::test]
async fn a_router_that_knows_no_ipv6_is_replaced_for_a_network_that_has_it() {
    let world = World::make().await;
    world.admin().zone_ipv6(&world.pod.zone, PREFIX).await;
    let api = &world.acme.api;
    let plain = world.pod.network(api, "plain", "10.1.1.0/24").await;
    world.pod.vm(api, "web", &plain).await;
    let before = world.router().await;
    let body = world.network6("net", "10.1.2.0/24");
    let problem = api.post("/v1/networks", &body).await.refused(409, "no_ipv6_router_template");
    assert!(text(&problem, "detail").contains("an operator imports a newer one"), "{problem}");
    assert_eq!(api.list("/v1/networks").await.len(), 1);

    world.admin().router_template_with("router-ipv6", &["ipv6"]).await;
    api.post("/v1/networks", &body).await.ok();
    wait_for("the router to be another one", SOON, async || {
        let router = world.router().await;
        let is_other = router["vm"] != before["vm"] && router["state"] == "running";
        if is_other { Ok(()) } else { Err(format!("{router:#}")) }
    })
    .await;
    assert_eq!(world.router().await["extensions"], json!(["ipv6"]));
}

#[tokio::test]
async fn a_network_gets_ipv6_while_its_vms_run() {
    let world = World::with_ipv6().await;
    let api = &world.acme.api;
    let network = world.pod.network(api, "net", "10.1.1.0/24").await;
    let path = format!("/v1/networks/{network}");
    let vm = world.pod.vm(api, "web", &network).await;
    assert_eq!(world.guarded(&vm), None);
    let run = world.pod.running(&vm)[0].1.run;
    // Its router was made of the newest template, as all know IPv4.
    world.done(api.patch(&path, &json!({ "ipv6": true })).await.ok()).await;
    let address = address_of(&api.show_vm(&vm).await, "2001:db8:64::/64");
    wait_for("its host to guard the address", SOON, async || {
        let guarded = world.guarded(&vm);
        if guarded.as_ref() == Some(&address) { Ok(()) } else { Err(format!("{guarded:?}")) }
    })
    .await;
    assert_eq!(world.pod.running(&vm)[0].1.run, run);
    let document = world.document().await;
    assert_eq!(
        (document.problems(), document.guests.values().next().unwrap().prefix6.is_some()),
        (vec![], true)
    );
    assert_eq!(document.nics.values().next().unwrap().address6.unwrap().to_string(), address);
    world.done(api.patch(&path, &json!({ "ipv6": true })).await.ok()).await;
    let problem = api.patch(&path, &json!({ "ipv6": false })).await.refused(422, "invalid_field");
    assert_eq!(problem["field"], "ipv6");
}

#[tokio::test]
async fn rules_over_ipv6_are_told_as_changes_and_go_with_their_vms() {
    let world = World::with_ipv6().await;
    let api = &world.acme.api;
    let network = text(&api.post("/v1/networks", &world.network6("net", "10.1.1.0/24")).await.ok(), "id");
    let vm = world.pod.vm(api, "web", &network).await;
    let address = address_of(&api.show_vm(&vm).await, "2001:db8:64::/64");
    let machine = world.machine(&world.router().await).await;
    let before = machine.count_calls();

    let rules = "/v1/firewall-rules";
    let body = json!({ "network": network, "vm": vm, "protocol": "tcp", "ports": "22", "sources": ["2001:db8::/32"] });
    let to_vm = world.make_rule(rules, body).await;
    let body = json!({ "network": network, "protocol": "icmpv6", "icmp_type": 128 });
    let to_all = world.make_rule(rules, body).await;
    let body =
        json!({ "network": network, "protocol": "udp", "ports": "53", "destinations": ["2001:db8:53::/48"] });
    let egress = world.make_rule("/v1/egress-rules", body).await;

    assert_eq!(machine.count_calls().puts, before.puts, "they are told as changes");
    let document = world.document().await;
    assert_eq!(document.problems(), vec![]);
    let entry = &document.ingress6[&to_vm.parse().unwrap()];
    assert_eq!(
        (entry.to.to_string(), entry.sources[0].to_string()),
        (format!("{address}/128"), "2001:db8::/32".into())
    );
    let entry = &document.ingress6[&to_all.parse().unwrap()];
    assert_eq!(
        (entry.to.to_string(), entry.sources[0].to_string()),
        ("2001:db8:64::/64".into(), "::/0".into())
    );
    let entry = &document.egress6[&egress.parse().unwrap()];
    assert_eq!(entry.sources[0].to_string(), "2001:db8:64::/64");
    let shown = api.get(&format!("{rules}/{to_vm}")).await.ok();
    assert_eq!(
        (text(&shown, "vm"), text(&shown, "network"), &shown["public_ip"]),
        (vm.clone(), network, &Value::Null)
    );
    let shown = api.get(&format!("/v1/egress-rules/{egress}")).await.ok();
    assert_eq!(shown["sources"], json!(["2001:db8:64::/64"]));

    // A deleted VM is served no more, nor is what leads to it.
    api.delete_vm(&vm).await;
    wait_for("the rule to go", SOON, async || {
        let document = machine.document().unwrap_or_default();
        let is_gone = document.ingress6.len() == 1 && document.nics.is_empty();
        if is_gone { Ok(()) } else { Err(format!("{document:#?}")) }
    })
    .await;
    assert_eq!(machine.document().unwrap().problems(), vec![]);
}

#[tokio::test]
async fn each_bad_body_of_ipv6_has_its_error() {
    let world = World::make().await;
    let api = &world.acme.api;
    let plain = world.pod.network(api, "plain", "10.1.9.0/24").await;
    let refused = async |path: &str, body: Value, field: &str, rule: &str| {
        let problem = api.post(path, &body).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], field, "{body}: {problem}");
        assert!(text(&problem, "detail").contains(rule), "{body}: {problem}");
    };
    refused("/v1/networks", world.network6("net", "10.1.1.0/24"), "ipv6", "has no IPv6 prefix").await;
    world.admin().zone_ipv6(&world.pod.zone, PREFIX).await;
    world.admin().router_template_with("router-ipv6", &["ipv6"]).await;
    let mut body = world.network6("net", "10.1.1.0/24");
    body["router"] = json!(false);
    refused("/v1/networks", body, "ipv6", "without a router").await;
    let network = text(&api.post("/v1/networks", &world.network6("net", "10.1.1.0/24")).await.ok(), "id");
    let vm = world.pod.vm(api, "web", &plain).await;
    let ip = api.post("/v1/public-ips", &json!({ "zone": world.pod.zone })).await.ok();
    let ip = text(&ip, "object.id");

    let rules = "/v1/firewall-rules";
    for (more, field, rule) in [
        (json!({}), "public_ip", "or a network instead"),
        (json!({ "public_ip": ip, "network": network }), "network", "must be left out"),
        (json!({ "public_ip": ip, "vm": vm }), "vm", "must be left out"),
        (json!({ "network": plain }), "network", "must be one with IPv6"),
        (json!({ "network": network, "vm": vm }), "vm", "must be in the network"),
        (json!({ "network": network, "sources": ["192.0.2.0/24"] }), "sources", "192.0.2.0/24 is not"),
        (json!({ "public_ip": ip, "sources": ["2001:db8::/32"] }), "sources", "2001:db8::/32 is not"),
        (
            json!({ "network": network, "sources": ["2001:db8::/32", "2001:db8:1::/48"] }),
            "sources",
            "must not overlap",
        ),
        (json!({ "network": network, "protocol": "icmp" }), "protocol", "must be icmpv6"),
        (json!({ "public_ip": ip, "protocol": "icmpv6" }), "protocol", "must be icmp,"),
        (
            json!({ "network": network, "protocol": "icmpv6", "icmp_code": 0 }),
            "icmp_code",
            "with an icmp_type",
        ),
    ] {
        let mut body = json!({ "protocol": "tcp" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refused(rules, body, field, rule).await;
    }
    for (more, field, rule) in [
        (json!({ "network": plain, "destinations": ["2001:db8::/32"] }), "destinations", "has no IPv6"),
        (
            json!({ "network": network, "destinations": ["2001:db8::/32", "192.0.2.0/24"] }),
            "destinations",
            "is not",
        ),
        (
            json!({ "network": network, "destinations": ["::/0"], "sources": ["10.1.1.0/25"] }),
            "sources",
            "is not",
        ),
        (
            json!({ "network": network, "destinations": ["::/0"], "sources": ["2001:db8:64:1::/64"] }),
            "sources",
            "must be in the network's range 2001:db8:64::/64",
        ),
        (
            json!({ "network": network, "destinations": ["::/0"], "protocol": "icmp" }),
            "protocol",
            "must be icmpv6",
        ),
    ] {
        let mut body = json!({ "protocol": "tcp" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refused("/v1/egress-rules", body, field, rule).await;
    }
    assert_eq!(api.list(rules).await.len() + api.list("/v1/egress-rules").await.len(), 0);
}
