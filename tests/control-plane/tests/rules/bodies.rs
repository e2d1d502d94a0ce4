//! As `create_bodies`, for public addresses and rules; and what stands in the way of one another.

use super::*;
use crate::create_bodies::{NOBODY, bad_ids, bad_names, check};

/// Finds that these changes of a body are refused, each with the field that it names.
pub(super) async fn refused(api: &Api, path: &str, good: &Value, bad: Vec<(Value, &str, &str)>) {
    for (change, field, message) in bad {
        let mut body = good.clone();
        let fields = change.as_object().expect("a change is an object").clone();
        body.as_object_mut().expect("a body is an object").extend(fields);
        let problem = api.post(path, &body).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(text(&problem, "detail").contains(message), "{problem}");
    }
}

fn ranges(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("10.{}.{}.0/24", number / 256, number % 256)).collect()
}

#[tokio::test]
async fn bad_port_forwards_and_static_nats_are_refused() {
    let world = World::make().await;
    let (api, db, net) = (world.api(), &world.db, &world.net);
    let globex = world.admin().customer("globex").await;
    let body = json!({ "name": "far", "zone": world.pod.zone, "cidr": "10.1.1.0/24", "router": false });
    let far = text(&globex.api.post("/v1/networks", &body).await.ok(), "id");
    let theirs = world.pod.begin_vm(&globex.api, "theirs", &far).await;

    let mut good = world.body("port-forwards");
    (good["vm"], good["network"]) = (json!(db), json!(net));
    let mut bad = [bad_ids("public_ip"), bad_ids("vm"), bad_ids("network")].concat();
    bad.extend([
        ("public_ip", json!(NOBODY), "there is no such public address"),
        ("vm", json!(NOBODY), "has no such VM"),
        ("vm", json!(theirs), "has no such VM"),
        ("network", json!(NOBODY), "must be a network with a router that the VM is in"),
        ("network", json!(world.plain), "must be a network with a router that the VM is in"),
        ("network", Value::Null, "must be given"),
        ("transport", json!("icmp"), ""),
        ("ports", json!("0"), "must be a port"),
        ("ports", json!("9-8"), "must be a port"),
        ("ports", json!("65536"), "must be a port"),
        ("ports", json!(80), ""),
        ("to_port", json!(0), "must be 1 to 65535"),
        ("to_port", json!(65_527), "and so must those after it"),
        ("to_port", json!(65_536), ""),
        ("colour", json!("red"), "unknown field"),
    ]);
    let required = ["public_ip", "transport", "ports", "vm"];
    check(&world.control_plane, "/v1/port-forwards", good.clone(), &required, bad).await;
    good.as_object_mut().unwrap().remove("network");
    let lone = (json!({ "vm": world.lone }), "vm", "must be in a network with a router");
    refused(api, "/v1/port-forwards", &good, vec![lone.clone()]).await;

    let good = world.body("static-nats");
    let mut bad = [bad_ids("public_ip"), bad_ids("vm"), bad_ids("network")].concat();
    bad.extend([
        ("public_ip", json!(NOBODY), "there is no such public address"),
        ("vm", json!(theirs), "has no such VM"),
        ("network", json!(world.back), "must be a network with a router that the VM is in"),
        ("colour", json!("red"), "unknown field"),
    ]);
    check(&world.control_plane, "/v1/static-nats", good.clone(), &["public_ip", "vm"], bad).await;
    refused(api, "/v1/static-nats", &good, vec![lone]).await;

    let forward = done(api, api.post("/v1/port-forwards", &world.body("port-forwards")).await).await;
    let forward = format!("/v1/port-forwards/{forward}");
    for (body, field) in [
        (json!({ "network": net }), "network"),
        (json!({ "vm": db }), "network"),
        (json!({ "ports": "1-65535" }), "to_port"),
        (json!({ "public_ip": world.other }), "public_ip"),
    ] {
        assert_eq!(api.patch(&forward, &body).await.refused(422, "invalid_field")["field"], field);
    }
    check(
        &world.control_plane,
        "/v1/public-ips",
        json!({ "zone": world.pod.zone }),
        &["zone"],
        [
            bad_ids("zone"),
            bad_ids("account"),
            vec![("zone", json!(NOBODY), "there is no such zone"), ("colour", json!("red"), "unknown field")],
        ]
        .concat(),
    )
    .await;
}

#[tokio::test]
async fn bad_firewall_and_egress_rules_are_refused() {
    let world = World::make().await;
    let packets = [
        (json!({ "protocol": "icmp", "ports": "80" }), "ports", "must be left out but for tcp and udp"),
        (json!({ "protocol": "all", "ports": "80" }), "ports", "must be left out but for tcp and udp"),
        (json!({ "protocol": "tcp", "icmp_type": 8 }), "icmp_type", "must be left out but for icmp"),
        (json!({ "protocol": "icmp", "icmp_code": 0 }), "icmp_code", "must come with an icmp_type"),
    ];
    for (kind, field) in [("firewall-rules", "sources"), ("egress-rules", "destinations")] {
        let (path, mut good) = (format!("/v1/{kind}"), world.body(kind));
        (good["protocol"], good["ports"]) = (json!("tcp"), json!("22"));
        good.as_object_mut().unwrap().remove("icmp_type");
        let required = if kind == "egress-rules" { "network" } else { "public_ip" };
        let mut bad = bad_ids(required);
        bad.extend([
            (required, json!(NOBODY), "there is no such"),
            ("protocol", json!("gre"), ""),
            ("ports", json!("0-1"), "must be a port"),
            (field, json!([]), "must be 1 to 64 ranges"),
            (field, json!(ranges(65)), "must be 1 to 64 ranges"),
            (field, json!(["10.0.0.0/8", "10.1.0.0/16"]), "must not overlap"),
            (field, json!(["10.0.0.1", "10.0.0.1"]), "must not overlap"),
            (field, json!(["10.0.0.1/24"]), "did you mean 10.0.0.0/24?"),
            (field, json!(["::/0"]), "must be IPv4, as the "),
            (field, json!(["x"]), "must be an IPv4 range"),
            ("icmp_type", json!(256), ""),
            ("colour", json!("red"), "unknown field"),
        ]);
        if kind == "egress-rules" {
            bad.extend([
                ("network", json!(world.plain), "must be one with a router"),
                ("sources", json!(["10.1.2.0/24"]), "must be in the network's range 10.1.1.0/24"),
                ("sources", json!(["10.1.0.0/16"]), "must be in the network's range 10.1.1.0/24"),
                ("sources", json!([]), "must be 1 to 64 ranges"),
            ]);
        }
        // A firewall rule may be to a network instead.
        let required = if kind == "egress-rules" { &[required, "protocol"][..] } else { &["protocol"] };
        check(&world.control_plane, &path, good.clone(), required, bad).await;
        good.as_object_mut().unwrap().remove("ports");
        refused(world.api(), &path, &good, packets.to_vec()).await;

        let mut most = good;
        most[field] = json!(ranges(64));
        let one = format!("{path}/{}", done(world.api(), world.api().post(&path, &most).await).await);
        for (body, named) in [
            (json!({ "ports": "80" }), "protocol"),
            (json!({ "icmp_type": 8 }), "protocol"),
            (json!({ "protocol": "all", "ports": "80" }), "ports"),
            (json!({ field: [] }), field),
        ] {
            let problem = world.api().patch(&one, &body).await.refused(422, "invalid_field");
            assert_eq!(problem["field"], named, "{body}");
        }
    }
}

#[tokio::test]
async fn bad_load_balancers_are_refused() {
    let world = World::make().await;
    let (api, web) = (world.api(), &world.web);
    let good = world.body("load-balancers");
    let mut bad = [bad_names(), bad_ids("public_ip")].concat();
    bad.extend([
        ("public_ip", json!(NOBODY), "there is no such public address"),
        ("port", json!(0), "must be 1 to 65535"),
        ("port", json!(65_536), ""),
        ("transport", json!("icmp"), ""),
        ("method", json!("best"), ""),
        ("members", json!([{ "vm": web }, { "vm": web, "port": 1 }]), "must not have a VM twice"),
        ("members", json!(vec![json!({ "vm": web }); 65]), "must be at most 64"),
        ("members", json!([web]), ""),
    ]);
    let required = ["name", "public_ip", "port"];
    check(&world.control_plane, "/v1/load-balancers", good.clone(), &required, bad).await;
    let member = |change: Value| json!({ "members": [change] });
    let bad = vec![
        (json!({ "transport": "udp" }), "check", "must be left out of a balancer of UDP"),
        (json!({ "check": { "interval_ms": 499 } }), "check.interval_ms", "must be 500 to 60000"),
        (json!({ "check": { "timeout_ms": 10_001 } }), "check.timeout_ms", "must be 100 to 10000"),
        (json!({ "check": { "rise": 0 } }), "check.rise", "must be 1 to 10"),
        (json!({ "check": { "fall": 11 } }), "check.fall", "must be 1 to 10"),
        (json!({ "check": { "http_path": "up" } }), "check.http_path", "must begin with /"),
        (
            json!({ "check": { "http_path": format!("/{}", "x".repeat(256)) } }),
            "check.http_path",
            "at most 256",
        ),
        (member(json!({ "vm": web, "weight": 0 })), "members.weight", "must be 1 to 100"),
        (member(json!({ "vm": web, "weight": 101 })), "members.weight", "must be 1 to 100"),
        (member(json!({ "vm": web, "port": 0 })), "members.port", "must be 1 to 65535"),
        (member(json!({ "vm": NOBODY })), "members.vm", "has no such VM"),
        (member(json!({ "vm": world.db })), "members.network", "must be given"),
        (member(json!({ "vm": web, "network": world.back })), "members.network", "must be a network with"),
    ];
    refused(api, "/v1/load-balancers", &good, bad).await;

    let one = done(api, api.post("/v1/load-balancers", &good).await).await;
    let mut second = good.clone();
    second["port"] = json!(444);
    api.post("/v1/load-balancers", &second).await.refused(409, "name_taken");
    let one = format!("/v1/load-balancers/{one}");
    let problem = api.patch(&one, &json!({ "no_check": true, "check": {} })).await;
    assert_eq!(problem.refused(422, "invalid_field")["field"], "no_check");
}

#[tokio::test]
async fn ports_of_an_address_lead_to_one_place() {
    let world = World::make().await;
    let (api, ip, web) = (world.api(), &world.ip, &world.web);
    let forward = async |ip: &str, transport: &str, ports: &str| {
        let body = json!({ "public_ip": ip, "transport": transport, "ports": ports, "vm": web });
        api.post("/v1/port-forwards", &body).await
    };
    let balancer = async |name: &str, port: u16| {
        api.post("/v1/load-balancers", &json!({ "name": name, "public_ip": ip, "port": port })).await
    };
    let first = done(api, forward(ip, "tcp", "80-89").await).await;
    for ports in ["80", "89", "1-80", "89-90", "1-65535", "84-85"] {
        let problem = forward(ip, "tcp", ports).await.refused(409, "ports_taken");
        let detail = format!("tcp 80-89 of the public address is port-forward {first}'s");
        assert_eq!(text(&problem, "detail"), detail, "{ports}");
    }
    balancer("lb", 85).await.refused(409, "ports_taken");
    done(api, forward(ip, "udp", "80-89").await).await;
    let second = done(api, forward(ip, "tcp", "90-99").await).await;
    let lb = done(api, balancer("lb", 443).await).await;
    forward(ip, "tcp", "400-500").await.refused(409, "ports_taken");
    balancer("other", 443).await.refused(409, "ports_taken");

    // What is changed does not stand in its own way.
    let first = format!("/v1/port-forwards/{first}");
    done(api, api.patch(&first, &json!({ "ports": "81-88" })).await).await;
    api.patch(&first, &json!({ "ports": "81-90" })).await.refused(409, "ports_taken");
    api.patch(&first, &json!({ "ports": "442-443" })).await.refused(409, "ports_taken");
    api.patch(&first, &json!({ "transport": "udp" })).await.refused(409, "ports_taken");
    let lb = format!("/v1/load-balancers/{lb}");
    api.patch(&lb, &json!({ "port": 99 })).await.refused(409, "ports_taken");
    done(api, api.delete(&format!("/v1/port-forwards/{second}")).await).await;
    done(api, api.patch(&lb, &json!({ "port": 99 })).await).await;
}

#[tokio::test]
async fn an_address_that_is_a_vms_serves_nothing_else_and_a_vm_has_one() {
    let world = World::make().await;
    let (api, ip, other) = (world.api(), &world.ip, &world.other);
    let nat = async |ip: &str, vm: &str, network: &str| {
        api.post("/v1/static-nats", &json!({ "public_ip": ip, "vm": vm, "network": network })).await
    };
    let one = done(api, nat(other, &world.web, &world.net).await).await;
    let body = json!({ "public_ip": other, "transport": "tcp", "ports": "80", "vm": world.db, "network": world.net });
    api.post("/v1/port-forwards", &body).await.refused(409, "address_taken");
    let body = json!({ "name": "lb", "public_ip": other, "port": 80 });
    api.post("/v1/load-balancers", &body).await.refused(409, "address_taken");
    nat(other, &world.db, &world.net).await.refused(409, "address_taken");
    nat(ip, &world.web, &world.net).await.refused(409, "vm_has_address");
    let body = json!({ "public_ip": other, "protocol": "tcp", "ports": "22" });
    done(api, api.post("/v1/firewall-rules", &body).await).await;

    done(api, nat(ip, &world.db, &world.back).await).await;
    let one = format!("/v1/static-nats/{one}");
    let to = |network: &str| json!({ "vm": world.db, "network": network });
    api.patch(&one, &to(&world.back)).await.refused(409, "vm_has_address");
    done(api, api.patch(&one, &to(&world.net)).await).await;

    let body = json!({ "public_ip": ip, "transport": "tcp", "ports": "80", "vm": world.web });
    api.post("/v1/port-forwards", &body).await.refused(409, "address_taken");
    let third = address(api, &world.pod.zone).await;
    let body = json!({ "public_ip": third, "transport": "tcp", "ports": "80", "vm": world.web });
    done(api, api.post("/v1/port-forwards", &body).await).await;
    nat(&third, &world.web, &world.net).await.refused(409, "address_taken");
}
