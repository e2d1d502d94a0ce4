//! Public addresses, and networks that routers can serve beside them.

use super::*;

/// A zone with networks of its own, and nothing in it.
async fn zone(control_plane: &ControlPlane) -> String {
    let zone = control_plane.admin.zone("z1", &["100-199"]).await;
    control_plane.admin.zone_networks(&zone).await;
    zone
}

#[tokio::test]
async fn an_account_gets_the_lowest_address_that_nobody_has_as_long_as_there_is_one() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = admin.zone("z1", &["100-199"]).await;
    let api = admin.customer("acme").await.api;
    let body = json!({ "zone": zone });
    let problem = api.post("/v1/public-ips", &body).await.refused(422, "invalid_field");
    assert_eq!(
        (text(&problem, "field"), text(&problem, "detail")),
        ("zone".into(), "zone: zone z1 has no public network".into())
    );
    admin.zone_networks(&zone).await;
    let mut ids = Vec::new();
    for last in 10..20 {
        let made = api.post("/v1/public-ips", &body).await.ok();
        api.succeeded(&text(&made, "operation.id")).await;
        let address = format!("203.0.113.{last}");
        assert_has(&made["object"], &json!({ "address": address, "source_nat": false, "zone": zone }));
        ids.push(text(&made, "object.id"));
    }
    let problem = api.post("/v1/public-ips", &body).await.refused(409, "public_addresses_exhausted");
    let detail = "no public address left in zone z1 (203.0.113.10-203.0.113.19 all in use)";
    assert_eq!(text(&problem, "detail"), detail);

    // Its name is the address.
    let found = api.list("/v1/public-ips?name=203.0.113.12").await;
    assert_eq!((found.len(), text(&found[0], "id")), (1, ids[2].clone()));
    done(&api, api.delete(&format!("/v1/public-ips/{}", ids[2])).await).await;
    api.get(&format!("/v1/public-ips/{}", ids[2])).await.refused(404, "not_found");
    let globex = admin.customer("globex").await;
    let made = globex.api.post("/v1/public-ips", &body).await.ok();
    assert_eq!(text(&made, "object.address"), "203.0.113.12");
    assert_eq!(api.list("/v1/public-ips").await.len(), 9);
    for action in ["public-ip.create", "public-ip.delete"] {
        admin.event_about(action, &ids[2], "203.0.113.12").await;
    }
}

#[tokio::test]
async fn addresses_that_are_given_out_stay_in_their_zone() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = zone(&control_plane).await;
    let ip = address(admin, &zone).await;
    let path = format!("/v1/zones/{zone}");
    let public = async |range: &str| {
        let public = json!({ "cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "ranges": [range] });
        admin.patch(&path, &json!({ "public": public })).await
    };
    public("203.0.113.11-203.0.113.12").await.refused(409, "in_use");
    public("203.0.113.10").await.ok();
    let body = json!({ "zone": zone });
    admin.post("/v1/public-ips", &body).await.refused(409, "public_addresses_exhausted");
    public("203.0.113.9-203.0.113.10").await.ok();
    assert_eq!(text(&admin.post("/v1/public-ips", &body).await.ok(), "object.address"), "203.0.113.9");

    admin.delete(&path).await.refused(409, "in_use");
    for ip in admin.list("/v1/public-ips").await {
        done(admin, admin.delete(&format!("/v1/public-ips/{}", text(&ip, "id"))).await).await;
    }
    admin.get(&format!("/v1/public-ips/{ip}")).await.refused(404, "not_found");
    admin.delete(&path).await.ok();
    assert_eq!(admin.list("/v1/zones").await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_account_has_as_many_addresses_as_its_quota_lets_it() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = zone(&control_plane).await;
    let acme = admin.customer("acme").await;
    let account = format!("/v1/accounts/{}", acme.account);
    admin.patch(&account, &json!({ "quotas": { "public_ips": 1 } })).await.ok();
    let ip = address(&acme.api, &zone).await;
    let body = json!({ "zone": zone, "account": acme.account });
    for api in [&acme.api, admin] {
        let problem = api.post("/v1/public-ips", &body).await.refused(409, "quota_exceeded");
        assert_eq!(problem["reasons"], json!(["public addresses: 1 of 1 in use, 1 more asked for"]));
    }
    done(&acme.api, acme.api.delete(&format!("/v1/public-ips/{ip}")).await).await;
    admin.post("/v1/public-ips", &body).await.ok();
}

#[tokio::test]
async fn an_address_that_is_needed_is_not_returned() {
    let world = World::make().await;
    let api = world.api();
    let forward = world.one_of_each().await[0].1.clone();
    for ip in [&world.ip, &world.other] {
        let problem = api.delete(&format!("/v1/public-ips/{ip}")).await.refused(409, "in_use");
        assert_eq!(text(&problem, "detail"), "rules still name it");
    }
    for (kind, _) in KINDS {
        for one in api.list(&format!("/v1/{kind}")).await {
            done(api, api.delete(&format!("/v1/{kind}/{}", text(&one, "id"))).await).await;
        }
    }
    done(api, api.delete(&format!("/v1/public-ips/{}", world.ip)).await).await;
    api.get(&format!("/v1/port-forwards/{forward}")).await.refused(404, "not_found");

    // The router has one for itself, which serves many VMs.
    api.start_vm(&world.web).await;
    let own = api.list("/v1/public-ips").await.into_iter().find(|ip| ip["source_nat"] == true).unwrap();
    assert_eq!(text(&own, "address"), "203.0.113.10");
    let own = text(&own, "id");
    let problem = api.delete(&format!("/v1/public-ips/{own}")).await.refused(409, "in_use");
    assert_eq!(text(&problem, "detail"), "the account's router uses it; it goes with that");
    let body = json!({ "public_ip": own, "vm": world.web });
    api.post("/v1/static-nats", &body).await.refused(409, "address_taken");
    let body = json!({ "public_ip": own, "transport": "tcp", "ports": "80", "vm": world.web });
    done(api, api.post("/v1/port-forwards", &body).await).await;
}

#[tokio::test]
async fn networks_with_a_router_leave_room_for_one_another_and_for_the_zones_own() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = zone(&control_plane).await;
    let path = format!("/v1/zones/{zone}");
    let public = json!({
        "cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "ranges": ["203.0.113.10"],
        "name_servers": ["192.0.2.1"],
    });
    let route = json!([{ "to": "10.99.0.0/16", "via": "10.77.0.1" }]);
    let management = json!({ "cidr": "10.77.0.0/24", "ranges": ["10.77.0.100"], "routes": route });
    admin.patch(&path, &json!({ "public": public, "management": management })).await.ok();
    admin.network("first", &zone, "10.1.1.0/24").await;
    let create = async |api: &Api, name: &str, cidr: &str, router: bool| {
        let body = json!({ "name": name, "zone": zone, "cidr": cidr, "router": router });
        api.post("/v1/networks", &body).await
    };
    for (number, (cidr, rule)) in [
        ("10.77.0.0/28", "the zone's own networks"),
        ("10.99.8.0/24", "the zone's own networks"),
        ("203.0.0.0/16", "the zone's own networks"),
        ("192.0.2.0/24", "a name server of the zone"),
        ("169.254.0.0/16", "169.254.169.254"),
        ("10.1.0.0/16", "network first"),
    ]
    .into_iter()
    .enumerate()
    {
        let problem = create(admin, "x", cidr, true).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], "cidr");
        assert!(text(&problem, "detail").contains(rule), "{cidr}: {problem}");
        create(admin, &format!("plain{number}"), cidr, false).await.ok();
    }
    let problem = create(admin, "x", "10.2.0.0/24", true).await.ok();
    assert_has(&problem, &json!({ "router": true, "egress": "allow" }));

    // Nor do those come into their way.
    for (field, value) in
        [("cidr", json!("10.1.0.0/16")), ("routes", json!([{ "to": "10.1.1.7", "via": "10.77.0.1" }]))]
    {
        let mut management = management.clone();
        management[field] = value;
        if field == "cidr" {
            management["ranges"] = json!(["10.1.9.9"]);
            management["routes"] = json!([]);
        }
        let refused = admin.patch(&path, &json!({ "management": management })).await.refused(409, "in_use");
        assert!(text(&refused, "detail").contains("network first (10.1.1.0/24)"), "{refused}");
    }
    let mut servers = public;
    servers["name_servers"] = json!(["10.1.1.1"]);
    admin.patch(&path, &json!({ "public": servers })).await.refused(409, "in_use");
    servers["name_servers"] = json!(["10.1.1.2"]);
    admin.patch(&path, &json!({ "public": servers })).await.ok();

    for number in 3..7 {
        create(admin, &format!("n{number}"), &format!("10.3.{number}.0/24"), true).await.ok();
    }
    create(admin, "n7", "10.3.7.0/24", true).await.refused(409, "router_full");
    let acme = admin.customer("acme").await;
    create(&acme.api, "n7", "10.3.7.0/24", true).await.ok();
}

#[tokio::test]
async fn what_vms_may_send_outside_is_changed_for_a_network() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let zone = zone(&control_plane).await;
    let body = json!({ "name": "net", "zone": zone, "cidr": "10.1.1.0/24", "egress": "deny" });
    let made = admin.post("/v1/networks", &body).await.ok();
    assert_eq!(made["egress"], "deny");
    let path = format!("/v1/networks/{}", text(&made, "id"));
    done(admin, admin.patch(&path, &json!({ "egress": "allow" })).await).await;
    assert_eq!(admin.get(&path).await.ok()["egress"], "allow");
    done(admin, admin.patch(&path, &json!({})).await).await;
    assert_eq!(admin.get(&path).await.ok()["egress"], "allow");
    let problem = admin.patch(&path, &json!({ "egress": "some" })).await.refused(422, "invalid_field");
    assert_eq!(problem["field"], "egress");
    admin.event("network.update", "net").await;
}
